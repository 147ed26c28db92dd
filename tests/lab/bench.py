"""What a crawl costs: time over the shortest that is possible, CPU, memory; and what plain loops cost beside it.

Run by scripts/bench crawl. Every measurement is made in a process of its own, the farm of keyservers is in another.
"""

from __future__ import annotations

import http.client
import multiprocessing
import os
import platform
import random
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TypeVar

import requests

from poolmgr.crawl.frontier import Bounds
from poolmgr.crawl.probe import Canary, Exchange
from poolmgr.crawl.resolve import Nameservers, Resolver
from poolmgr.crawl.spider import WORKERS, Crawl, crawl
from poolmgr.crawl.tasks import Tasks
from poolmgr.hosts import HostName
from poolmgr.model import Service, Snapshot
from tests.build import named
from tests.lab.farm import SHARES, Farm, Manner, Plan, Served, name_of, plan_farm, raise_file_limit
from tests.lab.pages import CANARY

SIZES = (200, 2_000, 10_000)
YARDSTICK_SIZE = 2_000
CRAWL = "poolmgr: names, discovery, one probe each"
EXCHANGE = Exchange()
STATS = "/pks/lookup?op=stats&options=mr"
PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "performance.md"
BEGIN, END = "<!-- scripts/bench crawl: begin -->\n", "<!-- scripts/bench crawl: end -->\n"

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Probes:
    """Which probes a crawl makes, and how many lookups of one endpoint follow its stats page one after the other."""

    label: str
    hosts: tuple[HostName, ...]
    services: tuple[Service, ...]
    retries: int
    lookups: int


ONE = Probes("one", hosts=(), services=(), retries=0, lookups=0)
POOL = named("pool.farm.test")
FULL = Probes("full", hosts=(POOL,), services=(Service.HKP, Service.HTTP), retries=1, lookups=2)


@dataclass(frozen=True, slots=True)
class Cost:
    """What something cost this process: seconds by the clock and of CPU, and its peak memory in MiB."""

    wall: float
    cpu: float
    peak: float


@dataclass(frozen=True, slots=True)
class Crawled:
    """What a crawl of a farm came to.

    `lost` are the good keyservers of which not every probe is good, `over` the seconds that the longest probe took
    beyond its deadline.
    """

    cost: Cost
    exchanges: int
    lost: int
    over: float


def main() -> None:
    """Measure, print the tables, and put them into docs/performance.md."""
    lines = []
    for line in tables():
        print(line, flush=True)
        lines.append(f"{line}\n")
    head, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
    _, _, tail = rest.partition(END)
    PAGE.write_text("".join([head, BEGIN, *lines, END, tail]), "utf-8")


def tables() -> Iterator[str]:
    """Yield the lines of the report as they become known."""
    cpus = {line.partition(": ")[2] for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line}
    yield (
        f"{os.cpu_count()} cores ({', '.join(sorted(cpus))}), CPython {platform.python_version()}, load average "
        f"{os.getloadavg()[0]:.1f} at the start. The farm has the same cores."
    )
    yield ""
    yield from _heading(
        "keyservers | workers | probes | exchanges | ideal s | wall s | wall / ideal | CPU ms per exchange | "
        "CPU ms per name | peak MiB | good lost | longest over its deadline, ms"
    )
    for size in SIZES:
        plan = plan_farm(size, seed=size)
        with Farm(plan) as served:
            name_cpu = _apart(resolve_all, served, size).cpu / size
            for probes in (ONE, FULL):
                yield _row(plan, probes, _apart(crawl_farm, plan, served, probes), name_cpu)
    yield ""
    yield from _heading(f"{YARDSTICK_SIZE} keyservers, none drips | wall s | CPU ms each | peak MiB")
    no_drip: dict[Manner, float] = {manner: share for manner, share in SHARES.items() if manner is not Manner.DRIP}
    plan = plan_farm(YARDSTICK_SIZE, seed=YARDSTICK_SIZE, shares=no_drip)
    with Farm(plan) as served:
        yield _duration(CRAWL, _apart(crawl_farm, plan, served, ONE).cost)
        for label, fetch in YARDSTICKS.items():
            yield _duration(label, _apart(fetch_all, plan, served, fetch))
    yield ""
    yield from _heading(f"{YARDSTICK_SIZE} keyservers at zero latency | per second | CPU ms each | peak MiB")
    plan = plan_farm(YARDSTICK_SIZE, seed=YARDSTICK_SIZE, shares={}, latency=0)
    with Farm(plan) as served:
        yield _speed(CRAWL, _apart(crawl_farm, plan, served, ONE).cost)
        yield _speed("poolmgr: the names alone", _apart(resolve_all, served, YARDSTICK_SIZE))
        for label, fetch in YARDSTICKS.items():
            yield _speed(label, _apart(fetch_all, plan, served, fetch))


def _heading(columns: str) -> Iterator[str]:
    yield f"| {columns} |"
    yield "|---" * len(columns.split(" | ")) + "|"


