"""The keyservers of a simulated mesh: how each of them lives, drawn from a seed before anything is asked of it."""

from __future__ import annotations

import enum
import ipaddress
import random
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta

from poolmgr.hosts import Host, IPAddress, host_order, parse_host
from poolmgr.model import Endpoint, Family, Service
from tests.lab.traces import DAY, HOUR, MINUTE, Growth, Progress, Span, Spans, renewal

STALE = 48 * HOUR
"""A keyserver that lacks the keys of the last two days fails its clients. A version that stops synchronising for a day
or so does not."""

HOME = parse_host("ks000.example.net")
"""A keyserver that is run well and stays: somebody's own."""


@dataclass(frozen=True, slots=True)
class Software:
    """What a keyserver runs; those of one software and minor version synchronise with each other."""

    name: str
    version: str
    counts_daily: bool


SKS = Software("SKS", "1.1.6", counts_daily=True)
SOFTWARE = (
    SKS,
    SKS,
    Software("Hockeypuck", "2.1.2", counts_daily=False),
    Software("Hockeypuck", "2.2.4", counts_daily=False),
)
"""Each is as frequent in the mesh as here."""

QUALITY = (*[(45 * DAY, 2 * HOUR)] * 14, *[(6 * DAY, 4 * HOUR)] * 4, *[(1.2 * DAY, 6 * HOUR)] * 2)
"""How long keyservers stay up, and then down, in the mean; each is as frequent as here."""

DUAL_STACK = 0.6
DEAD_IPV6, POOR_IPV6 = 0.08, 0.12
"""Shares of the dual-stack ones whose IPv6 address never answers, or is out for hours now and then."""
SLOW_SKS = 0.15
"""Share of the SKS keyservers that load for hours after a restart."""
LOST_PROBES = (0.005, 0.01)
"""Shares of the probes of an address that fail although it is up, after the second try: from least to most."""
LONG = 10 * MINUTE
"""A keyserver that was down for longer is restarted; what is shorter is a blip of the line."""


class Role(enum.Enum):
    """What becomes of a keyserver, beside its quality."""

    HOME = "up all the time, and SKS"
    APPEARS = "is not there in the beginning"
    VANISHES = "goes for good, and is listed for some days more"
    FREEZES = "answers, and gets no new keys for days"
    FLAPS = "is up and down for minutes to hours, for days"
    FLAPS_ALWAYS = "the same, all the time"
    STARTS_SLOWLY = "is restarted, and then loads its keys for hours"
    BREAKS = "is down for days"
    PLAIN = "nothing"


ROLES = (
    Role.HOME,
    *[Role.APPEARS] * 6,
    *[Role.VANISHES] * 6,
    *[Role.FREEZES] * 6,
    *[Role.FLAPS] * 3,
    *[Role.FLAPS_ALWAYS] * 2,
    *[Role.STARTS_SLOWLY] * 4,
    *[Role.BREAKS] * 4,
)
"""Of the first keyservers; the others are plain."""


class Lie(enum.Enum):
    """What a keyserver of the crowd says its key count is. None of them has the keys."""

    NOTHING = "0 or 1"
    HUGE = "nearly 2^63"
    LEAPING = "another one every quarter of an hour, half of them likely"
    AHEAD = "far ahead, and never moving"


Told = tuple[int, float]
"""A key count, and when it was counted."""

Latency = tuple[timedelta, timedelta, timedelta]
"""Until connected, until the first byte, until the end."""


