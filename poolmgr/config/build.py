"""A valid config file to what the stages take."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import dns.name

from poolmgr import __version__
from poolmgr.config.crawling import CrawlSection, SelfCheckSection
from poolmgr.config.fields import Override, Socket
from poolmgr.config.judging import PolicySection
from poolmgr.config.pools import AllowanceSection, PoolSection
from poolmgr.config.schema import ConfigFile
from poolmgr.config.targets import KeySection, Rfc2136Section, TargetSection, VerifySection, ZoneSection, zone_of
from poolmgr.crawl.blindness import SelfCheck
from poolmgr.crawl.frontier import Bounds
from poolmgr.crawl.geo import Geography
from poolmgr.crawl.politeness import Politeness
from poolmgr.crawl.probe import Canary, Exchange, Lookup, Search
from poolmgr.crawl.resolve import Nameservers
from poolmgr.crawl.spider import Crawl
from poolmgr.hosts import HostName, host_name, name_text
from poolmgr.judge.policy import Policy
from poolmgr.judge.quality import Quality
from poolmgr.judge.steadiness import Steadiness
from poolmgr.model import Family, Service
from poolmgr.pools import Allowance, Overrides, Pool, Vhost
from poolmgr.publish.rfc2136 import PORT, TLS_PORT, Primary, Tls
from poolmgr.publish.tsig import KeyFile, KeySource, SecretFile, SecretInEnvironment
from poolmgr.publish.zonefile import Verify, ZoneFile
from poolmgr.zone.serial import Scheme


@dataclass(frozen=True, slots=True, kw_only=True)
class Zone:
    """A zone, the pools in it, and what a crawl must be like to change them.

    `skeleton` is there whenever a target of the zone is a zone file. After `fallback_after` what is held is given up
    for the fallback of its pool; None: never.
    """

    origin: dns.name.Name
    skeleton: Path | None
    serial: Scheme
    max_age: timedelta
    fallback_after: timedelta | None = None
    pools: tuple[Pool, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where `zone` goes. `label` tells it from all other targets, and is what people call it."""

    label: str
    zone: Zone
    at: ZoneFile | Primary


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What one config file says, complete and consistent; all paths are absolute.

    `path` is the file itself, `state` the folder of the store and the lock, `membership` an SKS membership file whose
    peers are seeds too, `keep` how long crawls are kept in the store and `keep_thinned` how long one of each day,
    `forget_after` how long a keyserver that nobody lists stays known. No `targets`: nothing is published.
    """

    path: Path
    state: Path
    keep: timedelta
    keep_thinned: timedelta
    crawl: Crawl
    membership: Path | None
    forget_after: timedelta
    self_check: SelfCheck
    policy: Policy
    pools: tuple[Pool, ...]
    zones: tuple[Zone, ...]
    targets: tuple[Target, ...]


def build(file: ConfigFile, path: Path) -> Config:
    """Return the config that `file` says; `path` is where it was read, absolute."""
    folder = path.parent
    pools = tuple(_pool(pool) for pool in file.pools)
    zones = tuple(_zone(zone, file, pools, folder) for zone in file.zone)
    return Config(
        path=path,
        state=folder / file.state.folder,
        keep=file.state.keep,
        keep_thinned=file.state.keep_thinned,
        crawl=_crawl(file.crawl, pools, folder),
        membership=_below(folder, file.crawl.membership),
        forget_after=file.crawl.forget_after,
        self_check=_self_check(file.crawl.self_check),
        policy=_policy(file.policy),
        pools=pools,
        zones=zones,
        targets=_targets(file, zones, folder),
    )


def _below(folder: Path, path: Path | None) -> Path | None:
    return None if path is None else folder / path


def _crawl(crawl: CrawlSection, pools: tuple[Pool, ...], folder: Path) -> Crawl:
    contact = "" if crawl.contact is None else f" (+{crawl.contact})"
    ports = crawl.ports
    return Crawl(
        seeds=crawl.seeds,
        lookup=_lookup(crawl),
        hosts=tuple(dict.fromkeys(pool.host for pool in pools)),
        services=_services(pools),
        own_name=any(pool.vhost is not Vhost.POOL for pool in pools),
        samples=crawl.samples,
        retries=crawl.retries,
        politeness=Politeness(in_flight=crawl.politeness.in_flight, per_crawl=crawl.politeness.per_crawl),
        bounds=Bounds(
            max_depth=crawl.max_depth,
            max_keyservers=crawl.max_keyservers,
            max_peers=crawl.max_peers,
            max_addresses=crawl.max_addresses,
            allow_networks=crawl.allow_networks,
        ),
        exchange=Exchange(
            deadline=crawl.deadline, max_bytes=crawl.max_bytes, user_agent=f"poolmgr/{__version__}{contact}"
        ),
        nameservers=Nameservers(servers=crawl.nameservers, timeout=crawl.dns_timeout),
        ports={Service.HKP: ports.hkp, Service.HTTP: ports.http, Service.HKPS: ports.hkps},
        workers=crawl.workers,
        ca_file=_below(folder, crawl.ca_file),
        geography=_geography(crawl, folder),
    )


def _geography(crawl: CrawlSection, folder: Path) -> Geography:
    by_hand = crawl.countries.items()
    return Geography(
        file=_below(folder, crawl.geo),
        names={entry: country for entry, country in by_hand if isinstance(entry, HostName)},
        networks={entry: country for entry, country in by_hand if not isinstance(entry, HostName)},
    )


def _services(pools: tuple[Pool, ...]) -> tuple[Service, ...]:
    """Return hkp and http, which everybody's report shows, and what else some pool asks for."""
    asked = {service for pool in pools for service in pool.services}
    asked |= {service for pool in pools for kind in pool.srv or () for service in kind.services}
    return tuple(service for service in Service if service in {Service.HKP, Service.HTTP, *asked})


