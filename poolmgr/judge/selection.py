"""Members per pool: which of the eligible are published, and who is where too few are."""

from __future__ import annotations

import hashlib
import ipaddress
import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import lru_cache
from itertools import groupby

import dns.name

from poolmgr.hosts import Host, IPAddress, address_order, host_text
from poolmgr.judge.reliability import UNSEEN, Reliability, ServiceKey
from poolmgr.judge.shortage import least_bad
from poolmgr.model import Family, Reason, ReasonCode, Selection, State, Verdict
from poolmgr.pools import Pool, WhenShort

Members = Mapping[tuple[dns.name.Name, Family], Collection[IPAddress]]
"""The published addresses by pool and family."""

POWER = 16
"""How much more the reliable weigh: the weight is the share in which one failed to the power of minus this."""

LEAST = 0.002
"""The smallest share of failures that makes a difference: a lost packet is nobody's fault."""

PREFIXES: Mapping[Family, int] = {Family.IPV4: 16, Family.IPV6: 32}
"""The length of the networks of which a pool takes few members: most often one is one provider's."""

_DRAWS, _REASONS = 65_536, 4096
"""Draws and reasons kept, since they are the same crawl after crawl: those of a large mesh."""

_Place = tuple[dns.name.Name, Family]


def select(
    verdicts: Iterable[Verdict],
    pools: Iterable[Pool],
    current: Members,
    reliability: Mapping[ServiceKey, Reliability],
    at: datetime,
    *,
    chosen: datetime | None = None,
) -> Selection:
    """Return the members of each pool: its eligible addresses, at most `max_records` of a family.

    Where more are eligible, those in `current` stay. Who is taken in beside them is drawn by weighted rendezvous
    hashing (Thaler and Ravishankar 1998, with the weights of Schindelhauer and Schomaker 2005): the weight is that of
    the least reliable service that the pool promises, the draw is fixed by pool, address and epoch. It is the same on
    every machine with the same data. Addresses of other networks and keyservers come first.

    `at` is the end of the crawl, and `chosen` when `current` was published: where a new epoch of `rotate_every` has
    begun since, the draw is made anew, and as many go as one run may remove. None: they stay.

    Where fewer than the floor are eligible, `when_short` says who is a member instead. The verdicts come back in their
    order, followed by one for each address of a fallback that the crawl did not meet.
    """
    verdicts = tuple(verdicts)
    choices = _choices(verdicts, pools, current, reliability, at, chosen)
    strangers = (
        Verdict(pool=pool, keyserver=one, address=one, state=State.MEMBER, warnings=choice.warnings)
        for (pool, _), choice in choices.items()
        for one in choice.strangers
    )
    final: list[Verdict] = []
    for name, of_pool in groupby(verdicts, key=_pool_of):
        chosen_here = {family: choices.get((name, family)) for family in Family}
        final += (
            verdict if verdict.address is None else _final(verdict, chosen_here[Family.of(verdict.address)])
            for verdict in of_pool
        )
    return Selection(_members(choices), (*final, *strangers))


def select_members(
    verdicts: Iterable[Verdict],
    pools: Iterable[Pool],
    current: Members,
    reliability: Mapping[ServiceKey, Reliability],
    at: datetime,
    *,
    chosen: datetime | None = None,
) -> Mapping[_Place, tuple[IPAddress, ...]]:
    """Return the members that `select` returns, and leave its verdicts out: a replay looks at no more."""
    return _members(_choices(verdicts, pools, current, reliability, at, chosen))


def _members(choices: Mapping[_Place, _Choice]) -> Mapping[_Place, tuple[IPAddress, ...]]:
    return {place: tuple(sorted(choice.members, key=address_order)) for place, choice in choices.items()}


def _choices(
    verdicts: Iterable[Verdict],
    pools: Iterable[Pool],
    current: Members,
    reliability: Mapping[ServiceKey, Reliability],
    at: datetime,
    chosen: datetime | None,
) -> Mapping[_Place, _Choice]:
    of_place: dict[_Place, list[Verdict]] = defaultdict(list)
    for name, of_pool in groupby(verdicts, key=_pool_of):
        of_family = {family: of_place[name, family] for family in Family}
        for verdict in of_pool:
            if verdict.address is not None:
                of_family[Family.of(verdict.address)].append(verdict)
    choices = {}
    for pool in pools:
        draw = _Draw(pool, reliability, at, is_new_epoch=chosen is not None and _epoch(pool, chosen) < _epoch(pool, at))
        for family in sorted(pool.families):
            place = (pool.name, family)
            choices[place] = _choice(draw, family, of_place[place], frozenset(current.get(place, ())))
    return choices


