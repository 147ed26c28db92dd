"""How many keys a cohort's healthy keyservers had when, and so how many hours a count is behind or ahead of them."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

STEP = timedelta(minutes=10)
"""One point is kept of each: a count changes less than that in what matters."""

FINE = timedelta(days=4)
"""For how long, which is more than any healthy keyserver lags."""

COARSE = timedelta(hours=6)
"""Of what is older than FINE one point is kept of each."""

KEPT = timedelta(days=30)
"""How far back the points go: further behind, it is all the same how far."""

MAX_POINTS = 720
"""Points kept at most: FINE by STEP and the rest of KEPT by COARSE are 680."""

LEAST_SPAN = timedelta(days=1)
"""Before the points span it there is no pace: keys come by day more than by night."""

UNTOLD = timedelta(days=3650)
"""The longest lead that is told: an absurd count would take longer than time can be written."""


_HOUR = timedelta(hours=1)


class Count(NamedTuple):
    """A key count and the time at which it was taken, aware UTC."""

    keys: int
    at: datetime


class Lag(NamedTuple):
    """How far a count is behind the frontier: by `keys` and by `time`, both below 0 where it is ahead.

    `is_least` says that it may be behind by more `time`: the frontier is not known far enough back. `time` is None
    where there is no pace to reckon a lead by.
    """

    keys: int
    time: timedelta | None
    is_least: bool = False


@dataclass(frozen=True, slots=True)
class Pace:
    """The frontier: the `points` that healthy keyservers reached, time strictly ascending, keys never falling."""

    points: tuple[Count, ...] = ()

    span: timedelta = field(init=False, repr=False, compare=False)
    """How long a time the points cover."""

    keys_an_hour: float = field(init=False, repr=False, compare=False)
    """How many keys the frontier gained in an hour, over all of its time; 0 where that is less than LEAST_SPAN."""

    def __post_init__(self) -> None:
        # Every count of a crawl is compared with both: once is enough.
        span = self.points[-1].at - self.points[0].at if self.points else timedelta(0)
        gained = self.points[-1].keys - self.points[0].keys if span >= LEAST_SPAN else 0
        object.__setattr__(self, "span", span)
        object.__setattr__(self, "keys_an_hour", gained / (span / _HOUR) if gained else 0.0)

    def keys(self, at: datetime) -> int:
        """Return the keys of the frontier at `at`; before its first point and after its last one those of that point.

        There must be points.
        """
        if at >= self.points[-1].at:
            return self.points[-1].keys
        index = bisect_right(self.points, at, key=_time)
        if index == 0:
            return self.points[0].keys
        before, after = self.points[index - 1], self.points[index]
        return before.keys + int((after.keys - before.keys) * ((at - before.at) / (after.at - before.at)))

    def reckoned(self, at: datetime) -> float:
        """Return the same, but after the last point as many keys as the pace leads to."""
        beyond = max((at - self.points[-1].at) / _HOUR, 0.0)
        return self.keys(at) + beyond * self.keys_an_hour

    def lag(self, count: Count) -> Lag:
        """Return how long before `count` was taken the frontier stood at it last, or how long after it will."""
        missing = self.keys(count.at) - count.keys
        if missing > 0:
            index = bisect_right(self.points, count.keys, key=_keys)
            return Lag(missing, max(count.at - self._when(count.keys, index), timedelta(0)), is_least=index == 0)
        if missing == 0:
            return Lag(0, timedelta(0))
        last = self.points[-1]
        if count.keys <= last.keys:
            index = bisect_left(self.points, count.keys, key=_keys)
            return Lag(missing, count.at - self._when(count.keys, index))
        pace = self.keys_an_hour
        if pace <= 0:
            return Lag(missing, None)
        hours = min((count.keys - last.keys) / pace, UNTOLD / _HOUR)
        # A count that is newer than the frontier has had that time to grow.
        lead = timedelta(hours=hours) - (count.at - last.at)
        return Lag(missing, -max(lead, timedelta(0)))

    def reached(self, count: Count) -> Pace:
        """Return the frontier after healthy keyservers were seen at `count`.

        The later word counts: what they lack now, they did not have earlier either. What is older than the last point
        can only raise it.
        """
        points = self.points
        if points and count.at <= points[-1].at:
            if count.keys <= points[-1].keys:
                return self
            count = Count(count.keys, points[-1].at)
            points = points[:-1]
        fallen = bisect_right(points, count.keys, key=_keys)
        if fallen < len(points):
            since = Count(count.keys, self._when(count.keys, fallen))
            points = points[:fallen] if fallen and since.at <= points[fallen - 1].at else (*points[:fallen], since)
        while points and _is_between(points, count):
            points = points[:-1]
        points = (*points, count)
        # One point from before that time says where the frontier stood then, however quiet it has been since.
        points = points[max(bisect_left(points, count.at - KEPT, key=_time) - 1, 0) :]
        return Pace(points if len(points) <= MAX_POINTS else _thinned(points))

    def _when(self, keys: int, index: int) -> datetime:
        """Return when the frontier had `keys`: between the points before and at `index`, or before all of them."""
        if index == 0:
            return self.points[0].at
        before, after = self.points[index - 1], self.points[index]
        return before.at + (after.at - before.at) * ((keys - before.keys) / (after.keys - before.keys))


def _time(point: Count) -> datetime:
    return point.at


def _keys(point: Count) -> int:
    return point.keys


def _is_between(points: tuple[Count, ...], new: Count) -> bool:
    """Return whether the last point says nothing that the one before it and `new` do not: too near, or on a plateau."""
    last = points[-1]
    if len(points) == 1:
        return False
    before = points[-2]
    return last.at - before.at < STEP or before.keys == last.keys == new.keys


def _thinned(points: tuple[Count, ...]) -> tuple[Count, ...]:
    """Return `points` with the last one only of each step, which is coarse where they are old."""
    newest = points[-1].at
    kept = {_slot(point.at, newest): point for point in points}
    return tuple(kept.values())


def _slot(at: datetime, newest: datetime) -> tuple[bool, int]:
    is_fine = newest - at <= FINE
    return is_fine, int(at.timestamp() // (STEP if is_fine else COARSE).total_seconds())
