"""Key counts to a reference per cohort, and a count's distance from it."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import NamedTuple

from poolmgr.errors import ParseError
from poolmgr.hosts import IPAddress
from poolmgr.judge.once import once
from poolmgr.judge.pace import LEAST_SPAN, Count, Lag, Pace
from poolmgr.judge.votes import Ballot, Vote, middle, second_largest, total, weighed
from poolmgr.model import Ask, Keyserver, KeyserverAddress, Outcome, Snapshot, Stats
from poolmgr.version import Version

_STATS, _OK = Ask.STATS, Outcome.OK

LEAST_COUNT = 2
"""A count of 0 or 1 is a keyserver that has not loaded its keys: it says nothing of the mesh, and has no vote."""

OLDEST_COUNT = timedelta(hours=26)
"""How old a count may say that it is: SKS counts once a day, at an hour that moves when the clocks change."""

AHEAD_SHARE = 3
"""A third of `max_lag` is how far the frontier may lie before the middle of the votes: a minority that leads, and lies,
makes the others late by no more."""


class Cohort(NamedTuple):
    """Keyservers that synchronise with each other: one software (lower case), one major and minor version."""

    software: str
    minor: tuple[int, int]

    def __str__(self) -> str:
        return f"{self.software} {self.minor[0]}.{self.minor[1]}"


@dataclass(frozen=True, slots=True)
class Window:
    """How far from its cohort's reference a count may be, and how many keyservers must agree on one.

    `behind` and `ahead` are keys, and count until the frontier is known for long enough; then the times do, where a
    count is off by more than `tolerance` keys: `max_lag` for who is up, `enter_lag` for who comes in, and `max_lead`.
    """

    behind: int
    ahead: int
    min_cohort: int
    max_lag: timedelta = timedelta(hours=36)
    enter_lag: timedelta = timedelta(hours=24)
    max_lead: timedelta = timedelta(hours=72)
    tolerance: int = 50

    def lag_of(self, *, is_up: bool) -> timedelta:
        """Return how late who is up may be, or else who comes in."""
        return self.max_lag if is_up else min(self.enter_lag, self.max_lag)

    def within(self, max_lag: timedelta | None) -> Window:
        """Return the window of who asks for at most `max_lag`; it is this one where that is None, or more."""
        return self if max_lag is None or max_lag >= self.max_lag else replace(self, max_lag=max_lag)

    def is_known(self, pace: Pace) -> bool:
        """Return whether `pace` goes back far enough to judge by time."""
        return pace.span >= max(self.max_lag, LEAST_SPAN)


@dataclass(frozen=True, slots=True)
class Reference:
    """What the healthy keyservers of a cohort have: `keys` is the count to compare with, `votes` how many agree.

    `pace` is the frontier that they reached over time, up to now.
    """

    cohort: Cohort
    keys: int
    votes: int
    pace: Pace = Pace()

    def lag(self, count: Count, window: Window) -> Lag | None:
        """Return how far `count` is behind the frontier, in time too; None where that is not known for long enough."""
        if not window.is_known(self.pace):
            return None
        lag = self.pace.lag(count)
        return None if lag.time is None or (lag.is_least and lag.time <= window.max_lag) else lag


@dataclass(frozen=True, slots=True, kw_only=True)
class Paces:
    """What is remembered of key counts: the `frontiers` by cohort, and each address's last count.

    The time in `counts` is when that count was first met.
    """

    frontiers: Mapping[Cohort, Pace] = field(default_factory=dict)
    counts: Mapping[IPAddress, Count] = field(default_factory=dict)


NO_PACES = Paces()
"""Before the first crawl."""


def version_of(stats: Stats) -> Version | None:
    """Return the version that `stats` tells, None where it tells none that can be ordered."""
    return _version(stats.version or "")


@functools.lru_cache(maxsize=4096)
def _version(text: str) -> Version | None:
    try:
        return Version.parse(text)
    except ParseError:
        return None


def cohort_of(stats: Stats) -> Cohort | None:
    """Return the cohort that `stats` belongs to, None where its version is unknown."""
    return _cohort(stats.software, stats.version or "")


@functools.lru_cache(maxsize=4096)
def _cohort(software: str, text: str) -> Cohort | None:
    version = _version(text)
    return None if version is None else Cohort(software.lower(), version.minor)


def count_of(address: KeyserverAddress) -> Count | None:
    """Return the key count of `address` and when it was taken, None where it gave no usable one.

    That is when the keyserver says, where it can be; else when it was asked.
    """
    stats = address.stats
    if stats is None or stats.keys is None or stats.keys < LEAST_COUNT:
        return None
    asked = None
    for probe in address.probes:
        if probe.ask is _STATS and probe.outcome is _OK and (asked is None or probe.started > asked):
            asked = probe.started
    if asked is None:
        return None
    taken = stats.taken_at
    return Count(stats.keys, taken if taken is not None and asked - OLDEST_COUNT <= taken <= asked else asked)


def references(keyservers: Iterable[Keyserver], window: Window, paces: Paces = NO_PACES) -> Mapping[Cohort, Reference]:
    """Return the reference of every cohort with at least one usable count, in cohort order.

    Each keyserver has a vote in a cohort, its largest count there, however many addresses it has, and shares it with
    those in the same address block. The votes are compared at the times when they were taken: those that lie within the
    window around their median are believed, and the second largest of them is the reference (the largest when there are
    fewer than three). One keyserver that is alone ahead of the rest, and any number below half that are behind,
    absurdly high, zero or stuck, leave it where it is. Where enough agree, the cohort's frontier in `paces` has reached
    it.
    """
    return {
        cohort: _reference(cohort, votes, window, paces.frontiers.get(cohort, Pace()))
        for cohort, votes in _votes(tuple(keyservers)).items()
    }


@once
def _votes(keyservers: tuple[Keyserver, ...]) -> Mapping[Cohort, tuple[Vote, ...]]:
    """Return the votes of each cohort, in cohort order."""
    ballots: dict[Cohort, list[Ballot]] = defaultdict(list)
    for keyserver in keyservers:
        for cohort, ballot in _ballots(keyserver).items():
            ballots[cohort].append(ballot)
    return {cohort: weighed(ballots[cohort]) for cohort in sorted(ballots)}


def _ballots(keyserver: Keyserver) -> Mapping[Cohort, Ballot]:
    found: dict[Cohort, Ballot] = {}
    for address in keyserver.addresses:
        cohort = cohort_of(address.stats) if address.stats is not None else None
        count = count_of(address)
        if cohort is not None and count is not None:
            before = found.get(cohort)
            found[cohort] = (
                Ballot(count, (address.address,))
                if before is None
                else Ballot(max(before.told, count), (*before.addresses, address.address))
            )
    return found


def _reference(cohort: Cohort, votes: tuple[Vote, ...], window: Window, pace: Pace) -> Reference:
    behind, ahead = float(window.behind), float(window.ahead)
    if window.is_known(pace):
        grown = pace.keys_an_hour * (window.max_lag / timedelta(hours=1))
        behind, ahead = window.tolerance + grown, window.tolerance + grown / AHEAD_SHARE
    offsets = [vote.told.keys - (pace.reckoned(vote.told.at) if pace.points else 0) for vote in votes]
    median = middle(zip(offsets, (vote.weight for vote in votes), strict=True))
    believed = [
        vote for vote, offset in zip(votes, offsets, strict=True) if median - behind <= offset <= median + ahead
    ]
    count, agreeing = second_largest(believed), total(believed)
    return Reference(cohort, count.keys, agreeing, pace.reached(count) if agreeing >= window.min_cohort else pace)


def reference_for(stats: Stats, known: Mapping[Cohort, Reference], window: Window) -> Reference | None:
    """Return the reference that judges `stats`: its own cohort's, or that of another one it agrees with.

    A cohort in which fewer than `window.min_cohort` agree cannot judge its own: such a keyserver is judged by the
    nearest cohort that can, where its count lies in that one's window of keys. None where there is none, or the version
    or count is unknown.
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


@once
def _counts(keyservers: tuple[Keyserver, ...]) -> tuple[tuple[IPAddress, Count], ...]:
    """Return the count of every address that gave one."""
    addresses = (address for keyserver in keyservers for address in keyserver.addresses)
    counted = ((address.address, count_of(address)) for address in addresses)
    return tuple((address, count) for address, count in counted if count is not None)


def paces_after(
    paces: Paces, known: Mapping[Cohort, Reference], snapshot: Snapshot, addresses: Collection[IPAddress]
) -> Paces:
    """Return `paces` after the crawl `snapshot`, which has the references `known`.

    The frontier of a cohort that is gone is remembered for as long as it was seen, and counts of `addresses` only.
    """
    finished = snapshot.finished
    frontiers = {
        cohort: pace for cohort, pace in paces.frontiers.items() if finished - pace.points[-1].at <= pace.span
    } | {cohort: reference.pace for cohort, reference in known.items() if reference.pace.points}
    counts = dict(paces.counts)
    for address in set(counts).difference(addresses):
        del counts[address]
    for address, count in _counts(snapshot.keyservers):
        before = counts.get(address)
        if before is None or before.keys != count.keys:
            counts[address] = count
    return Paces(frontiers=frontiers, counts=counts)
