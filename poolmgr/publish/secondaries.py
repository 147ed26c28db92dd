"""Whether the secondaries follow: each asked for the new serial until it has it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TypeVar

import dns.name

from poolmgr.errors import PublishError, ZoneError
from poolmgr.publish.query import ask_serial
from poolmgr.publish.wire import Server, attempts
from poolmgr.zone.serial import is_newer

_T = TypeVar("_T")

LONGEST_QUESTION = timedelta(seconds=5)
"""Bound of one question, so that a server that does not answer is asked more than once."""


@dataclass(frozen=True, slots=True)
class Secondary:
    """How a secondary followed: `lag` is the time until it had the serial, None where it does not have it yet.

    `serial` is the last one it was seen with, None where it never answered; `problem` is why, with the remedy.
    """

    server: Server
    serial: int | None
    lag: timedelta | None
    problem: str = ""

    @property
    def sentence(self) -> str:
        """What came of it."""
        if self.lag is not None:
            return f"{self.server} followed within {self.lag.total_seconds():.1f} s"
        return f"{self.server} is behind: {self.problem}"


def follow(origin: dns.name.Name, serial: int, servers: Sequence[Server], timeout: timedelta) -> tuple[Secondary, ...]:
    """Ask each of `servers` until it answers with `serial` or a later one, all at once and for `timeout` at most."""
    start = time.monotonic()

    def followed(server: Server) -> Secondary:
        seen, problem = None, "it was never asked"
        for left in attempts(timeout):
            try:
                seen = ask_serial(origin, replace(server, timeout=min(left, LONGEST_QUESTION)))
            except (PublishError, ZoneError) as error:
                problem = str(error)
                continue
            if seen == serial or is_newer(seen, serial):
                return Secondary(server, seen, timedelta(seconds=time.monotonic() - start))
            problem = (
                f"it serves serial {seen}, not {serial}, after {timeout.total_seconds():g} s: make the primary notify "
                "it, and see its log for the transfer"
            )
        return Secondary(server, seen, None, problem)

    return _at_once(followed, servers)


def seen_at(origin: dns.name.Name, servers: Sequence[Server]) -> tuple[int | PublishError | ZoneError, ...]:
    """Ask each of `servers` once for the serial it has now, all at once; return what it said or why there is none."""

    def seen(server: Server) -> int | PublishError | ZoneError:
        try:
            return ask_serial(origin, server)
        except (PublishError, ZoneError) as error:
            return error

    return _at_once(seen, servers)


def _at_once(ask: Callable[[Server], _T], servers: Sequence[Server]) -> tuple[_T, ...]:
    if not servers:
        return ()
    with ThreadPoolExecutor(len(servers)) as threads:
        return tuple(threads.map(ask, servers))
