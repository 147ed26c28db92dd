"""What must hold of the frontier and of the lag behind it, whatever keyservers say."""

from __future__ import annotations

import ipaddress
import json
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from poolmgr.judge.freshness import Cohort, Paces, Window, paces_after, references
from poolmgr.judge.pace import MAX_POINTS, Count, Pace
from poolmgr.model import Keyserver
from poolmgr.report.paces import from_document, to_document
from tests.build import NOW, keyserver, snapshot

WINDOW = Window(2000, 2000, 2)
SKS = Cohort("sks", (1, 1))
HOURS = st.integers(0, 400)
COUNTS = st.builds(lambda keys, minutes: Count(keys, NOW + timedelta(minutes=minutes)), st.integers(2, 2**64), HOURS)


def fed(counts: list[Count]) -> Pace:
    pace = Pace()
    for count in counts:
        pace = pace.reached(count)
    return pace


def told(number: int, keys: int, at: datetime, block: int) -> Keyserver:
    """Return a keyserver somewhere on the internet that counted at `at`."""
    one = keyserver(f"ks{number}.example.net", f"5.6.{block}.{number}", keys=keys)
    return replace(
        one,
        addresses=tuple(
            replace(each, stats=None if each.stats is None else replace(each.stats, taken_at=at))
            for each in one.addresses
        ),
    )


@st.composite
def meshes(draw: st.DrawFn, least: int = 1) -> list[Keyserver]:
    return [
        told(
            number,
            draw(st.integers(1_000_000 - 900, 1_000_000)),
            NOW - timedelta(minutes=draw(st.integers(0, 1500))),
            draw(st.integers(1, 250)),
        )
        for number in range(1, draw(st.integers(least, 12)) + 1)
    ]


def known(hours: int) -> Paces:
    points = (
        Count(1_000_000 - 40 * hours, NOW - timedelta(hours=hours)),
        Count(1_000_000 - 40, NOW - timedelta(hours=1)),
    )
    return Paces(frontiers={SKS: Pace(points)})


@given(st.lists(COUNTS, min_size=1, max_size=60))
def test_time_and_keys_of_a_frontier_rise_and_it_has_reached_the_last_word(counts: list[Count]) -> None:
    pace = fed(counts)
    assert all(before.at < after.at and before.keys <= after.keys for before, after in pairwise(pace.points))
    assert len(pace.points) <= MAX_POINTS
    assert pace.points[-1].at == max(count.at for count in counts)
    assert pace.points[-1].keys >= counts[-1].keys


@given(st.lists(COUNTS, min_size=1, max_size=30), COUNTS, st.integers(1, 10**6))
def test_fewer_keys_are_never_less_late(counts: list[Count], one: Count, fewer: int) -> None:
    pace = fed(counts)
    lag, later = pace.lag(one), pace.lag(Count(one.keys - fewer, one.at))
    assert later.keys > lag.keys
    if lag.time is not None and later.time is not None:
        assert later.time >= lag.time
    assert lag.time is None or (lag.keys > 0) >= (lag.time > timedelta(0))
    assert lag.time is None or (lag.keys < 0) >= (lag.time < timedelta(0))


@given(meshes(), st.sampled_from([2, 100]), st.randoms())
def test_the_order_of_keyservers_never_matters(mesh: list[Keyserver], hours: int, random: object) -> None:
    shuffled = list(mesh)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    first, second = (references(order, WINDOW, known(hours)) for order in (mesh, shuffled))
    assert first == second
    addresses = [address.address for one in mesh for address in one.addresses]
    paces = [
        paces_after(known(hours), found, snapshot(order), addresses)
        for found, order in ((first, mesh), (second, shuffled))
    ]
    assert paces[0] == paces[1]


@given(meshes(least=3), st.integers(2, 2**63 - 1), st.integers(1, 250), st.integers(0, 1500), st.sampled_from([2, 100]))
def test_one_liar_of_many_never_moves_the_frontier_beyond_the_honest(
    honest: list[Keyserver], lie: int, block: int, minutes: int, hours: int
) -> None:
    liar = told(200, lie, NOW - timedelta(minutes=minutes), block)
    most = max(address.stats.keys or 0 for one in honest for address in one.addresses if address.stats is not None)
    before, after = (
        references(mesh, WINDOW, known(hours))[SKS].pace.points[-1].keys for mesh in (honest, [*honest, liar])
    )
    assert after <= max(most, before, 1_000_000 - 40)
    # From below it takes no more than what one vote weighs: never less than the least of the honest.
    least = min(address.stats.keys or 0 for one in honest for address in one.addresses if address.stats is not None)
    assert after >= min(least, before)


@given(st.lists(COUNTS, min_size=1, max_size=30), st.dictionaries(st.integers(0, 2**32 - 1), COUNTS, max_size=5))
def test_what_is_remembered_comes_back_from_json_as_it_was(counts: list[Count], last: dict[int, Count]) -> None:
    paces = Paces(
        frontiers={SKS: fed(counts), Cohort("hockeypuck", (2, 2)): fed(counts[:1])},
        counts={ipaddress.IPv4Address(number): count for number, count in last.items()},
    )
    assert from_document(json.loads(json.dumps(to_document(paces)))) == paces
