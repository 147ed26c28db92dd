"""Many calls in one thread, each of which goes on until it has to wait for a socket.

The code of an exchange is written as if it blocked, since that is how requests, http.client and dnspython are made; a
greenlet lets it stand aside while it waits. A thread for each would do the same, at twice the CPU: most of what a
thread costs is its queueing for the interpreter.
"""

from __future__ import annotations

import heapq
import itertools
import math
import select
import socket
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from greenlet import GreenletExit, getcurrent, greenlet

LAG = 0.2
"""Seconds by which the thread may be late before its clock stands still: less is the ordinary work of a moment."""

_LOOK = 0.1
"""Seconds that `run` waits at most, so that a longer time away can be told from waiting."""

TURN = 0.05
"""Seconds of work after which a call that never has to wait lets others go on."""

_BATCH = 48
"""Tasks that go on before it is looked again what else can: ten milliseconds of work or so."""

_EVENTS = 1024


class _Task(greenlet):
    """One call under way. `lag` are the seconds in which it could have gone on and did not.

    `began` is the time when its turn began, and `worked` the CPU time of the thread shortly before.
    """

    def __init__(self, tasks: Tasks) -> None:
        super().__init__()
        self.tasks = tasks
        self.began = self.worked = 0.0

    def begin(self, call: Callable[[], None], rank: int, number: int) -> None:
        """Make ready for `call`, the one of that `number`."""
        self.number = number
        self.call: Callable[[], None] | None = call
        self.rank = rank
        self.lag = 0.0
        self.alarm = 0
        self.queue = 1 + rank

    def run(self) -> None:
        """Make one call after the other: a new greenlet costs as much as a look-up's system calls."""
        while self.call is not None:
            self.call()
            self.call = None
            self.leave()

    def leave(self) -> None:
        """Let others go on."""
        assert self.parent is not None, "it was started from another one"
        self.parent.switch()

    @property
    def away(self) -> float:
        """The seconds of this turn in which the thread did not work: the process was stopped, or others had the CPU."""
        turn = time.monotonic() - self.began
        return max(turn - (time.thread_time() - self.worked), 0.0) if turn > LAG else 0.0

    @property
    def clock(self) -> float:
        """The seconds of its own clock."""
        now = time.monotonic()
        away = self.tasks.away + self.lag
        return now - away if now - self.began <= LAG else now - away - self.away


