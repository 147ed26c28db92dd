"""How others decide who is in, each rule with its own constants, to have something to compare with.

Each is asked once for every crawl, in order, and answers with the addresses that it would publish after that crawl.
Where the original asks a server for something that keyservers do not have, the stats page and a lookup take its place.
"""

from __future__ import annotations

import math
import statistics
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import ClassVar, Protocol

import dns.name

from poolmgr.hosts import Host, IPAddress, host_name
from poolmgr.judge.policy import Policy
from poolmgr.model import Ask, Family, Keyserver, KeyserverAddress, Service, Snapshot, State
from poolmgr.pools import Pool
from tests.build import judge

Addresses = frozenset[IPAddress]

LEAST_KEYS = 4_500_000
"""Fewer are no keyserver of this mesh: the sanity minimum of sks_spider, and for bitcoin-seeder the least height."""


class Prior(Protocol):
    """One rule with what it remembers."""

    def eligible(self, snapshot: Snapshot) -> Addresses:
        """Return the addresses that are published after `snapshot`, the newest crawl."""


def is_answering(address: KeyserverAddress) -> bool:
    """Return whether `address` gave its stats page and answered a lookup."""
    return address.stats is not None and any(probe.ask is Ask.LOOKUP and probe.is_good for probe in address.probes)


def _every(snapshot: Snapshot) -> Iterator[KeyserverAddress]:
    return (address for keyserver in snapshot.keyservers for address in keyserver.addresses)