def _self_check(check: SelfCheckSection) -> SelfCheck:
    return SelfCheck(targets={Family.IPV4: check.ipv4, Family.IPV6: check.ipv6}, name=check.name)


def _lookup(crawl: CrawlSection) -> Lookup:
    if crawl.canary is not None:
        return Canary(crawl.canary)
    assert crawl.search is not None, "the rules ask for one of both"
    return Search(crawl.search)


def _overrides(entries: Iterable[Override]) -> Overrides:
    entries = tuple(entries)
    return Overrides(
        names=frozenset(entry for entry in entries if isinstance(entry, HostName)),
        networks=tuple(entry for entry in entries if not isinstance(entry, HostName)),
    )


def _policy(policy: PolicySection) -> Policy:
    return Policy(
        minimum_versions=policy.minimum_versions,
        max_keys_behind=policy.max_keys_behind,
        max_keys_ahead=policy.max_keys_ahead,
        max_lag=policy.max_lag,
        enter_lag=policy.enter_lag,
        max_lead=policy.max_lead,
        lag_tolerance=policy.lag_tolerance,
        min_cohort=policy.min_cohort,
        quality=Quality(
            min_reliability=policy.min_reliability,
            enter_reliability=policy.enter_reliability,
            max_latency=policy.max_latency,
            enter_latency=policy.enter_latency,
        ),
        min_seen=policy.min_seen,
        certificate_warning=policy.certificate_warning,
        steadiness=Steadiness(
            rise=policy.rise,
            fall=policy.fall,
            drop=policy.drop,
            probation=policy.probation,
            flap_wait=policy.flap_wait,
            flap_limit=policy.flap_limit,
            forgive_after=policy.forgive_after,
        ),
        fast_fall=frozenset(policy.fast_fall),
        exclude=_overrides(policy.exclude),
        include_only=_overrides(policy.include_only),
    )


def _zone(zone: ZoneSection, file: ConfigFile, pools: Iterable[Pool], folder: Path) -> Zone:
    origins = [each.origin for each in file.zone]
    return Zone(
        origin=zone.origin,
        skeleton=_below(folder, zone.skeleton),
        serial=zone.serial,
        max_age=zone.max_age,
        fallback_after=zone.fallback_after,
        pools=tuple(pool for pool in pools if zone_of(pool.name, origins) == zone.origin),
    )


