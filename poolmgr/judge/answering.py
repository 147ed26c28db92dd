"""How many addresses answered lately: a crawl that saw far fewer is not believed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

from poolmgr.judge.once import once
from poolmgr.judge.reliability import MAX_GAP
from poolmgr.model import Family, Snapshot

FADE = timedelta(days=1)
"""The time constant: after an outage of the whole mesh the few that are left are believed within a day or two."""


LEAST_SEEN = 4
"""Addresses that must have answered lately for one crawl to have seen too few: of fewer, half may well be down."""


class Answering(NamedTuple):
    """How many addresses of a family answered in the crawls up to `at`: their mean, faded with FADE."""

    at: datetime
    mean: float


@once
def answering_now(snapshot: Snapshot) -> Mapping[Family, int]:
    """Return how many addresses of each family gave at least one good answer."""
    counts = dict.fromkeys(Family, 0)
    for keyserver in snapshot.keyservers:
        for address in keyserver.addresses:
            if any(probe.is_good for probe in address.probes):
                counts[Family.of(address.address)] += 1
    return counts


def doubts_of(snapshot: Snapshot, before: Mapping[Family, Answering], min_seen: float) -> Mapping[Family, str]:
    """Return, for each family for which a crawl is not to be believed, why: the start of a sentence.

    It was blind, or saw less than `min_seen` (0 to 1) of as many answer as did `before`.
    """
    found = {}
    for family, seen in answering_now(snapshot).items():
        last = before.get(family)
        if family in snapshot.blind:
            found[family] = f"the crawl was blind for {family}: {snapshot.blind[family]}"
        elif last is not None and round(last.mean) >= LEAST_SEEN and seen < min_seen * last.mean:
            usual = f"lately it was {last.mean:.0f}, and at least {min_seen:.0%} is asked for (min_seen)"
            found[family] = f"in the crawl {seen} {family} addresses answered, {usual}"
    return found


def answered(before: Mapping[Family, Answering], snapshot: Snapshot) -> Mapping[Family, Answering]:
    """Return the means with one more crawl in them. A family that it was blind for keeps the one that it had."""
    means = dict(before)
    for family, count in answering_now(snapshot).items():
        if family in snapshot.blind:
            continue
        last = before.get(family)
        if last is None:
            means[family] = Answering(snapshot.finished, float(count))
            continue
        # As with reliability, a crawl stands for the time before it that was looked at.
        stands_for = min(max(snapshot.finished - last.at, timedelta(0)), MAX_GAP)
        keeps = math.exp(-(stands_for / FADE))
        means[family] = Answering(snapshot.finished, last.mean * keeps + count * (1 - keeps))
    return means
