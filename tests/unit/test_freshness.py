from __future__ import annotations

import pytest

from poolmgr.judge.freshness import Cohort, Reference, Window, reference_for, references
from poolmgr.model import Keyserver, Stats
from tests.build import keyserver, mesh

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
        assert known[SKS] == Reference(SKS, 5_000_000, votes)


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
