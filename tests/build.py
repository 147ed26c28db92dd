"""Short ways to build the values that tests are about."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import dns.name

from poolmgr.hosts import HostName, host_name, parse_host
from poolmgr.judge.freshness import NO_PACES, Cohort, Paces, Reference, references
from poolmgr.judge.history import History, Judgement, judge_next
from poolmgr.judge.policy import Policy
from poolmgr.judge.verdict import instants
from poolmgr.model import (
    Ask,
    Certificate,
    Endpoint,
    Family,
    Keyserver,
    KeyserverAddress,
    Outcome,
    Probe,
    Service,
    Snapshot,
    State,
    Stats,
    Verdict,
)
from poolmgr.pools import Overrides, Pool
from poolmgr.zone.desired import from_text
from poolmgr.zone.records import Records

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
ORIGIN = dns.name.from_text("example.org.")
POOL = dns.name.from_text("pool.example.org.")

SKELETON = """\
$TTL 300
@ IN SOA ns1 hostmaster ( 1 900 600 86400 60 )
@ IN NS ns1
ns1 IN A 192.0.2.53
"""


def named(name: str, /) -> HostName:
    """Return the host name `name`."""
    return host_name(dns.name.from_text(name))


def pool(name: str = "pool.example.org.", /, **fields: object) -> Pool:
    """Return a pool of both families that asks for hkp only and has no floor, with `fields` set otherwise."""
    owner = dns.name.from_text(name)
    values: dict[str, object] = {
        "name": owner,
        "host": fields["host"] if "host" in fields else host_name(owner),
        "families": frozenset(Family),
        "services": frozenset({Service.HKP}),
        **fields,
    }
    return Pool(**values)  # type: ignore[arg-type]


def overrides(*entries: str) -> Overrides:
    """Return overrides that name `entries`: names, addresses or networks."""
    names, networks = set(), []
    for entry in entries:
        try:
            networks.append(ipaddress.ip_network(entry))
        except ValueError:
            names.add(named(entry))
    return Overrides(names=frozenset(names), networks=tuple(networks))


def probe(
    address: str,
    *,
    ask: Ask = Ask.LOOKUP,
    service: Service = Service.HKP,
    outcome: Outcome = Outcome.OK,
    host: str = "pool.example.org",
    detail: str = "",
    certificate: Certificate | None = None,
    version: datetime | None = None,
) -> Probe:
    """Return a probe of `address` that ended with `outcome`."""
    port = {Service.HKP: 11371, Service.HTTP: 80, Service.HKPS: 443}[service]
    return Probe(
        ask=ask,
        endpoint=Endpoint(service, ipaddress.ip_address(address), port),
        host=host,
        outcome=outcome,
        detail=detail,
        started=NOW,
        total=timedelta(milliseconds=150),
        certificate=certificate,
        version=version,
    )


def keyserver(
    name: str,
    *addresses: str,
    keys: int | None = 5_000_000,
    software: str = "SKS",
    version: str | None = "1.1.6",
    outcomes: dict[Service, Outcome] | None = None,
    stats_outcome: Outcome = Outcome.OK,
    detail: str = "",
    canary: datetime | None = None,
) -> Keyserver:
    """Return a keyserver whose every address told the same, and answered lookups with `outcomes`.

    `canary` is the version of the canary key in those answers.
    """
    outcomes = {Service.HKP: Outcome.OK, Service.HTTP: Outcome.OK} if outcomes is None else outcomes
    stats = Stats(software=software, version=version, keys=keys, hostname=name) if stats_outcome is Outcome.OK else None
    found = []
    for address in addresses:
        probes = [probe(address, ask=Ask.STATS, outcome=stats_outcome, host=name, detail=detail)]
        if stats is not None:
            probes += [
                probe(address, service=service, outcome=outcome, version=canary if outcome is Outcome.OK else None)
                for service, outcome in outcomes.items()
            ]
        found.append(KeyserverAddress(ipaddress.ip_address(address), stats, tuple(probes)))
    problem = None if addresses else f"{name} does not exist (NXDOMAIN)"
    return Keyserver(name=parse_host(name), depth=0, listed=NOW, addresses=tuple(found), problem=problem)


def snapshot(keyservers: Iterable[Keyserver]) -> Snapshot:
    """Return a crawl that took ten seconds and ended at NOW."""
    return Snapshot(started=NOW - timedelta(seconds=10), finished=NOW, keyservers=tuple(keyservers))


def crawls(*rounds: Iterable[Keyserver], every: timedelta = timedelta(minutes=15)) -> tuple[Snapshot, ...]:
    """Return crawls of the keyservers of each of `rounds`, so far apart; the last one ends at NOW."""
    return tuple(
        _earlier(snapshot(keyservers), every * number)
        for number, keyservers in zip(reversed(range(len(rounds))), rounds, strict=True)
    )


def _earlier(crawled: Snapshot, by: timedelta) -> Snapshot:
    keyservers = tuple(
        replace(
            one,
            addresses=tuple(
                replace(address, probes=tuple(replace(each, started=each.started - by) for each in address.probes))
                for address in one.addresses
            ),
        )
        for one in crawled.keyservers
    )
    return replace(crawled, started=crawled.started - by, finished=crawled.finished - by, keyservers=keyservers)


def judged(
    rounds: Iterable[Snapshot], policy: Policy | None = None, pools: Iterable[Pool] | None = None
) -> tuple[History, Judgement]:
    """Return the last of `rounds` judged after the others, and the history that it was judged by."""
    by, of = policy or Policy(), (pool(),) if pools is None else tuple(pools)
    *earlier, last = rounds
    history = History()
    for each in earlier:
        history = judge_next(history, each, by, of).history
    return history, judge_next(history, last, by, of)


def judge(
    crawled: Snapshot, policy: Policy, pools: Iterable[Pool], paces: Paces = NO_PACES
) -> tuple[tuple[Verdict, ...], Mapping[Cohort, Reference]]:
    """Return what `crawled` by itself says, eligible or out, and what key counts were compared with."""
    known = references(crawled.keyservers, policy.window, paces)
    verdicts = tuple(
        Verdict(
            pool=each.pool,
            keyserver=each.keyserver,
            address=each.address,
            state=State.OUT if each.reasons else State.ELIGIBLE,
            reasons=each.reasons,
            warnings=each.warnings,
        )
        for of in pools
        for each in instants(crawled, policy, of, known, paces, {}, {})
    )
    return verdicts, known


def mesh(count: int, *, first: int = 1, keys: int = 5_000_000, version: str = "1.1.6") -> list[Keyserver]:
    """Return `count` healthy keyservers ks1, ks2, ... at 198.51.100.1, .2, ..."""
    return [
        keyserver(f"ks{number}.example.net", f"198.51.100.{number}", keys=keys, version=version)
        for number in range(first, first + count)
    ]


def zone(text: str = "") -> Records:
    """Return the skeleton's records and those of `text`, all of the zone example.org."""
    return from_text(SKELETON + text, ORIGIN, "test.zone")
