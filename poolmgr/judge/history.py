"""What all crawls so far amount to, and one more crawl judged by it.

A history is made of crawls alone, one after the other: the same crawls give the same history, and the same verdicts.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import dns.name

from poolmgr.hosts import Host, IPAddress, address_order
from poolmgr.judge.answering import Answering, answered, doubts_of
from poolmgr.judge.freshness import Cohort, Paces, Reference, paces_after, references
from poolmgr.judge.kinds import paired
from poolmgr.judge.once import once
from poolmgr.judge.policy import Policy
from poolmgr.judge.reliability import Reliability, ServiceKey, observed
from poolmgr.judge.steadiness import Look, Standing, Steadiness, is_final, looked, obstacles
from poolmgr.judge.verdict import Instant, instants
from poolmgr.model import (
    Ask,
    Endpoint,
    Family,
    Keyserver,
    KeyserverAddress,
    Outcome,
    Probe,
    Reason,
    ReasonCode,
    Service,
    Snapshot,
    State,
    Verdict,
)
from poolmgr.pools import Pool

FORGET = timedelta(days=30)
"""How long an address that no crawl meets any more is remembered: the longest window of reliability."""

MAX_ABSENT = 5000
"""Addresses that the crawl did not meet and that are remembered all the same, those met last first.

A name whose addresses are others at each crawl must not fill the store.
"""

_LOOKUP = Ask.LOOKUP

RoundsKey = tuple[dns.name.Name, Family]
Standings = Mapping[dns.name.Name, Mapping[IPAddress, Standing]]


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What is remembered of the crawls so far.

    `crawls` counts by pool and family those that it was judged by, without the blind ones. `standings` are by pool, of
    those that have any, and address, `reliability` by address and service. `addresses` are those that each keyserver's
    name led to at the last crawl, or before it while one that is up lingers. `answering` says how many addresses of
    each family answer, `paces` how key counts went.
    """

    crawls: Mapping[RoundsKey, int] = field(default_factory=dict)
    standings: Standings = field(default_factory=dict)
    reliability: Mapping[ServiceKey, Reliability] = field(default_factory=dict)
    addresses: Mapping[Host, tuple[IPAddress, ...]] = field(default_factory=dict)
    answering: Mapping[Family, Answering] = field(default_factory=dict)
    paces: Paces = Paces()


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """One crawl judged: `verdicts` by pool, keyserver and address as they stand in `snapshot`.

    `snapshot` is the crawl with the addresses that lingered, `blind` for each family for which it is not believed.
    `references` are what key counts were compared with, and `history` is what the next crawl is judged by.
    """

    snapshot: Snapshot
    verdicts: tuple[Verdict, ...]
    references: Mapping[Cohort, Reference]
    history: History


def judge_next(history: History, snapshot: Snapshot, policy: Policy, pools: Iterable[Pool]) -> Judgement:
    """Judge the crawl `snapshot`, which came after those that `history` is made of.

    Each address is eligible for a pool while its standing there is up, and otherwise out with all the reasons. An
    address that the crawl did not meet has had a bad look. What a crawl saw of a family for which it is not believed
    counts for nothing. No verdict says member yet: that is the selection's.
    """
    pools = tuple(pools)
    doubts = doubts_of(snapshot, history.answering, policy.min_seen)
    seen = _lingering(replace(snapshot, blind=doubts) if doubts else snapshot, history.addresses)
    known = references(seen.keyservers, policy.window, history.paces)
    crawls = {
        (pool.name, family): history.crawls.get((pool.name, family), 0) + (family not in seen.blind)
        for pool in pools
        for family in Family
    }
    met = _met(seen.keyservers)
    reliability = _reliability_after(history.reliability, seen)
    unmet = tuple(_unmet(history.standings, met, seen, policy.steadiness, crawls))
    missing = {address for _, address, _ in unmet}.union(set(history.paces.counts).difference(met))
    remembered = met.union(
        address for address in missing if any((address, service) in reliability for service in Service)
    )
    standings: dict[dns.name.Name, dict[IPAddress, Standing]] = {pool.name: {} for pool in pools}
    for name, address, standing in unmet:
        if address in remembered:
            standings[name][address] = standing
    verdicts = []
    for pool in pools:
        rounds = {family: crawls[pool.name, family] for family in Family}
        before, of_pool = history.standings.get(pool.name, {}), standings[pool.name]
        for instant in instants(seen, policy, pool, known, history.paces, before, reliability):
            if instant.address is None:
                verdicts.append(_verdict(instant, State.OUT, instant.reasons))
                continue
            family = Family.of(instant.address)
            verdict, after = _steadied(instant, seen, policy, rounds[family], is_blind=family in seen.blind)
            verdicts.append(verdict)
            if after is not None:
                of_pool[instant.address] = after
    return Judgement(
        snapshot=seen,
        verdicts=paired(verdicts, pools),
        references=known,
        history=History(
            crawls=crawls,
            standings={name: of_pool for name, of_pool in standings.items() if of_pool},
            reliability=reliability,
            addresses=dict(_known_addresses(history.addresses, seen, standings)),
            paces=paces_after(history.paces, known, seen, remembered),
            answering=answered(history.answering, snapshot),
        ),
    )


