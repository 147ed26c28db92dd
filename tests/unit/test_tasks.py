from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable, Iterator

import pytest

from poolmgr.crawl.tasks import LAG, Tasks, give_way, now, wait

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pairs() -> Iterator[Callable[[], Pair]]:
    opened: list[socket.socket] = []

    def pair() -> Pair:
        both = socket.socketpair()
        opened.extend(both)
        return both

    yield pair
    for line in opened:
        line.close()


def finish(tasks: Tasks) -> None:
    deadline = time.monotonic() + 10
    while len(tasks):
        assert time.monotonic() < deadline
        tasks.run(0.1)


def test_a_call_that_waits_lets_others_go_on(pairs: Callable[[], Pair]) -> None:
    here, there = pairs()
    said: list[str] = []

    def listen() -> None:
        said.append("listens")
        wait((here,), select.POLLIN, 10)
        said.append(here.recv(10).decode())

    with Tasks() as tasks:
        tasks.start(listen, rank=0)
        tasks.start(lambda: said.append("talks"), rank=0)
        assert len(tasks) == 1
        there.send(b"hears")
        finish(tasks)
    assert said == ["listens", "talks", "hears"]


def test_a_wait_ends_with_its_time(pairs: Callable[[], Pair]) -> None:
    here, _ = pairs()
    waited: list[float] = []

    def listen() -> None:
        start = time.monotonic()
        wait((here,), select.POLLIN, 0.05)
        waited.append(time.monotonic() - start)

    with Tasks() as tasks:
        tasks.start(listen, rank=0)
        finish(tasks)
    assert waited[0] >= 0.05


def test_any_of_several_sockets_ends_a_wait(pairs: Callable[[], Pair]) -> None:
    (one, _), (two, other) = pairs(), pairs()
    heard: list[bytes] = []

    def listen() -> None:
        wait((one, two), select.POLLIN, 10)
        heard.append(two.recv(10))

    with Tasks() as tasks:
        tasks.start(listen, rank=0)
        other.send(b"x")
        finish(tasks)
    assert heard == [b"x"]


def test_a_socket_of_the_same_number_is_watched_anew() -> None:
    heard: list[bytes] = []
    talkers: list[socket.socket] = []

    def listen() -> None:
        for _ in range(3):
            here, there = socket.socketpair()
            talkers.append(there)
            with here:
                wait((here,), select.POLLIN, 10)
                heard.append(here.recv(10))

    with Tasks() as tasks:
        tasks.start(listen, rank=0)
        for _ in range(3):
            talkers[-1].send(b"x")
            talkers[-1].close()
            count = len(heard)
            deadline = time.monotonic() + 5
            while len(heard) == count and time.monotonic() < deadline:
                tasks.run(0.1)
    assert heard == [b"x"] * 3


def test_what_sends_goes_first_then_by_rank(pairs: Callable[[], Pair]) -> None:
    order: list[str] = []

    def call(name: str, line: socket.socket, event: int) -> Callable[[], None]:
        def waiting() -> None:
            wait((line,), event, 10)
            order.append(name)

        return waiting

    with Tasks() as tasks:
        for name, rank, event in (("page", 1, select.POLLIN), ("name", 0, select.POLLIN), ("send", 1, select.POLLOUT)):
            here, there = pairs()
            there.send(b"x")
            tasks.start(call(name, here, event), rank=rank)
        finish(tasks)
    assert order == ["send", "name", "page"]


def test_the_clock_stands_still_while_a_call_could_go_on_and_does_not(pairs: Callable[[], Pair]) -> None:
    """Two are ready at once; the first takes its time, and the other one's clock does not count it."""
    elapsed: list[float] = []

    def call(line: socket.socket, busy: float) -> Callable[[], None]:
        def working() -> None:
            start = now()
            wait((line,), select.POLLIN, 10)
            elapsed.append(now() - start)
            end = time.monotonic() + busy
            while time.monotonic() < end:
                pass

        return working

    with Tasks() as tasks:
        for busy in (0.15, 0.0):
            here, there = pairs()
            there.send(b"x")
            tasks.start(call(here, busy), rank=0)
        finish(tasks)
    assert elapsed[1] < 0.1


def test_the_clock_stands_still_while_the_thread_is_away(pairs: Callable[[], Pair]) -> None:
    here, _ = pairs()
    elapsed: list[float] = []

    def listen() -> None:
        start = now()
        wait((here,), select.POLLIN, 0.01)
        elapsed.append(now() - start)

    with Tasks() as tasks:
        tasks.start(listen, rank=0)
        end = time.monotonic() + 3 * LAG
        while time.monotonic() < end:
            pass
        finish(tasks)
    assert elapsed[0] < 2 * LAG


def test_what_a_call_raises_is_raised_by_run_and_the_others_are_ended(pairs: Callable[[], Pair]) -> None:
    (one, there), (two, _) = pairs(), pairs()
    ended: list[str] = []

    def fail() -> None:
        wait((one,), select.POLLIN, 10)
        raise ZeroDivisionError

    def patient() -> None:
        try:
            wait((two,), select.POLLIN, 10)
        finally:
            ended.append("patient")

    def run() -> None:
        with Tasks() as tasks:
            tasks.start(patient, rank=0)
            tasks.start(fail, rank=0)
            there.send(b"x")
            finish(tasks)

    with pytest.raises(ZeroDivisionError):
        run()
    assert ended == ["patient"]


def test_outside_of_tasks_a_wait_blocks(pairs: Callable[[], Pair]) -> None:
    here, there = pairs()
    start = now()
    wait((here,), select.POLLIN, 0.05)
    assert now() - start >= 0.05
    there.send(b"x")
    wait((here,), select.POLLIN, 10)
    assert here.recv(1) == b"x"


def test_a_call_that_never_has_to_wait_lets_others_go_on_after_its_turn() -> None:
    others: list[str] = []

    def greedy() -> None:
        deadline = time.monotonic() + 10
        while not others and time.monotonic() < deadline:
            give_way()

    def brief() -> None:
        here, there = socket.socketpair()
        with here, there:
            there.send(b"x")
            wait((here,), select.POLLIN, 10)
        others.append("brief")

    with Tasks() as tasks:
        tasks.start(brief, rank=0)
        tasks.start(greedy, rank=0)
        assert others == []
        tasks.run(0.1)
        assert others == ["brief"]
        finish(tasks)
