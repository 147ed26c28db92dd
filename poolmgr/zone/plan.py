"""Published and desired records to a Plan: what changes, and what a limit holds back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import MappingProxyType

import dns.name
import dns.rdata
import dns.rdatatype

from poolmgr.errors import UnsafePlan
from poolmgr.hosts import name_text
from poolmgr.model import Family, Snapshot
from poolmgr.pools import Allowance, Pool
from poolmgr.zone.desired import RDTYPES, address_rdatas, with_serial
from poolmgr.zone.records import Records, RRset, RRsetKey


@dataclass(frozen=True, slots=True)
class Change:
    """One RRset that becomes another. `before` is None where it is created, `after` where it is deleted."""

    key: RRsetKey
    before: RRset | None
    after: RRset | None


@dataclass(frozen=True, slots=True)
class Held:
    """A change that a limit holds back: the published RRset stays. `sentence` names the limit and its numbers.

    `since` is the end of the crawl from which on the RRset is held, whatever the limit, and `lasted` the time from then
    to the end of the plan's crawl: zero where that is the first.
    """

    change: Change
    sentence: str
    since: datetime
    lasted: timedelta

    @property
    def told(self) -> str:
        """The sentence, and since when that is so where it is not the first time."""
        if not self.lasted:
            return self.sentence
        return f"{self.sentence}; held since {self.since:%Y-%m-%d %H:%M} UTC, {lasting(self.lasted)}"


Holds = Mapping[RRsetKey, datetime]
"""Since when each RRset of one target is held: those that are not held are not in it."""

_NOTHING_HELD: Holds = MappingProxyType({})

MAX_AGE = timedelta(hours=1)
"""How old a crawl may be by default when something is published by it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one run may do to one RRset of a pool.

    `min_members` is the floor: fewer records than that are not published. `max_removed` is how many of the published
    records may go at once, and `max_added` how many may come beside them; one always may, so that a small pool can lose
    and gain a keyserver. Neither holds for a change to or from an RRset that has only records of `fallback`: they are
    the operator's choice. `doubt` says why the crawl is not believed, and then nothing
    changes; None where it is.
    """

    min_members: int
    max_removed: Allowance
    max_added: Allowance | None = None
    fallback: frozenset[dns.rdata.Rdata] = frozenset()
    doubt: str | None = None

    def refusal(self, change: Change) -> str | None:
        """Return why `change` is unsafe, with the limit and its numbers, or None where it is safe."""
        before = change.before.rdatas if change.before is not None else frozenset()
        after = change.after.rdatas if change.after is not None else frozenset()
        what = f"{name_text(change.key[0])} {dns.rdatatype.to_text(change.key[1])}"
        stays = f"the {len(before)} published stay" if before else "nothing is published"
        if self.doubt is not None and (before or after):
            return f"{what} is left as it is: {self.doubt}; {stays}"
        if len(after) < self.min_members:
            return f"{what} would have {len(after)} of at least {self.min_members} members (min_members): {stays}"
        # That holds for nothing published as well: a pool may begin at any size.
        if before <= self.fallback or (after and after <= self.fallback):
            return None
        removed, may_go = len(before - after), self.max_removed.of(len(before))
        if may_go is not None and removed > may_go:
            return (
                f"{what} would lose {removed} of {len(before)} members, at most {may_go} may go at once "
                f"(max_removed {self.max_removed}): {stays}"
            )
        added, may_come = len(after - before), None if self.max_added is None else self.max_added.of(len(before))
        if may_come is not None and added > may_come:
            return (
                f"{what} would gain {added} members beside {len(before)}, at most {may_come} may come at once "
                f"(max_added {self.max_added}): {stays}"
            )
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What one target is to serve, and how it gets there from what it serves now.

    `records` is all that the target holds afterwards in the plan's scope: the whole zone with its SOA for a zone file,
    the owned RRsets for an update. Where an RRset is held, it is there as published. `serial` is the published SOA
    serial, None where nothing is published; `next_serial` the one that `records` has, None where nothing changes or the
    primary counts. `provenance` is one line of text that says what made the plan. `limits` are those that it was made
    within.
    """

    origin: dns.name.Name
    records: Records
    changes: tuple[Change, ...]
    held: tuple[Held, ...]
    unchanged: int
    serial: int | None
    next_serial: int | None
    provenance: str
    limits: Mapping[RRsetKey, Limits] = field(default_factory=dict)

    @property
    def refusal(self) -> UnsafePlan | None:
        """The error that has a sentence for each limit that holds something back, None where nothing is held."""
        return UnsafePlan("\n".join(held.told for held in self.held)) if self.held else None

    @property
    def holds(self) -> Holds:
        """What the next plan for the same target is to know of this one."""
        return {held.change.key: held.since for held in self.held}


