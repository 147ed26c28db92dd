"""Drives the frontier with resolve, probe and stats: the only concurrency."""

from __future__ import annotations

import heapq
import itertools
import random
import resource
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path

from poolmgr.crawl.agenda import Survey
from poolmgr.crawl.frontier import Bounds, Frontier, Resolve, Work
from poolmgr.crawl.geo import Atlas, Geography
from poolmgr.crawl.observer import Observer
from poolmgr.crawl.place import Target
from poolmgr.crawl.politeness import Politeness
from poolmgr.crawl.probe import Exchange, Lookup, Question, probe, questions
from poolmgr.crawl.resolve import Nameservers, Resolver
from poolmgr.crawl.tasks import Tasks
from poolmgr.crawl.trust import load_trust
from poolmgr.errors import Stopped
from poolmgr.garbage import uncollected
from poolmgr.hosts import Host, HostName
from poolmgr.model import Ask, Probe, Service, Snapshot, Stats

PORTS = {Service.HKP: 11371, Service.HTTP: 80, Service.HKPS: 443}
"""The ports that a pool's clients use."""

WORKERS = 800
"""Exchanges and look-ups at a time. Of the mesh of 2,000 in docs/performance.md 300 never answer, and stay for 10 s
each; more gain nothing there, and take memory."""

RETRY_SPREAD = 1.0
"""Seconds over which what is asked again is spread, at random: what failed together is not asked together."""

_POLL = 0.1
"""Seconds between two looks at `stop` and at what is kept for later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Crawl:
    """One crawl to be made.

    `hosts` are the Host headers of the pools, `services` those that are looked up under each of them beside the stats
    page, `ports` where each service is. With `own_name` lookups are made under each keyserver's own name too, and not
    only where one under a pool's failed. `known` are keyservers of earlier crawls, each with the time when it was last
    listed. The stats page of an address is fetched `samples` times, and a probe that failed in passing is made again up
    to `retries` times. `workers` is how many exchanges and look-ups are under way at most. `ca_file` has the roots,
    PEM, that the certificates of hkps are verified by, None for those of the system. `geography` says in which country
    each address is.
    """

    seeds: tuple[Host, ...]
    lookup: Lookup
    hosts: tuple[HostName, ...]
    services: tuple[Service, ...] = (Service.HKP, Service.HTTP)
    own_name: bool = False
    known: tuple[tuple[Host, datetime], ...] = ()
    samples: int = 1
    retries: int = 1
    politeness: Politeness = Politeness()
    bounds: Bounds = Bounds()
    exchange: Exchange = Exchange()
    nameservers: Nameservers = Nameservers()
    ports: Mapping[Service, int] = field(default_factory=lambda: dict(PORTS))
    workers: int = WORKERS
    ca_file: Path | None = None
    geography: Geography = Geography()


def crawl(
    plan: Crawl,
    *,
    clock: Callable[[], datetime],
    rng: random.Random,
    observer: Observer | None = None,
) -> Snapshot:
    """Crawl the mesh and return what was seen.

    `clock` gives aware UTC. `rng` draws the moments of what is asked again.
    `observer` is told how it goes.

    Raises Stopped when the observer's `stop` was set before the end. Raises another PoolmgrError when the system has no
    nameservers, when `ca_file` holds no certificate, when the GeoIP file cannot be used, and when this process may not
    open as many connections as it has workers. What a keyserver does never raises.
    """
    observer = observer or Observer()
    frontier = _frontier(plan, clock())
    edge = _Edge(plan, frontier, clock, observer)
    later = _Later(rng)
    waiting: deque[Work] = deque()
    _allow_files(plan.workers)
    with uncollected(), Atlas(plan.geography) as atlas, Tasks() as tasks:
        while not frontier.is_done:
            if observer.stop.is_set():
                done = frontier.progress
                raise Stopped(
                    f"the crawl was stopped after {done.probes} probes, with {done.waiting} waiting: nothing was stored"
                )
            waiting.extend(later.due(frontier.take()))
            while waiting and len(tasks) < plan.workers:
                work = waiting.popleft()
                tasks.start(partial(edge.perform, work), rank=0 if isinstance(work, Resolve) else 1)
            tasks.run(_POLL)
        return atlas.locate(frontier.snapshot(clock()))


def _allow_files(workers: int) -> None:
    """Let this process have the sockets of `workers` open, a look-up's to several nameservers, if it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4 * workers + 100
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _frontier(plan: Crawl, started: datetime) -> Frontier:
    survey = Survey(
        hosts=plan.hosts,
        services=plan.services,
        ports=plan.ports,
        max_peers=plan.bounds.max_peers,
        samples=plan.samples,
        retries=plan.retries,
        own_name=plan.own_name,
    )
    return Frontier(
        seeds=plan.seeds,
        known=plan.known,
        survey=survey,
        bounds=plan.bounds,
        politeness=plan.politeness,
        started=started,
    )


class _Later:
    """Keeps what is asked again for a random moment within RETRY_SPREAD; it counts for no worker."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._kept: list[tuple[float, int, Work]] = []
        self._count = itertools.count()

    def due(self, work: list[Work]) -> list[Work]:
        """Return what of `work`, and of what was kept before, is to be done now."""
        now = time.monotonic()
        due = []
        for each in work:
            if isinstance(each, Target) and each.attempt > 1:
                heapq.heappush(self._kept, (now + self._rng.uniform(0, RETRY_SPREAD), next(self._count), each))
            else:
                due.append(each)
        while self._kept and self._kept[0][0] <= now:
            due.append(heapq.heappop(self._kept)[2])
        return due


class _Edge:
    """Does the work of a crawl, and feeds what came of it to the frontier."""

    def __init__(self, plan: Crawl, frontier: Frontier, clock: Callable[[], datetime], observer: Observer) -> None:
        self._frontier = frontier
        self._observer = observer
        self._resolver = Resolver(plan.nameservers)
        self._questions: Mapping[Ask, Question] = questions(plan.lookup, max_peers=plan.bounds.max_peers)
        self._exchange = plan.exchange
        self._trust = load_trust(plan.ca_file)
        self._clock = clock

    def perform(self, work: Work) -> None:
        """Do `work`, as a call of Tasks."""
        self._observer.began(work)
        if isinstance(work, Resolve):
            self._frontier.resolved(work.name, self._resolver.addresses(work.name))
        else:
            self._frontier.probed(work, *self._probe(work))
        self._observer.ended(work)
        self._observer.progressed(self._frontier.progress)

    def _probe(self, target: Target) -> tuple[Probe, Stats | None]:
        return probe(
            target,
            self._questions[target.ask],
            exchange=self._exchange,
            trust=self._trust,
            clock=self._clock,
            exchanged=self._observer.exchanged,
        )
