"""Key counts to a reference per cohort, and a count's distance from it."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from poolmgr.errors import ParseError
from poolmgr.model import Keyserver, Stats
from poolmgr.version import Version

LEAST_COUNT = 2
"""A count of 0 or 1 is a keyserver that has not loaded its keys: it says nothing of the mesh, and has no vote."""


class Cohort(NamedTuple):
    """Keyservers that synchronise with each other: one software (lower case), one major and minor version."""

    software: str
    minor: tuple[int, int]

    def __str__(self) -> str:
        return f"{self.software} {self.minor[0]}.{self.minor[1]}"


@dataclass(frozen=True, slots=True)
class Window:
    """How far from its cohort's reference a count may be, in keys, and how many keyservers must agree on one."""

    behind: int
    ahead: int
    min_cohort: int


@dataclass(frozen=True, slots=True)
class Reference:
    """What the healthy keyservers of a cohort have: `keys` is the count to compare with, `votes` how many agree."""

    cohort: Cohort
    keys: int
    votes: int


def version_of(stats: Stats) -> Version | None:
    """Return the version that `stats` tells, None where it tells none that can be ordered."""
    try:
        return Version.parse(stats.version or "")
    except ParseError:
        return None


def cohort_of(stats: Stats) -> Cohort | None:
    """Return the cohort that `stats` belongs to, None where its version is unknown."""
    version = version_of(stats)
    return None if version is None else Cohort(stats.software.lower(), version.minor)


def references(keyservers: Iterable[Keyserver], window: Window) -> Mapping[Cohort, Reference]:
    """Return the reference of every cohort with at least one usable count, in cohort order.

    Each keyserver has one vote in a cohort, its largest count there, however many addresses it has. The votes that lie
    within the window around their median are believed; the second largest of them is the reference (the largest when
    there are fewer than three). One keyserver that is alone ahead of the rest, and any number below half that are
    behind, absurdly high, zero or stuck, leave it where it is.
    """
    votes: dict[Cohort, list[int]] = defaultdict(list)
    for keyserver in keyservers:
        for cohort, keys in _votes(keyserver).items():
            votes[cohort].append(keys)
    return {cohort: _reference(cohort, votes[cohort], window) for cohort in sorted(votes)}


def _votes(keyserver: Keyserver) -> Mapping[Cohort, int]:
    votes: dict[Cohort, int] = {}
    for address in keyserver.addresses:
        cohort = cohort_of(address.stats) if address.stats is not None else None
        keys = address.stats.keys if address.stats is not None else None
        if cohort is not None and keys is not None and keys >= LEAST_COUNT:
            votes[cohort] = max(keys, votes.get(cohort, 0))
    return votes


def _reference(cohort: Cohort, counts: list[int], window: Window) -> Reference:
    # The upper median: of two keyservers the one with fewer keys is the one that lags.
    middle = statistics.median_high(counts)
    believed = sorted(keys for keys in counts if middle - window.behind <= keys <= middle + window.ahead)
    return Reference(cohort, believed[-2] if len(believed) > 2 else believed[-1], len(believed))


def reference_for(stats: Stats, known: Mapping[Cohort, Reference], window: Window) -> Reference | None:
    """Return the reference that judges `stats`: its own cohort's, or that of another one it agrees with.

    A cohort in which fewer than `window.min_cohort` agree cannot judge its own: such a keyserver is judged by the
    nearest cohort that can, where its count lies in that one's window. None where there is none, or the version or
    count is unknown.
    """
    cohort = cohort_of(stats)
    own = known.get(cohort) if cohort is not None else None
    if own is not None and own.votes >= window.min_cohort:
        return own
    if cohort is None or stats.keys is None:
        return None
    keys = stats.keys
    agreeing = [
        reference
        for reference in known.values()
        if reference.votes >= window.min_cohort
        and reference.keys - window.behind <= keys <= reference.keys + window.ahead
    ]
    return min(agreeing, key=lambda reference: abs(reference.keys - keys), default=None)
