"""Drives the frontier with resolve, probe and stats: the only concurrency."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import TracebackType
from typing import Self

import dns.name

from poolmgr.crawl.frontier import Answer, Bounds, Frontier, Progress, Resolve, Target, Work
from poolmgr.crawl.probe import Exchange, Lookup, Question, probe, questions
from poolmgr.crawl.resolve import Nameservers, Resolver
from poolmgr.errors import PoolmgrError
from poolmgr.hosts import Host
from poolmgr.model import Ask, Probe, Service, Snapshot, Stats

PORTS = {Service.HKP: 11371, Service.HTTP: 80, Service.HKPS: 443}
"""The ports that a pool's clients use."""

STACK_BYTES = 1024 * 1024
"""A worker's stack: room for the deepest JSON that Python parses, an eighth of what threads get by default."""

_POLL = 0.1
"""Seconds between two looks at `stop`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Crawl:
    """One crawl to be made.

    `hosts` are the Host headers of the pools, `services` those that are looked up under each of them beside the stats
    page, `ports` where each service is, `workers` how many exchanges and look-ups are under way at most.
    """

    seeds: tuple[Host, ...]
    lookup: Lookup
    hosts: tuple[dns.name.Name, ...]
    services: tuple[Service, ...] = (Service.HKP, Service.HTTP)
    bounds: Bounds = Bounds()
    exchange: Exchange = Exchange()
    nameservers: Nameservers = Nameservers()
    ports: Mapping[Service, int] = field(default_factory=lambda: dict(PORTS))
    workers: int = 256


def crawl(
    plan: Crawl,
    *,
    clock: Callable[[], datetime],
    progress: Callable[[Progress], None] = lambda _: None,
    stop: threading.Event | None = None,
) -> Snapshot:
    """Crawl the mesh and return what was seen.

    `clock` gives aware UTC and is called from several threads. `progress` is called in this thread after each result.
    Raises PoolmgrError when `stop` was set before the end, when the system has no nameservers, and when this process
    may not open as many connections as it has workers. What a keyserver does never raises.
    """
    edge = _Edge(plan, clock)
    frontier = Frontier(
        seeds=plan.seeds,
        hosts=plan.hosts,
        services=plan.services,
        ports=plan.ports,
        bounds=plan.bounds,
        started=clock(),
    )
    with _Workers(plan.workers, edge.perform) as workers:
        while not frontier.is_done:
            workers.put(frontier.take())
            result = workers.get(stop)
            if result is None:
                done = frontier.progress
                raise PoolmgrError(
                    f"the crawl was stopped after {done.probes} probes, with {done.waiting} waiting: nothing was kept"
                )
            result.feed(frontier)
            progress(frontier.progress)
    return frontier.snapshot(clock())


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

    def __init__(self, plan: Crawl, clock: Callable[[], datetime]) -> None:
        self._resolver = Resolver(plan.nameservers)
        self._questions: Mapping[Ask, Question] = questions(plan.lookup, max_peers=plan.bounds.max_peers)
        self._exchange = plan.exchange
        self._clock = clock

    def perform(self, work: Work) -> _Result:
        if isinstance(work, Resolve):
            return _Resolved(work.name, self._resolver.addresses(work.name))
        question = self._questions[work.ask]
        return _Probed(work, *probe(work, question, exchange=self._exchange, clock=self._clock))


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

    def get(self, stop: threading.Event | None) -> _Result | None:
        """Return the next result, or None once `stop` is set. An exception of a worker is raised here."""
        while stop is None or not stop.is_set():
            try:
                result = self._results.get(timeout=_POLL)
            except queue.Empty:
                continue
            self._waiting -= 1
            if isinstance(result, BaseException):
                raise result
            return result
        return None

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