@dataclass(frozen=True, slots=True, kw_only=True)
class _Choice:
    """Who was chosen for one pool and family.

    `waiting` has the reason of each eligible address that was not. `warnings` are those of the members that are there
    for want of others: of the `unfit`, which are out by themselves. `strangers` are members without a verdict.
    """

    members: frozenset[IPAddress]
    waiting: Mapping[IPAddress, Reason] = field(default_factory=dict)
    warnings: tuple[Reason, ...] = ()
    unfit: frozenset[IPAddress] = frozenset()
    strangers: tuple[IPAddress, ...] = ()


def _choice(draw: _Draw, family: Family, verdicts: list[Verdict], before: frozenset[IPAddress]) -> _Choice:
    falling = {
        verdict.address: _is_falling(verdict.progress)
        for verdict in verdicts
        if verdict.is_falling and verdict.address is not None
    }
    eligible = {
        verdict.address: verdict.keyserver
        for verdict in verdicts
        if verdict.state is State.ELIGIBLE
        and verdict.address is not None
        and (verdict.address not in falling or verdict.address in before)
    }
    choice = _choice_of(draw, family, eligible, verdicts, before, falling)
    return replace(choice, waiting={**choice.waiting, **falling}) if falling else choice


def _choice_of(
    draw: _Draw,
    family: Family,
    eligible: Mapping[IPAddress, Host],
    verdicts: list[Verdict],
    before: frozenset[IPAddress],
    falling: Collection[IPAddress],
) -> _Choice:
    pool = draw.pool
    if len(eligible) < pool.min_members.get(family, 0):
        fallback = [address for address in pool.fallback if Family.of(address) is family]
        if pool.when_short is WhenShort.FALLBACK and fallback:
            return _fallback(pool, family, fallback, eligible, verdicts)
        if pool.when_short is WhenShort.RELAX:
            return _relaxed(draw, family, eligible, verdicts, before)
    taken = _taken(draw, eligible, before, falling)
    waiting = {address: taken.reason(address) for address in set(eligible).difference(taken.members)}
    return _Choice(members=frozenset(taken.members), waiting=waiting)


def _relaxed(
    draw: _Draw,
    family: Family,
    eligible: Mapping[IPAddress, Host],
    verdicts: list[Verdict],
    before: frozenset[IPAddress],
) -> _Choice:
    floor = draw.pool.min_members[family]
    let_in = least_bad(verdicts, before, draw.rank)[: floor - len(eligible)]
    few = f"{len(eligible)} of at least {floor} {family.rdtype} are eligible (when_short: relax)"
    warning = Reason(ReasonCode.RELAXED, str(len(eligible)), str(floor), f"let in all the same: {few}")
    return _Choice(members=frozenset(eligible).union(let_in), warnings=(warning,), unfit=frozenset(let_in))


def _fallback(
    pool: Pool, family: Family, fallback: list[IPAddress], eligible: Mapping[IPAddress, Host], verdicts: list[Verdict]
) -> _Choice:
    members = frozenset(fallback[: pool.max_records])
    floor = pool.min_members[family]
    measured, rdtype = str(len(eligible)), family.rdtype
    few = f"{measured} of at least {floor} {rdtype} are eligible, and the pool's fallback is published instead"
    reason = Reason(ReasonCode.FALLBACK, measured, str(floor), few)
    met = {verdict.address for verdict in verdicts}
    return _Choice(
        members=members,
        waiting={address: reason for address in eligible if address not in members},
        warnings=(reason,),
        unfit=members,
        strangers=tuple(sorted(members - met, key=address_order)),
    )


def _epoch(pool: Pool, at: datetime) -> int:
    return 0 if pool.rotate_every is None else math.floor(at.timestamp() / pool.rotate_every.total_seconds())


