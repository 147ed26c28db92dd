"""How one thing goes over time: when it holds, how the mesh's key count grows, how far a keyserver has come with it.

Times are seconds from the start of a simulation.
"""

from __future__ import annotations

import math
import random
from bisect import bisect_right
from collections.abc import Iterable, Iterator

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0

Span = tuple[float, float]
"""From one time up to, and not including, another."""


class Spans:
    """The times at which something holds."""

    def __init__(self, spans: Iterable[Span] = ()) -> None:
        self._edges: list[float] = []
        for start, end in sorted(spans):
            if self._edges and start <= self._edges[-1]:
                self._edges[-1] = max(self._edges[-1], end)
            else:
                self._edges += (start, end)

    def __contains__(self, at: float) -> bool:
        return bisect_right(self._edges, at) % 2 == 1

    def __iter__(self) -> Iterator[Span]:
        return zip(self._edges[::2], self._edges[1::2], strict=True)

    def ordinal(self, at: float) -> int:
        """Return a number that stays the same within one span."""
        return bisect_right(self._edges, at)


def renewal(rng: random.Random, within: Span, pause: float, lasting: float) -> Iterator[Span]:
    """Yield the spans of what comes after exponential pauses with the mean `pause`, and lasts `lasting` in the mean.

    How long it lasts is lognormal: most are shorter, a few much longer.
    """
    at, end = within
    while (at := at + rng.expovariate(1 / pause)) < end:
        start, at = at, at + lasting * rng.lognormvariate(-0.5, 1.0)
        yield start, at


class Growth:
    """The key count of the mesh over time: it grows more by day and on workdays, and in some hours not at all."""

    FIRST = 5_000_000
    KEYS_A_DAY = 900
    BEFORE = 4 * 24
    """Hours that are known before the start: a count may be that old."""

    def __init__(self, rng: random.Random, days: float) -> None:
        hours = [self._hour(rng, hour) for hour in range(-self.BEFORE, math.ceil(days * 24) + 2)]
        scale = self.KEYS_A_DAY / 24 * len(hours) / sum(hours)
        self._counts = [0.0]
        for keys in hours:
            self._counts.append(self._counts[-1] + keys * scale)
        shift = self.FIRST - self._counts[self.BEFORE]
        self._counts = [count + shift for count in self._counts]

    @staticmethod
    def _hour(rng: random.Random, hour: int) -> float:
        if rng.random() < 0.05:
            return 0
        by_day = 1 - 0.8 * math.cos(2 * math.pi * (hour % 24 - 2) / 24)
        by_week = 0.6 if hour // 24 % 7 >= 5 else 1
        return by_day * by_week * rng.lognormvariate(0, 0.5)

    def at(self, time: float) -> int:
        """Return the keys that the mesh had at `time`."""
        hours = time / HOUR + self.BEFORE
        index = int(hours)
        before = self._counts[index]
        return int(before + (hours - index) * (self._counts[index + 1] - before))


class Progress:
    """Up to when a keyserver knows the keys of the mesh: it stands still in each of `stops`, and then catches up."""

    CATCH_UP = 12
    """Hours of missed keys that come in an hour."""

    def __init__(self, stops: Iterable[Span] = ()) -> None:
        self._times: list[float] = []
        self._known: list[float] = []
        for start, end in Spans(stops):
            known = self.at(start)
            while self._times and self._times[-1] >= start:
                del self._times[-1], self._known[-1]
            done = end + (end - known) / (self.CATCH_UP - 1)
            self._times += (start, end, done)
            self._known += (known, known, done)

    def at(self, time: float) -> float:
        """Return the time whose keys it has at `time`."""
        index = bisect_right(self._times, time)
        if index in {0, len(self._times)}:
            return time
        started, known = self._times[index - 1], self._known[index - 1]
        share = (time - started) / (self._times[index] - started)
        return known + share * (self._known[index] - known)
