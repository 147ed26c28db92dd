"""How reliably an address answered, over several windows of time.

An observation weighs as much as the time that it stands for, and fades with the window's time constant: what comes out
does not depend on how often one looks (the reliability of bitcoin-seeder, with its doubt kept beside it).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

from poolmgr.hosts import IPAddress
from poolmgr.model import Service

ServiceKey = tuple[IPAddress, Service]

WINDOWS: Mapping[str, timedelta] = {
    "2h": timedelta(hours=2),
    "8h": timedelta(hours=8),
    "1d": timedelta(days=1),
    "7d": timedelta(days=7),
    "30d": timedelta(days=30),
}
"""The time constants, by the name that reports use."""

MAX_GAP = timedelta(hours=1)
"""The longest time that one observation stands for: what lies before was not looked at."""

UNSEEN = 0.95
"""How good time counts in which nobody looked: most that answer now did then, and who was seen to is better."""

_SECONDS = tuple(window.total_seconds() for window in WINDOWS.values())
_NOTHING = (0.0,) * len(_SECONDS)


class Reliability(NamedTuple):
    """What the observations up to `at` amount to.

    For each of WINDOWS, `seen` is the share of the window that was observed, and `good` that in which it answered, both
    0 to 1 and faded.
    """

    at: datetime
    good: tuple[float, ...]
    seen: tuple[float, ...]

    def share(self, window: str) -> float | None:
        """Return the share of good observations in the window of that name, 0 to 1; None where nothing was seen."""
        index = _index(window)
        return self.good[index] / self.seen[index] if self.seen[index] > 0 else None

    def failed(self, window: str) -> float:
        """Return the share of the window of that name, 0 to 1, in which it was seen to fail."""
        index = _index(window)
        return self.seen[index] - self.good[index]

    @property
    def score(self) -> float:
        """Return one number, 0 to 1: the mean over the windows, in which what was not seen counts as UNSEEN."""
        terms = [good + (1 - seen) * UNSEEN for good, seen in zip(self.good, self.seen, strict=True)]
        return sum(terms) / len(terms)


def observed(before: Reliability | None, at: datetime, *, is_good: bool) -> Reliability:
    """Return the reliability after one more observation, at `at`; it never lies before the last one."""
    keeps, weights = _fading(MAX_GAP if before is None else at - before.at)
    good, seen = (_NOTHING, _NOTHING) if before is None else (before.good, before.seen)
    return Reliability(at, _faded(good, keeps, weights if is_good else _NOTHING), _faded(seen, keeps, weights))


def _faded(shares: tuple[float, ...], keeps: tuple[float, ...], weights: tuple[float, ...]) -> tuple[float, ...]:
    # Written out it takes a third of the time, and it is done for every service at each crawl.
    (a, b, c, d, e), (ka, kb, kc, kd, ke), (wa, wb, wc, wd, we) = shares, keeps, weights
    return (a * ka + wa, b * kb + wb, c * kc + wc, d * kd + wd, e * ke + we)


@functools.cache
def _index(window: str) -> int:
    return list(WINDOWS).index(window)


@functools.lru_cache(maxsize=64)
def _fading(age: timedelta) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return, for each window, how much of a share is left after `age`, and how much an observation then weighs.

    Most addresses of a crawl were last observed by the one before it.
    """
    lasted = max(age.total_seconds(), 0.0)
    stands_for = min(lasted, MAX_GAP.total_seconds())
    keeps = tuple(math.exp(-lasted / seconds) for seconds in _SECONDS)
    return keeps, tuple(1 - math.exp(-stands_for / seconds) for seconds in _SECONDS)
