from __future__ import annotations

import ipaddress
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from poolmgr.judge.freshness import (
    LEAST_COUNT,
    OLDEST_COUNT,
    Cohort,
    Paces,
    Reference,
    Window,
    count_of,
    paces_after,
    reference_for,
    references,
)
from poolmgr.judge.pace import Count, Pace
from poolmgr.model import Keyserver, KeyserverAddress, Outcome, Stats
from tests.build import NOW, keyserver, mesh, snapshot

WINDOW = Window(behind=1000, ahead=1000, min_cohort=3)
SKS = Cohort("sks", (1, 1))


def counted(*counts: int | None) -> list[Keyserver]:
    return [
        keyserver(f"ks{number}.example.net", f"198.51.100.{number}", keys=keys) for number, keys in enumerate(counts, 1)
    ]


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        pytest.param((5_000_000, 5_000_300, 5_000_500), 5_000_300, id="second largest of three"),
        pytest.param((5_000_000, 5_000_500), 5_000_500, id="largest of two"),
        pytest.param((5_000_000,), 5_000_000, id="one"),
        pytest.param((5_000_000,) * 5 + (0, 1, None), 5_000_000, id="zero, one and unknown have no vote"),
        pytest.param((5_000_000,) * 5 + (2**63 - 1,) * 4, 5_000_000, id="a minority absurdly high"),
        pytest.param((5_000_000,) * 5 + (4_100_000,) * 4, 5_000_000, id="a minority stuck"),
        pytest.param((5_000_000,) * 5 + (5_001_000,), 5_000_000, id="one alone ahead"),
        pytest.param((7, 7, 7, 4), 7, id="tiny counts"),
    ],
)
def test_reference_is_what_the_healthy_have(counts: tuple[int | None, ...], expected: int) -> None:
    assert references(counted(*counts), WINDOW)[SKS].keys == expected


def test_a_keyserver_with_many_addresses_has_one_vote() -> None:
    addresses = [f"203.0.113.{number}" for number in range(1, 200)]
    for keys, votes in ((5_000_000, 4), (9_000_000, 3)):
        known = references([*mesh(3), keyserver("crowd.example.net", *addresses, keys=keys)], WINDOW)
        assert (known[SKS].keys, known[SKS].votes) == (5_000_000, votes)


def test_each_minor_version_has_its_own_reference() -> None:
    older = mesh(3, first=10, keys=4_000_000, version="1.0.10")
    known = references([*mesh(3), *older], WINDOW)
    assert {str(cohort): reference.keys for cohort, reference in known.items()} == {
        "sks 1.0": 4_000_000,
        "sks 1.1": 5_000_000,
    }


def test_a_large_cohort_judges_its_own() -> None:
    known = references([*mesh(3), *mesh(3, first=10, keys=4_000_000, version="1.0.10")], WINDOW)
    stats = Stats(software="SKS", version="1.0.10", keys=5_000_000)
    assert reference_for(stats, known, WINDOW) == known[Cohort("sks", (1, 0))]


def test_a_small_cohort_is_judged_by_the_nearest_large_one_it_agrees_with() -> None:
    known = references([*mesh(3), *mesh(3, first=10, keys=5_000_900, version="1.0.10")], WINDOW)
    new = Stats(software="Hockeypuck", version="2.3", keys=5_000_700)
    reference = reference_for(new, known, WINDOW)
    assert reference is not None
    assert reference.cohort == Cohort("sks", (1, 0))


@pytest.mark.parametrize("keys", [4_998_999, 5_001_001, None])
def test_a_small_cohort_that_agrees_with_none_has_no_reference(keys: int | None) -> None:
    known = references(mesh(3), WINDOW)
    assert reference_for(Stats(software="Hockeypuck", version="2.3", keys=keys), known, WINDOW) is None


@pytest.mark.parametrize("version", [None, "~unreleased"])
def test_an_unknown_version_has_no_cohort(version: str | None) -> None:
    silent = keyserver("ks.example.net", "198.51.100.1", version=version)
    assert references([silent], WINDOW) == {}
    assert reference_for(Stats(software="SKS", version=version, keys=5), {}, WINDOW) is None


SECOND = timedelta(seconds=1)


def taken(one: Keyserver, at: datetime | None) -> KeyserverAddress:
    """Return the address of `one`, which says that its keys were counted at `at`; it was asked at NOW."""
    (address,) = one.addresses
    assert address.stats is not None
    return replace(address, stats=replace(address.stats, taken_at=at))


