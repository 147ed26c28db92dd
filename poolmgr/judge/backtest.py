"""What would have been published had crawls been judged by other rules, and how its clients would have fared."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby, pairwise
from typing import NamedTuple

import dns.name

from poolmgr.hosts import IPAddress
from poolmgr.judge.history import History, Judgement, judge_next
from poolmgr.judge.policy import Policy
from poolmgr.judge.reliability import MAX_GAP
from poolmgr.judge.selection import Members
from poolmgr.model import Family, ReasonCode, Snapshot, Verdict
from poolmgr.pools import Pool

FAILING = frozenset(
    {
        ReasonCode.STATS,
        ReasonCode.SERVICE,
        ReasonCode.NO_COUNT,
        ReasonCode.BEHIND,
        ReasonCode.STUCK,
        ReasonCode.CANARY,
    }
)
"""Reasons by which a client meets an address that is down, or that lacks keys."""


class Published(NamedTuple):
    """The members that are published, and since when."""

    members: Members
    at: datetime


Publish = Callable[[Judgement, Published | None], Published | None]
"""Returns what is published after a crawl: given the judgement of it, and what was published before.

None where nothing is published yet.
"""


@dataclass(frozen=True, slots=True)
class Rules:
    """What crawls are judged by, and how it is published."""

    policy: Policy
    pools: tuple[Pool, ...]
    publish: Publish


@dataclass(frozen=True, slots=True)
class Round:
    """One crawl judged by rules: what was published then, and the addresses of each pool that failed at this look.

    Of the families in `blind` it says nothing.
    """

    at: datetime
    members: Members
    failing: Mapping[dns.name.Name, frozenset[IPAddress]]
    blind: frozenset[Family]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """How a pool fared under rules.

    `days` is the time that was looked at, `members` how many were published in the mean. `joins` and `leaves` count
    addresses. `failing` is the share of the members' time, 0 to 1, in which the next look found them down or stale;
    None where nothing was published.
    """

    pool: dns.name.Name
    days: float
    members: float
    joins: int
    leaves: int
    failing: float | None


def replay(
    history: History, snapshots: Iterable[Snapshot], rules: Rules, published: Published | None
) -> Iterator[Round]:
    """Yield what each of `snapshots`, in their order, leads to by `rules`.

    The first was judged by `history`, and `published` was published before it: the same code as a run's makes the same
    of them.
    """
    for snapshot in snapshots:
        judgement = judge_next(history, snapshot, rules.policy, rules.pools)
        published = rules.publish(judgement, published)
        history = judgement.history
        members = {} if published is None else published.members
        yield Round(
            snapshot.finished, members, _failing(judgement.verdicts, rules.pools), frozenset(judgement.snapshot.blind)
        )


def fates(replays: Mapping[str, tuple[Rules, Iterator[Round]]], since: datetime) -> Mapping[str, tuple[Fate, ...]]:
    """Return how the pools of each rules fared from `since` on, in replays of the same crawls, by name.

    The first of `replays` says what was in truth down or stale, but of pools that it does not know. A round lasts until
    the next one, MAX_GAP at most: what happened in a longer pause nobody knows.
    """
    tallies = [{pool.name: _Tally() for pool in rules.pools} for rules, _ in replays.values()]
    for before, after in pairwise(zip(*(rounds for _, rounds in replays.values()), strict=True)):
        if before[0].at < since:
            continue
        lasted = min(after[0].at - before[0].at, MAX_GAP)
        for index, of_pools in enumerate(tallies):
            failing = {**after[index].failing, **after[0].failing}
            for pool, tally in of_pools.items():
                tally.add(lasted, _both(pool, before[index]), _both(pool, after[index]))
                tally.fail(lasted, _seen(pool, before[index], after[0].blind), failing[pool])
    of_each = ({pool: tally.fate(pool) for pool, tally in of_pools.items()} for of_pools in tallies)
    return {name: tuple(each.values()) for name, each in zip(replays, of_each, strict=True)}


def _both(pool: dns.name.Name, one: Round) -> frozenset[IPAddress]:
    return frozenset(address for family in Family for address in one.members.get((pool, family), ()))


def _seen(pool: dns.name.Name, one: Round, blind: frozenset[Family]) -> frozenset[IPAddress]:
    return frozenset(address for address in _both(pool, one) if Family.of(address) not in blind)


class _Tally:
    """What adds up for one pool."""

    def __init__(self) -> None:
        self._time = timedelta(0)
        self._published = timedelta(0)
        self._seen = timedelta(0)
        self._failing = timedelta(0)
        self._joins = 0
        self._leaves = 0

    def add(self, time: timedelta, before: frozenset[IPAddress], after: frozenset[IPAddress]) -> None:
        """Let `before` be published for that time, and then `after`."""
        self._time += time
        self._published += time * len(before)
        self._joins += len(after - before)
        self._leaves += len(before - after)

    def fail(self, time: timedelta, seen: frozenset[IPAddress], failing: frozenset[IPAddress]) -> None:
        """Let those that are published and were `seen` have been `failing` for that time."""
        self._seen += time * len(seen)
        self._failing += time * len(seen & failing)

    def fate(self, pool: dns.name.Name) -> Fate:
        """Return what it comes to."""
        return Fate(
            pool=pool,
            days=self._time / timedelta(days=1),
            members=self._published / self._time if self._time else 0.0,
            joins=self._joins,
            leaves=self._leaves,
            failing=self._failing / self._seen if self._seen else None,
        )


def _failing(verdicts: Iterable[Verdict], pools: Iterable[Pool]) -> Mapping[dns.name.Name, frozenset[IPAddress]]:
    failing = {pool.name: frozenset[IPAddress]() for pool in pools}
    for pool, of_pool in groupby(verdicts, key=_pool_of):
        failing[pool] |= {one.address for one in of_pool if one.address is not None and _is_failing(one)}
    return failing


def _pool_of(verdict: Verdict) -> dns.name.Name:
    return verdict.pool


def _is_failing(verdict: Verdict) -> bool:
    """Return whether the look itself was bad: what an address that is still in is bad for is among its warnings."""
    reasons = verdict.reasons + verdict.warnings
    return bool(reasons) and not FAILING.isdisjoint([reason.code for reason in reasons])
