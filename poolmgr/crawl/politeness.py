"""How much a crawl asks of one keyserver: so many requests at a time, so many in all."""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from poolmgr.hosts import Host

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Politeness:
    """What one keyserver gets, all its addresses together: requests `in_flight` at a time, and `per_crawl` in all.

    Two at a time, since a keyserver often has an address of each family, and SKS answers one request after the other.
    Sixty, since that is room for all probes of eight addresses of a keyserver under two pools' names.
    """

    in_flight: int = 2
    per_crawl: int = 60


@dataclass(slots=True)
class _Lane(Generic[T]):
    waiting: deque[T] = field(default_factory=deque)
    in_flight: int = 0
    accepted: int = 0


class Lanes(Generic[T]):
    """A queue of requests for each keyserver: what waits in one holds up nothing in another.

    `put` requests, `take` those that may be made now, and say `done` for each of these once it is.
    """

    def __init__(self, politeness: Politeness) -> None:
        self._politeness = politeness
        self._lanes: dict[Host, _Lane[T]] = defaultdict(_Lane)
        self._full: set[Host] = set()
        self._due: list[T] = []

    @property
    def full(self) -> int:
        """The number of keyservers that were to be asked more than `per_crawl`."""
        return len(self._full)

    def put(self, keyserver: Host, request: T) -> bool:
        """Queue `request`, or return False where `keyserver` has had `per_crawl` in this crawl."""
        lane = self._lanes[keyserver]
        if lane.accepted >= self._politeness.per_crawl:
            self._full.add(keyserver)
            return False
        lane.accepted += 1
        lane.waiting.append(request)
        self._release(lane)
        return True

    def done(self, keyserver: Host) -> None:
        """Take in that a request to `keyserver` has ended."""
        lane = self._lanes[keyserver]
        lane.in_flight -= 1
        self._release(lane)

    def take(self) -> list[T]:
        """Return the requests that may be made now and were not taken before."""
        due, self._due = self._due, []
        return due

    def _release(self, lane: _Lane[T]) -> None:
        while lane.waiting and lane.in_flight < self._politeness.in_flight:
            lane.in_flight += 1
            self._due.append(lane.waiting.popleft())
