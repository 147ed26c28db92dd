"""What has been held for too long, and is given up for the fallback."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import dns.rdatatype

from poolmgr.hosts import name_text
from poolmgr.model import Family
from poolmgr.pools import Pool
from poolmgr.zone.desired import RDTYPES, address_rdatas
from poolmgr.zone.plan import Change, Held, Holds, Limits, lasting, refusal_of
from poolmgr.zone.records import Records, RRset, RRsetKey


@dataclass(frozen=True, slots=True)
class Stuck:
    """An RRset that is held for longer than it may be: `fallback` is to take its place, and `held` says why."""

    fallback: RRset
    held: Held


def stuck(
    *,
    pools: Iterable[Pool],
    published: Records,
    desired: Records,
    limits: Mapping[RRsetKey, Limits],
    holds: Holds,
    crawled: datetime,
    at: datetime,
    after: timedelta | None,
) -> Mapping[RRsetKey, Stuck]:
    """Return what `limits` hold at `at` and have held for longer than `after`, as far as its pool has a fallback.

    `crawled` is the end of the newest crawl, and `holds` those of the last plan that was carried out; None for `after`
    is never. A change that only adds is held without harm, and is not in it.
    """
    if after is None:
        return {}
    found = {}
    fallbacks = _fallbacks(pools)
    for key, of in limits.items():
        change, fallback = Change(key, published.get(key), desired.get(key)), fallbacks.get(key)
        sentence, since = refusal_of(change, limits), min(holds.get(key, crawled), crawled)
        if fallback is None or sentence is None or at - since <= after:
            continue
        if of.doubt is None and not _loses(change):
            continue
        what = f"{name_text(key[0])} {dns.rdatatype.to_text(key[1])}"
        told = (
            f"{sentence}; that is so for longer than {lasting(after)} (fallback_after), and the fallback of "
            f"{what} is published instead"
        )
        found[key] = Stuck(fallback, Held(Change(key, change.before, fallback), told, since, at - since))
    return found


def _fallbacks(pools: Iterable[Pool]) -> Mapping[RRsetKey, RRset]:
    """Return the RRsets of the fallback of each of `pools`, of those families that it has addresses for."""
    found = {}
    for pool in pools:
        for family in pool.families:
            addresses = [address for address in pool.fallback if Family.of(address) is family]
            if addresses:
                key = (pool.name, RDTYPES[family])
                rdatas = address_rdatas(addresses[: pool.max_records])
                found[key] = RRset(*key, int(pool.ttl.total_seconds()), rdatas)
    return found


def _loses(change: Change) -> bool:
    before = frozenset() if change.before is None else change.before.rdatas
    return bool(before - (frozenset() if change.after is None else change.after.rdatas))
