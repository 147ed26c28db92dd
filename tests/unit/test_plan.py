from __future__ import annotations

from collections.abc import Mapping

import dns.rdatatype
import pytest

from poolmgr.errors import UnsafePlan
from poolmgr.model import Family, Pool
from poolmgr.zone.desired import from_text, soa_serial
from poolmgr.zone.plan import Plan, limits_of, make_plan
from poolmgr.zone.records import Records
from tests.build import ORIGIN, POOL, SKELETON, pool, zone

A = (POOL, dns.rdatatype.A)
AAAA = (POOL, dns.rdatatype.AAAA)


def addresses(count: int, *, first: int = 1, ttl: int = 300) -> str:
    return "".join(f"pool {ttl} IN A 198.51.100.{number}\n" for number in range(first, first + count))


def planned(
    published: Records, desired: Records, of: Pool | None = None, blind: Mapping[Family, str] | None = None
) -> Plan:
    return make_plan(
        origin=ORIGIN,
        published=published,
        desired=desired,
        limits={} if of is None else limits_of([of], blind or {}),
        serial=soa_serial(published, ORIGIN),
        next_serial=42,
        provenance="a test",
    )


def test_same_records_are_no_change_whatever_the_serial() -> None:
    published = zone(addresses(3))
    plan = planned(published, zone(addresses(3)), pool())
    assert (plan.changes, plan.held, plan.next_serial) == ((), (), None)
    assert plan.records == published
    assert plan.unchanged == 4


def test_created_changed_and_deleted_rrsets() -> None:
    text = addresses(2) + "old A 192.0.2.1\n"
    plan = planned(zone(text), zone(addresses(2, first=2) + "new A 192.0.2.1\n"))
    kinds = {change.key[0].labels[0]: (change.before is None, change.after is None) for change in plan.changes}
    assert kinds == {b"new": (True, False), b"old": (False, True), b"pool": (False, False)}
    assert plan.unchanged == 3
    assert soa_serial(plan.records, ORIGIN) == plan.next_serial == 42


def test_a_change_of_ttl_alone_is_a_change() -> None:
    plan = planned(zone(addresses(3)), zone(addresses(3, ttl=60)), pool())
    assert [change.key for change in plan.changes] == [A]


def test_a_changed_soa_is_a_change_with_both_serials_as_they_are() -> None:
    published = zone()
    soa = (ORIGIN, dns.rdatatype.SOA)
    desired = {**published, soa: from_text(SKELETON.replace("hostmaster", "other"), ORIGIN, "test.zone")[soa]}
    (change,) = planned(published, desired).changes
    assert change.before is not None
    assert change.after is not None
    assert [next(iter(rrset.rdatas)).serial for rrset in (change.before, change.after)] == [1, 42]  # type: ignore[attr-defined]


@pytest.mark.parametrize(("count", "is_held"), [(2, True), (3, False), (4, False)])
def test_the_floor_below_at_and_above(count: int, *, is_held: bool) -> None:
    of = pool(min_members={Family.IPV4: 3}, max_removed=1.0)
    plan = planned(zone(addresses(5)), zone(addresses(count)), of)
    assert bool(plan.held) is is_held
    assert len(plan.records[A].rdatas) == (5 if is_held else count)
    if is_held:
        sentence = "pool.example.org A would have 2 of at least 3 members (min_members): the 5 published stay"
        assert plan.held[0].sentence == sentence


@pytest.mark.parametrize(("left", "is_held"), [(4, True), (5, False), (6, False)])
def test_the_share_that_may_go_below_at_and_above(left: int, *, is_held: bool) -> None:
    plan = planned(zone(addresses(10)), zone(addresses(left)), pool(max_removed=0.5))
    assert bool(plan.held) is is_held
    if is_held:
        assert plan.held[0].sentence == (
            "pool.example.org A would lose 6 of 10 members, at most 5 may go at once (max_removed 50%): "
            "the 10 published stay"
        )


def test_one_may_always_go() -> None:
    plan = planned(zone(addresses(1)), zone(), pool(max_removed=0.1))
    assert [change.after for change in plan.changes] == [None]


def test_replacing_all_counts_as_removing_all() -> None:
    plan = planned(zone(addresses(4)), zone(addresses(4, first=50)), pool(max_removed=0.5))
    assert [held.change.key for held in plan.held] == [A]


def test_an_empty_selection_is_held_even_where_nothing_is_published() -> None:
    plan = planned(zone("other A 192.0.2.1\n"), zone(), pool(min_members={Family.IPV4: 1}))
    assert [held.change.key for held in plan.held] == [A]
    assert "nothing is published" in plan.held[0].sentence


def test_published_below_a_floor_that_was_raised_is_left_in_peace() -> None:
    plan = planned(zone(addresses(2)), zone(addresses(2)), pool(min_members={Family.IPV4: 3}))
    assert (plan.changes, plan.held) == ((), ())


def test_one_familys_hold_does_not_hold_the_other() -> None:
    of = pool(min_members={Family.IPV4: 3})
    plan = planned(zone(addresses(3)), zone(addresses(1) + "pool AAAA 2001:db8::1\n"), of)
    assert [held.change.key for held in plan.held] == [A]
    assert [change.key for change in plan.changes] == [AAAA]
    assert len(plan.records[A].rdatas) == 3


def test_a_zone_is_not_born_without_any_of_its_pools() -> None:
    of = pool(min_members={Family.IPV4: 3})
    plan = planned({}, zone(addresses(2)), of)
    assert (plan.changes, plan.records) == ((), {})
    born = planned({}, zone(addresses(3)), of)
    assert len(born.changes) == len(born.records) == 4


def test_without_limits_nothing_is_held() -> None:
    plan = planned(zone(addresses(5)), zone())
    assert not plan.held
    assert A not in plan.records


def test_a_held_plan_is_refused_with_every_sentence() -> None:
    of = pool(min_members={Family.IPV4: 3, Family.IPV6: 2})
    plan = planned(zone(addresses(5)), zone(), of)
    assert isinstance(plan.refusal, UnsafePlan)
    assert [line.split()[1] for line in str(plan.refusal).splitlines()] == ["A", "AAAA"]
    assert planned(zone(), zone()).refusal is None


def test_limits_are_for_the_families_that_the_pool_promises() -> None:
    assert set(limits_of([pool(families=frozenset({Family.IPV4}))], {})) == {A}


BLIND = {Family.IPV4: "2 of 2 targets were out of reach"}


def test_no_rrset_of_a_blind_family_changes_and_the_other_familys_do() -> None:
    published = zone(addresses(3) + "pool AAAA 2001:db8::1\n")
    desired = zone(addresses(4) + "pool AAAA 2001:db8::2\n")
    plan = planned(published, desired, pool(), BLIND)
    (held,) = plan.held
    assert held.sentence == (
        "pool.example.org A would change, but the crawl was blind for ipv4: 2 of 2 targets were out of reach; "
        "the 3 published stay"
    )
    assert [change.key for change in plan.changes] == [AAAA]
    assert plan.records[A] == published[A]


def test_a_blind_family_that_would_not_change_is_not_held() -> None:
    assert planned(zone(addresses(3)), zone(addresses(3)), pool(), BLIND).refusal is None
    assert planned(zone(), zone(), pool(), BLIND).refusal is None


def test_a_zone_is_not_born_blind() -> None:
    plan = planned({}, zone(addresses(3)), pool(families=frozenset({Family.IPV4})), BLIND)
    assert (plan.changes, plan.records) == ((), {})
    assert "nothing is published" in str(plan.refusal)
