"""One target: its plan against what it serves now, and carrying that out."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import dns.name

from poolmgr import __version__
from poolmgr.assessing import Assessment, State
from poolmgr.config import Target, Zone
from poolmgr.errors import Conflict, ParseError, PoolmgrError, PublishError, UnsafePlan, ZoneError
from poolmgr.model import Family
from poolmgr.publish.rfc2136 import Primary, Rfc2136Publisher
from poolmgr.publish.target import Published, Publisher, Receipt
from poolmgr.publish.tsig import load_key
from poolmgr.publish.zonefile import ZoneFile, ZoneFilePublisher
from poolmgr.store.database import Store
from poolmgr.store.publications import Publication
from poolmgr.store.runs import Fate, Outcome
from poolmgr.zone.companions import companions, most_records
from poolmgr.zone.desired import members_of, owned_keys, pool_records
from poolmgr.zone.marker import check_markers, marker_key, marker_records
from poolmgr.zone.plan import Limits, Plan, doubts_of, limits_of, make_plan
from poolmgr.zone.records import Records, RRsetKey
from poolmgr.zone.serial import next_serial
from poolmgr.zone.sizes import oversized, refuse_too_many
from poolmgr.zone.skeleton import read_skeleton
from poolmgr.zone.stuck import stuck

Clock = Callable[[], datetime]
"""Gives the time, aware UTC."""

ATTEMPTS = 3
"""How often a plan is made for a target that somebody else changes in between."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How one target fared: `plan` is None where an error came first, `receipt` where nothing was published.

    `error` is what failed, or UnsafePlan where the plan held something back; what it did not hold is published then.
    """

    target: Target
    plan: Plan | None = None
    receipt: Receipt | None = None
    error: PoolmgrError | None = None

    @property
    def label(self) -> str:
        """What people call the target."""
        return self.target.label

    @property
    def warnings(self) -> tuple[str, ...]:
        """A sentence for each answer that the plan makes larger than clients expect."""
        if self.plan is None:
            return ()
        return tuple(oversized(self.plan.records, owned_keys(self.target.zone.pools), self.plan.origin))


def outcome_of(result: Result) -> Outcome:
    """Return what is stored of `result`."""
    serial = None if result.receipt is None else result.receipt.serial
    if result.error is not None:
        fate = Fate.HELD if isinstance(result.error, UnsafePlan) else Fate.FAILED
    else:
        fate = Fate.UNCHANGED if result.receipt is None else Fate.PUBLISHED
    return Outcome(result.label, fate, str(result.error or ""), serial)


@dataclass(frozen=True, slots=True)
class Prepared:
    """The plan for a target, what it holds, and who will carry the plan out."""

    publisher: Publisher
    published: Published
    plan: Plan


def planned(target: Target, assessment: Assessment, state: State, at: datetime, *, force: bool) -> Result:
    """Return what `publish` would do at `at`."""
    plan = _prepare(target, assessment, state, at, force=force).plan
    return Result(target=target, plan=plan, error=plan.refusal)


def publish(target: Target, assessment: Assessment, state: State, store: Store, clock: Clock, *, force: bool) -> Result:
    """Make `target` serve what `assessment` selects, as far as no limit holds it back, and store what was published.

    It is planned again where somebody else changed the target in between. With `force` nothing is held back.
    """
    for _ in range(ATTEMPTS - 1):
        with suppress(Conflict):
            return _attempt(target, assessment, state, store, clock, force=force)
    return _attempt(target, assessment, state, store, clock, force=force)


def _attempt(
    target: Target, assessment: Assessment, state: State, store: Store, clock: Clock, *, force: bool
) -> Result:
    prepared = _prepare(target, assessment, state, clock(), force=force)
    receipt = _carry_out(target, prepared, store, state, assessment, clock)
    error: PoolmgrError | None = prepared.plan.refusal
    if receipt is not None and receipt.failure is not None:
        # Exit code 1 goes before 3, and neither sentence may hide the other.
        error = receipt.failure if error is None else PublishError(f"{receipt.failure}\n{error}")
    return Result(target=target, plan=prepared.plan, receipt=receipt, error=error)


def _prepare(target: Target, assessment: Assessment, state: State, at: datetime, *, force: bool) -> Prepared:
    publisher = publisher_of(target)
    published = publisher.read()
    zone, marker = target.zone, target.at.marker
    if marker is not None:
        check_markers(published.records, _names(zone), marker)
    limits = {} if force else limits_of(zone.pools, _doubts(zone, assessment, at))
    holds = state.holds.get(target.label, {})
    addresses = pool_records(assessment.selection, zone.pools)
    given_up = stuck(
        pools=zone.pools,
        published=published.records,
        desired=addresses,
        limits=limits,
        holds=holds,
        crawled=assessment.snapshot.finished,
        at=at,
        after=zone.fallback_after,
    )
    addresses = {**addresses, **{key: each.fallback for key, each in given_up.items()}}
    limits = {key: each for key, each in limits.items() if key not in given_up}
    desired = {**addresses, **_beside(zone, assessment, published.records, addresses, limits)}
    if marker is not None:
        desired = {**desired, **marker_records(_names(zone), marker)}
    is_file = isinstance(target.at, ZoneFile)
    plan = make_plan(
        origin=zone.origin,
        published=published.records,
        desired=with_skeleton(zone, desired, marker) if is_file else desired,
        limits=limits,
        at=assessment.snapshot.finished,
        holds=holds,
        serial=published.serial,
        next_serial=_next_serial(target, published, state, at) if is_file else None,
        provenance=_provenance(assessment, at),
    )
    # They stay held: the next crawl that is believed begins anew.
    plan = replace(plan, held=(*plan.held, *(each.held for each in given_up.values())))
    refuse_too_many(plan.records)
    return Prepared(publisher, published, plan)


def _doubts(zone: Zone, assessment: Assessment, at: datetime) -> Mapping[Family, str]:
    # Restored members are not from the last crawl, whatever that was like.
    return {} if assessment.restored is not None else doubts_of(assessment.judgement.snapshot, at, zone.max_age)


def _next_serial(target: Target, published: Published, state: State, at: datetime) -> int:
    """Return a serial that is newer than those in the file of `target`, of what it serves, and last published."""
    written = (publication.serial for publication in state.publications if publication.target == target.label)
    last = (serial for serial in (published.serial, published.served, *written) if serial is not None)
    return next_serial(target.zone.serial, at, last)


def _beside(
    zone: Zone, assessment: Assessment, published: Records, addresses: Records, limits: Mapping[RRsetKey, Limits]
) -> Records:
    """Return the SRV records, labels and TXT that go with those of `addresses` that `limits` let through."""
    if all(pool.srv is None and pool.txt is None for pool in zone.pools):
        return {}
    settled = make_plan(
        origin=zone.origin,
        published=published,
        desired=addresses,
        limits=limits,
        at=assessment.snapshot.finished,
    )
    judgement = assessment.judgement
    reliability = judgement.history.reliability
    return companions(zone.pools, settled, published, judgement.snapshot, assessment.selection, reliability)


def _provenance(assessment: Assessment, at: datetime) -> str:
    restored = assessment.restored
    source = f"the crawl of {assessment.snapshot.finished:%Y-%m-%dT%H:%M:%SZ}"
    if restored is not None:
        source = f"the publication of {restored.at:%Y-%m-%dT%H:%M:%SZ}, which was rolled back to"
    written = f"{at:%Y-%m-%dT%H:%M:%SZ}"
    return f"written by poolmgr {__version__} at {written} from {source}; the next run overwrites it"


def _carry_out(
    target: Target, prepared: Prepared, store: Store, state: State, assessment: Assessment, clock: Clock
) -> Receipt | None:
    holds = prepared.plan.holds
    # A run that was killed between the rename and the reload left a file that nobody serves: it is published again.
    if not prepared.plan.changes and not prepared.published.is_stale:
        if holds != state.holds.get(target.label, {}):
            store.save_holds(target.label, holds)
        return None
    receipt = prepared.publisher.publish(prepared.plan)
    # The target before this one may have published other members: those of the other zones are as it left them.
    before = [publication.members for publication in store.load_publications()[-1:]]
    own = {pool.name for pool in target.zone.pools}
    others = {key: each for members in before for key, each in members.items() if key[0] not in own}
    members = {**others, **members_of(prepared.plan.records, target.zone.pools)}
    # Another TTL or skeleton, or a file that is published again, is no new choice.
    chosen = assessment.snapshot.finished if assessment.restored is None else assessment.restored.chosen
    if state.last is not None and state.last.members == members:
        chosen = state.last.chosen
    store.save_publication(Publication(clock(), chosen, target.label, receipt.serial, members), holds)
    return receipt


def publisher_of(target: Target) -> Publisher:
    """Return who reads and changes `target`. Raises PublishError where its key cannot be loaded."""
    if isinstance(target.at, ZoneFile):
        return ZoneFilePublisher(target.at, target.zone.origin)
    return updater_of(target.zone, target.at)


def updater_of(zone: Zone, primary: Primary) -> Rfc2136Publisher:
    """Return who sends the updates of `zone` to `primary`. Raises PublishError where its key cannot be loaded."""
    return Rfc2136Publisher(
        primary,
        zone.origin,
        _owned(zone, primary.marker),
        load_key(primary.key, os.environ),
        pools=_names(zone),
        read_key=None if primary.read_key is None else load_key(primary.read_key, os.environ),
    )


def _names(zone: Zone) -> tuple[dns.name.Name, ...]:
    return tuple(pool.name for pool in zone.pools)


def _owned(zone: Zone, marker: str | None) -> frozenset[RRsetKey]:
    """Return every RRset of `zone` that is ours: markers only where we set them, since others may set them too."""
    return owned_keys(zone.pools) | (set() if marker is None else {marker_key(pool) for pool in _names(zone)})


def largest_answers(zone: Zone) -> tuple[str, ...]:
    """Return a sentence for each answer that would be larger than clients expect with as many members as may be."""
    records = most_records(zone.pools)
    if zone.skeleton is not None:
        records = with_skeleton(zone, records)
    return tuple(oversized(records, owned_keys(zone.pools), zone.origin))


def with_skeleton(zone: Zone, records: Records, marker: str | None = None) -> Records:
    """Return the whole of `zone`: its skeleton and `records`. Raises ZoneError where they do not go together."""
    if zone.skeleton is None:
        raise ZoneError("a zone file needs zone.skeleton: name the master file with the zone's SOA and NS")
    owned = _owned(zone, marker).union(records)
    skeleton = read_skeleton(str(zone.skeleton), zone.origin, owned, lambda path: read_text(Path(path)))
    return {**skeleton, **records}


def read_text(path: Path) -> str:
    """Return the text of a file. Raises ParseError where it cannot be read or is not UTF-8."""
    try:
        return path.read_text("utf-8")
    except OSError as error:
        raise ParseError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ParseError(f"{path}: not UTF-8 text (octet {error.start}): write it anew") from error