def _allowance(allowance: AllowanceSection) -> Allowance:
    return Allowance(share=allowance.share, count=allowance.count)


def _pool(pool: PoolSection) -> Pool:
    floors = {Family.IPV4: pool.min_members.ipv4, Family.IPV6: pool.min_members.ipv6}
    return Pool(
        name=pool.name,
        host=pool.host or host_name(pool.name),
        families=frozenset(pool.families),
        services=frozenset(pool.services),
        vhost=pool.vhost,
        minimum_versions=pool.minimum_versions,
        exclude=_overrides(pool.exclude),
        include_only=_overrides(pool.include_only),
        software=frozenset(pool.software),
        networks=pool.networks,
        countries=frozenset(pool.countries),
        continents=frozenset(pool.continents),
        proxied=pool.proxied,
        newest=pool.newest,
        max_lag=pool.max_lag,
        max_latency=pool.max_latency,
        dual_stack=pool.dual_stack,
        max_records=pool.max_records,
        min_members={family: floors[family] for family in dict.fromkeys(pool.families)},
        max_removed=_allowance(pool.max_removed),
        max_added=None if pool.max_added is None else _allowance(pool.max_added),
        per_network=pool.per_network,
        rotate_every=pool.rotate_every,
        when_short=pool.when_short,
        fallback=pool.fallback,
        ttl=pool.ttl,
        srv=None if pool.srv is None else frozenset(pool.srv),
        txt=pool.txt,
        txt_refresh=pool.txt_refresh,
    )


def _targets(file: ConfigFile, zones: tuple[Zone, ...], folder: Path) -> tuple[Target, ...]:
    """Return the targets; one that serves several zones is told apart by them."""
    by_origin = {zone.origin: zone for zone in zones}
    found = [
        (by_origin[section.zone or zones[0].origin], _target(section, file.crawl.nameservers, folder))
        for section in file.publish
    ]
    serving = Counter(at.label for _, at in found)
    return tuple(
        Target(
            label=at.label if serving[at.label] == 1 else f"{at.label}, zone {name_text(zone.origin)}",
            zone=zone,
            at=at,
        )
        for zone, at in found
    )


def _target(target: TargetSection, nameservers: tuple[Socket, ...], folder: Path) -> ZoneFile | Primary:
    if isinstance(target, Rfc2136Section):
        return _primary(target, nameservers, folder)
    return ZoneFile(
        path=folder / target.file,
        checks=target.check,
        reload=target.reload,
        reload_timeout=target.reload_timeout,
        verify=None if target.verify is None else _verify(target.verify),
        secondaries=target.secondaries,
        secondaries_timeout=target.secondaries_timeout,
        secondaries_required=target.secondaries_required,
        marker=target.marker,
    )


def _verify(verify: VerifySection) -> Verify:
    address, port = verify.server
    return Verify(server=address, port=port, timeout=verify.timeout)


def _primary(target: Rfc2136Section, nameservers: tuple[Socket, ...], folder: Path) -> Primary:
    address, port = target.server or (None, None)
    tls = target.tls
    return Primary(
        server=address,
        port=port or (PORT if tls is None else TLS_PORT),
        nameservers=nameservers if address is None else (),
        key=_key(target.key, folder),
        read_key=None if target.read_key is None else _key(target.read_key, folder),
        tls=None if tls is None else Tls(name=tls.name, ca_file=_below(folder, tls.ca_file)),
        timeout=target.timeout,
        soa_prerequisite=target.soa_prerequisite,
        secondaries=target.secondaries,
        secondaries_timeout=target.secondaries_timeout,
        secondaries_required=target.secondaries_required,
        marker=target.marker,
    )


def _key(key: KeySection, folder: Path) -> KeySource:
    if key.file is not None:
        return KeyFile(folder / key.file)
    assert key.name is not None, "the rules ask for it"
    assert key.algorithm is not None, "the rules ask for it"
    if key.environment is not None:
        return SecretInEnvironment(key.name, key.algorithm, key.environment)
    assert key.secret_file is not None, "the rules ask for one of the three"
    return SecretFile(key.name, key.algorithm, folder / key.secret_file)
