from __future__ import annotations

import ipaddress
from dataclasses import replace

import pytest

from poolmgr.crawl.blindness import LEAST, CheckTarget, Checkup, SelfCheck, blindness
from poolmgr.model import Family, Keyserver, Outcome, Snapshot
from tests.build import keyserver, named, snapshot

IPV4: tuple[CheckTarget, ...] = tuple((ipaddress.ip_address(f"192.0.2.{number}"), 443) for number in range(1, 5))
IPV6: tuple[CheckTarget, ...] = ((ipaddress.ip_address("2001:db8::1"), 443),)
NAME = named("up.example.org")
NOTHING = SelfCheck()


def failing(targets: tuple[CheckTarget, ...], *, moment: str = "before the crawl") -> Checkup:
    return Checkup(moment=moment, failures=dict.fromkeys(targets, "connection refused"))


def crawled(count: int, *, dead: int = 0, outcome: Outcome = Outcome.CONNECT_TIMEOUT, family: int = 4) -> Snapshot:
    """Return a crawl of `count` keyservers with one address each, of which the first `dead` ended with `outcome`."""
    address = {4: "198.51.100.{}", 6: "2001:db8::{}"}[family]
    return snapshot(
        keyserver(
            f"ks{number}.example.net",
            address.format(number + 1),
            stats_outcome=outcome if number < dead else Outcome.OK,
        )
        for number in range(count)
    )


def nameless(count: int, *, lost: int) -> Snapshot:
    """Return a crawl of `count` names, of which the first `lost` gave no address."""
    names = [f"ks{number}.example.net" for number in range(count)]
    return snapshot(keyserver(name, *([] if n < lost else [f"198.51.100.{n + 1}"])) for n, name in enumerate(names))


@pytest.mark.parametrize(("failed", "is_blind"), [(0, False), (2, False), (3, True), (4, True)])
def test_a_family_is_blind_when_more_than_half_of_its_targets_fail(failed: int, *, is_blind: bool) -> None:
    check = SelfCheck(targets={Family.IPV4: IPV4, Family.IPV6: IPV6})
    found = blindness(check, [failing(IPV4[:failed])], snapshot([]), {})
    assert (set(found) == {Family.IPV4}) is is_blind
    assert len(found) == is_blind


def test_an_outage_at_the_end_of_the_crawl_counts_as_one_at_its_start_does() -> None:
    check = SelfCheck(targets={Family.IPV6: IPV6})
    checkups = [Checkup(moment="before the crawl"), failing(IPV6, moment="after the crawl")]
    assert blindness(check, checkups, snapshot([]), {}) == {
        Family.IPV6: "after the crawl 1 of 1 targets of crawl.self_check.ipv6 were out of reach "
        "([2001:db8::1]:443: connection refused)"
    }


def test_failures_at_different_times_do_not_add_up() -> None:
    check = SelfCheck(targets={Family.IPV4: IPV4})
    assert blindness(check, [failing(IPV4[:2]), failing(IPV4[2:], moment="after the crawl")], snapshot([]), {}) == {}


def test_without_an_address_for_the_known_name_both_families_are_blind() -> None:
    checkup = Checkup(moment="before the crawl", name_problem="no such name (NXDOMAIN)")
    sentence = (
        "before the crawl DNS gave no address for up.example.org, crawl.self_check.name (no such name (NXDOMAIN))"
    )
    found = blindness(SelfCheck(name=NAME), [checkup], snapshot([]), {})
    assert found == {Family.IPV4: sentence, Family.IPV6: sentence}


@pytest.mark.parametrize(
    ("count", "dead", "is_blind"),
    [(LEAST - 1, LEAST - 1, False), (LEAST, LEAST, True), (LEAST, LEAST - 1, False), (20, 18, True), (20, 17, False)],
)
def test_without_targets_nearly_all_that_served_must_fail_at_once(count: int, dead: int, *, is_blind: bool) -> None:
    for family, version in ((Family.IPV4, 4), (Family.IPV6, 6)):
        before = crawled(count, family=version)
        found = blindness(NOTHING, [], crawled(count, dead=dead, family=version), {family: before})
        assert list(found) == ([family] if is_blind else [])


@pytest.mark.parametrize(
    ("outcome", "is_blind"),
    [
        (Outcome.REFUSED, True),
        (Outcome.UNREACHABLE, True),
        (Outcome.CONNECT_TIMEOUT, True),
        (Outcome.FIRST_BYTE_TIMEOUT, False),
        (Outcome.HTTP_STATUS, False),
        (Outcome.NOT_ALLOWED, False),
    ],
)
def test_only_what_could_not_be_connected_to_may_be_our_own_outage(outcome: Outcome, *, is_blind: bool) -> None:
    found = blindness(NOTHING, [], crawled(5, dead=5, outcome=outcome), {Family.IPV4: crawled(5)})
    assert bool(found) is is_blind


def test_addresses_that_did_not_serve_before_say_nothing() -> None:
    dead = crawled(9, dead=9)
    assert blindness(NOTHING, [], dead, {Family.IPV4: dead}) == {}
    assert blindness(NOTHING, [], dead, {}) == {}


def test_targets_that_are_up_make_it_the_keyservers_own_outage() -> None:
    check = SelfCheck(targets={Family.IPV4: IPV4})
    assert blindness(check, [failing(())], crawled(9, dead=9), {Family.IPV4: crawled(9)}) == {}


def test_the_sentence_has_what_was_measured_and_the_remedy() -> None:
    assert blindness(NOTHING, [], crawled(10, dead=9), {Family.IPV4: crawled(10)}) == {
        Family.IPV4: "9 of the 10 ipv4 addresses that gave their stats in the crawl of 2026-11-23T12:00:00Z could not "
        "be connected to, and crawl.self_check.ipv4 has no targets that would tell whose outage that is"
    }


@pytest.mark.parametrize(("count", "lost", "is_blind"), [(3, 3, False), (4, 4, True), (20, 18, True), (20, 17, False)])
def test_both_are_blind_when_nearly_all_names_lose_their_addresses(count: int, lost: int, *, is_blind: bool) -> None:
    before = nameless(count, lost=0)
    found = blindness(NOTHING, [], nameless(count, lost=lost), dict.fromkeys(Family, before))
    assert set(found) == (set(Family) if is_blind else set())


def test_names_that_never_had_an_address_say_nothing() -> None:
    gone: list[Keyserver] = [replace(one, problem="NXDOMAIN") for one in nameless(9, lost=9).keyservers]
    assert blindness(NOTHING, [], snapshot(gone), dict.fromkeys(Family, snapshot(gone))) == {}
