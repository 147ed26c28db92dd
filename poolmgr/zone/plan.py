"""Published and desired records to a Plan: what changes, and what a limit holds back."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import dns.name
import dns.rdatatype

from poolmgr.errors import UnsafePlan
from poolmgr.model import Family, Pool
from poolmgr.zone.desired import RDTYPES, with_serial
from poolmgr.zone.records import Records, RRset, RRsetKey


@dataclass(frozen=True, slots=True)
class Change:
    """One RRset that becomes another. `before` is None where it is created, `after` where it is deleted."""

    key: RRsetKey
    before: RRset | None
    after: RRset | None


@dataclass(frozen=True, slots=True)
class Held:
    """A change that a limit holds back: the published RRset stays. `sentence` names the limit and its numbers."""

    change: Change
    sentence: str


@dataclass(frozen=True, slots=True)
class Limits:
    """What one run may do to one RRset of a pool.

    `min_members` is the floor: fewer records than that are not published. `max_removed` is the share of the published
    records that may go at once; one always may, so that a small pool can lose a keyserver. `blind` says how it was
    seen that the crawl was blind for this family, and then nothing may change; None where it did see.
    """

    min_members: int
    max_removed: float
    blind: str | None = None

    def refusal(self, change: Change) -> str | None:
        """Return why `change` is unsafe, with the limit and its numbers, or None where it is safe."""
        before = change.before.rdatas if change.before is not None else frozenset()
        after = change.after.rdatas if change.after is not None else frozenset()
        what = f"{change.key[0].to_text(omit_final_dot=True)} {dns.rdatatype.to_text(change.key[1])}"
        stays = f"the {len(before)} published stay" if before else "nothing is published"
        if self.blind is not None and change.before != change.after:
            return f"{what} would change, but {self.blind}; {stays}"
        if len(after) < self.min_members:
            return f"{what} would have {len(after)} of at least {self.min_members} members (min_members): {stays}"
        allowed = max(1, math.floor(self.max_removed * len(before)))
        removed = len(before - after)
        if removed > allowed:
            return (
                f"{what} would lose {removed} of {len(before)} members, at most {allowed} may go at once "
                f"(max_removed {self.max_removed:.0%}): {stays}"
            )
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What one target is to serve, and how it gets there from what it serves now.

    `records` is all that the target holds afterwards in the plan's scope: the whole zone with its SOA for a zone file,
    the owned RRsets for an update. Where an RRset is held, it is there as published. `serial` is the published SOA
    serial, None where nothing is published; `next_serial` the one that `records` has, None where nothing changes or the
    primary counts. `provenance` is one line of text that says what made the plan.
    """

    origin: dns.name.Name
    records: Records
    changes: tuple[Change, ...]
    held: tuple[Held, ...]
    unchanged: int
    serial: int | None
    next_serial: int | None
    provenance: str

    @property
    def refusal(self) -> UnsafePlan | None:
        """The error that has a sentence for each limit that holds something back, None where nothing is held."""
        return UnsafePlan("\n".join(held.sentence for held in self.held)) if self.held else None


def limits_of(pools: Iterable[Pool], blind: Mapping[Family, str]) -> Mapping[RRsetKey, Limits]:
    """Return the limits of every RRset that `pools` promise. `blind` is that of the Snapshot."""
    told = {family: f"the crawl was blind for {family}: {sentence}" for family, sentence in blind.items()}
    return {
        (pool.name, RDTYPES[family]): Limits(pool.min_members.get(family, 0), pool.max_removed, told.get(family))
        for pool in pools
        for family in sorted(pool.families, key=list(Family).index)
    }


def make_plan(
    *,
    origin: dns.name.Name,
    published: Records,
    desired: Records,
    limits: Mapping[RRsetKey, Limits],
    serial: int | None,
    next_serial: int | None,
    provenance: str,
) -> Plan:
    """Return the plan that turns `published` into `desired`, held back where `limits` refuse a change.

    No `limits`: nothing is held (that is what --force means). `serial` is the published SOA serial and `next_serial`
    the one to publish, None where the primary counts; serials alone are not a change. A zone that was never published
    is not born without any of its pools: then all of it is held.
    """
    published_as, desired_as = with_serial(published, origin, 0), with_serial(desired, origin, 0)
    numbered = with_serial(desired, origin, next_serial or 0)
    changes, held = [], []
    for key in sorted({*published, *desired, *limits}):
        change = Change(key, published.get(key), numbered.get(key))
        is_same = published_as.get(key) == desired_as.get(key)
        refusal = None
        if key in limits and not (is_same and key in published):
            refusal = limits[key].refusal(change)
        if refusal is not None:
            held.append(Held(change, refusal))
        elif not is_same:
            changes.append(change)
    if not published and held and not any(change.key in limits for change in changes):
        changes = []
    records = _applied(published, changes)
    if changes and next_serial is not None:
        records = with_serial(records, origin, next_serial)
    return Plan(
        origin=origin,
        records=records,
        changes=tuple(changes),
        held=tuple(held),
        unchanged=len(records) - sum(change.after is not None for change in changes),
        serial=serial,
        next_serial=next_serial if changes else None,
        provenance=provenance,
    )


def _applied(published: Records, changes: Iterable[Change]) -> Records:
    records = dict(published)
    for change in changes:
        records.pop(change.key, None)
        if change.after is not None:
            records[change.key] = change.after
    return records
