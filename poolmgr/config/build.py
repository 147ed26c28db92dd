"""A valid config file to what the stages take."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import dns.name

from poolmgr import __version__
from poolmgr.config import schema
from poolmgr.config.fields import Override
from poolmgr.crawl.blindness import SelfCheck
from poolmgr.crawl.frontier import Bounds
from poolmgr.crawl.politeness import Politeness
from poolmgr.crawl.probe import Canary, Exchange, Lookup, Search
from poolmgr.crawl.resolve import Nameservers
from poolmgr.crawl.spider import Crawl
from poolmgr.hosts import HostName, host_name
from poolmgr.judge.quality import Quality
from poolmgr.judge.steadiness import Steadiness
from poolmgr.judge.verdict import Policy
from poolmgr.model import Allowance, Family, Overrides, Pool, Service, Vhost
from poolmgr.publish.rfc2136 import Primary
from poolmgr.publish.tsig import KeyFile, KeySource, SecretFile, SecretInEnvironment
from poolmgr.publish.zonefile import Verify, ZoneFile
from poolmgr.zone.serial import Scheme


@dataclass(frozen=True, slots=True, kw_only=True)
class Zone:
    """The zone that the pools are in, and what a crawl must be like to change it.

    `skeleton` is there whenever a target is a zone file.
    """

    origin: dns.name.Name
    skeleton: Path | None
    serial: Scheme
    max_age: timedelta


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
    zone: Zone
    targets: tuple[ZoneFile | Primary, ...]


def build(file: schema.ConfigFile, path: Path) -> Config:
    """Return the config that `file` says; `path` is where it was read, absolute."""
    folder = path.parent
    pools = tuple(_pool(pool) for pool in file.pools)
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
        zone=_zone(file.zone, folder),
        targets=tuple(_target(target, folder) for target in file.publish),
    )


def _below(folder: Path, path: Path | None) -> Path | None:
    return None if path is None else folder / path


def _crawl(crawl: schema.CrawlSection, pools: tuple[Pool, ...], folder: Path) -> Crawl:
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
    )


def _services(pools: tuple[Pool, ...]) -> tuple[Service, ...]:
    """Return hkp and http, which everybody's report shows, and what else some pool asks for."""
    asked = {service for pool in pools for service in pool.services}
    return tuple(service for service in Service if service in {Service.HKP, Service.HTTP, *asked})


def _self_check(check: schema.SelfCheckSection) -> SelfCheck:
    return SelfCheck(targets={Family.IPV4: check.ipv4, Family.IPV6: check.ipv6}, name=check.name)


def _lookup(crawl: schema.CrawlSection) -> Lookup:
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


def _policy(policy: schema.PolicySection) -> Policy:
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


def _zone(zone: schema.ZoneSection, folder: Path) -> Zone:
    return Zone(
        origin=zone.origin,
        skeleton=_below(folder, zone.skeleton),
        serial=zone.serial,
        max_age=zone.max_age,
    )


def _allowance(allowance: schema.AllowanceSection) -> Allowance:
    return Allowance(share=allowance.share, count=allowance.count)


def _pool(pool: schema.PoolSection) -> Pool:
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
        max_records=pool.max_records,
        min_members={family: floors[family] for family in dict.fromkeys(pool.families)},
        max_removed=_allowance(pool.max_removed),
        max_added=None if pool.max_added is None else _allowance(pool.max_added),
        per_network=pool.per_network,
        rotate_every=pool.rotate_every,
        when_short=pool.when_short,
        fallback=pool.fallback,
        ttl=pool.ttl,
    )


def _target(target: schema.Target, folder: Path) -> ZoneFile | Primary:
    if isinstance(target, schema.Rfc2136Section):
        address, port = target.server
        return Primary(server=address, port=port, key=_key(target.key, folder), timeout=target.timeout)
    return ZoneFile(
        path=folder / target.file,
        checks=target.check,
        reload=target.reload,
        reload_timeout=target.reload_timeout,
        verify=None if target.verify is None else _verify(target.verify),
    )


def _verify(verify: schema.VerifySection) -> Verify:
    address, port = verify.server
    return Verify(server=address, port=port, timeout=verify.timeout)


def _key(key: schema.KeySection, folder: Path) -> KeySource:
    if key.file is not None:
        return KeyFile(folder / key.file)
    assert key.name is not None, "the rules ask for it"
    assert key.algorithm is not None, "the rules ask for it"
    if key.environment is not None:
        return SecretInEnvironment(key.name, key.algorithm, key.environment)
    assert key.secret_file is not None, "the rules ask for one of the three"
    return SecretFile(key.name, key.algorithm, folder / key.secret_file)
