"""Rules for who is published, each over the same simulated weeks, and what clients met of it.

Run by scripts/bench judge, which writes the tables into docs/judging.md. Each interval between crawls has a process.
"""

from __future__ import annotations

import multiprocessing
import random
import statistics
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Protocol

import dns.name

from poolmgr.hosts import IPAddress, address_order, host_name
from poolmgr.judge.history import History, judge_next
from poolmgr.judge.policy import Policy
from poolmgr.judge.selection import Members, select
from poolmgr.model import Family, Outcome, Service, Snapshot, State
from poolmgr.pools import Pool
from tests.lab.lives import HOME
from tests.lab.prior import Addresses, Alg5, BitcoinSeeder, Gdnsd, Instant, NtpPool, Prior, SksKeyserversNet
from tests.lab.simulator import POOL_HOST, START, Simulation

SEED = 4
DAYS = 30
WARM_UP = 2
"""Days before those that count, in which rules fill their memory."""
TOP = 10
DRAWS = 20
"""How many times TOP are drawn for a rule without an order: one draw alone is luck."""
PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "judging.md"


@dataclass(frozen=True, slots=True)
class Pace:
    """How often is crawled, and at how many random moments between two crawls clients look a name up."""

    label: str
    interval: timedelta
    moments: int


OFTEN, HOURLY = PACES = (Pace("5 minutes", timedelta(minutes=5), 3), Pace("hour", timedelta(hours=1), 12))


class Rule(Protocol):
    """A rule for who is published. Both are asked once for each crawl, in order, `eligible` first."""

    name: str

    def eligible(self, snapshot: Snapshot) -> Addresses:
        """Return all addresses that may be published after `snapshot`."""

    def published(self, snapshot: Snapshot) -> tuple[IPAddress, ...] | None:
        """Return those TOP of them that are published where there is no room for more; None for any."""


class Unordered:
    """A rule that knows no better and worse."""

    def __init__(self, name: str, prior: Prior) -> None:
        self.name = name
        self._prior = prior

    def eligible(self, snapshot: Snapshot) -> Addresses:
        return self._prior.eligible(snapshot)

    def published(self, snapshot: Snapshot) -> None:
        """Return None: any will do."""


class Poolmgr:
    """poolmgr by `policy`. Of the ten that are published half are IPv4 addresses, half IPv6."""

    def __init__(self, name: str, policy: Policy) -> None:
        self.name = name
        self._policy = policy
        owner = dns.name.from_text(POOL_HOST)
        self._pool = Pool(
            name=owner,
            host=host_name(owner),
            families=frozenset(Family),
            services=frozenset({Service.HKP}),
            max_records=TOP // len(Family),
        )
        self._history = History()
        self._members: Members = {}
        self._chosen: datetime | None = None

    def eligible(self, snapshot: Snapshot) -> Addresses:
        judgement = judge_next(self._history, snapshot, self._policy, [self._pool])
        self._history = judgement.history
        reliability, at = judgement.history.reliability, judgement.snapshot.finished
        selection = select(judgement.verdicts, [self._pool], self._members, reliability, at, chosen=self._chosen)
        self._members, self._chosen = selection.members, at
        return frozenset(
            verdict.address
            for verdict in judgement.verdicts
            if verdict.state is State.ELIGIBLE and verdict.address is not None
        )

    def published(self, snapshot: Snapshot) -> tuple[IPAddress, ...]:
        del snapshot
        return tuple(address for members in self._members.values() for address in members)


RULES: tuple[Callable[[], Rule], ...] = (
    lambda: Poolmgr("poolmgr", Policy()),
    lambda: Unordered("poolmgr, every crawl by itself", Instant(POOL_HOST)),
    lambda: Unordered("sks_spider, alg_5", Alg5()),
    lambda: Unordered("sks-keyservers.net", SksKeyserversNet(HOME)),
    lambda: Unordered("bitcoin-seeder", BitcoinSeeder()),
    lambda: Unordered("NTP pool", NtpPool()),
    lambda: Unordered("gdnsd", Gdnsd()),
)