def doubts_of(snapshot: Snapshot, at: datetime, max_age: timedelta) -> Mapping[Family, str]:
    """Return, for each family for which a judged crawl is not to be believed at `at`, why: the start of a sentence.

    It was blind for it by the judgement, or is older than `max_age`.
    """
    age = at - snapshot.finished
    if age <= max_age:
        return snapshot.blind
    old = f"the crawl is {lasting(age)} old, at most {lasting(max_age)} is believed (max_age)"
    return {**dict.fromkeys(Family, old), **snapshot.blind}


def lasting(time: timedelta) -> str:
    """Return `time` as sentences tell it, in minutes or hours."""
    minutes = time.total_seconds() / 60
    return f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h"


def limits_of(pools: Iterable[Pool], doubts: Mapping[Family, str]) -> Mapping[RRsetKey, Limits]:
    """Return the limits of every RRset that `pools` promise. `doubts` are those of `doubts_of`."""
    return {
        (pool.name, RDTYPES[family]): Limits(
            min_members=pool.min_members.get(family, 0),
            max_removed=pool.max_removed,
            max_added=pool.max_added,
            fallback=address_rdatas(address for address in pool.fallback if Family.of(address) is family),
            doubt=doubts.get(family),
        )
        for pool in pools
        for family in sorted(pool.families, key=list(Family).index)
    }


def make_plan(
    *,
    origin: dns.name.Name,
    published: Records,
    desired: Records,
    limits: Mapping[RRsetKey, Limits],
    at: datetime,
    holds: Holds = _NOTHING_HELD,
    serial: int | None = None,
    next_serial: int | None = None,
    provenance: str = "",
) -> Plan:
    """Return the plan that turns `published` into `desired`, held back where `limits` refuse a change.

    No `limits`: nothing is held (that is what --force means). `serial` is the published SOA serial, and `next_serial`
    the one to publish, None where the primary counts; serials alone are not a change. A zone that was never published
    is not born without any of its pools: then all of it is held. `at` is the end of the crawl, and `holds` those of the
    last plan that was carried out.
    """
    published_as, desired_as = with_serial(published, origin, 0), with_serial(desired, origin, 0)
    numbered = with_serial(desired, origin, next_serial or 0)
    changes, held = [], []
    for key in sorted({*published, *desired, *limits}):
        change = Change(key, published.get(key), numbered.get(key))
        is_same = published_as.get(key) == desired_as.get(key)
        refusal = refusal_of(change, limits)
        if refusal is not None:
            since = min(holds.get(key, at), at)
            held.append(Held(change, refusal, since, at - since))
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
        limits=limits,
    )


def refusal_of(change: Change, limits: Mapping[RRsetKey, Limits]) -> str | None:
    """Return why `limits` hold `change` back, None where they do not."""
    of = limits.get(change.key)
    # Where the crawl is not believed, nobody knows whether what would stay should.
    if of is None or (change.before is not None and change.before == change.after and of.doubt is None):
        return None
    return of.refusal(change)


def _applied(published: Records, changes: Iterable[Change]) -> Records:
    records = dict(published)
    for change in changes:
        records.pop(change.key, None)
        if change.after is not None:
            records[change.key] = change.after
    return records
