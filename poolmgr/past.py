"""What is made of the stored crawls: moved to another store, and judged again by another policy."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import chain, tee
from pathlib import Path

from poolmgr import pipeline
from poolmgr.config import Config
from poolmgr.errors import ParseError
from poolmgr.judge.backtest import Fate, Published, Rules, fates, replay
from poolmgr.judge.history import History, Judgement, judge_next
from poolmgr.judge.selection import select_members
from poolmgr.model import Selection, Snapshot
from poolmgr.report.snapshot import MAX_OCTETS, from_json
from poolmgr.store.database import open_store
from poolmgr.zone.desired import members_of, pool_records
from poolmgr.zone.plan import doubts_of, limits_of, make_plan

TODAY, OTHER = "today", "other"
"""What the policies of a backtest are called: the configured one, and the one that is compared with it."""

_BEFORE_ALL = datetime.min.replace(tzinfo=UTC)


def export(config: Config, since: timedelta | None) -> Iterator[Snapshot]:
    """Yield the stored crawls, or those that ended less than `since` ago, the oldest first."""
    with pipeline.stored(config) as store:
        yield from store.load_crawls_since(_BEFORE_ALL if since is None else pipeline.now() - since)


def import_crawls(config: Config, path: Path) -> int:
    """Store the crawls in the file `path` that are not stored yet, all or none, and return how many that were.

    Raises StoreError, with line and field, for what is no crawl or one that ends in the future, and LockHeld while
    another run is at work.
    """

    def remember(history: History, crawls: Iterable[Snapshot]) -> History:
        for crawl in crawls:
            history = judge_next(history, crawl, config.policy, config.pools).history
        return history

    with pipeline.locked(config.state), open_store(config.state) as store:
        return store.import_crawls(_crawls_in(path, pipeline.now()), remember)


def _crawls_in(path: Path, now: datetime) -> Iterator[Snapshot]:
    try:
        with path.open("rb") as lines:
            pieces = iter(partial(lines.readline, MAX_OCTETS + 1), b"")
            for number, line in enumerate(pieces, start=1):
                yield _crawl_in(line.removesuffix(b"\n"), f"{path}:{number}", now)
    except OSError as error:
        raise ParseError(f"cannot read {path}: {error.strerror}") from error


def _crawl_in(line: bytes, where: str, now: datetime) -> Snapshot:
    remedy = "nothing was imported; give a file that `poolmgr export` wrote"
    try:
        snapshot = from_json(line)
    except ParseError as error:
        raise ParseError(f"{where}: {error}: {remedy}") from error
    if snapshot.finished > now:
        told = f"{snapshot.finished:%Y-%m-%dT%H:%M:%SZ}"
        raise ParseError(
            f"{where}: this crawl ended at {told}, which is not yet: nothing was imported; mend the clocks"
        )
    return snapshot


def backtest(
    config: Config, others: Mapping[str, Config], since: timedelta
) -> tuple[datetime, Mapping[str, tuple[Fate, ...]]]:
    """Return from when on the stored crawls were judged again, and how the pools fared by the name of each config.

    `config` is called TODAY: what it says of an address at the next crawl is the truth for the `others` too. All begin
    with what was remembered and published then. Raises StoreError where no crawl is stored.
    """
    compared = {name: rules_of(each) for name, each in {TODAY: config, **others}.items()}
    with pipeline.stored(config) as store, _uncollected():
        begin = pipeline.now() - since
        history, crawls = store.replay(begin)
        first = next(crawls, None)
        if first is None:
            raise pipeline.nothing_stored(config)
        last = store.load_publication(first.finished)
        published = None if last is None else Published(last.members, last.chosen)
        replays = {
            name: (rules, replay(history, each, rules, published))
            for (name, rules), each in zip(compared.items(), tee(chain([first], crawls), len(compared)), strict=True)
        }
        begun = max(begin, first.finished)
        return begun, fates(replays, begun)


@contextmanager
def _uncollected() -> Iterator[None]:
    """Let no garbage be looked for in the block: a replay makes much that stays, and no cycles."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def rules_of(config: Config) -> Rules:
    """Return the rules by which a run of `config` judges, and what it would publish: what no limit holds back."""

    def publish(judgement: Judgement, published: Published | None) -> Published | None:
        at = judgement.snapshot.finished
        members, chosen = ({}, None) if published is None else published
        reliability = judgement.history.reliability
        selected = select_members(judgement.verdicts, config.pools, members, reliability, at, chosen=chosen)
        if {place: each for place, each in selected.items() if each} == members:
            return published
        doubts = doubts_of(judgement.snapshot, at, config.zone.max_age)
        plan = make_plan(
            origin=config.zone.origin,
            published=pool_records(Selection({key: tuple(each) for key, each in members.items()}, ()), config.pools),
            desired=pool_records(Selection(selected, ()), config.pools),
            limits=limits_of(config.pools, doubts),
            serial=None,
            next_serial=None,
            provenance="",
            at=at,
            holds={},
        )
        return Published(members_of(plan.records, config.pools), at) if plan.changes else published

    return Rules(config.policy, config.pools, publish)
