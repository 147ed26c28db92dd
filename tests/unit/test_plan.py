from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

import dns.rdatatype
import pytest

from poolmgr.errors import UnsafePlan
from poolmgr.judge.answering import Answering
from poolmgr.judge.answering import doubts_of as doubts_of_crawl
from poolmgr.model import Family, Outcome, Service
from poolmgr.pools import Allowance, Pool, WhenShort
from poolmgr.zone.desired import from_text, soa_serial
from poolmgr.zone.plan import MAX_AGE, Holds, Plan, doubts_of, limits_of, make_plan
from poolmgr.zone.records import Records
from tests.build import NOW, ORIGIN, POOL, SKELETON, keyserver, mesh, pool, snapshot, zone

A = (POOL, dns.rdatatype.A)
AAAA = (POOL, dns.rdatatype.AAAA)


def addresses(count: int, *, first: int = 1, ttl: int = 300) -> str:
    return "".join(f"pool {ttl} IN A 198.51.100.{number}\n" for number in range(first, first + count))


def planned(
    published: Records,
    desired: Records,
    of: Pool | None = None,
    doubts: Mapping[Family, str] | None = None,
    holds: Holds | None = None,
) -> Plan:
    return make_plan(
        origin=ORIGIN,
        published=published,
        desired=desired,
        limits={} if of is None else limits_of([of], doubts or {}),
        serial=soa_serial(published, ORIGIN),
        next_serial=42,
        provenance="a test",
        at=NOW,
        holds=holds or {},
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
    of = pool(min_members={Family.IPV4: 3}, max_removed=Allowance(share=1.0))
    plan = planned(zone(addresses(5)), zone(addresses(count)), of)
    assert bool(plan.held) is is_held
    assert len(plan.records[A].rdatas) == (5 if is_held else count)
    if is_held:
        sentence = "pool.example.org A would have 2 of at least 3 members (min_members): the 5 published stay"
        assert plan.held[0].sentence == sentence


@pytest.mark.parametrize(("left", "is_held"), [(4, True), (5, False), (6, False)])
def test_the_share_that_may_go_below_at_and_above(left: int, *, is_held: bool) -> None:
    plan = planned(zone(addresses(10)), zone(addresses(left)), pool(max_removed=Allowance(share=0.5)))
    assert bool(plan.held) is is_held
    if is_held:
        assert plan.held[0].sentence == (
            "pool.example.org A would lose 6 of 10 members, at most 5 may go at once (max_removed 50%): "
            "the 10 published stay"
        )


@pytest.mark.parametrize(
    ("allowance", "published", "allowed", "told"),
    [
        (Allowance(count=3), 10, 3, "3"),
        (Allowance(share=0.5, count=3), 10, 3, "50% and 3"),
        (Allowance(share=0.2, count=3), 10, 2, "20% and 3"),
        # Of 4 members a fifth is less than one, and one may always change.
        (Allowance(share=0.2, count=3), 4, 1, "20% and 3"),
        (Allowance(share=0.0), 10, 1, "0%"),
        (Allowance(share=0.99), 10, 9, "99%"),
    ],
)
def test_the_stricter_of_share_and_count_is_the_limit(
    allowance: Allowance, published: int, allowed: int, told: str
) -> None:
    limited = pool(max_removed=allowance, max_added=allowance)
    before = zone(addresses(published))
    assert not planned(before, zone(addresses(published - allowed)), limited).held
    (removed,) = planned(before, zone(addresses(published - allowed - 1)), limited).held
    assert f"would lose {allowed + 1} of {published} members, at most {allowed} may go" in removed.sentence
    assert f"(max_removed {told})" in removed.sentence
    assert not planned(before, zone(addresses(published + allowed)), limited).held
    (added,) = planned(before, zone(addresses(published + allowed + 1)), limited).held
    assert added.sentence == (
        f"pool.example.org A would gain {allowed + 1} members beside {published}, at most {allowed} may come at once "
        f"(max_added {told}): the {published} published stay"
    )


def test_any_number_may_come_by_default_and_where_nothing_is_published() -> None:
    assert not planned(zone(addresses(1)), zone(addresses(100)), pool()).held
    assert not planned(zone(), zone(addresses(100)), pool(max_added=Allowance(count=1))).held


def test_an_allowance_of_nothing_is_no_limit() -> None:
    assert Allowance().of(10) is None


FALLBACK = tuple(ipaddress.ip_address(f"198.51.100.{number}") for number in (101, 102, 103))


def with_fallback(when_short: WhenShort) -> Pool:
    one = Allowance(count=1)
    floor = {Family.IPV4: 3}
    return pool(fallback=FALLBACK, when_short=when_short, max_removed=one, max_added=one, min_members=floor)


def test_the_fallback_may_take_the_place_of_all_and_all_its_place() -> None:
    of, members, fallback = with_fallback(WhenShort.FALLBACK), zone(addresses(10)), zone(addresses(3, first=101))
    assert planned(members, fallback, of).records[A] == fallback[A]
    assert planned(fallback, members, of).records[A] == members[A]


def test_only_the_fallback_alone_may() -> None:
    members, fallback = zone(addresses(10)), zone(addresses(3, first=101))
    without = replace(with_fallback(WhenShort.HOLD), fallback=())
    assert planned(members, fallback, without).held
    assert planned(fallback, members, without).held
    of, mixed = with_fallback(WhenShort.FALLBACK), zone(addresses(4, first=101))
    assert planned(members, mixed, of).held
    assert planned(mixed, members, of).held


def test_the_floor_is_the_fallbacks_too() -> None:
    plan = planned(zone(addresses(10)), zone(addresses(2, first=101)), with_fallback(WhenShort.FALLBACK))
    assert "would have 2 of at least 3 members" in plan.held[0].sentence


def test_one_may_always_go() -> None:
    plan = planned(zone(addresses(1)), zone(), pool(max_removed=Allowance(share=0.1)))
    assert [change.after for change in plan.changes] == [None]


def test_replacing_all_counts_as_removing_all() -> None:
    plan = planned(zone(addresses(4)), zone(addresses(4, first=50)), pool(max_removed=Allowance(share=0.5)))
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


FEW = "would have 2 of at least 3 members (min_members): the 5 published stay"


@pytest.mark.parametrize(
    ("ago", "told"),
    [
        (None, ""),
        (timedelta(0), ""),
        (timedelta(minutes=15), "; held since 2026-11-23 11:45 UTC, 15 min"),
        (timedelta(hours=7, minutes=50), "; held since 2026-11-23 04:10 UTC, 7.8 h"),
        (timedelta(minutes=-1), ""),
    ],
)
def test_what_is_held_is_told_with_since_when_but_for_the_first_time(ago: timedelta | None, told: str) -> None:
    of = pool(min_members={Family.IPV4: 3})
    plan = planned(zone(addresses(5)), zone(addresses(2)), of, holds={} if ago is None else {A: NOW - ago})
    assert str(plan.refusal) == f"pool.example.org A {FEW}{told}"
    assert plan.holds == {A: NOW - max(ago or timedelta(0), timedelta(0))}


def test_what_stays_held_keeps_its_since_though_another_limit_holds_it_and_what_does_not_is_forgotten() -> None:
    earlier, of = NOW - 3 * HOUR, pool(min_members={Family.IPV4: 3, Family.IPV6: 1})
    holds = {A: earlier, AAAA: earlier}
    published = zone(addresses(5) + "pool AAAA 2001:db8::1\n")
    first = planned(published, zone(addresses(2)), of, holds=holds)
    assert first.holds == holds
    desired = zone(addresses(5) + "pool AAAA 2001:db8::2\n")
    blind = planned(published, desired, of, BLIND, first.holds)
    assert blind.holds == {A: earlier}
    assert "the crawl was blind for ipv4" in blind.held[0].told
    assert planned(published, desired, of, holds=blind.holds).holds == {}
    assert planned(published, zone(), holds=holds).holds == {}, "nothing is held without limits"


def test_limits_are_for_the_families_that_the_pool_promises() -> None:
    assert set(limits_of([pool(families=frozenset({Family.IPV4}))], {})) == {A}


BLIND = {Family.IPV4: "the crawl was blind for ipv4: 2 of 2 targets were out of reach"}


def test_no_rrset_of_a_blind_family_changes_and_the_other_familys_do() -> None:
    published = zone(addresses(3) + "pool AAAA 2001:db8::1\n")
    desired = zone(addresses(4) + "pool AAAA 2001:db8::2\n")
    plan = planned(published, desired, pool(), BLIND)
    (held,) = plan.held
    assert held.sentence == (
        "pool.example.org A is left as it is: the crawl was blind for ipv4: 2 of 2 targets were out of reach; "
        "the 3 published stay"
    )
    assert [change.key for change in plan.changes] == [AAAA]
    assert plan.records[A] == published[A]


def test_a_blind_family_is_held_though_it_would_not_change_unless_it_has_nothing() -> None:
    plan = planned(zone(addresses(3)), zone(addresses(3)), pool(), BLIND)
    assert [held.change.key for held in plan.held] == [A]
    assert plan.changes == ()
    assert planned(zone(), zone(), pool(), BLIND).refusal is None


def test_a_zone_is_not_born_blind() -> None:
    plan = planned({}, zone(addresses(3)), pool(families=frozenset({Family.IPV4})), BLIND)
    assert (plan.changes, plan.records) == ((), {})
    assert "nothing is published" in str(plan.refusal)


# Doubts


def doubts(
    count: int = 3,
    *,
    age: timedelta = timedelta(0),
    before: float | None = None,
    down: int = 0,
    max_age: timedelta = MAX_AGE,
    min_seen: float = 0.5,
) -> Mapping[Family, str]:
    """Return the doubts of a crawl of that age that saw `count` IPv4 addresses answer, where it was `before` lately."""
    refused = {Service.HKP: Outcome.REFUSED}
    broken = [
        keyserver(f"down{number}.example.net", f"203.0.113.{number}", outcomes=refused, stats_outcome=Outcome.REFUSED)
        for number in range(1, down + 1)
    ]
    lately = {} if before is None else {Family.IPV4: Answering(NOW, before)}
    crawled = snapshot([*mesh(count), *broken])
    judged = replace(crawled, blind=doubts_of_crawl(crawled, lately, min_seen))
    return doubts_of(judged, NOW + age, max_age)


HOUR, SECOND = timedelta(hours=1), timedelta(seconds=1)


@pytest.mark.parametrize(("age", "is_old"), [(HOUR - SECOND, False), (HOUR, False), (HOUR + SECOND, True)])
def test_an_old_crawl_below_at_and_above_the_limit(age: timedelta, *, is_old: bool) -> None:
    assert set(doubts(age=age)) == (set(Family) if is_old else set())


def test_an_old_crawl_changes_nothing_and_says_how_old_it_is() -> None:
    old = doubts(age=3 * HOUR, max_age=timedelta(minutes=90))
    (held,) = planned(zone(addresses(3)), zone(addresses(4)), pool(), old).held
    assert held.sentence == (
        "pool.example.org A is left as it is: the crawl is 3.0 h old, at most 90 min is believed (max_age); "
        "the 3 published stay"
    )


def test_a_crawl_from_the_future_is_not_old() -> None:
    assert doubts(age=-HOUR) == {}


@pytest.mark.parametrize(("seen", "is_few"), [(4, True), (5, False), (6, False)])
def test_a_crawl_that_saw_few_answer_below_at_and_above_the_limit(seen: int, *, is_few: bool) -> None:
    assert set(doubts(seen, before=10.0)) == ({Family.IPV4} if is_few else set())


def test_a_crawl_that_saw_few_answer_changes_nothing_and_says_how_many() -> None:
    few = doubts(2, before=10.4, down=9, min_seen=0.3)
    (held,) = planned(zone(addresses(3)), zone(addresses(4)), pool(), few).held
    assert held.sentence == (
        "pool.example.org A is left as it is: in the crawl 2 ipv4 addresses answered, lately it was 10, and at least "
        "30% is asked for (min_seen); the 3 published stay"
    )


@pytest.mark.parametrize(("before", "is_few"), [(3.4, False), (3.6, True), (4.0, True)])
def test_of_few_addresses_all_may_be_down(before: float, *, is_few: bool) -> None:
    assert bool(doubts(0, before=before)) is is_few


def test_a_first_crawl_is_believed() -> None:
    assert doubts(0) == {}


def test_blindness_is_said_before_what_comes_of_it() -> None:
    blind = replace(snapshot([]), blind={Family.IPV4: "no target was reached"})
    lately = {family: Answering(NOW, 10.0) for family in Family}
    found = doubts_of_crawl(blind, lately, 0.5)
    assert found[Family.IPV4] == "the crawl was blind for ipv4: no target was reached"
    assert found[Family.IPV6].startswith("in the crawl 0 ipv6 addresses answered")
