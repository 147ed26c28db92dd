"""One cycle, put together: crawl, judge, select, plan, publish, under one lock.

The composition root: it alone knows the clock and chance, and which publisher serves which target of the config.
"""

from __future__ import annotations

import fcntl
import logging
import os
import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from poolmgr.assessing import Assessment, State, assess, assessed, crawl_to_judge, read_state, restored, state_of
from poolmgr.config import Config, Target
from poolmgr.crawl.blindness import blindness
from poolmgr.crawl.geo import check_geography
from poolmgr.crawl.known import known_keyservers
from poolmgr.crawl.membership import parse_membership
from poolmgr.crawl.observer import Observer
from poolmgr.crawl.resolve import Resolver
from poolmgr.crawl.selfcheck import check_up
from poolmgr.crawl.spider import Crawl
from poolmgr.crawl.spider import crawl as crawl_mesh
from poolmgr.crawl.trust import load_trust
from poolmgr.errors import LockHeld, PoolmgrError, Stopped, StoreError, UnsafePlan
from poolmgr.hosts import Host
from poolmgr.judge.alone import among, is_serving
from poolmgr.judge.changes import changes_of
from poolmgr.judge.history import History, Judgement, judge_next
from poolmgr.model import Family, Service, Snapshot, Verdict
from poolmgr.publish.checkers import find_checkers
from poolmgr.publish.zonefile import ZoneFile
from poolmgr.publishing import Result, largest_answers, outcome_of, planned, publisher_of, read_text, with_skeleton
from poolmgr.publishing import publish as publish_to
from poolmgr.report import detail
from poolmgr.store.database import Store, open_store
from poolmgr.store.publications import PAST_PUBLICATIONS, PastState
from poolmgr.store.runs import Command, Run

LOCK = "poolmgr.lock"

BEFORE, AFTER = "before the crawl", "after the crawl"
"""When the self-check is made: an outage that begins or ends during the crawl is seen by one of them."""

_LOG = logging.getLogger(__name__)

Watch = Callable[[Crawl], AbstractContextManager[Observer]]
"""Opens what looks on while that crawl is made, and may stop it."""


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
    """Return a sentence for every problem in what `config` names: membership, roots, skeletons, keys, checkers."""
    steps: list[Callable[[], object]] = [partial(_with_membership, config), partial(load_trust, config.crawl.ca_file)]
    steps.append(partial(check_geography, config.crawl.geography))
    steps.extend(partial(with_skeleton, zone, {}) for zone in config.zones if zone.skeleton is not None)
    steps.extend(partial(publisher_of, target) for target in config.targets)
    checks = (target.at.checks for target in config.targets if isinstance(target.at, ZoneFile))
    steps.extend(partial(find_checkers, each) for each in checks)
    problems = []
    for step in steps:
        try:
            step()
        except PoolmgrError as error:
            problems.extend(str(error).splitlines())
    return tuple(problems)


def check_sizes(config: Config) -> tuple[str, ...]:
    """Return a sentence for each answer that full pools of `config`, which `check` finds nothing in, make too large."""
    return tuple(sentence for zone in config.zones for sentence in largest_answers(zone))


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
    state = read_state(config)
    # By itself: what was measured now counts, whatever was seen before.
    assessment = assess(config, replace(state, history=History()), among(snapshot, state.snapshot))
    names = {keyserver.name for keyserver in snapshot.keyservers}
    verdicts = tuple(verdict for verdict in assessment.selection.verdicts if verdict.keyserver in names)
    is_reachable = any(is_serving(verdict) for verdict in verdicts if verdict.pool == config.pools[0].name)
    return Examination(snapshot, verdicts, is_reachable)


def plan(config: Config, file: Path | None, *, force: bool = False) -> tuple[Assessment, tuple[Result, ...]]:
    """Return what `publish` would do at each target with the crawl in `file`, else the newest stored.

    Changes nothing.
    """
    state, snapshot = crawl_to_judge(config, read_state(config), file)
    assessment = assess(config, state, snapshot)
    return assessment, _of_each_target(config, lambda target: planned(target, assessment, state, now(), force=force))


def run(config: Config, watch: Watch, *, force: bool) -> tuple[Assessment, tuple[Result, ...]]:
    """Crawl, judge, select, plan and publish, under one lock; return how each target fared.

    One target's failure is in its result and does not stop the others. With `force` no limit holds anything back.
    """
    with _recorded(config, Command.RUN) as store:
        try:
            crawled = _crawl(config, store, watch)
        except Stopped:
            raise
        except PoolmgrError:
            _keep_up(config, store)
            raise
        state = State(crawled.snapshot, crawled.history, store.load_publications(), store.load_holds())
        assessment = assessed(config, state, crawled.snapshot, crawled.judgement)
        return assessment, _publish(config, store, Command.RUN, assessment, state, force=force)


