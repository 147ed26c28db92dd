"""One cycle, put together: crawl, judge, select, plan, publish, under one lock.

The composition root: it alone knows the clock and chance, and which publisher serves which target of the config.
"""

from __future__ import annotations

import fcntl
import logging
import os
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from poolmgr import __version__
from poolmgr.config import Config
from poolmgr.crawl.blindness import blindness
from poolmgr.crawl.known import known_keyservers
from poolmgr.crawl.membership import parse_membership
from poolmgr.crawl.observer import Observer
from poolmgr.crawl.resolve import Resolver
from poolmgr.crawl.selfcheck import check_up
from poolmgr.crawl.spider import Crawl
from poolmgr.crawl.spider import crawl as crawl_mesh
from poolmgr.crawl.transport import load_trust
from poolmgr.errors import LockHeld, ParseError, PoolmgrError, StoreError, ZoneError
from poolmgr.hosts import Host, host_text, name_text
from poolmgr.judge.alone import among, is_serving
from poolmgr.judge.changes import VerdictChange, changes_of
from poolmgr.judge.history import History, Judgement, judge_next
from poolmgr.judge.selection import Members, select
from poolmgr.model import Family, Selection, Service, Snapshot, Verdict
from poolmgr.publish.rfc2136 import Primary, Rfc2136Publisher
from poolmgr.publish.target import Published, Publisher, Receipt
from poolmgr.publish.tsig import load_key
from poolmgr.publish.zonefile import ZoneFile, ZoneFilePublisher
from poolmgr.report import detail
from poolmgr.report.life import Life, find_keyserver, life_of
from poolmgr.report.rows import Row, rows
from poolmgr.report.snapshot import MAX_OCTETS, from_json
from poolmgr.store.database import Publication, Store, open_store, read_store
from poolmgr.zone.desired import from_text, members_of, owned_keys, pool_records, whole_zone
from poolmgr.zone.plan import Holds, Plan, doubts_of, limits_of, make_plan
from poolmgr.zone.records import Records
from poolmgr.zone.serial import next_serial

LOCK = "poolmgr.lock"

EXPLAINED_CRAWLS = 50
"""How many of the last crawls `explain` looks at: half a day of those every quarter of an hour."""

BEFORE, AFTER = "before the crawl", "after the crawl"
"""When the self-check is made: an outage that begins or ends during the crawl is seen by one of them."""

_LOG = logging.getLogger(__name__)

Watch = Callable[[Crawl], AbstractContextManager[Observer]]
"""Opens what looks on while that crawl is made, and may stop it."""


