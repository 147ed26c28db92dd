"""Looks at what must be reachable while the crawler's own network is up."""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
from collections.abc import Callable
from datetime import timedelta
from functools import partial

from poolmgr.crawl.blindness import CheckTarget, Checkup, SelfCheck
from poolmgr.crawl.frontier import Answer
from poolmgr.errors import PoolmgrError
from poolmgr.hosts import HostName

TIMEOUT = timedelta(seconds=5)
"""Time of one connect: a second and a third SYN (after 1 and 3 seconds, RFC 6298) still have their chance."""

_POLL = 0.1
"""Seconds between two looks at `stop`."""


def check_up(
    check: SelfCheck, addresses: Callable[[HostName], Answer], *, moment: str, stop: threading.Event
) -> Checkup:
    """Connect to all targets of `check` and look its name up, all at once, and return what failed.

    `addresses` is called in another thread and must end by itself. Raises PoolmgrError when `stop` was set before the
    end.
    """
    targets = [target for of_family in check.targets.values() for target in of_family]
    steps: dict[object, Callable[[], str | None]] = {target: partial(_connect, target) for target in targets}
    if check.name is not None:
        steps[check.name] = partial(_resolve, addresses, check.name)
    ended: queue.SimpleQueue[tuple[object, str | None]] = queue.SimpleQueue()
    for what, step in steps.items():
        # A daemon, because after `stop` nobody waits for it.
        threading.Thread(target=_take, args=(what, step, ended), daemon=True).start()
    problems: dict[object, str | None] = {}
    while len(problems) < len(steps):
        if stop.is_set():
            raise PoolmgrError(f"stopped at the self-check {moment}: nothing was stored")
        with contextlib.suppress(queue.Empty):
            what, problem = ended.get(timeout=_POLL)
            problems[what] = problem
    failures = {target: problem for target in targets if (problem := problems[target]) is not None}
    return Checkup(moment=moment, failures=failures, name_problem=problems.get(check.name))


def _take(what: object, step: Callable[[], str | None], ended: queue.SimpleQueue[tuple[object, str | None]]) -> None:
    problem: str | None = "the check itself failed"
    try:
        problem = step()
    finally:
        ended.put((what, problem))


def _connect(target: CheckTarget) -> str | None:
    address, port = target
    try:
        socket.create_connection((str(address), port), timeout=TIMEOUT.total_seconds()).close()
    except TimeoutError:
        return f"no connection within {TIMEOUT.total_seconds():g} s"
    except OSError as error:
        return (error.strerror or "unreachable").lower()
    return None


def _resolve(addresses: Callable[[HostName], Answer], name: HostName) -> str | None:
    return addresses(name).problem