class Alg5:
    """sks_spider with the policy tag alg_5, and update_sks_zone behind it, which keeps what it has where that refuses.

    Fetches a keyserver's stats page by its name: whichever address answers first. Publishes all of its addresses.
    """

    UNLOADED = 1
    BUCKET = 3_000
    OUTLIER = 5
    """Standard deviations from the mean of the fullest bucket."""
    DAILY_JITTER = 800
    LEAST_ADDRESSES = 5
    BROKEN = "1.0.10"

    def __init__(self) -> None:
        self._last: Addresses = frozenset()

    def eligible(self, snapshot: Snapshot) -> Addresses:
        counts = {each.name: keys for each in snapshot.keyservers if (keys := self._keys(each)) > self.UNLOADED}
        bounds = self._bounds(list(counts.values()))
        if bounds is not None:
            chosen = frozenset(
                address.address
                for keyserver in snapshot.keyservers
                if bounds[0] <= counts.get(keyserver.name, 0) <= bounds[1] and not self._is_broken(keyserver)
                for address in keyserver.addresses
            )
            if len(chosen) >= self.LEAST_ADDRESSES:
                self._last = chosen
        return self._last

    @staticmethod
    def _keys(keyserver: Keyserver) -> int:
        told = (address.stats.keys for address in keyserver.addresses if address.stats is not None)
        return next((keys for keys in told if keys is not None), 0)

    def _is_broken(self, keyserver: Keyserver) -> bool:
        return any(each.stats is not None and each.stats.version == self.BROKEN for each in keyserver.addresses)

    def _bounds(self, counts: Sequence[int]) -> tuple[int, int] | None:
        """Return the least and the largest count that are valid, None where the data are broken."""
        buckets: dict[int, list[int]] = defaultdict(list)
        for keys in counts:
            buckets[keys // self.BUCKET].append(keys)
        if not buckets:
            return None
        fullest = max(buckets.values(), key=lambda bucket: (len(bucket), bucket[0]))
        mean, deviation = statistics.fmean(fullest), statistics.pstdev(fullest)
        least, largest = int(mean - self.OUTLIER * deviation), int(mean + self.OUTLIER * deviation)
        inside = sorted(keys for keys in counts if least <= keys <= largest)
        if not inside or statistics.fmean(inside) < LEAST_KEYS:
            return None
        threshold = inside[max(len(inside) - 2, 0)] - (self.DAILY_JITTER + int(statistics.pstdev(inside)))
        return max(least, threshold), largest


class SksKeyserversNet:
    """sks-keyservers.net: looks every hour, over IPv4, and publishes all addresses of a keyserver that it finds good.

    A keyserver may lack 500 keys compared to `reference`, its operator's own (as its page on the pools said in 2011).
    Where that does not answer, nothing is changed.
    """

    EVERY = timedelta(hours=1)
    MAY_LACK = 500

    def __init__(self, reference: Host) -> None:
        self._reference = reference
        self._looked: datetime | None = None
        self._last: Addresses = frozenset()

    def eligible(self, snapshot: Snapshot) -> Addresses:
        if self._looked is not None and snapshot.started - self._looked < self.EVERY:
            return self._last
        self._looked = snapshot.started
        counts = {keyserver.name: self._keys(keyserver) for keyserver in snapshot.keyservers}
        known = counts.get(self._reference)
        if known is not None:
            self._last = frozenset(
                address.address
                for keyserver in snapshot.keyservers
                if (keys := counts[keyserver.name]) is not None and keys >= known - self.MAY_LACK
                for address in keyserver.addresses
            )
        return self._last

    @staticmethod
    def _keys(keyserver: Keyserver) -> int | None:
        told = (
            address.stats.keys
            for address in keyserver.addresses
            if Family.of(address.address) is Family.IPV4 and address.stats is not None
        )
        return next((keys for keys in told if keys is not None), None)


class ByAddress(ABC):
    """A rule that keeps a record of each address by itself, and forgets those that are listed no more."""

    def __init__(self) -> None:
        self._addresses: Addresses = frozenset()

    def eligible(self, snapshot: Snapshot) -> Addresses:
        every = list(_every(snapshot))
        for gone in self._addresses - {each.address for each in every}:
            self.forget(gone)
        self._addresses = frozenset(each.address for each in every)
        for each in every:
            if Family.of(each.address) not in self.unseen(snapshot):
                self.record(each, snapshot.finished)
        return self.chosen(self._addresses)

    def unseen(self, snapshot: Snapshot) -> frozenset[Family]:  # noqa: ARG002 - only some look at it
        """Return the families of which nothing is recorded: none, most blame the servers for what they cannot see."""
        return frozenset()

    @abstractmethod
    def record(self, seen: KeyserverAddress, at: datetime) -> None:
        """Take in how an address did in a crawl that ended at `at`."""

    @abstractmethod
    def forget(self, address: IPAddress) -> None:
        """Drop the record of `address`."""

    @abstractmethod
    def chosen(self, addresses: Addresses) -> Addresses:
        """Return those of `addresses` that are published."""


@dataclass(slots=True)
class Decayed:
    """The share of tries that were good, and how many there were, the older counting less."""

    reliability: float = 0.0
    count: float = 0.0

    def add(self, *, is_good: bool, kept: float) -> None:
        """Take in a try, after a time in which what was before keeps the share `kept` of its weight."""
        self.reliability = self.reliability * kept + (1 - kept) * is_good
        self.count = self.count * kept + 1


WINDOWS = (
    (timedelta(hours=2), 0.85, 2),
    (timedelta(hours=8), 0.70, 4),
    (timedelta(days=1), 0.55, 8),
    (timedelta(days=7), 0.45, 16),
    (timedelta(days=30), 0.35, 32),
)
"""bitcoin-seeder's, each with the reliability and the decayed number of tries that must be exceeded."""


@dataclass(slots=True)
class Node:
    """What bitcoin-seeder keeps of a node."""

    NEWCOMER: ClassVar[int] = 3
    """Tries up to which half of them must be good."""

    tried: datetime | None = None
    total: int = 0
    good: int = 0
    height: int = 0
    windows: list[Decayed] = field(default_factory=lambda: [Decayed() for _ in WINDOWS])

    @property
    def is_good(self) -> bool:
        """Whether it is given to clients."""
        if self.height < LEAST_KEYS:
            return False
        if self.total <= self.NEWCOMER and self.good * 2 >= self.total:
            return True
        return any(
            decayed.reliability > reliability and decayed.count > count
            for decayed, (_, reliability, count) in zip(self.windows, WINDOWS, strict=True)
        )


class BitcoinSeeder(ByAddress):
    """bitcoin-seeder: the share of good tries over several windows, any of which may let a node in."""

    FIRST_AGE = timedelta(seconds=1000)
    """As how long ago the time before the first try counts."""

    def __init__(self) -> None:
        super().__init__()
        self._nodes: dict[IPAddress, Node] = defaultdict(Node)

    def record(self, seen: KeyserverAddress, at: datetime) -> None:
        node, is_good = self._nodes[seen.address], is_answering(seen)
        age = self.FIRST_AGE if node.tried is None else at - node.tried
        node.tried, node.total, node.good = at, node.total + 1, node.good + is_good
        if is_good and seen.stats is not None:
            node.height = seen.stats.keys or 0
        for decayed, (window, _, _) in zip(node.windows, WINDOWS, strict=True):
            decayed.add(is_good=is_good, kept=math.exp(-age / window))

    def forget(self, address: IPAddress) -> None:
        self._nodes.pop(address, None)

    def chosen(self, addresses: Addresses) -> Addresses:
        return frozenset(address for address in addresses if self._nodes[address].is_good)


class NtpPool(ByAddress):
    """The NTP pool with one monitor: a score that forgets. It reports nothing of a family that it cannot see itself."""

    KEPT = 0.95
    GOOD, BAD = 1, -5
    LISTED = 10

    def __init__(self) -> None:
        super().__init__()
        self._scores: dict[IPAddress, float] = defaultdict(float)

    def unseen(self, snapshot: Snapshot) -> frozenset[Family]:
        return frozenset(snapshot.blind)

    def record(self, seen: KeyserverAddress, at: datetime) -> None:  # noqa: ARG002 - a score knows no time
        step = self.GOOD if is_answering(seen) else self.BAD
        self._scores[seen.address] = self.KEPT * self._scores[seen.address] + step

    def forget(self, address: IPAddress) -> None:
        self._scores.pop(address, None)

    def chosen(self, addresses: Addresses) -> Addresses:
        return frozenset(address for address in addresses if self._scores[address] >= self.LISTED)


@dataclass(slots=True)
class _Monitor:
    """What gdnsd keeps of an address: its state, good checks in a row, and bad ones since as many good ones."""

    is_up: bool = False
    good: int = 0
    bad: int = 0


class Gdnsd(ByAddress):
    """gdnsd: so many good checks in a row to come up, so many bad ones to go down; all where fewer than half are up."""

    UP, OK, DOWN = 20, 10, 10
    """Good ones in a row that make up what is down; that make the bad ones forgotten; bad ones that make it down."""
    LEAST_UP = 0.5
    """Of the addresses of a family: with fewer up, all are served."""

    def __init__(self) -> None:
        super().__init__()
        self._monitors: dict[IPAddress, _Monitor] = defaultdict(_Monitor)

    def record(self, seen: KeyserverAddress, at: datetime) -> None:  # noqa: ARG002 - it counts checks, not time
        monitor = self._monitors[seen.address]
        if is_answering(seen):
            monitor.good += 1
            if monitor.good >= self.OK:
                monitor.bad = 0
            if monitor.good >= self.UP:
                monitor.is_up = True
        else:
            monitor.good = 0
            monitor.bad += 1
            if monitor.bad >= self.DOWN:
                monitor.is_up = False

    def forget(self, address: IPAddress) -> None:
        self._monitors.pop(address, None)

    def chosen(self, addresses: Addresses) -> Addresses:
        families = {family: {each for each in addresses if Family.of(each) is family} for family in Family}
        return frozenset().union(*(self._served(of_family) for of_family in families.values()))

    def _served(self, addresses: Iterable[IPAddress]) -> set[IPAddress]:
        every = set(addresses)
        up = {address for address in every if self._monitors[address].is_up}
        return up if len(up) >= self.LEAST_UP * len(every) else every


class Instant:
    """poolmgr without history: every crawl is judged by itself, by the default policy."""

    def __init__(self, host: str) -> None:
        name = dns.name.from_text(host)
        self._pool = Pool(
            name=name, host=host_name(name), families=frozenset(Family), services=frozenset({Service.HKP})
        )

    def eligible(self, snapshot: Snapshot) -> Addresses:
        verdicts, _ = judge(snapshot, Policy(), [self._pool])
        return frozenset(
            verdict.address for verdict in verdicts if verdict.state is State.ELIGIBLE and verdict.address is not None
        )