class Tasks:
    """Calls under way in this thread. A context manager: leaving the block ends those that are still waiting."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._watched: dict[int, _Task] = {}
        self._ready: tuple[list[tuple[int, float, _Task]], ...] = ([], [], [])
        self._alarms: list[tuple[float, int, _Task]] = []
        self._count = itertools.count(1)
        self._under_way: set[_Task] = set()
        self._idle: list[_Task] = []
        self._looked, self._worked = time.monotonic(), time.thread_time()
        self.away = 0.0
        """Seconds by which the thread was late, each time by more than LAG."""

    @property
    def clock(self) -> float:
        """The seconds of a clock that stands still meanwhile."""
        return time.monotonic() - self.away

    def __len__(self) -> int:
        """Return the number of calls under way."""
        return len(self._under_way)

    def start(self, call: Callable[[], None], *, rank: int) -> None:
        """Begin `call`, and return when it waits or has ended. What it raises is raised here or by `run`.

        Of the calls that can go on, those go first that can send, then those of `rank` 0, then those of 1; and of these
        the one that was begun first, since its time is up first.
        """
        task = self._idle.pop() if self._idle else _Task(self)
        task.begin(call, rank, next(self._count))
        self._under_way.add(task)
        self._resume(task)

    def run(self, seconds: float) -> None:
        """Let calls go on that can, a few at most; where none can, wait for the first one, up to `seconds`."""
        self._look(0 if any(self._ready) else min(seconds, _LOOK))
        for _ in range(_BATCH):
            queue = next(filter(None, self._ready), None)
            # After a long turn it is looked first who else can go on.
            if queue is None or time.monotonic() - self._looked > TURN:
                break
            _, since, task = heapq.heappop(queue)
            task.lag += self.clock - since
            self._resume(task)

    def wait(self, task: _Task, lines: Sequence[socket.socket], event: int, seconds: float) -> None:
        """Let others go on until `event` has come to one of `lines`, or `seconds` have passed."""
        for line in lines:
            self._watch(task, line.fileno(), event)
        task.queue = 0 if event == select.POLLOUT else 1 + task.rank
        task.alarm = next(self._count)
        heapq.heappush(self._alarms, (time.monotonic() + seconds, task.alarm, task))
        task.leave()

    def give_way(self, task: _Task) -> bool:
        """Let others go on first when `task` has had its turn, and return whether it had."""
        is_over = time.monotonic() - task.began > TURN
        if is_over:
            self._queue(task, self.clock - task.away)
            task.leave()
        return is_over

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        for task in (*self._under_way, *self._idle):
            task.throw(GreenletExit)
        self._epoll.close()

    def _watch(self, task: _Task, descriptor: int, event: int) -> None:
        """Have `task` woken by `event`: edge-triggered, since it tries before it waits, and told of the rest before."""
        self._watched[descriptor] = task
        try:
            self._epoll.register(descriptor, event | select.EPOLLET)
        except FileExistsError:
            self._epoll.modify(descriptor, event | select.EPOLLET)

    def _look(self, seconds: float) -> None:
        """Queue the calls that can go on now."""
        while self._alarms and self._alarms[0][2].alarm != self._alarms[0][1]:
            heapq.heappop(self._alarms)
        first = self._alarms[0][0] if self._alarms else math.inf
        began = time.monotonic()
        seconds = min(seconds, max(first - began, 0))
        events = self._epoll.poll(seconds, _EVENTS)
        now, self._worked = time.monotonic(), time.thread_time()
        late = now - self._looked - seconds
        self._looked = now
        if late > LAG:
            self.away += late
        for descriptor, _ in events:
            self._wake(self._watched[descriptor])
        # An answer that came before this look counts, however late it is: the time of the others is up.
        while self._alarms and self._alarms[0][0] <= began:
            _, alarm, task = heapq.heappop(self._alarms)
            if task.alarm == alarm:
                self._wake(task)

    def _wake(self, task: _Task) -> None:
        if task.alarm:
            task.alarm = 0
            self._queue(task, self.clock)

    def _queue(self, task: _Task, since: float) -> None:
        heapq.heappush(self._ready[task.queue], (task.number, since, task))

    def _resume(self, task: _Task) -> None:
        task.began, task.worked = time.monotonic(), self._worked
        try:
            task.switch()
        finally:
            away = task.away
            self.away += away
            self._looked += away
            if task.call is None or task.dead:
                self._under_way.discard(task)
            if task.call is None:
                self._idle.append(task)


def wait(lines: Sequence[socket.socket], event: int, seconds: float) -> None:
    """Wait until `event` (select.POLLIN or POLLOUT) has come to one of `lines`, for `seconds` at most.

    In a call of Tasks others go on meanwhile, and it may return early. Elsewhere it blocks.
    """
    task = getcurrent()
    if isinstance(task, _Task):
        task.tasks.wait(task, lines, event, seconds)
        return
    poll = select.poll()
    for line in lines:
        poll.register(line, event)
    poll.poll(seconds * 1000)


def now() -> float:
    """Return the seconds of a clock that stands still while the call could go on and is not let.

    A deadline that passes while this process is stopped, or busy with others, is not the other side's failure.
    """
    task = getcurrent()
    return task.clock if isinstance(task, _Task) else time.monotonic()


def give_way() -> bool:
    """Let others go on first when this call has worked for TURN without waiting, and return whether it had.

    Elsewhere than in Tasks there are no others.
    """
    task = getcurrent()
    return isinstance(task, _Task) and task.tasks.give_way(task)