class _Draw:
    """The draw of one pool: in which order addresses are taken, and whether it is made anew."""

    def __init__(
        self, pool: Pool, reliability: Mapping[ServiceKey, Reliability], at: datetime, *, is_new_epoch: bool
    ) -> None:
        self.pool = pool
        self.is_new_epoch = is_new_epoch
        self._reliability = reliability
        self._name, self._epoch = pool.name.to_text(), _epoch(pool, at)

    def rank(self, address: IPAddress) -> tuple[float, tuple[int, int]]:
        """Return the sort key of `address`: the smallest is taken first."""
        known = [self._reliability.get((address, service)) for service in self.pool.services]
        score = min((each.score if each is not None else UNSEEN for each in known), default=UNSEEN)
        # The logarithm of -ln(u)/w, which neither overflows nor runs out of digits.
        luck = _luck(self._name, address, self._epoch)
        return (luck + POWER * math.log(1 - score + LEAST), address_order(address))


@lru_cache(maxsize=_DRAWS)
def _luck(pool: str, address: IPAddress, epoch: int) -> float:
    """Return ln(-ln(u)) of a number u between 0 and 1, drawn for these three; the same everywhere and always."""
    digest = hashlib.sha256(f"{pool} {address} {epoch}".encode()).digest()
    # 52 bits and a half: neither 0 nor 1, and exact as a float.
    drawn = ((int.from_bytes(digest[:8]) >> 12) + 0.5) / 2**52
    return math.log(-math.log(drawn))


class _Taken:
    """The addresses taken so far, and how many of each network and of each keyserver they are."""

    def __init__(self, draw: _Draw, keyservers: Mapping[IPAddress, Host]) -> None:
        self.members: set[IPAddress] = set()
        self._draw = draw
        self._pool = draw.pool
        self._keyservers = keyservers
        self._of_network: Counter[int] = Counter()
        self._of_keyserver: Counter[Host] = Counter()

    def take(self, address: IPAddress) -> None:
        self._add(address, 1)
        self.members.add(address)

    def drop(self, address: IPAddress) -> None:
        self._add(address, -1)
        self.members.remove(address)

    def _add(self, address: IPAddress, count: int) -> None:
        self._of_network[_network(address)] += count
        self._of_keyserver[self._keyservers[address]] += count

    def fits(self, address: IPAddress) -> bool:
        """Whether the network and the keyserver of `address` have room for one more."""
        is_first = self._of_keyserver[self._keyservers[address]] == 0
        return is_first and self._of_network[_network(address)] < self._pool.per_network

    def is_crowded(self, address: IPAddress) -> bool:
        """Whether a member is there only because too few others were."""
        is_second = self._of_keyserver[self._keyservers[address]] > 1
        return is_second or self._of_network[_network(address)] > self._pool.per_network

    def fill(self, candidates: Collection[IPAddress]) -> None:
        """Take of `candidates` as many as there is room for: those that fit, then the others, each in order."""
        room = self._pool.max_records - len(self.members)
        if room <= 0:
            return
        ranked = candidates if len(candidates) <= room else sorted(candidates, key=self._draw.rank)
        for is_choosy in (True, False):
            for address in ranked:
                if len(self.members) >= self._pool.max_records:
                    return
                if address not in self.members and (not is_choosy or self.fits(address)):
                    self.take(address)

    def spread(self, candidates: Collection[IPAddress]) -> None:
        """Let one of `candidates` that fits take the place of one member that is crowded, where there are both."""
        crowded = sorted(filter(self.is_crowded, self.members), key=self._draw.rank, reverse=True)
        if not crowded:
            return
        for address in sorted(candidates, key=self._draw.rank):
            for member in crowded:
                self.drop(member)
                if self.fits(address):
                    self.take(address)
                    return
                self.take(member)

    def reason(self, address: IPAddress) -> Reason:
        """Return what keeps an eligible address that was not taken from taking the next place."""
        keyserver, network = self._keyservers[address], _network(address)
        if self._of_keyserver[keyserver] == 1:
            other = next(member for member in self.members if self._keyservers[member] == keyserver)
            return _one_of_each(keyserver, other)
        if self._of_network[network] == self._pool.per_network:
            return _enough_of_network(network, Family.of(address), self._pool.per_network)
        return _pool_is_full(self._pool.max_records, Family.of(address))


