"""How what is published is kept up: what the store has of it, and what the targets give now."""

from __future__ import annotations

from datetime import timedelta

from poolmgr import pipeline
from poolmgr.assessing import read_state, stored
from poolmgr.config import Config, Target
from poolmgr.errors import PoolmgrError
from poolmgr.publish.secondaries import LONGEST_QUESTION, seen_at
from poolmgr.publish.wire import Server
from poolmgr.publishing import publisher_of
from poolmgr.report.status import Secondary, Status
from poolmgr.report.status import Target as TargetStatus
from poolmgr.zone.serial import is_newer


def status(config: Config, max_age: timedelta) -> Status:
    """Return how things stand: what the store has of the last run, and the serial that each target gives now."""
    state = read_state(config)
    if state.snapshot is None:
        return Status(at=pipeline.now(), max_age=max_age, crawled=None, run=None, exit_code=0, error="", targets=())
    with stored(config) as store:
        run, confirmed = store.load_run(), store.load_confirmed()
    outcomes = {} if run is None else {outcome.target: outcome for outcome in run.outcomes}
    written = {publication.target: publication.serial for publication in state.publications}

    targets = []
    for target in config.targets:
        seen, problem = _seen(target)
        last, outcome = written.get(target.label), outcomes.get(target.label)
        targets.append(
            TargetStatus(
                label=target.label,
                confirmed=confirmed.get(target.label),
                holds=state.holds.get(target.label, {}),
                written=last,
                seen=seen,
                problem=problem,
                fate="" if outcome is None else outcome.fate,
                sentence="" if outcome is None else outcome.sentence,
                secondaries=_secondaries(target, last if seen is None else seen),
            )
        )
    return Status(
        at=pipeline.now(),
        max_age=max_age,
        crawled=state.snapshot.finished,
        run=None if run is None else run.at,
        exit_code=0 if run is None else run.exit_code,
        error="" if run is None else run.error,
        targets=tuple(targets),
    )


def _seen(target: Target) -> tuple[int | None, str]:
    """Return the serial that `target` gives now, and what is wrong with it where something is."""
    try:
        found = publisher_of(target).read()
    except PoolmgrError as error:
        return None, str(error)
    if found.is_stale and found.served is None:
        return None, "no name server of verify gives its serial: see that it runs and has the zone"
    return found.serial if found.served is None else found.served, ""


def _secondaries(target: Target, serial: int | None) -> tuple[Secondary, ...]:
    """Return the secondaries of `target`, which has `serial`, as they are now."""
    servers = [Server(address, port, LONGEST_QUESTION) for address, port in target.at.secondaries]
    found = []
    for server, seen in zip(servers, seen_at(target.zone.origin, servers), strict=True):
        found.append(
            Secondary(
                address=server.address,
                port=server.port,
                seen=seen if isinstance(seen, int) else None,
                is_behind=not isinstance(seen, int) or (serial is not None and is_newer(serial, seen)),
                is_required=target.at.secondaries_required,
                problem="" if isinstance(seen, int) else str(seen),
            )
        )
    return tuple(found)