@dataclass(frozen=True, slots=True)
class Assessment:
    """What a crawl amounts to under a config: the judgement, the selection made from it, and the doubts of it."""

    snapshot: Snapshot
    judgement: Judgement
    selection: Selection
    doubts: Mapping[Family, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How one target fared: `plan` is None where an error came first, `receipt` where nothing was published.

    `error` is what failed, or UnsafePlan where the plan held something back; what it did not hold is published then.
    """

    label: str
    plan: Plan | None = None
    receipt: Receipt | None = None
    error: PoolmgrError | None = None


@dataclass(frozen=True, slots=True)
class Examination:
    """A crawl of one keyserver alone, and its verdicts among the keyservers of the newest stored crawl.

    `is_reachable` says whether the clients of the first pool would be served by at least one of its addresses.
    """

    snapshot: Snapshot
    verdicts: tuple[Verdict, ...]
    is_reachable: bool


def now() -> datetime:
    """Return the time, aware UTC: the one clock that everything else is given."""
    return datetime.now(UTC)


def check(config: Config) -> tuple[str, ...]:
    """Return a sentence for every problem in the files that `config` names: membership, roots, skeleton, keys."""
    steps: list[Callable[[], object]] = [partial(_with_membership, config), partial(load_trust, config.crawl.ca_file)]
    if config.zone.skeleton is not None:
        steps.append(partial(_zone, config, {}))
    steps.extend(partial(_publisher, config, target) for target in config.targets)
    problems = []
    for step in steps:
        try:
            step()
        except PoolmgrError as error:
            problems.extend(str(error).splitlines())
    return tuple(problems)


def crawl(config: Config, watch: Watch) -> Snapshot:
    """Make one crawl and store it.

    Raises LockHeld while another run is at work, and PoolmgrError when it was stopped: then nothing is stored.
    """
    with locked(config.state), open_store(config.state) as store:
        return _crawl(config, store, watch).snapshot


def probe(config: Config, host: Host, watch: Watch) -> Examination:
    """Crawl the one keyserver behind `host`, at every service and under its own name too, and judge it.

    Stores nothing and takes no lock. Raises PoolmgrError when it was stopped.
    """
    bounds = replace(config.crawl.bounds, max_depth=0)
    one = replace(config.crawl, seeds=(host,), services=tuple(Service), own_name=True, bounds=bounds)
    with watch(one) as observer:
        snapshot = _measure(one, observer)
    state = _read_state(config)
    # By itself: what was measured now counts, whatever was seen before.
    assessment = _assess(config, replace(state, history=History()), among(snapshot, state.snapshot))
    names = {keyserver.name for keyserver in snapshot.keyservers}
    verdicts = tuple(verdict for verdict in assessment.selection.verdicts if verdict.keyserver in names)
    is_reachable = any(is_serving(verdict) for verdict in verdicts if verdict.pool == config.pools[0].name)
    return Examination(snapshot, verdicts, is_reachable)


def report(config: Config, file: Path | None) -> tuple[Snapshot, tuple[Row, ...]]:
    """Return the crawl in `file`, else the newest stored one, and its rows, judged by `config` as it is now."""
    state, snapshot = _stored(config, file)
    assessment = _assess(config, state, snapshot)
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
    state, snapshot = _stored(config, None)
    assessment = _assess(config, state, snapshot)
    keyserver = find_keyserver(assessment.judgement.snapshot, host)
    with stored(config) as store:
        crawls = store.load_crawls(EXPLAINED_CRAWLS)
    judgement, selection = assessment.judgement, assessment.selection
    return life_of(keyserver, judgement, selection, config.policy, config.pools, state.history, crawls)


def plan(config: Config, file: Path | None) -> tuple[Assessment, tuple[Result, ...]]:
    """Return what `run` would do at each target with the crawl in `file`, else the newest stored. Changes nothing."""
    state, snapshot = _stored(config, file)
    assessment = _assess(config, state, snapshot)

    def planned(target: ZoneFile | Primary) -> Result:
        prepared = _prepare(config, target, assessment, state, force=False)
        return Result(label=target.label, plan=prepared.plan, error=prepared.plan.refusal)

    return assessment, _of_each_target(config, planned)


def run(config: Config, watch: Watch, *, force: bool) -> tuple[Assessment, tuple[Result, ...]]:
    """Crawl, judge, select, plan and publish, under one lock; return how each target fared.

    One target's failure is in its result and does not stop the others. With `force` no limit holds anything back.
    """
    with locked(config.state), open_store(config.state) as store:
        crawled = _crawl(config, store, watch)
        state = _State(crawled.snapshot, crawled.history, store.load_publications(), store.load_holds())
        assessment = _assessed(config, state, crawled.snapshot, crawled.judgement)

        def published(target: ZoneFile | Primary) -> Result:
            prepared = _prepare(config, target, assessment, state, force=force)
            receipt = _publish(config, store, target, prepared, state)
            return Result(label=target.label, plan=prepared.plan, receipt=receipt, error=prepared.plan.refusal)

        return assessment, _of_each_target(config, published)


def _of_each_target(config: Config, attempt: Callable[[ZoneFile | Primary], Result]) -> tuple[Result, ...]:
    """Return the result of `attempt` at each target; one that fails does not stop the others."""
    results = []
    for target in config.targets:
        try:
            results.append(attempt(target))
        except PoolmgrError as error:
            results.append(Result(label=target.label, error=error))
    return tuple(results)


def _with_membership(config: Config) -> Crawl:
    """Return the configured crawl with the peers of the membership file among its seeds."""
    if config.membership is None:
        return config.crawl
    peers = parse_membership(_read(config.membership), str(config.membership))
    return replace(config.crawl, seeds=tuple(dict.fromkeys((*config.crawl.seeds, *(peer.host for peer in peers)))))


def _measure(mesh: Crawl, observer: Observer) -> Snapshot:
    return crawl_mesh(
        mesh,
        clock=now,
        rng=random.Random(),  # noqa: S311 - the moment of a retry is no secret
        observer=observer,
    )


@dataclass(frozen=True, slots=True)
class _Crawled:
    """A crawl that was made and stored, the history that it was judged by, and the judgement."""

    snapshot: Snapshot
    history: History
    judgement: Judgement


def _crawl(config: Config, store: Store, watch: Watch) -> _Crawled:
    """Make one crawl, judge it and store it."""
    last = store.load_crawl()
    known = known_keyservers(last, now(), config.forget_after)
    mesh = replace(_with_membership(config), known=known)
    addresses = Resolver(mesh.nameservers).addresses
    with watch(mesh) as observer:
        before = check_up(config.self_check, addresses, moment=BEFORE, stop=observer.stop)
        measured = _measure(mesh, observer)
        after = check_up(config.self_check, addresses, moment=AFTER, stop=observer.stop)
    sighted = {family: seen for family in Family if (seen := _sighted(store, last, family)) is not None}
    snapshot = replace(measured, blind=blindness(config.self_check, (before, after), measured, sighted))
    for keyserver in snapshot.keyservers:
        _LOG.info("%s", detail.line(keyserver), extra={"fields": detail.fields(keyserver)})
    history = store.load_history()
    if last is not None:
        history = judge_next(history, last, config.policy, config.pools).history
    judgement = judge_next(history, snapshot, config.policy, config.pools)
    changed = changes_of(store.load_last_changes(), judgement.verdicts, snapshot.finished)
    store.save_crawl(snapshot, history, keep=config.keep, keep_thinned=config.keep_thinned, changes=changed)
    return _Crawled(snapshot, history, judgement)


def _sighted(store: Store, last: Snapshot | None, family: Family) -> Snapshot | None:
    """Return the newest crawl that was not blind for `family`: most often that is `last`, the newest of all."""
    return last if last is None or family not in last.blind else store.load_crawl(seeing=family)


@dataclass(frozen=True, slots=True)
class _State:
    """What the store has: the newest crawl, the history to judge it by, and what it knows of the targets.

    That is the newest publication of each, the newest of all last, and since when RRsets are held.
    """

    snapshot: Snapshot | None
    history: History
    publications: tuple[Publication, ...] = ()
    holds: Mapping[str, Holds] = field(default_factory=dict)

    @property
    def last(self) -> Publication | None:
        return self.publications[-1] if self.publications else None


def _stored(config: Config, file: Path | None) -> tuple[_State, Snapshot]:
    """Return the state with the crawl to judge: the newest stored one, or that in `file`, which has no history."""
    state = _read_state(config)
    if file is not None:
        return replace(state, history=History()), _load_snapshot(file)
    if state.snapshot is None:
        raise nothing_stored(config)
    return state, state.snapshot


@contextmanager
def stored(config: Config) -> Iterator[Store]:
    """Open the store for reading. Raises StoreError where there is none yet."""
    store = read_store(config.state)
    if store is None:
        raise nothing_stored(config)
    with store:
        yield store


def nothing_stored(config: Config) -> StoreError:
    """Return the error that there is no crawl to work with."""
    return StoreError(f"no crawl is stored in {config.state} yet: run `poolmgr crawl` or `poolmgr run` first")


def _read_state(config: Config) -> _State:
    store = read_store(config.state)
    if store is None:
        return _State(None, History())
    with store:
        return _State(store.load_crawl(), store.load_history(), store.load_publications(), store.load_holds())


def _load_snapshot(path: Path) -> Snapshot:
    try:
        with path.open("rb") as file:
            return from_json(file.read(MAX_OCTETS + 1))
    except OSError as error:
        raise ParseError(f"cannot read {path}: {error.strerror}") from error
    except ParseError as error:
        raise ParseError(f"{path}: {error}: give a file that `poolmgr crawl --output` wrote") from error


def _assess(config: Config, state: _State, snapshot: Snapshot) -> Assessment:
    judgement = judge_next(state.history, snapshot, config.policy, config.pools)
    return _assessed(config, state, snapshot, judgement)


def _assessed(config: Config, state: _State, snapshot: Snapshot, judgement: Judgement) -> Assessment:
    members, chosen = ({}, None) if state.last is None else (state.last.members, state.last.chosen)
    selection = choose(config, judgement, members, chosen)
    doubts = doubts_of(judgement.snapshot, now(), config.zone.max_age)
    return Assessment(snapshot, judgement, selection, doubts)


def choose(config: Config, judgement: Judgement, current: Members, chosen: datetime | None) -> Selection:
    """Return the members of each pool after `judgement`, where `current` are published, of the crawl of `chosen`."""
    return select(
        judgement.verdicts,
        config.pools,
        current,
        judgement.history.reliability,
        judgement.snapshot.finished,
        chosen=chosen,
    )


@dataclass(frozen=True, slots=True)
class _Prepared:
    publisher: Publisher
    published: Published
    plan: Plan
    crawled: datetime


def _prepare(
    config: Config,
    target: ZoneFile | Primary,
    assessment: Assessment,
    state: _State,
    *,
    force: bool,
) -> _Prepared:
    publisher = _publisher(config, target)
    published = publisher.read()
    desired = pool_records(assessment.selection, config.pools)
    serial = None
    if isinstance(target, ZoneFile):
        desired = _zone(config, desired)
        written = (publication.serial for publication in state.publications if publication.target == target.label)
        last = (serial for serial in (published.serial, published.served, *written) if serial is not None)
        serial = next_serial(config.zone.serial, now(), last)
    finished = assessment.snapshot.finished
    plan = make_plan(
        origin=config.zone.origin,
        published=published.records,
        desired=desired,
        limits={} if force else limits_of(config.pools, assessment.doubts),
        serial=published.serial,
        next_serial=serial,
        provenance=f"written by poolmgr {__version__} from the crawl of {finished:%Y-%m-%dT%H:%M:%SZ}",
        at=finished,
        holds=state.holds.get(target.label, {}),
    )
    return _Prepared(publisher, published, plan, finished)


def _publish(
    config: Config, store: Store, target: ZoneFile | Primary, prepared: _Prepared, state: _State
) -> Receipt | None:
    holds = prepared.plan.holds
    # A run that was killed between the rename and the reload left a file that nobody serves: it is published again.
    if not prepared.plan.changes and not prepared.published.is_stale:
        if holds != state.holds.get(target.label, {}):
            store.save_holds(target.label, holds)
        return None
    receipt = prepared.publisher.publish(prepared.plan)
    members = members_of(prepared.plan.records, config.pools)
    # Another TTL or skeleton, or a file that is published again, is no new choice.
    last = state.last
    chosen = last.chosen if last is not None and last.members == members else prepared.crawled
    store.save_publication(Publication(now(), chosen, target.label, receipt.serial, members), holds)
    return receipt


def _publisher(config: Config, target: ZoneFile | Primary) -> Publisher:
    if isinstance(target, ZoneFile):
        return ZoneFilePublisher(target, config.zone.origin)
    return Rfc2136Publisher(target, config.zone.origin, owned_keys(config.pools), load_key(target.key, os.environ))


def _zone(config: Config, records: Records) -> Records:
    if config.zone.skeleton is None:
        raise ZoneError("a zone file needs zone.skeleton: name the master file with the zone's SOA and NS")
    skeleton = from_text(_read(config.zone.skeleton), config.zone.origin, str(config.zone.skeleton))
    return whole_zone(skeleton, records, owned_keys(config.pools), config.zone.origin)


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except OSError as error:
        raise ParseError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ParseError(f"{path}: not UTF-8 text (octet {error.start}): write it anew") from error


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of `folder`. The kernel drops it with the process, however that ends."""
    path = folder / LOCK
    try:
        folder.mkdir(exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise StoreError(f"cannot use the state folder {folder}: {error}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise LockHeld(f"another run holds {path}: nothing was done, the next one will") from error
    try:
        yield
    finally:
        os.close(descriptor)