def _row(plan: Plan, probes: Probes, crawled: Crawled, name_cpu: float) -> str:
    cost = crawled.cost
    size = len(plan.keyservers)
    ideal = plan.ideal(EXCHANGE.deadline.total_seconds(), attempts=1 + probes.retries, lookups=probes.lookups)
    exchange_cpu = (cost.cpu - size * name_cpu) / crawled.exchanges
    return (
        f"| {size} | {workers_for(size)} | {probes.label} | {crawled.exchanges} | {ideal:.1f} | {cost.wall:.1f} "
        f"| {cost.wall / ideal:.2f} | {exchange_cpu * 1000:.2f} | {name_cpu * 1000:.2f} | {cost.peak:.0f} "
        f"| {crawled.lost} | {crawled.over * 1000:.0f} |"
    )


def _speed(label: str, cost: Cost) -> str:
    return f"| {label} | {YARDSTICK_SIZE / cost.wall:.0f} | {cost.cpu / YARDSTICK_SIZE * 1000:.2f} | {cost.peak:.0f} |"


def _duration(label: str, cost: Cost) -> str:
    return f"| {label} | {cost.wall:.1f} | {cost.cpu / YARDSTICK_SIZE * 1000:.2f} | {cost.peak:.0f} |"


def crawl_farm(plan: Plan, served: Served, probes: Probes, exchange: Exchange = EXCHANGE) -> Crawled:
    """Crawl the farm from its first keyserver."""
    snapshots: list[Snapshot] = []
    work = _work(len(plan.keyservers), probes, served, exchange)
    cost = _measured(lambda: snapshots.append(crawl(work, clock=partial(datetime.now, UTC), rng=random.Random(1))))
    places = [place for keyserver in snapshots[0].keyservers for place in keyserver.addresses]
    made = [probe for place in places for probe in place.probes]
    served_well = {place.address for place in places if all(probe.is_good for probe in place.probes)}
    longest = max((probe.total for probe in made if probe.total is not None), default=timedelta())
    return Crawled(
        cost,
        exchanges=sum(probe.attempts for probe in made),
        lost=len(plan.good - served_well),
        over=max((longest - exchange.deadline).total_seconds(), 0),
    )


def _work(size: int, probes: Probes, served: Served, exchange: Exchange) -> Crawl:
    return Crawl(
        seeds=(named(name_of(0)),),
        lookup=Canary(CANARY),
        hosts=probes.hosts,
        services=probes.services,
        own_name=True,
        retries=probes.retries,
        bounds=Bounds(max_depth=1000, max_keyservers=100_000, allow_networks=served.networks),
        exchange=exchange,
        workers=workers_for(size),
        nameservers=Nameservers(servers=(served.nameserver,)),
        ports=dict.fromkeys(Service, served.port),
    )


def workers_for(size: int) -> int:
    """Return the workers for a farm of `size` keyservers: room for the 15 % that hold one for the whole deadline."""
    return max(WORKERS, size // 3)


def resolve_all(served: Served, size: int) -> Cost:
    """Look up the names of all keyservers, as many at a time as a crawl does."""
    resolver = Resolver(Nameservers(servers=(served.nameserver,)))
    names = [named(name_of(index)) for index in range(size)]
    return _measured(lambda: _by_tasks(resolver.addresses, names))


def by_requests(address: str, port: int) -> None:
    """Fetch a stats page as requests does it."""
    with suppress(requests.RequestException):
        requests.get(f"http://{address}:{port}{STATS}", timeout=10)


def by_http_client(address: str, port: int) -> None:
    """Fetch a stats page with http.client and nothing around it."""
    connection = http.client.HTTPConnection(address, port, timeout=10)
    with suppress(OSError, http.client.HTTPException):
        connection.request("GET", STATS)
        connection.getresponse().read()
    connection.close()


YARDSTICKS = {"a loop of requests in threads": by_requests, "a loop of http.client in threads": by_http_client}
"""They fetch every page by its address: no names, no discovery, nothing parsed, and no bound on the whole exchange."""


def fetch_all(plan: Plan, served: Served, fetch: Callable[[str, int], None]) -> Cost:
    """Fetch the stats page of every keyserver, with as many threads as a crawl has."""
    addresses = [str(keyserver.address) for keyserver in plan.keyservers]
    return _measured(lambda: _by_threads(lambda address: fetch(address, served.port), addresses))


def _by_tasks(work: Callable[[Item], object], items: Iterable[Item]) -> None:
    with Tasks() as tasks:
        for item in items:
            while len(tasks) >= WORKERS:
                tasks.run(1)
            tasks.start(partial(_call, work, item), rank=0)
        while len(tasks):
            tasks.run(1)


def _call(work: Callable[[Item], object], item: Item) -> None:
    work(item)


def _by_threads(work: Callable[[Item], object], items: Iterable[Item]) -> None:
    with ThreadPoolExecutor(WORKERS) as pool:
        for _ in pool.map(work, items):
            pass


def _measured(work: Callable[[], object]) -> Cost:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    # Not ru_maxrss, which a process takes over from the one that started it.
    peak = Path("/proc/self/status").read_text("ascii").partition("VmHWM:")[2].split()[0]
    return Cost(wall, cpu, int(peak) / 1024)


def _apart(work: Callable[..., Result], *words: object) -> Result:
    """Return what `work` returns in a new process."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context, initializer=raise_file_limit) as pool:
        return pool.submit(work, *words).result()


if __name__ == "__main__":
    main()