def publish(config: Config, *, force: bool) -> tuple[Assessment, tuple[Result, ...]]:
    """Do what `run` does after the crawl, by the newest stored one."""
    with _recorded(config, Command.PUBLISH) as store:
        state, snapshot = crawl_to_judge(config, state_of(store), None)
        assessment = assess(config, state, snapshot)
        return assessment, _publish(config, store, Command.PUBLISH, assessment, state, force=force)


def rollback(config: Config, to: PastState, *, force: bool) -> tuple[Assessment, tuple[Result, ...]]:
    """Publish the members of an earlier publication again, within the limits; what the last crawl was like is no doubt.

    Raises StoreError where the store does not have it.
    """
    with _recorded(config, Command.ROLLBACK) as store:
        publication = to.find(store.load_past_publications(PAST_PUBLICATIONS))
        state, snapshot = crawl_to_judge(config, state_of(store), None)
        assessment = restored(config, assess(config, state, snapshot), publication)
        return assessment, _publish(config, store, Command.ROLLBACK, assessment, state, force=force)


def _keep_up(config: Config, store: Store) -> None:
    """Publish by the newest stored crawl, where no new one could be made and a zone has a fallback for that.

    That crawl is most often too old to change anything but this.
    """
    state = state_of(store)
    if state.snapshot is None or all(zone.fallback_after is None for zone in config.zones):
        return
    assessment = assess(config, state, state.snapshot)
    for result in _publish(config, store, Command.RUN, assessment, state, force=False):
        if result.receipt is not None:
            _LOG.warning("%s", result.receipt.sentence)
        if result.error is not None:
            for line in str(result.error).splitlines():
                _LOG.error("%s: %s", result.label, line)


def exit_code_of(results: Iterable[Result]) -> int:
    """Return the exit code of the first failure, else of the first plan that was held, else 0."""
    errors = [result.error for result in results if result.error is not None]
    errors.sort(key=lambda error: isinstance(error, UnsafePlan))
    return errors[0].exit_code if errors else 0


@contextmanager
def _recorded(config: Config, command: Command) -> Iterator[Store]:
    """Open the store under the lock, and store what stopped the run where something does."""
    with locked(config.state), open_store(config.state) as store:
        try:
            yield store
        except PoolmgrError as error:
            # A store that fails is what stopped the run: it is not to hide that.
            with suppress(StoreError):
                store.save_run(Run(at=now(), command=command, exit_code=error.exit_code, error=str(error)))
            raise


def _publish(
    config: Config, store: Store, command: Command, assessment: Assessment, state: State, *, force: bool
) -> tuple[Result, ...]:
    """Publish to each target, and store how that went."""
    results = _of_each_target(config, lambda target: publish_to(target, assessment, state, store, now, force=force))
    crawled = assessment.snapshot.finished
    outcomes = tuple(map(outcome_of, results))
    ended = Run(at=now(), command=command, exit_code=exit_code_of(results), crawled=crawled, outcomes=outcomes)
    try:
        store.save_run(ended)
    except StoreError as error:
        # What was published is to be shown all the same.
        if not results or results[-1].error is not None:
            raise
        return (*results[:-1], replace(results[-1], error=error))
    return results


def _of_each_target(config: Config, attempt: Callable[[Target], Result]) -> tuple[Result, ...]:
    """Return the result of `attempt` at each target; one that fails does not stop the others."""
    results = []
    for target in config.targets:
        try:
            results.append(attempt(target))
        except PoolmgrError as error:
            results.append(Result(target=target, error=error))
    return tuple(results)


def _with_membership(config: Config) -> Crawl:
    """Return the configured crawl with the peers of the membership file among its seeds."""
    if config.membership is None:
        return config.crawl
    peers = parse_membership(read_text(config.membership), str(config.membership))
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


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of `folder`. The kernel drops it with the process, however that ends."""
    path = folder / LOCK
    try:
        folder.mkdir(exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise StoreError(
            f"cannot use the state folder {folder}: {error.strerror}: make it, and let this user write there"
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise LockHeld(f"another run holds {path}: nothing was done, the next one will") from error
    try:
        yield
    finally:
        os.close(descriptor)
