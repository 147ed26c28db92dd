"""The store's newest crawl, or one from a file, and what it amounts to under a config: judged and selected from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from poolmgr.config import Config
from poolmgr.errors import ParseError, StoreError
from poolmgr.judge.history import History, Judgement, judge_next
from poolmgr.judge.selection import Members, select
from poolmgr.model import Selection, Snapshot
from poolmgr.report.snapshot import MAX_OCTETS, from_json
from poolmgr.store.database import Store, read_store
from poolmgr.store.publications import Publication
from poolmgr.zone.plan import Holds


@dataclass(frozen=True, slots=True)
class Assessment:
    """What a crawl amounts to under a config: the judgement, and the selection made from it.

    With `restored` the members are those of that publication instead, whatever the crawl says.
    """

    snapshot: Snapshot
    judgement: Judgement
    selection: Selection
    restored: Publication | None = None


@dataclass(frozen=True, slots=True)
class State:
    """What the store has: the newest crawl, the history to judge it by, and what it knows of the targets.

    That is the newest publication of each, the newest of all last, and since when RRsets are held.
    """

    snapshot: Snapshot | None
    history: History
    publications: tuple[Publication, ...] = ()
    holds: Mapping[str, Holds] = field(default_factory=dict)

    @property
    def last(self) -> Publication | None:
        """The newest publication of all, which has the members of all pools."""
        return self.publications[-1] if self.publications else None


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


def read_state(config: Config) -> State:
    """Return what the store has, an empty state where there is no store."""
    store = read_store(config.state)
    if store is None:
        return State(None, History())
    with store:
        return state_of(store)


def state_of(store: Store) -> State:
    """Return what `store` has."""
    return State(store.load_crawl(), store.load_history(), store.load_publications(), store.load_holds())


def crawl_to_judge(config: Config, state: State, file: Path | None) -> tuple[State, Snapshot]:
    """Return the crawl in `file`, which has no history, else the newest stored one; and the state to judge it by."""
    if file is not None:
        return replace(state, history=History()), _load_snapshot(file)
    if state.snapshot is None:
        raise nothing_stored(config)
    return state, state.snapshot


def _load_snapshot(path: Path) -> Snapshot:
    try:
        with path.open("rb") as file:
            return from_json(file.read(MAX_OCTETS + 1))
    except OSError as error:
        raise ParseError(f"cannot read {path}: {error.strerror}") from error
    except ParseError as error:
        raise ParseError(f"{path}: {error}: give a file that `poolmgr crawl --output` wrote") from error


def assess(config: Config, state: State, snapshot: Snapshot) -> Assessment:
    """Return what `snapshot` amounts to, judged by the history of `state`."""
    return assessed(config, state, snapshot, judge_next(state.history, snapshot, config.policy, config.pools))


def assessed(config: Config, state: State, snapshot: Snapshot, judgement: Judgement) -> Assessment:
    """Return what `snapshot`, already judged, amounts to where the members of `state` are published."""
    members, chosen = ({}, None) if state.last is None else (state.last.members, state.last.chosen)
    return Assessment(snapshot, judgement, choose(config, judgement, members, chosen))


def restored(config: Config, assessment: Assessment, publication: Publication) -> Assessment:
    """Return `assessment` with the members that `publication` has, as far as the pools of `config` are for them."""
    promised = {(pool.name, family) for pool in config.pools for family in pool.families}
    members = {key: tuple(each) for key, each in publication.members.items() if key in promised}
    return replace(assessment, selection=replace(assessment.selection, members=members), restored=publication)


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
