"""What must hold of every plan, whatever is published and desired."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import replace

import dns.rdatatype
from hypothesis import given
from hypothesis import strategies as st

from poolmgr.hosts import IPAddress
from poolmgr.model import Family, Selection
from poolmgr.pools import Allowance, Pool, WhenShort
from poolmgr.zone.desired import from_text, members_of, pool_records, to_text
from poolmgr.zone.plan import limits_of, make_plan
from poolmgr.zone.records import Records
from tests.build import NOW, ORIGIN, POOL, pool, zone

ADDRESSES: list[IPAddress] = [ipaddress.ip_address(f"198.51.100.{number}") for number in range(1, 16)]
ADDRESSES += [ipaddress.ip_address(f"2001:db8::{number}") for number in range(1, 16)]
FALLBACK = (*ADDRESSES[:3], *ADDRESSES[15:18])
SETS = st.sets(st.sampled_from(ADDRESSES)) | st.sets(st.sampled_from(FALLBACK))
ALLOWANCES = st.builds(
    Allowance, share=st.none() | st.sampled_from([0.0, 0.3, 0.5, 1.0]), count=st.none() | st.integers(1, 5)
)
POOLS = st.builds(
    lambda floor, removed, added, when_short: pool(
        min_members=dict.fromkeys(Family, floor),
        max_removed=removed,
        max_added=added,
        when_short=when_short,
        fallback=FALLBACK,
    ),
    st.integers(0, 6),
    ALLOWANCES,
    st.none() | ALLOWANCES,
    st.sampled_from(WhenShort),
)


def published(addresses: Iterable[IPAddress]) -> Records:
    return zone("".join(f"pool IN {Family.of(address).rdtype} {address}\n" for address in addresses))


def desired(addresses: Iterable[IPAddress], of: Pool) -> Records:
    addresses = tuple(addresses)
    members = {(POOL, family): tuple(one for one in addresses if Family.of(one) is family) for family in Family}
    return {**zone(), **pool_records(Selection(members, ()), [of])}


@given(SETS, SETS, POOLS, st.sets(st.sampled_from(Family)))
def test_no_plan_goes_below_the_floor_or_changes_more_than_it_may(
    before: set[IPAddress], after: set[IPAddress], of: Pool, doubted: set[Family]
) -> None:
    plan = make_plan(
        origin=ORIGIN,
        published=published(before),
        desired=desired(after, of),
        limits=limits_of([of], dict.fromkeys(doubted, "nobody believes it")),
        serial=1,
        next_serial=2,
        provenance="a test",
        at=NOW,
        holds={},
    )
    told = members_of(plan.records, [of])
    for family in Family:
        old = {address for address in before if Family.of(address) is family}
        wanted = {address for address in after if Family.of(address) is family}
        new = set(told.get((POOL, family), ()))
        assert new in (old, wanted)
        if new == old:
            assert old == wanted or any(held.change.key[1].name == family.rdtype for held in plan.held)
            continue
        assert family not in doubted
        assert len(new) >= of.min_members[family]
        is_fallback = old <= set(FALLBACK) or (new and new <= set(FALLBACK))
        for allowance, changed in ((of.max_removed, old - new), (of.max_added, new - old)):
            allowed = None if allowance is None else allowance.of(len(old))
            assert is_fallback or not old or allowed is None or len(changed) <= allowed
    assert from_text(to_text(plan.records, ORIGIN, "a test"), ORIGIN, "again") == plan.records
    assert (ORIGIN, dns.rdatatype.NS) in plan.records


@given(SETS, SETS, POOLS)
def test_a_stricter_limit_never_lets_more_through(before: set[IPAddress], after: set[IPAddress], of: Pool) -> None:
    def held(limited: Pool) -> int:
        plan = make_plan(
            origin=ORIGIN,
            published=published(before),
            desired=desired(after, limited),
            limits=limits_of([limited], {}),
            serial=1,
            next_serial=2,
            provenance="a test",
            at=NOW,
            holds={},
        )
        return len(plan.held)

    count = 1 if of.max_removed.count is None else of.max_removed.count
    assert held(replace(of, max_removed=replace(of.max_removed, count=count))) >= held(of)


@given(ALLOWANCES, st.integers(0, 200))
def test_one_may_always_change_and_more_of_more(allowance: Allowance, count: int) -> None:
    allowed, of_more = allowance.of(count), allowance.of(count + 1)
    if allowed is None or of_more is None:
        assert allowance == Allowance()
        return
    assert 1 <= allowed <= of_more
