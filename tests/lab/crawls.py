"""Crawls of a mesh on loopback, and short ways to read what they saw."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Unpack

import dns.name

from poolmgr.crawl.frontier import Bounds, Progress
from poolmgr.crawl.observer import Observer
from poolmgr.crawl.probe import Canary, Exchange
from poolmgr.crawl.resolve import Nameservers
from poolmgr.crawl.spider import Crawl, crawl
from poolmgr.hosts import host_name, host_text, parse_host
from poolmgr.judge.policy import Policy
from poolmgr.judge.selection import select
from poolmgr.model import Ask, Family, Keyserver, KeyserverAddress, Outcome, ReasonCode, Service, Snapshot, State
from poolmgr.pools import Pool
from tests.build import judge
from tests.lab.mesh import About, Fault, LabKeyserver, Mesh
from tests.lab.nameserver import Nameserver
from tests.lab.pages import CANARY
from tests.lab.process import PATIENCE
from tests.lab.site import Site, crawl_config

POOL = dns.name.from_text("pool.keys.test.")
POOL_HOST = host_name(POOL)
DEADLINE = timedelta(seconds=1)

GOOD = {
    (Ask.STATS, Service.HKP): Outcome.OK,
    (Ask.LOOKUP, Service.HKP): Outcome.OK,
    (Ask.LOOKUP, Service.HTTP): Outcome.OK,
}
"""The outcomes of an address that serves."""


def now() -> datetime:
    """Return the time, aware UTC."""
    return datetime.now(UTC)


class Lab:
    """A mesh, the nameserver of its names, and crawls of both."""

    def __init__(self, mesh: Mesh, nameserver: Nameserver) -> None:
        self.mesh = mesh
        self.nameserver = nameserver

    def add(self, hostname: str, *, fault: Fault | None = None, **about: Unpack[About]) -> LabKeyserver:
        """Add a keyserver whose name leads to it, with `fault` at every service."""
        if fault is not None:
            about["faults"] = dict.fromkeys(self.mesh.ports, fault)
        keyserver = self.mesh.add(hostname, **about)
        self.nameserver.records.setdefault(hostname, []).append(str(keyserver.address))
        return keyserver

    def plan(self, *seeds: str) -> Crawl:
        """Return the plan of a crawl from `seeds`."""
        return Crawl(
            seeds=tuple(parse_host(seed) for seed in seeds),
            lookup=Canary(CANARY),
            hosts=(POOL_HOST,),
            bounds=Bounds(allow_networks=self.mesh.networks),
            exchange=Exchange(deadline=DEADLINE),
            nameservers=Nameservers(servers=(self.nameserver.server,)),
            ports=self.mesh.ports,
        )

    def site(self, folder: Path, *seeds: str, **crawl: object) -> Site:
        """Return a site in `folder` that crawls from `seeds` and keeps a zone file; `crawl` has more of its config."""
        config = {**crawl_config(self.mesh, self.nameserver, *seeds), "deadline": f"{DEADLINE.seconds}s", **crawl}
        return Site(folder, "keys.test.", config, [{"type": "zonefile", "file": "keys.test.zone"}])

    def crawl(self, *seeds: str) -> Snapshot:
        """Crawl from `seeds`."""
        return crawl_in_time(self.plan(*seeds))


class Telling(Observer):
    """Tells `hear` how far the crawl is, and itself, so that it may be stopped."""

    def __init__(self, hear: Callable[[Observer, Progress], None]) -> None:
        super().__init__()
        self._hear = hear

    def progressed(self, progress: Progress) -> None:
        self._hear(self, progress)


def crawl_in_time(plan: Crawl) -> Snapshot:
    """Crawl; raise PoolmgrError where it does not end: a test fails then, and does not hang."""
    observer = Observer()
    timer = threading.Timer(3 * PATIENCE, observer.stop.set)
    timer.start()
    try:
        return crawl(plan, clock=now, rng=Random(1), observer=observer)
    finally:
        timer.cancel()


def by_name(snapshot: Snapshot) -> dict[str, Keyserver]:
    """Return the keyservers by their canonical names."""
    return {host_text(keyserver.name): keyserver for keyserver in snapshot.keyservers}


def only_address(keyserver: Keyserver) -> KeyserverAddress:
    """Return the one address of `keyserver`."""
    (at,) = keyserver.addresses
    return at


def outcomes(at: KeyserverAddress) -> dict[tuple[Ask, Service], Outcome]:
    """Return how each probe of an address ended."""
    return {(probe.ask, probe.endpoint.service): probe.outcome for probe in at.probes}


def verdicts(snapshot: Snapshot) -> dict[str, set[ReasonCode]]:
    """Return what the default policy says of each keyserver for a pool that asks for hkp and http.

    Those without any reason are members.
    """
    pool = Pool(
        name=POOL,
        host=POOL_HOST,
        families=frozenset(Family),
        services=frozenset({Service.HKP, Service.HTTP}),
        max_records=99,
    )
    judged, _ = judge(snapshot, Policy(), (pool,))
    selection = select(judged, (pool,), {}, {}, snapshot.finished)
    assert all(verdict.state is State.MEMBER or verdict.reasons for verdict in selection.verdicts)
    said: dict[str, set[ReasonCode]] = {}
    for verdict in selection.verdicts:
        said.setdefault(host_text(verdict.keyserver), set()).update(reason.code for reason in verdict.reasons)
    return said
