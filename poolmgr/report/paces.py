"""What is remembered of key counts as JSON, and back: a part of a history's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from operator import index
from typing import Any

from poolmgr.hosts import parse_address
from poolmgr.judge.freshness import Cohort, Paces
from poolmgr.judge.pace import Count, Pace


def to_document(paces: Paces) -> Mapping[str, Any]:
    """Return `paces` as JSON has it: times are seconds since the epoch, points and counts are arrays."""
    return {
        "frontiers": [
            [cohort.software, *cohort.minor, [[point.at.timestamp(), point.keys] for point in pace.points]]
            for cohort, pace in paces.frontiers.items()
        ],
        "counts": [[str(address), count.at.timestamp(), count.keys] for address, count in paces.counts.items()],
    }


def from_document(document: Mapping[str, Any]) -> Paces:
    """Return what `to_document` made of them. Raises what wrong types and values do where it is no such document."""
    return Paces(
        frontiers={
            Cohort(str(software), (index(major), index(minor))): _pace(points)
            for software, major, minor, points in document["frontiers"]
        },
        counts={parse_address(address): _count(count) for address, *count in document["counts"]},
    )


def _pace(points: Sequence[Sequence[Any]]) -> Pace:
    counts = tuple(_count(point) for point in points)
    is_rising = all(before.at < after.at and before.keys <= after.keys for before, after in pairwise(counts))
    if not counts or not is_rising:
        raise ValueError(f"{len(counts)} points are no frontier: time and keys must rise")
    return Pace(counts)


def _count(values: Sequence[Any]) -> Count:
    at, keys = values
    return Count(index(keys), datetime.fromtimestamp(at, UTC))
