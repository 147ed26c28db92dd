"""What a crawl measured of a pool's members, as far as SRV records tell of it."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta

import dns.name

from poolmgr.hosts import HostName, IPAddress, host_text
from poolmgr.judge.reliability import Reliability, ServiceKey
from poolmgr.model import (
    Ask,
    Keyserver,
    KeyserverAddress,
    Probe,
    ReasonCode,
    Service,
    Snapshot,
    State,
    Verdict,
)
from poolmgr.pools import Pool, Vhost

PORTS: Mapping[Service, int] = {Service.HKP: 11371, Service.HTTP: 80, Service.HKPS: 443}
"""Where a service is that was never asked for: at an address of a fallback."""

STEADY, LEAVING, MAKESHIFT = 0, 10, 20
"""Priorities (RFC 2782: the lowest is tried first): the good, those that are falling, those for want of any."""

FAST = timedelta(milliseconds=100)
"""Answers within that time are as good as immediate."""

WINDOW, POWER = "7d", 8
"""The time of which counts in how much it failed, and the power: a tenth lost weighs as much as twice the latency."""

STAYS = ("8h", 0.15)
"""A service that the pool does not promise stays in SRV records until it failed for more than that share of the window:
for 80 min. No single look lasts as long (see reliability.MAX_GAP)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What one address has to offer to clients that SRV records lead to it.

    `ports` are those of the services that were asked, `answers` has those that answered now, and `lately` those that
    did so most of the time. `handicap` says by how many doublings of the time it takes each is worse than the best.
    `name` is the keyserver's own name where that may lead here: it leads to `siblings` alone, this address among them.
    `is_certain` says that this was seen now, and not only that nothing speaks against it.
    """

    priority: int = STEADY
    ports: Mapping[Service, int] = field(default_factory=dict)
    answers: frozenset[Service] = frozenset()
    lately: frozenset[Service] = frozenset()
    handicap: Mapping[Service, float] = field(default_factory=dict)
    name: dns.name.Name | None = None
    siblings: frozenset[IPAddress] = frozenset()
    is_certain: bool = False


def offers_of(
    pool: Pool,
    addresses: Collection[IPAddress],
    snapshot: Snapshot,
    verdicts: Iterable[Verdict],
    reliability: Mapping[ServiceKey, Reliability],
    pools: Collection[dns.name.Name],
) -> Mapping[IPAddress, Offer]:
    """Return the offer of each of `addresses`, which are published at `pool`, whether or not they were chosen just now.

    Names at or below any of `pools` are never a keyserver's own.
    """
    known_verdicts = {verdict.address: verdict for verdict in verdicts if verdict.pool == pool.name}
    published = frozenset(addresses)
    measured = {
        address.address: (keyserver, address)
        for keyserver in snapshot.keyservers
        for address in keyserver.addresses
        if address.address in published
    }
    offers = {}
    for address in published:
        known = {service: reliability.get((address, service)) for service in Service}
        offer = _measured(pool, *measured[address], known, pools) if address in measured else Offer()
        offers[address] = replace(offer, priority=_priority(known_verdicts.get(address)))
    return offers


def _measured(
    pool: Pool,
    keyserver: Keyserver,
    address: KeyserverAddress,
    known: Mapping[Service, Reliability | None],
    pools: Collection[dns.name.Name],
) -> Offer:
    answers = dict(_answers(pool, keyserver, address))
    window, most = STAYS
    name = keyserver.name.to_name() if isinstance(keyserver.name, HostName) else None
    is_own = name is not None and keyserver.is_canonical is not False and not any(map(name.is_subdomain, pools))
    return Offer(
        ports={probe.endpoint.service: probe.endpoint.port for probe in address.probes if probe.ask is Ask.LOOKUP},
        answers=frozenset(answers),
        lately=frozenset(
            service for service, seen in known.items() if seen is not None and seen.failed(window) <= most
        ),
        handicap={service: _handicap(probe, known[service]) for service, probe in answers.items()},
        name=name if is_own else None,
        siblings=frozenset(each.address for each in keyserver.addresses),
        is_certain=keyserver.is_canonical is True,
    )


def _answers(pool: Pool, keyserver: Keyserver, address: KeyserverAddress) -> Iterator[tuple[Service, Probe]]:
    """Yield the good lookups under a name that the pool's clients ask for."""
    names = set() if pool.vhost is Vhost.OWN else {host_text(pool.host)}
    names |= set() if pool.vhost is Vhost.POOL else {host_text(keyserver.name)}
    for probe in address.probes:
        if probe.ask is Ask.LOOKUP and probe.is_good and probe.host in names:
            yield probe.endpoint.service, probe


def _priority(verdict: Verdict | None) -> int:
    if verdict is None or verdict.state is State.OUT:
        return MAKESHIFT
    if any(warning.code in {ReasonCode.RELAXED, ReasonCode.FALLBACK} for warning in verdict.warnings):
        return MAKESHIFT
    # One bad look is no news: what it would change now, the next good one would change back.
    return LEAVING if verdict.is_falling else STEADY


def _handicap(probe: Probe, seen: Reliability | None) -> float:
    failed = 0.0 if seen is None else seen.failed(WINDOW)
    slow = 0.0 if probe.total is None else math.log2(max(probe.total / FAST, 1.0))
    return slow - POWER * math.log2(max(1 - failed, 0.01))
