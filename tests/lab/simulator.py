"""A mesh of keyservers over weeks that never was: what each truly does at any moment, and what crawls see of it.

    simulation = Simulation(seed=1, days=30)
    for snapshot in simulation.snapshots(timedelta(minutes=5)):
        simulation.is_good(address, snapshot.finished + timedelta(minutes=2))

The same seed gives the same mesh and the same crawls. The truth does not depend on how often it is looked at.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from poolmgr.hosts import IPAddress
from poolmgr.model import Ask, Family, Keyserver, KeyserverAddress, Outcome, Probe, Snapshot, Stats
from tests.lab.lives import Drawing, Life, Line
from tests.lab.traces import DAY

START = datetime(2026, 1, 5, tzinfo=UTC)
"""A Monday."""

POOL_HOST = "pool.example.org"
"""The name under which lookups are made."""

ASKING, CRAWL = 10.0, 20.0
"""Seconds of a crawl in which addresses are asked, and until it ends."""

Failure = tuple[Outcome, str]

DOWN: tuple[Failure, ...] = (
    *[(Outcome.REFUSED, "nobody listens")] * 4,
    *[(Outcome.CONNECT_TIMEOUT, "no connection in time")] * 4,
    (Outcome.UNREACHABLE, "no route to host"),
    (Outcome.FIRST_BYTE_TIMEOUT, "connected, and nothing came"),
)
"""How probes of an address that is down end: one of these, the same all the time that it is down."""

LOST: tuple[Failure, ...] = (
    (Outcome.CONNECT_TIMEOUT, "no connection in time"),
    (Outcome.FIRST_BYTE_TIMEOUT, "connected, and nothing came"),
    (Outcome.RESET, "connection reset"),
)
DARK: Failure = (Outcome.UNREACHABLE, "network is unreachable")


@dataclass(frozen=True, slots=True)
class Truth:
    """What a client meets at one address at one moment: whether it answers, and whether it has the mesh's keys."""

    up: bool
    fresh: bool

    @property
    def is_good(self) -> bool:
        """Whether the client gets what it came for."""
        return self.up and self.fresh


class Simulation:
    """`keyservers` keyservers over `days` from START, `liars` of them a crowd that one operator runs."""

    def __init__(self, seed: int, days: float, keyservers: int = 120, liars: int = 8) -> None:
        self._seed = seed
        self._end = days * DAY
        drawing = Drawing(seed, self._end, keyservers, liars)
        self.lives = drawing.lives
        self._darkness = drawing.darkness
        self._by_address = {line.address: (life, line) for life in self.lives for line in life.lines}

    @property
    def addresses(self) -> tuple[IPAddress, ...]:
        """Every address that there ever is."""
        return tuple(self._by_address)

    def state(self, address: IPAddress, at: datetime) -> Truth:
        """Return what a client meets at `address`. One that is not there yet, or any more, is down."""
        time = _seconds(at)
        life, line = self._by_address[address]
        return Truth(up=time not in line.down, fresh=life.is_fresh(time))

    def is_good(self, address: IPAddress, at: datetime) -> bool:
        """Return whether a client gets from `address` what it came for."""
        return self.state(address, at).is_good

    def good(self, at: datetime) -> frozenset[IPAddress]:
        """Return all addresses at which a client gets what it came for."""
        time = _seconds(at)
        return frozenset(
            line.address for life in self.lives if life.is_fresh(time) for line in life.lines if time not in line.down
        )

    def dark(self, at: datetime) -> frozenset[Family]:
        """Return the families that a crawl begun at `at` cannot reach itself, whether it notices or not."""
        time = _seconds(at)
        return frozenset(family for family, darkness in self._darkness.items() if time in darkness.dark)

    def snapshots(self, interval: timedelta) -> Iterator[Snapshot]:
        """Yield a crawl for every `interval`, the first begun at START."""
        seconds = interval.total_seconds()
        for number in range(int(self._end / seconds)):
            yield self._crawl(START + number * interval, random.Random(f"{self._seed} crawl {seconds} {number}"))

    def _crawl(self, started: datetime, rng: random.Random) -> Snapshot:
        time, finished, dark = _seconds(started), started + timedelta(seconds=CRAWL), self.dark(started)
        return Snapshot(
            started=started,
            finished=finished,
            keyservers=tuple(
                Keyserver(
                    name=life.name,
                    depth=1,
                    listed=finished,
                    addresses=tuple(self._seen(life, line, time, line.family in dark, rng) for line in life.lines),
                )
                for life in self.lives
                if time in life.listed
            ),
            blind={
                family: f"nothing answered on {family}, the self-check's hosts neither"
                for family in sorted(dark)
                if time in self._darkness[family].noticed
            },
        )

    def _seen(self, life: Life, line: Line, time: float, is_dark: bool, rng: random.Random) -> KeyserverAddress:
        time += rng.random() * ASKING
        at = START + timedelta(seconds=time)
        first = self._probe(Ask.STATS, life, line, at, _failure(line, time, is_dark, rng), rng)
        if not first.is_good:
            return KeyserverAddress(line.address, None, (first,))
        keys, counted = life.told(time)
        stats = Stats(
            software=life.software.name,
            version=life.software.version,
            hostname=first.host,
            keys=keys,
            taken_at=START + timedelta(seconds=counted),
        )
        second = self._probe(Ask.LOOKUP, life, line, at, _failure(line, time, is_dark, rng), rng)
        return KeyserverAddress(line.address, stats, (first, second))

    @staticmethod
    def _probe(ask: Ask, life: Life, line: Line, at: datetime, failure: Failure | None, rng: random.Random) -> Probe:
        host = POOL_HOST if ask is Ask.LOOKUP else life.host
        if failure is not None:
            outcome, detail = failure
            return Probe(
                ask=ask, endpoint=line.endpoint, host=host, outcome=outcome, detail=detail, started=at, attempts=2
            )
        connect, first_byte, total = line.latencies[int(rng.random() * len(line.latencies))]
        return Probe(
            ask=ask,
            endpoint=line.endpoint,
            host=host,
            outcome=Outcome.OK,
            status=200,
            started=at,
            connect=connect,
            first_byte=first_byte,
            total=total,
        )


def _failure(line: Line, time: float, is_dark: bool, rng: random.Random) -> Failure | None:
    """Return how a probe fails after its second try, None where it is answered."""
    if is_dark:
        return DARK
    if time in line.down:
        return DOWN[(int(line.address) + line.down.ordinal(time)) % len(DOWN)]
    if rng.random() < line.loss:
        return LOST[int(rng.random() * len(LOST))]
    return None


def _seconds(at: datetime) -> float:
    return (at - START).total_seconds()