@lru_cache(maxsize=_REASONS)
def _one_of_each(keyserver: Host, other: IPAddress) -> Reason:
    rdtype = Family.of(other).rdtype
    sentence = f"eligible: {host_text(keyserver)} is published with {other}, one {rdtype} of each may be"
    return Reason(ReasonCode.NETWORK, str(other), "one address of a keyserver", sentence)


@lru_cache(maxsize=_REASONS)
def _enough_of_network(network: int, family: Family, limit: int) -> Reason:
    prefix = PREFIXES[family]
    is_ipv4 = family is Family.IPV4
    first = ipaddress.IPv4Address(network << 32 - prefix) if is_ipv4 else ipaddress.IPv6Address(network << 128 - prefix)
    block = f"{first}/{prefix}"
    sentence = f"eligible: {limit} of its network {block} are published, which has {limit} at most"
    return Reason(ReasonCode.NETWORK, f"{limit} of {block}", str(limit), sentence)


@lru_cache(maxsize=_REASONS)
def _is_falling(progress: tuple[int, int] | None) -> Reason:
    bad, drop = (0, 0) if progress is None else progress
    sentence = f"its last {bad} crawls were bad, and others have its place; after {drop} it is out"
    return Reason(ReasonCode.FALLING, str(bad), str(drop), sentence)


@lru_cache(maxsize=_REASONS)
def _pool_is_full(cap: int, family: Family) -> Reason:
    sentence = f"eligible: the pool publishes {cap} {family.rdtype} at most"
    return Reason(ReasonCode.CAP, f"more than {cap}", str(cap), sentence)


def _network(address: IPAddress) -> int:
    return int(address) >> (address.max_prefixlen - PREFIXES[Family.of(address)])


def _taken(
    draw: _Draw, eligible: Mapping[IPAddress, Host], before: frozenset[IPAddress], falling: Collection[IPAddress]
) -> _Taken:
    """Return who is taken of `eligible`: those of `before` first, or in a new epoch those that must be kept.

    The places of those in `falling`, all of them of `before`, are others', and theirs only while there are none.
    """
    steady = {address: keyserver for address, keyserver in eligible.items() if address not in falling}
    taken = _Taken(draw, eligible)
    taken.fill(_kept(draw, steady, before) if draw.is_new_epoch else steady.keys() & before)
    others = steady.keys() - taken.members
    taken.fill(others)
    taken.fill(eligible.keys() & falling)
    if taken.members == before:
        # Only where nothing else changes: one that leaves is replaced by one.
        taken.spread(others)
    return taken


def _kept(draw: _Draw, eligible: Mapping[IPAddress, Host], before: frozenset[IPAddress]) -> list[IPAddress]:
    """Return the members that stay in a new epoch: those drawn again, and the best of those that may not go at once."""
    drawn = _Taken(draw, eligible)
    drawn.fill(eligible)
    staying = before & eligible.keys()
    leaving = sorted(staying - drawn.members, key=draw.rank)
    gone = len(before) - len(staying)
    room = len(leaving)
    for allowance in (draw.pool.max_removed, draw.pool.max_added):
        allowed = allowance.of(len(before)) if allowance is not None else None
        if allowed is not None:
            room = min(room, max(allowed - gone, 0))
    return [*(staying & drawn.members), *leaving[: len(leaving) - room]]


def _pool_of(verdict: Verdict) -> dns.name.Name:
    return verdict.pool


def _final(verdict: Verdict, choice: _Choice | None) -> Verdict:
    """Return what is made of a verdict by the choice for its pool and family."""
    if choice is None or verdict.address is None:
        return verdict
    if verdict.address in choice.members:
        if verdict.address not in choice.unfit:
            return replace(verdict, state=State.MEMBER, reasons=())
        warnings = (*choice.warnings, *verdict.warnings, *verdict.reasons)
        # What it stands out since, and joins by, is not what a member is told.
        return replace(verdict, state=State.MEMBER, reasons=(), warnings=warnings, since=None, progress=None)
    reason = choice.waiting.get(verdict.address)
    if reason is None:
        return verdict
    return Verdict(
        pool=verdict.pool,
        keyserver=verdict.keyserver,
        address=verdict.address,
        state=verdict.state,
        reasons=(reason,),
        warnings=verdict.warnings,
        since=verdict.since,
        progress=verdict.progress,
    )