_AT_ONCE = replace(Policy(), fast_fall=Policy().fast_fall | {Outcome.REFUSED})
VARIANTS: Mapping[Pace, Mapping[str, Policy]] = {
    OFTEN: {"`refused` in `fast_fall`": _AT_ONCE},
    HOURLY: {
        "`refused` in `fast_fall`": _AT_ONCE,
        "`drop: 2`, like `fall`": replace(Policy(), steadiness=replace(Policy().steadiness, drop=2)),
        "no `enter_reliability`": replace(Policy(), quality=replace(Policy().quality, enter_reliability=0.0)),
    },
}
"""What the defaults are measured against: the default policy but for what the label says."""


class Draw:
    """TOP random ones of all that are eligible; each stays for as long as it is eligible."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        self._drawn: Addresses = frozenset()

    def of(self, eligible: Addresses) -> Addresses:
        """Return what is published now."""
        if len(self._drawn) == TOP and self._drawn <= eligible:
            return self._drawn
        staying = self._drawn & eligible
        if len(staying) < min(TOP, len(eligible)):
            others = sorted(eligible - staying, key=address_order)
            staying |= frozenset(self._rng.sample(others, min(TOP - len(staying), len(others))))
        self._drawn = staying
        return staying


@dataclass(slots=True)
class Tally:
    """What became of one published set over time: sums over `looks` moments, joins and leaves over all crawls."""

    last: Addresses | None = None
    looks: int = 0
    failed: float = 0.0
    covered: float = 0.0
    moves: int = 0

    def move_to(self, published: Addresses, *, is_counted: bool) -> None:
        """Publish `published` from now on."""
        if is_counted and self.last is not None and self.last is not published:
            self.moves += len(self.last ^ published)
        self.last = published

    def look(self, good: Addresses) -> None:
        """Add a look-up of a client that takes one of the published, while `good` are all that would serve it.

        What is added is the chance to fail, which is what many clients come to: 1 where nothing is published.
        """
        published = self.last or frozenset()
        served = len(published & good)
        self.looks += 1
        self.failed += 1 - served / len(published) if published else 1
        self.covered += served / len(good) if good else 1


@dataclass(frozen=True, slots=True)
class Score:
    """What a rule came to: shares of the look-ups that failed and of the good that were eligible, moves a day."""

    rule: str
    failed: float
    moves: float
    coverage: float
    top_failed: float
    top_moves: float


class _Entrant:
    def __init__(self, rule: Rule) -> None:
        self._rule = rule
        self._all = Tally()
        self._draws = [(Draw(seed), Tally()) for seed in range(DRAWS)]
        self._top = Tally()

    def crawled(self, snapshot: Snapshot, *, is_counted: bool) -> None:
        eligible = self._rule.eligible(snapshot)
        self._all.move_to(eligible, is_counted=is_counted)
        published = self._rule.published(snapshot)
        if published is None:
            for draw, tally in self._draws:
                tally.move_to(draw.of(eligible), is_counted=is_counted)
            return
        if len(published) > TOP or not eligible.issuperset(published):
            raise ValueError(f"{self._rule.name} publishes {len(published)} addresses, or some that are not eligible")
        self._draws.clear()
        self._top.move_to(frozenset(published), is_counted=is_counted)

    def look(self, good: Addresses) -> None:
        for tally in (self._all, *self._tops()):
            tally.look(good)

    def score(self, days: float) -> Score:
        tops = self._tops()
        return Score(
            rule=self._rule.name,
            failed=self._all.failed / self._all.looks,
            moves=self._all.moves / days,
            coverage=self._all.covered / self._all.looks,
            top_failed=statistics.fmean(top.failed / top.looks for top in tops),
            top_moves=statistics.fmean(top.moves / days for top in tops),
        )

    def _tops(self) -> list[Tally]:
        return [tally for _, tally in self._draws] or [self._top]


def hold(
    pace: Pace, rules: Iterable[Callable[[], Rule]], simulation: Simulation, warm_up: float, days: float
) -> list[Score]:
    """Return the score of each of `rules` over the same `days` of `simulation`, which follow `warm_up` days."""
    entrants = [_Entrant(rule()) for rule in rules]
    rng = random.Random(f"moments {pace.label}")
    begin = START + timedelta(days=warm_up)
    for snapshot, following in pairwise(simulation.snapshots(pace.interval)):
        is_counted = snapshot.started >= begin
        for entrant in entrants:
            entrant.crawled(snapshot, is_counted=is_counted)
        if not is_counted:
            continue
        for _ in range(pace.moments):
            good = simulation.good(snapshot.finished + rng.random() * (following.finished - snapshot.finished))
            for entrant in entrants:
                entrant.look(good)
    return [entrant.score(days) for entrant in entrants]


def hold_of(pace: Pace) -> list[Score]:
    """Return the scores of all RULES at `pace`."""
    return hold(pace, RULES, Simulation(SEED, WARM_UP + DAYS), WARM_UP, DAYS)


def hold_variants(pace: Pace) -> list[Score]:
    """Return the scores of the VARIANTS at `pace`, which meet what RULES meet there."""
    rules = [partial(Poolmgr, label, policy) for label, policy in VARIANTS[pace].items()]
    return hold(pace, rules, Simulation(SEED, WARM_UP + DAYS), WARM_UP, DAYS)


def table(pace: Pace, scores: Sequence[Score]) -> Iterator[str]:
    """Yield the lines of the table of `scores`."""
    columns = (
        f"a crawl every {pace.label}",
        "failed look-ups %",
        "joins + leaves a day",
        "coverage %",
        f"{TOP} published: failed look-ups %",
        "joins + leaves a day",
    )
    yield f"| {' | '.join(columns)} |"
    yield "|---" * len(columns) + "|"
    for score in scores:
        yield (
            f"| {score.rule} | {score.failed:.2%} | {score.moves:.1f} | {score.coverage:.1%} "
            f"| {score.top_failed:.2%} | {score.top_moves:.1f} |"
        ).replace("%", "")


def main() -> None:
    """Hold the contest at each of PACES, print the tables, and those of VARIANTS, and put them into docs/judging.md."""
    with ProcessPoolExecutor(len(PACES), multiprocessing.get_context("spawn")) as processes:
        rules, variants = processes.map(hold_of, PACES), processes.map(hold_variants, reversed(PACES))
        of_rules = list(zip(PACES, rules, strict=True))
        of_variants = zip(reversed(PACES), variants, strict=True)
        defaults = {pace: scores[0] for pace, scores in of_rules}
        compared = [(pace, [replace(defaults[pace], rule="the defaults"), *scores]) for pace, scores in of_variants]
    page = PAGE.read_text("utf-8")
    for part, tables in (("rules", of_rules), ("variants", compared)):
        text = "\n".join("".join(f"{line}\n" for line in table(pace, scores)) for pace, scores in tables)
        sys.stdout.write(f"{text}\n")
        page = filled(page, part, text)
    PAGE.write_text(page, "utf-8")


def filled(page: str, part: str, text: str) -> str:
    """Return `page` with `text` between the marks of `part`. Raises ValueError where it has no such marks."""
    begin, end = (f"<!-- scripts/bench judge: {part} {mark} -->\n" for mark in ("begin", "end"))
    head, begun, rest = page.partition(begin)
    _, ended, tail = rest.partition(end)
    if not begun or not ended:
        raise ValueError(f"the page has no part {part}")
    return f"{head}{begin}{text}{end}{tail}"


if __name__ == "__main__":
    main()
