"""What is made of the stored crawls: shown, moved to another store, and judged again by another policy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import chain, tee
from pathlib import Path

from poolmgr import pipeline
from poolmgr.assessing import assess, crawl_to_judge, nothing_stored, read_state, stored
from poolmgr.config import Config
from poolmgr.errors import ParseError
from poolmgr.garbage import uncollected
from poolmgr.hosts import Host, host_text, name_text
from poolmgr.judge.backtest import Fate, Published, Rules, fates, replay
from poolmgr.judge.changes import VerdictChange
from poolmgr.judge.history import History, Judgement, judge_next
from poolmgr.judge.quality import LEAST_LATENCY
from poolmgr.judge.selection import select_members
from poolmgr.model import Selection, Snapshot
from poolmgr.pools import Pool
from poolmgr.report.life import Life, find_keyserver, life_of
from poolmgr.report.rows import Row, rows
from poolmgr.report.snapshot import MAX_OCTETS, from_json
from poolmgr.store.database import open_store
from poolmgr.store.publications import PAST_PUBLICATIONS, Publication, distinct
from poolmgr.zone.desired import members_of, pool_records
from poolmgr.zone.plan import Limits, doubts_of, limits_of, make_plan
from poolmgr.zone.records import RRsetKey

TODAY, OTHER = "today", "other"
"""What the policies of a backtest are called: the configured one, and the one that is compared with it."""

_BEFORE_ALL = datetime.min.replace(tzinfo=UTC)

EXPLAINED_CRAWLS = 50
"""How many of the last crawls `explain` looks at: half a day of those every quarter of an hour."""


def report(config: Config, file: Path | None) -> tuple[Snapshot, tuple[Row, ...]]:
    """Return the crawl in `file`, else the newest stored one, and its rows, judged by `config` as it is now."""
    state, snapshot = crawl_to_judge(config, read_state(config), file)
    assessment = assess(config, state, snapshot)
    hosts = {name_text(pool.name): host_text(pool.host) for pool in config.pools}
    references = assessment.judgement.references
    return snapshot, rows(
        assessment.judgement.snapshot, assessment.selection.verdicts, references, config.policy.window, hosts
    )


def changes(config: Config, since: datetime) -> tuple[VerdictChange, ...]:
    """Return who came and who went at the stored crawls from `since` on, the oldest first."""
    with stored(config) as store:
        return store.load_changes(since)


def explain(config: Config, host: Host) -> Life:
    """Return all that is known of the keyserver that `host`, one of its names or addresses, leads to.

    It is judged as `report` does; its counts and failures are those of the last stored crawls. Raises PoolmgrError
    where the newest crawl has no such keyserver.
    """
    state, snapshot = crawl_to_judge(config, read_state(config), None)
    assessment = assess(config, state, snapshot)
    keyserver = find_keyserver(assessment.judgement.snapshot, host)
    with stored(config) as store:
        crawls = store.load_crawls(EXPLAINED_CRAWLS)
    judgement, selection = assessment.judgement, assessment.selection
    return life_of(keyserver, judgement, selection, config.policy, config.pools, state.history, crawls)


def published(config: Config, limit: int) -> tuple[Publication, ...]:
    """Return the states that were published, the newest first, `limit` at most: each of other members than the next."""
    with stored(config) as store:
        return distinct(store.load_past_publications(PAST_PUBLICATIONS))[:limit]


def export(config: Config, since: timedelta | None) -> Iterator[Snapshot]:
    """Yield the stored crawls, or those that ended less than `since` ago, the oldest first."""
    with stored(config) as store:
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
        timed = _judge_by_latency(config.pools)
        return store.import_crawls(_crawls_in(path, pipeline.now()), remember, with_latencies=timed)


def _judge_by_latency(pools: Iterable[Pool]) -> bool:
    return any(pool.max_latency is not None and pool.max_latency < LEAST_LATENCY for pool in pools)


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
    with stored(config) as store, uncollected():
        begin = pipeline.now() - since
        timed = any(_judge_by_latency(rules.pools) for rules in compared.values())
        history, crawls = store.replay(begin, with_latencies=timed)
        first = next(crawls, None)
        if first is None:
            raise nothing_stored(config)
        last = store.load_publication(first.finished)
        published = None if last is None else Published(last.members, last.chosen)
        replays = {
            name: (rules, replay(history, each, rules, published))
            for (name, rules), each in zip(compared.items(), tee(chain([first], crawls), len(compared)), strict=True)
        }
        begun = max(begin, first.finished)
        return begun, fates(replays, begun)


def rules_of(config: Config) -> Rules:
    """Return the rules by which a run of `config` judges, and what it would publish: what no limit holds back."""

    def publish(judgement: Judgement, published: Published | None) -> Published | None:
        at = judgement.snapshot.finished
        members, chosen = ({}, None) if published is None else published
        reliability = judgement.history.reliability
        selected = select_members(judgement.verdicts, config.pools, members, reliability, at, chosen=chosen)
        if {place: each for place, each in selected.items() if each} == members:
            return published
        limits: dict[RRsetKey, Limits] = {}
        for zone in config.zones:
            limits |= limits_of(zone.pools, doubts_of(judgement.snapshot, at, zone.max_age))
        plan = make_plan(
            origin=config.zones[0].origin,
            published=pool_records(Selection({key: tuple(each) for key, each in members.items()}, ()), config.pools),
            desired=pool_records(Selection(selected, ()), config.pools),
            limits=limits,
            at=at,
        )
        return Published(members_of(plan.records, config.pools), at) if plan.changes else published

    return Rules(config.policy, config.pools, publish)