@once
def _met(keyservers: tuple[Keyserver, ...]) -> frozenset[IPAddress]:
    return frozenset(address.address for keyserver in keyservers for address in keyserver.addresses)


def _unmet(
    standings: Standings,
    met: Collection[IPAddress],
    snapshot: Snapshot,
    rule: Steadiness,
    crawls: Mapping[RoundsKey, int],
) -> Iterator[tuple[dns.name.Name, IPAddress, Standing]]:
    """Yield the standings of the addresses that the crawl did not meet, for the pools that there still are."""
    gone = Reason(ReasonCode.NO_ADDRESS, "none", "at least 1", "no name led to this address")
    look = Look(snapshot.finished, (gone,), is_final=False)
    for pool, of_pool in standings.items():
        missing = set(of_pool).difference(met)
        for address, standing in of_pool.items() if missing else ():
            rounds = crawls.get((pool, Family.of(address))) if address in missing else None
            if rounds is not None:
                is_blind = Family.of(address) in snapshot.blind
                yield pool, address, standing if is_blind else looked(standing, look, rule, rounds=rounds)


@once
def _reliability_after(
    before: Mapping[ServiceKey, Reliability], snapshot: Snapshot
) -> Mapping[ServiceKey, Reliability]:
    """Return `before` with the crawl in it: the same for all policies, which have it from one crawl to the next."""
    after = dict(before)
    after.update(_observations(before, snapshot))
    return _remembered(after, _met(snapshot.keyservers), snapshot.finished)


def _remembered(
    reliability: Mapping[ServiceKey, Reliability], met: Collection[IPAddress], now: datetime
) -> Mapping[ServiceKey, Reliability]:
    """Return what is remembered: of the addresses in `met` all, of the others the last, unless it is too long ago."""
    oldest = now - FORGET
    recent = reliability
    if any(each.at < oldest for each in reliability.values()):
        recent = {key: each for key, each in reliability.items() if each.at >= oldest}
    if len(recent) <= MAX_ABSENT:
        return recent
    absent: dict[IPAddress, datetime] = {}
    for (address, _), each in recent.items():
        if address not in met:
            absent[address] = max(each.at, absent.get(address, each.at))
    if len(absent) <= MAX_ABSENT:
        return recent
    last = sorted(absent, key=lambda address: (now - absent[address], address_order(address)))[:MAX_ABSENT]
    kept = {*met, *last}
    return {key: each for key, each in recent.items() if key[0] in kept}


def _known_addresses(
    before: Mapping[Host, tuple[IPAddress, ...]], snapshot: Snapshot, standings: Standings
) -> Iterator[tuple[Host, tuple[IPAddress, ...]]]:
    """Yield each keyserver's addresses; of those that lingered, the ones that are up in some pool.

    Of a family that the crawl was blind for, they are those `before`.
    """
    is_lingering = any(keyserver.problem is not None and keyserver.addresses for keyserver in snapshot.keyservers)
    of_pools = standings.values() if is_lingering else ()
    up = {address for of_pool in of_pools for address, standing in of_pool.items() if standing.is_up}
    now = {
        keyserver.name: [
            address.address for address in keyserver.addresses if keyserver.problem is None or address.address in up
        ]
        for keyserver in snapshot.keyservers
    }
    for name in {**before, **now}:
        addresses = now.get(name, [])
        if snapshot.blind:
            unseen = (address for address in before.get(name, ()) if Family.of(address) in snapshot.blind)
            seen = (address for address in addresses if Family.of(address) not in snapshot.blind)
            addresses = [*unseen, *seen]
        if addresses:
            yield name, tuple(addresses if len(addresses) == 1 else sorted(addresses, key=address_order))