@dataclass(frozen=True, slots=True)
class Line:
    """One address: when it does not answer, which share of its probes gets lost, the latencies of the others."""

    address: IPAddress
    endpoint: Endpoint
    family: Family
    down: Spans
    loss: float
    latencies: tuple[Latency, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """One keyserver: crawls find it while it is `listed`. `lie` is None for an honest one."""

    host: str
    name: Host
    software: Software
    role: Role
    lie: Lie | None
    listed: Spans
    lines: tuple[Line, ...]
    told: Callable[[float], Told]
    is_fresh: Callable[[float], bool]


@dataclass(frozen=True, slots=True)
class Holding:
    """What an honest keyserver has: the mesh's keys as of its last exchange with others, all of them once loaded.

    It exchanges keys every `period` from `phase` on. It counts them at the times `counted`, or all the time.
    """

    growth: Growth
    progress: Progress
    loading: Spans
    period: float
    phase: float
    counted: tuple[float, ...]

    def is_fresh(self, at: float) -> bool:
        """Return whether it has all but the newest keys."""
        return at not in self.loading and at - self._known(at) <= STALE

    def keys(self, at: float) -> int:
        """Return how many keys it has."""
        keys = self.growth.at(self._known(at))
        if at in self.loading:
            ((start, end),) = ((start, end) for start, end in self.loading if start <= at < end)
            return int(keys * (at - start) / (end - start))
        return keys

    def told(self, at: float) -> Told:
        """Return the last count."""
        if self.counted:
            at = self.counted[max(bisect_right(self.counted, at) - 1, 0)]
        return self.keys(at), at

    def _known(self, at: float) -> float:
        return self.progress.at(at - (at - self.phase) % self.period)


@dataclass(frozen=True, slots=True)
class Darkness:
    """When the crawler itself cannot reach a family, and when it knows."""

    dark: Spans
    noticed: Spans


class Drawing:
    """The lives of `keyservers` keyservers over `end` seconds, `liars` of them a crowd that one operator runs."""

    def __init__(self, seed: int, end: float, keyservers: int, liars: int) -> None:
        self._seed = seed
        self._end = end
        rng = random.Random(f"{seed} mesh")
        self.growth = Growth(rng, end / DAY)
        self.stalls = self._stalls(rng)
        self.darkness = {Family.IPV4: self._darkness(rng, 10 * DAY), Family.IPV6: self._darkness(rng, 5 * DAY)}
        lives = [self._honest(index) for index in range(keyservers - liars)] + [self._liar(n) for n in range(liars)]
        self.lives = tuple(sorted(lives, key=lambda life: host_order(life.name)))

    def _stalls(self, rng: random.Random) -> Mapping[Software, tuple[Span, ...]]:
        """Draw when a version as a whole gets no keys: once in each fortnight, for one day or nearly two."""
        fortnights = [day * DAY for day in range(0, int(self._end / DAY), 14)]
        return {
            software: tuple(
                (start, start + rng.uniform(20, 40) * HOUR)
                for fortnight in fortnights
                for start in [fortnight + rng.uniform(2, 11) * DAY]
            )
            for software in dict.fromkeys(SOFTWARE)
        }

    def _darkness(self, rng: random.Random, every: float) -> Darkness:
        """Draw when the crawler cannot reach a family: once in `every` seconds, and it knows every second time."""
        starts = [rng.uniform(0, 0.9) * every + number * every for number in range(int(self._end / every) + 1)]
        spans = [(start, start + rng.uniform(20, 100) * MINUTE) for start in starts]
        return Darkness(Spans(spans), Spans(spans[rng.randrange(2) :: 2]))

    def _honest(self, index: int) -> Life:
        rng = random.Random(f"{self._seed} keyserver {index}")
        role = ROLES[index] if index < len(ROLES) else Role.PLAIN
        software = SKS if role is Role.HOME else rng.choice(SOFTWARE)
        listed, absent = self._presence(rng, role)
        outages = [] if role is Role.HOME else list(self._outages(rng, role))
        is_slow = role is Role.STARTS_SLOWLY or (software is SKS and rng.random() < SLOW_SKS and role is not Role.HOME)
        restarts = [end for start, end in Spans(outages) if end - start > LONG]
        loading = Spans((end, end + rng.uniform(1, 6) * HOUR) for end in restarts if is_slow)
        frozen = []
        if role is Role.FREEZES:
            start = rng.uniform(0.1, 0.8) * self._end
            frozen.append((start, start + rng.uniform(4, 20) * DAY))
        stops = [*((start, end) for start, end in outages if end - start > LONG), *self.stalls[software], *frozen]
        daily = rng.uniform(0, DAY)
        counts = [day * DAY + daily for day in range(-1, int(self._end / DAY) + 1)] if software.counts_daily else []
        # While an SKS counts, it serves nobody.
        counting = [(at - rng.uniform(20, 90), at) for at in counts] if role is not Role.HOME else []
        down = Spans(outages)
        after_starts = [*restarts, *(end for _, end in loading)] if software.counts_daily else []
        period = min(max(rng.lognormvariate(3.4, 0.8), 5), 240) * MINUTE
        holding = Holding(
            growth=self.growth,
            progress=Progress(stops),
            loading=loading,
            period=period,
            phase=rng.uniform(0, period),
            counted=tuple(sorted([*(at for at in counts if at not in down), *after_starts])),
        )
        blips = [] if role is Role.HOME else list(self._blips(rng))
        return Life(
            host=(host := f"ks{index:03}.example.net"),
            name=parse_host(host),
            software=software,
            role=role,
            lie=None,
            listed=listed,
            lines=tuple(self._lines(rng, index, [*absent, *outages, *counting, *blips])),
            told=holding.told,
            is_fresh=holding.is_fresh,
        )

    def _presence(self, rng: random.Random, role: Role) -> tuple[Spans, list[Span]]:
        """Return when it is listed, and when it is not there."""
        always, turn = (-DAY, 2 * self._end + DAY), rng.uniform(0.1, 0.9) * self._end
        if role is Role.APPEARS:
            return Spans([(turn, always[1])]), [(always[0], turn)]
        if role is Role.VANISHES:
            return Spans([(always[0], turn + rng.uniform(1, 4) * DAY)]), [(turn, always[1])]
        return Spans([always]), []

    def _outages(self, rng: random.Random, role: Role) -> Iterator[Span]:
        yield from renewal(rng, (0, self._end), *rng.choice(QUALITY))
        if role is Role.FLAPS_ALWAYS:
            yield from renewal(rng, (0, self._end), 40 * MINUTE, 25 * MINUTE)
        if role is Role.FLAPS:
            for start, _ in renewal(rng, (0, self._end), 8 * DAY, 1):
                yield from renewal(rng, (start, start + rng.uniform(1, 3) * DAY), 40 * MINUTE, 25 * MINUTE)
        if role is Role.STARTS_SLOWLY:
            for start, _ in renewal(rng, (0, self._end), 6 * DAY, 1):
                yield start, start + 30 * MINUTE
        if role is Role.BREAKS:
            start = rng.uniform(0.1, 0.8) * self._end
            yield start, start + rng.uniform(3, 8) * DAY

    def _blips(self, rng: random.Random) -> Iterator[Span]:
        for start, _ in renewal(rng, (0, self._end), 3 * DAY, 1):
            yield start, start + rng.uniform(20, 120)

    def _lines(self, rng: random.Random, index: int, down: list[Span]) -> Iterator[Line]:
        # A quarter of them is with one of four hosters, the others are each in a network of their own.
        hoster = rng.randrange(16)
        network = 1 + hoster if hoster < 4 else 10 + index
        yield self._line(rng, f"10.{network % 256}.{index % 256}.{rng.randrange(1, 255)}", down)
        if rng.random() < DUAL_STACK:
            luck = rng.random()
            more: list[Span] = []
            if luck < DEAD_IPV6:
                more = [(-DAY, 2 * self._end)]
            elif luck < DEAD_IPV6 + POOR_IPV6:
                more = list(renewal(rng, (0, self._end), 6 * DAY, 6 * HOUR))
            yield self._line(rng, f"fd00:{network:x}:{index:x}::{rng.randrange(1, 0xFFFF):x}", [*down, *more])

    def _line(self, rng: random.Random, text: str, down: list[Span]) -> Line:
        address = ipaddress.ip_address(text)
        median = 0.05 + rng.lognormvariate(-1.9, 0.5)
        latencies = []
        for _ in range(16):
            connect, first, rest = median / 3, median * rng.lognormvariate(0, 0.3), median * rng.uniform(0.1, 0.5)
            times = (connect, connect + first, connect + first + rest)
            latencies.append((timedelta(seconds=times[0]), timedelta(seconds=times[1]), timedelta(seconds=times[2])))
        return Line(
            address=address,
            endpoint=Endpoint(Service.HKP, address, 11371),
            family=Family.of(address),
            down=Spans(down),
            loss=rng.uniform(*LOST_PROBES),
            latencies=tuple(latencies),
        )

    def _liar(self, number: int) -> Life:
        rng = random.Random(f"{self._seed} liar {number}")
        lie = list(Lie)[number % len(Lie)]
        down = list(self._blips(rng))
        lines = (
            self._line(rng, f"10.9.9.{number + 1}", down),
            self._line(rng, f"fd00:9:9::{number + 1:x}", down),
        )
        return Life(
            host=(host := f"crowd{number}.example.org"),
            name=parse_host(host),
            software=rng.choice(SOFTWARE),
            role=Role.PLAIN,
            lie=lie,
            listed=Spans([(-DAY, 2 * self._end + DAY)]),
            lines=lines,
            told=lambda at: (self._lie(lie, number, at), at),
            is_fresh=lambda _: False,
        )

    def _lie(self, lie: Lie, number: int, at: float) -> int:
        match lie:
            case Lie.NOTHING:
                return number // len(Lie) % 2
            case Lie.HUGE:
                return 2**63 - 1 - number
            case Lie.AHEAD:
                return self.growth.at(0) + 60_000
            case Lie.LEAPING:
                rng = random.Random(f"{self._seed} leap {number} {at // (15 * MINUTE)}")
                return self.growth.at(at) + rng.choice((rng.randint(-500, 500), rng.randint(-300_000, 300_000)))
