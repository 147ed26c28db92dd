from __future__ import annotations

import ipaddress
from datetime import timedelta

import pytest

from poolmgr.model import Family
from poolmgr.pools import Allowance
from poolmgr.zone.plan import limits_of
from poolmgr.zone.stuck import stuck
from tests.build import NOW, POOL, pool, zone

HOUR = timedelta(hours=1)
KEEPS = "pool A 192.0.2.1\npool A 192.0.2.2\npool A 192.0.2.3\n"
FALLBACK = "198.51.100.1"


def given_up(desired: str, held: timedelta = 7 * HOUR, doubt: str = "", fallback: str = FALLBACK) -> dict[str, str]:
    """Return, by type, what is said of the RRsets that are given up after six hours; all are held since `held`."""
    of = pool(
        min_members={Family.IPV4: 2},
        max_removed=Allowance(count=1),
        max_added=Allowance(count=1),
        fallback=(ipaddress.ip_address(fallback),),
    )
    found = stuck(
        pools=[of],
        published=zone(KEEPS),
        desired=zone(desired),
        limits=limits_of([of], {Family.IPV4: doubt} if doubt else {}),
        holds=dict.fromkeys(limits_of([of], {}), NOW - held),
        crawled=NOW,
        at=NOW,
        after=6 * HOUR,
    )
    for (owner, _), each in found.items():
        assert owner == POOL
        assert each.held.change.before == zone(KEEPS)[each.fallback.key]
        assert [rdata.to_text() for rdata in each.fallback.rdatas] == [fallback]
    return {rdtype.name: each.held.sentence for (_, rdtype), each in found.items()}


@pytest.mark.parametrize(("held", "is_over"), [(6 * HOUR - timedelta(seconds=1), 0), (6 * HOUR, 0), (7 * HOUR, 1)])
def test_what_is_held_is_given_up_after_that_time(held: timedelta, is_over: int) -> None:
    assert len(given_up("pool A 192.0.2.1\n", held)) == is_over


def test_the_limit_and_the_fallback_are_said() -> None:
    said = given_up("pool A 192.0.2.1\n")["A"]
    assert "would have 1 of at least 2 members (min_members)" in said
    assert "longer than 6.0 h (fallback_after), and the fallback of pool.example.org A is published" in said


def test_what_no_limit_holds_and_what_only_adds_is_not_given_up() -> None:
    assert given_up("pool A 192.0.2.1\npool A 192.0.2.2\n") == {}
    assert given_up(KEEPS + "pool A 192.0.2.4\npool A 192.0.2.5\n") == {}
    assert set(given_up(KEEPS, doubt="the crawl is old")) == {"A"}


def test_a_fallback_of_the_other_family_is_none() -> None:
    assert given_up("pool A 192.0.2.1\n", fallback="2001:db8::1") == {}


@pytest.mark.parametrize(("after", "expected"), [(6 * HOUR, ["198.51.100.1", "198.51.100.2"]), (None, None)])
def test_a_fallback_is_cut_to_the_cap_and_none_is_published_without_a_time(
    after: timedelta | None, expected: list[str] | None
) -> None:
    fallback = tuple(ipaddress.ip_address(f"198.51.100.{number}") for number in (1, 2, 3))
    of = pool(min_members={Family.IPV4: 2}, max_records=2, fallback=fallback)
    found = stuck(
        pools=[of],
        published=zone(KEEPS),
        desired={},
        limits=limits_of([of], {}),
        holds=dict.fromkeys(limits_of([of], {}), NOW - 7 * HOUR),
        crawled=NOW,
        at=NOW,
        after=after,
    )
    told = [sorted(rdata.to_text() for rdata in each.fallback.rdatas) for each in found.values()]
    assert told == ([] if expected is None else [expected])