def _steadied(
    instant: Instant, snapshot: Snapshot, policy: Policy, rounds: int, *, is_blind: bool
) -> tuple[Verdict, Standing | None]:
    """Return the verdict that the standing makes of an instant one, and that, None while only blind crawls met it."""
    rule = policy.steadiness
    look = Look(snapshot.finished, instant.reasons, _is_final(instant.reasons, policy.fast_fall))
    standing = instant.before if is_blind else looked(instant.before, look, rule, rounds=rounds)
    since, streak = (None, 0) if standing is None else (standing.since, standing.streak)
    if standing is not None and standing.is_up:
        warnings = (*instant.warnings, *instant.reasons)
        progress = (-streak, rule.last) if streak < 0 else None
        up = instant._replace(warnings=warnings) if instant.reasons else instant
        verdict = _verdict(up, State.ELIGIBLE, (), since, progress)
        return replace(verdict, is_falling=True) if -streak >= rule.fall else verdict, standing
    if standing is None or is_blind:
        sentence = "this crawl is not believed, and lets nobody in"
        good = max(streak, 0)
        reasons = instant.reasons or (Reason(ReasonCode.JOINING, str(good), str(rule.rise), sentence),)
    else:
        reasons = obstacles(standing, look, rule, rounds=rounds)
    progress = (streak, rule.rise) if streak > 0 and look.is_good else None
    return _verdict(instant, State.OUT, reasons, since, progress), standing


def _verdict(
    instant: Instant,
    state: State,
    reasons: tuple[Reason, ...],
    since: datetime | None = None,
    progress: tuple[int, int] | None = None,
) -> Verdict:
    return Verdict(
        pool=instant.pool,
        keyserver=instant.keyserver,
        address=instant.address,
        state=state,
        reasons=reasons,
        warnings=instant.warnings,
        since=since,
        progress=progress,
    )


def _is_final(reasons: Collection[Reason], fast_fall: Collection[Outcome]) -> bool:
    """Return whether one look is enough: a service ended so, or the stats page did wherever it was asked for."""
    if is_final(reasons):
        return True
    if all(reason.outcome not in fast_fall for reason in reasons):
        return False
    pages = {reason.outcome for reason in reasons if reason.code is ReasonCode.STATS}
    services = {reason.outcome for reason in reasons if reason.code is ReasonCode.SERVICE}
    return (bool(pages) and pages.issubset(fast_fall)) or not services.isdisjoint(fast_fall)


def _lingering(snapshot: Snapshot, addresses: Mapping[Host, tuple[IPAddress, ...]]) -> Snapshot:
    """Return `snapshot` with the last known addresses of each keyserver whose name could not be looked up now.

    A name server that fails once is no reason to drop a keyserver; each of its addresses has had a bad look. One that
    another name leads to now is that one's.
    """
    if all(keyserver.problem is None or keyserver.addresses for keyserver in snapshot.keyservers):
        return snapshot
    met = _met(snapshot.keyservers)
    keyservers = tuple(
        replace(
            keyserver,
            addresses=tuple(
                _unresolved(address, keyserver.problem or "", snapshot.started)
                for address in addresses.get(keyserver.name, ())
                if address not in met
            ),
        )
        if keyserver.problem is not None and not keyserver.addresses
        else keyserver
        for keyserver in snapshot.keyservers
    )
    return replace(snapshot, keyservers=keyservers)


def _unresolved(address: IPAddress, problem: str, started: datetime) -> KeyserverAddress:
    probe = Probe(
        ask=Ask.STATS,
        endpoint=Endpoint(Service.HKP, address, 11371),
        host=str(address),
        outcome=Outcome.UNRESOLVED,
        detail=problem,
        started=started,
        attempts=0,
    )
    return KeyserverAddress(address, None, (probe,))


def _observations(
    before: Mapping[ServiceKey, Reliability], snapshot: Snapshot
) -> Iterator[tuple[ServiceKey, Reliability]]:
    """Yield the reliability of every service that the crawl observed."""
    for keyserver in snapshot.keyservers:
        for address in keyserver.addresses:
            if not address.probes or (snapshot.blind and Family.of(address.address) in snapshot.blind):
                continue
            known = []
            if address.stats is None:
                known = [service for service in Service if (address.address, service) in before]
            for service, is_good in _services(address, known).items():
                key = (address.address, service)
                yield key, observed(before.get(key), snapshot.finished, is_good=is_good)


def _services(address: KeyserverAddress, known: Collection[Service]) -> Mapping[Service, bool]:
    """Return whether each service answered.

    Without a stats page no lookup is made: hkp is bad then, and so are the others in `known`, asked for before.
    """
    good: dict[Service, bool] = {}
    for probe in address.probes:
        if probe.ask is _LOOKUP:
            service = probe.endpoint.service
            good[service] = good.get(service, False) or probe.is_good
    if address.stats is None:
        return {**dict.fromkeys(known, False), **good, Service.HKP: False}
    return good