@pytest.mark.parametrize(
    ("at", "is_believed"),
    [
        (NOW - OLDEST_COUNT - SECOND, False),
        (NOW - OLDEST_COUNT, True),
        (NOW - OLDEST_COUNT + SECOND, True),
        (NOW, True),
        (NOW + SECOND, False),
        (None, False),
    ],
)
def test_a_count_was_taken_when_the_page_says_unless_that_cannot_be(at: datetime | None, *, is_believed: bool) -> None:
    one = keyserver("ks.example.net", "198.51.100.1")
    assert count_of(taken(one, at)) == Count(5_000_000, at if is_believed and at is not None else NOW)


@pytest.mark.parametrize("keys", [None, LEAST_COUNT - 1, 0])
def test_what_says_nothing_of_the_mesh_is_no_count(keys: int | None) -> None:
    (address,) = keyserver("ks.example.net", "198.51.100.1", keys=keys).addresses
    assert count_of(address) is None
    (address,) = keyserver("ks.example.net", "198.51.100.1", stats_outcome=Outcome.REFUSED).addresses
    assert count_of(address) is None


def long_known(hours: int = 48) -> Paces:
    """Return a frontier that gained 40 keys an hour, and has 5,000,000 now."""
    points = tuple(Count(5_000_000 - 40 * hour, NOW - timedelta(hours=hour)) for hour in range(hours, 0, -1))
    return Paces(frontiers={SKS: Pace(points)})


def test_votes_are_compared_at_the_times_when_they_were_taken() -> None:
    # By their counts they are 960 keys apart, by what the mesh had then they agree.
    old = [replace(one, addresses=(taken(one, NOW - timedelta(hours=24)),)) for one in mesh(3, keys=5_000_000 - 960)]
    narrow = replace(WINDOW, max_lag=timedelta(hours=12), tolerance=0)
    known = references([*mesh(3, first=10), *old], narrow, long_known())
    assert (known[SKS].votes, known[SKS].keys) == (6, 5_000_000)
    assert references([*mesh(3, first=10), *old], replace(WINDOW, behind=500))[SKS].votes == 3


@pytest.mark.parametrize(("lead", "is_believed"), [(479, True), (480, True), (481, False)])
def test_a_lead_is_believed_up_to_a_third_of_the_allowed_lag(lead: int, *, is_believed: bool) -> None:
    leaders = mesh(2, first=10, keys=5_000_000 + lead)
    known = references([*mesh(3), *leaders], replace(WINDOW, tolerance=0), long_known())
    assert known[SKS].votes == (5 if is_believed else 3)
    assert known[SKS].pace.points[-1].keys == 5_000_000 + (lead if is_believed else 0)


def test_where_too_few_agree_the_frontier_stays_where_it_was() -> None:
    paces = long_known()
    assert references(mesh(2), WINDOW, paces)[SKS].pace == paces.frontiers[SKS]
    assert references(mesh(3), WINDOW, paces)[SKS].pace.points[-1] == Count(5_000_000, NOW)
    assert references(mesh(2), WINDOW)[SKS].pace == Pace()


@pytest.mark.parametrize(("absent", "is_kept"), [(46, True), (47, True), (48, False)])
def test_a_frontier_whose_cohort_is_gone_is_remembered_for_as_long_as_it_was_seen(
    absent: int, *, is_kept: bool
) -> None:
    later = replace(snapshot([]), finished=NOW - timedelta(hours=1) + timedelta(hours=absent))
    assert (SKS in paces_after(long_known(), {}, later, ()).frontiers) is is_kept


def test_a_count_is_remembered_from_when_it_was_first_met_and_with_its_address() -> None:
    address = ipaddress.ip_address("198.51.100.1")
    one = keyserver("ks.example.net", str(address))
    first = Paces(counts={address: Count(5_000_000, NOW - timedelta(days=3))})
    assert paces_after(first, {}, snapshot([one]), [address]) == first
    moved = paces_after(first, {}, snapshot(mesh(1, keys=5_000_001)), [address])
    assert moved.counts == {address: Count(5_000_001, NOW)}
    silent = keyserver("ks.example.net", str(address), stats_outcome=Outcome.REFUSED)
    assert paces_after(first, {}, snapshot([silent]), [address]) == first
    assert paces_after(first, {}, snapshot([]), []).counts == {}


def test_no_time_is_told_while_the_frontier_is_known_for_less_than_a_day_or_the_allowed_lag() -> None:
    for hours, max_lag, is_told in ((24, 1, False), (25, 1, True), (36, 36, False), (37, 36, True)):
        window = replace(WINDOW, max_lag=timedelta(hours=max_lag))
        reference = Reference(SKS, 5_000_000, 3, long_known(hours).frontiers[SKS])
        lag = reference.lag(Count(4_999_900, NOW), window)
        assert (lag is not None) is is_told
