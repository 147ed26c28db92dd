"""Drives the frontier with resolve, probe and stats: the only concurrency."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import queue
import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import dns.name

from poolmgr.crawl.agenda import Survey
from poolmgr.crawl.frontier import Answer, Bounds, Frontier, Resolve, Work
from poolmgr.crawl.observer import Observer
from poolmgr.crawl.place import Target
from poolmgr.crawl.politeness import Politeness
from poolmgr.crawl.probe import Exchange, Lookup, Question, probe, questions
from poolmgr.crawl.resolve import Nameservers, Resolver
from poolmgr.crawl.transport import load_trust
from poolmgr.errors import PoolmgrError
from poolmgr.hosts import Host
from poolmgr.model import Ask, Probe, Service, Snapshot, Stats

PORTS = {Service.HKP: 11371, Service.HTTP: 80, Service.HKPS: 443}
"""The ports that a pool's clients use."""

STACK_BYTES = 1024 * 1024
"""A worker's stack: room for the deepest JSON that is parsed, an eighth of what threads get by default."""

WORKERS = 512
"""Threads, most of which wait for keyservers that never answer: 300 do in the mesh of 2,000 of docs/performance.md, for
10 s each. With half as many its crawl took two fifths longer; twice as many gained a twentieth, for 8 MiB."""

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
    PEM, that the certificates of hkps are verified by, None for those of the system.
    """

    seeds: tuple[Host, ...]
    lookup: Lookup
    hosts: tuple[dns.name.Name, ...]
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


def crawl(
    plan: Crawl,
    *,
    clock: Callable[[], datetime],
    rng: random.Random,
    observer: Observer | None = None,
) -> Snapshot:
    """Crawl the mesh and return what was seen.

    `clock` gives aware UTC and is called from several threads. `rng` draws the moments of what is asked again.
    `observer` is told how it goes.

    Raises PoolmgrError when the observer's `stop` was set before the end, when the system has no nameservers, when
    `ca_file` holds no certificate, and when this process may not open as many connections as it has workers. What a
    keyserver does never raises.
    """
    observer = observer or Observer()
    edge = _Edge(plan, clock, observer)
    frontier = _frontier(plan, clock())
    later = _Later(rng)
    with _Workers(plan.workers, edge.perform) as workers:
        while not frontier.is_done:
            if observer.stop.is_set():
                done = frontier.progress
                raise PoolmgrError(
                    f"the crawl was stopped after {done.probes} probes, with {done.waiting} waiting: nothing was stored"
                )
            workers.put(later.due(frontier.take()))
            result = workers.get(_POLL)
            if result is not None:
                result.feed(frontier)
                observer.progressed(frontier.progress)
    return frontier.snapshot(clock())


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
    """Keeps what is asked again for a random moment within RETRY_SPREAD; no worker is held by it."""

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


@dataclass(frozen=True, slots=True)
class _Resolved:
    name: dns.name.Name
    answer: Answer

    def feed(self, frontier: Frontier) -> None:
        frontier.resolved(self.name, self.answer)


@dataclass(frozen=True, slots=True)
class _Probed:
    target: Target
    probe: Probe
    stats: Stats | None

    def feed(self, frontier: Frontier) -> None:
        frontier.probed(self.target, self.probe, self.stats)


_Result = _Resolved | _Probed


class _Edge:
    """What the workers share to do their work with; nothing in it changes during a crawl."""

    def __init__(self, plan: Crawl, clock: Callable[[], datetime], observer: Observer) -> None:
        self._observer = observer
        self._resolver = Resolver(plan.nameservers)
        self._questions: Mapping[Ask, Question] = questions(plan.lookup, max_peers=plan.bounds.max_peers)
        self._exchange = plan.exchange
        self._trust = load_trust(plan.ca_file)
        self._clock = clock

    def perform(self, work: Work) -> _Result:
        self._observer.began(work)
        try:
            return self._resolve(work) if isinstance(work, Resolve) else self._probe(work)
        finally:
            self._observer.ended(work)

    def _resolve(self, work: Resolve) -> _Resolved:
        return _Resolved(work.name, self._resolver.addresses(work.name))

    def _probe(self, target: Target) -> _Probed:
        measured = probe(
            target,
            self._questions[target.ask],
            exchange=self._exchange,
            trust=self._trust,
            clock=self._clock,
            exchanged=self._observer.exchanged,
        )
        return _Probed(target, *measured)


class _Workers:
    """Threads that take work and give results, started as they are needed, at most `limit`.

    Leaving the block drops the work that nobody has begun. After an error it does not wait for what is under way: the
    threads are daemons, and each exchange ends by itself.
    """

    def __init__(self, limit: int, perform: Callable[[Work], _Result]) -> None:
        self._limit = limit
        self._perform = perform
        self._work: queue.SimpleQueue[Work | None] = queue.SimpleQueue()
        self._results: queue.SimpleQueue[_Result | BaseException] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._waiting = 0

    def put(self, due: list[Work]) -> None:
        """Have `due` done."""
        self._waiting += len(due)
        for work in due:
            self._work.put(work)
        missing = min(self._waiting, self._limit) - len(self._threads)
        if missing > 0:
            self._start(missing)

    def get(self, timeout: float) -> _Result | None:
        """Return the next result, None where none comes within `timeout` seconds; raise what a worker raised."""
        try:
            result = self._results.get(timeout=timeout)
        except queue.Empty:
            return None
        self._waiting -= 1
        if isinstance(result, BaseException):
            raise result
        return result

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                self._work.get_nowait()
        for _thread in self._threads:
            self._work.put(None)
        if error is None:
            for thread in self._threads:
                thread.join()

    def _start(self, count: int) -> None:
        default = threading.stack_size(STACK_BYTES)
        try:
            for _ in range(count):
                thread = threading.Thread(target=self._run, name="poolmgr-crawl", daemon=True)
                thread.start()
                self._threads.append(thread)
        finally:
            threading.stack_size(default)

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            try:
                self._results.put(self._perform(work))
            except BaseException as bug:  # noqa: BLE001 - raised again in crawl(): no thread dies unheard
                self._results.put(bug)
