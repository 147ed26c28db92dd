from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from poolmgr.judge.canary import given_version, newest_version
from poolmgr.judge.findings import Finding, Margin, findings
from poolmgr.judge.freshness import references
from poolmgr.judge.policy import Policy
from poolmgr.judge.verdict import Case
from poolmgr.model import Keyserver, KeyserverAddress, ReasonCode, Service, State
from poolmgr.report.remedies import remedies
from tests.build import NOW, crawls, judged, keyserver, mesh, pool, probe, snapshot

HOUR, SECOND = timedelta(hours=1), timedelta(seconds=1)
OLD = NOW - 99 * HOUR
POLICY = Policy(max_keys_behind=100, max_keys_ahead=100)
"""At most 36 hours late, 24 to come in."""


def givers(count: int, age: timedelta, *, first: int = 100) -> list[Keyserver]:
    """Return that many keyservers of `mesh` that give the canary key as it was signed that long ago."""
    return [with_version(one, age) for one in mesh(count, first=first)]


def with_version(one: Keyserver, age: timedelta) -> Keyserver:
    (address,) = one.addresses
    probes = tuple(replace(each, version=NOW - age) for each in address.probes)
    return replace(one, addresses=(replace(address, probes=probes),))


def found_of(one: Keyserver, age: timedelta, *, is_up: bool = True) -> dict[ReasonCode, Finding]:
    """Return what the rules find of `one` among five whose canary key was signed that long ago."""
    crawled = snapshot([one, *givers(5, age)])
    known = references(crawled.keyservers, POLICY.window)
    newest = newest_version(crawled.keyservers, crawled.finished, POLICY.min_cohort)
    case = Case(pool(), POLICY, one, one.addresses[0], known, crawled.finished, is_up=is_up, newest=newest)
    return {finding.code: finding for finding in findings(case)}


def failed(found: dict[ReasonCode, Finding]) -> list[ReasonCode]:
    return [code for code, finding in found.items() if not finding.is_passed]


@pytest.mark.parametrize(("is_up", "limit"), [(True, 36 * HOUR), (False, 24 * HOUR)])
@pytest.mark.parametrize(("past", "is_in"), [(-SECOND, True), (0 * SECOND, True), (SECOND, False)])
def test_who_lacks_a_version_is_out_when_it_is_older_than_the_limit(
    past: timedelta, limit: timedelta, *, is_up: bool, is_in: bool
) -> None:
    one = keyserver("ks.example.net", "203.0.113.1", canary=OLD)
    found = found_of(one, limit + past, is_up=is_up)
    assert failed(found) == ([] if is_in else [ReasonCode.CANARY])
    assert found[ReasonCode.CANARY].margin == Margin(-past.total_seconds(), "seconds")


@pytest.mark.parametrize(("is_up", "limit"), [(True, 36 * HOUR), (False, 24 * HOUR)])
@pytest.mark.parametrize(("past", "is_in"), [(-SECOND, True), (0 * SECOND, True), (SECOND, False)])
def test_who_gives_a_version_is_fresh_whatever_it_counts_until_it_is_older_than_the_limit(
    past: timedelta, limit: timedelta, *, is_up: bool, is_in: bool
) -> None:
    for newer in (0 * HOUR, HOUR):
        one = keyserver("ks.example.net", "203.0.113.1", keys=9, canary=NOW - limit - past + newer)
        found = found_of(one, limit + past, is_up=is_up)
        assert failed(found) == ([] if is_in else [ReasonCode.BEHIND])
        assert found[ReasonCode.CANARY].is_passed
        assert (ReasonCode.BEHIND in found) is not is_in


def test_who_gives_an_older_version_of_late_is_judged_by_its_count() -> None:
    for keys, codes in ((5_000_000, []), (9, [ReasonCode.BEHIND])):
        one = keyserver("ks.example.net", "203.0.113.1", keys=keys, canary=NOW - 6 * HOUR)
        assert failed(found_of(one, 5 * HOUR)) == codes


def test_an_old_version_puts_out_though_the_count_is_good_and_says_how_old() -> None:
    one = keyserver("ks.example.net", "203.0.113.1", canary=NOW - 60 * HOUR)
    for is_up, whom in ((True, ": at most 36 h may pass"), (False, ": at most 24 h may pass to come in")):
        found = found_of(one, 50 * HOUR, is_up=is_up)[ReasonCode.CANARY]
        assert (found.measured, found.limit) == ("2026-11-21 00:00 UTC", "2026-11-21 10:00 UTC")
        assert found.sentence == (
            "gives the canary key of 2026-11-21 00:00 UTC, most keyservers that of 2026-11-21 10:00 UTC, which was "
            f"signed 50 h ago{whom}"
        )
        assert remedies([found]) == ("give the canary key as it was signed on 2026-11-21 10:00 UTC or later",)


def test_the_newest_version_passes_and_says_so() -> None:
    found = found_of(keyserver("ks.example.net", "203.0.113.1", canary=NOW - 5 * HOUR), 5 * HOUR)[ReasonCode.CANARY]
    assert found.is_passed
    assert found.sentence == (
        "gives the canary key of 2026-11-23 07:00 UTC: the newest that most keyservers have is of 2026-11-23 07:00 UTC"
    )


def test_a_fresh_one_needs_no_cohort_and_is_not_stuck() -> None:
    one = keyserver("ks.example.net", "203.0.113.1", version="2.3", keys=9, software="Hockeypuck", canary=NOW - HOUR)
    assert failed(found_of(one, HOUR)) == []
    assert failed(found_of(one, 99 * HOUR)) == [ReasonCode.COHORT]


@pytest.mark.parametrize(("keys", "code"), [(None, ReasonCode.NO_COUNT), (2**62, ReasonCode.AHEAD)])
def test_a_fresh_one_is_out_all_the_same_for_no_count_and_for_too_many(keys: int | None, code: ReasonCode) -> None:
    one = keyserver("ks.example.net", "203.0.113.1", keys=keys, canary=NOW - HOUR)
    assert failed(found_of(one, HOUR)) == [code]


@pytest.mark.parametrize(("keys", "code"), [(None, ReasonCode.NO_COUNT), (9, ReasonCode.BEHIND)])
def test_a_stale_one_is_told_what_else_is_wrong(keys: int | None, code: ReasonCode) -> None:
    one = keyserver("ks.example.net", "203.0.113.1", keys=keys, canary=OLD)
    assert failed(found_of(one, 50 * HOUR)) == [ReasonCode.CANARY, code]


def test_without_a_version_the_count_decides() -> None:
    for keys, codes in ((5_000_000, []), (9, [ReasonCode.BEHIND])):
        found = found_of(keyserver("ks.example.net", "203.0.113.1", keys=keys), 50 * HOUR)
        assert failed(found) == codes
        assert ReasonCode.CANARY not in found


def test_one_look_is_enough_to_go_out() -> None:
    good = [*givers(5, 50 * HOUR), keyserver("ks.example.net", "203.0.113.1", canary=NOW - 50 * HOUR)]
    stale = [*good[:-1], keyserver("ks.example.net", "203.0.113.1", canary=OLD)]
    _, judgement = judged(crawls(good, good, stale), POLICY)
    states = {str(each.address): (each.state, [reason.code for reason in each.reasons]) for each in judgement.verdicts}
    assert states.pop("203.0.113.1") == (State.OUT, [ReasonCode.CANARY])
    assert set(map(str, states.values())) == {str((State.ELIGIBLE, []))}


def newest(*keyservers: Keyserver, least: int = 2) -> timedelta | None:
    """Return how long ago the newest version was signed."""
    version = newest_version(keyservers, NOW, least)
    return None if version is None else NOW - version


def test_the_newest_version_is_the_one_that_more_than_half_have_reached() -> None:
    assert newest(*givers(3, HOUR), *givers(2, 9 * HOUR, first=200)) == HOUR
    assert newest(*givers(2, HOUR), *givers(2, 9 * HOUR, first=200)) == 9 * HOUR
    assert newest(*givers(2, HOUR), *givers(1, 2 * HOUR, first=150), *givers(2, 9 * HOUR, first=200)) == 2 * HOUR
    assert newest(*givers(2, HOUR), *mesh(5)) == HOUR
    assert newest(*mesh(5)) is None


def test_as_few_as_do_not_make_a_cohort_have_no_newest_version() -> None:
    assert newest(*givers(1, HOUR)) is None
    assert newest(*givers(1, HOUR), least=1) == HOUR
    assert newest(*givers(3, HOUR), least=4) is None
    assert newest(*givers(3, HOUR), *givers(1, 9 * HOUR, first=200), least=4) == 9 * HOUR


@pytest.mark.parametrize("age", [-99 * HOUR, 0 * HOUR, 99 * HOUR, 10**6 * HOUR])
def test_a_crowd_in_one_block_does_not_move_it(age: timedelta) -> None:
    honest = [keyserver(f"ks{number}.example.net", f"9.0.{number}.1", canary=NOW - HOUR) for number in range(3)]
    crowd = [keyserver(f"liar{number}.example.net", f"9.9.9.{number}", canary=NOW - age) for number in range(1, 200)]
    assert newest(*honest, *crowd) == HOUR
    many = keyserver("many.example.net", *(f"9.8.{number}.1" for number in range(200)), canary=NOW - age)
    assert newest(*honest, many) == HOUR


def test_what_is_dated_after_the_crawl_counts_for_nothing() -> None:
    assert newest(*givers(5, -SECOND)) is None
    assert newest(*givers(5, -SECOND), *givers(2, HOUR, first=200)) == HOUR
    assert newest(*givers(2, 0 * HOUR)) == 0 * HOUR
    one = keyserver("ks.example.net", "203.0.113.1", keys=9, canary=NOW + SECOND)
    assert failed(found_of(one, HOUR)) == [ReasonCode.BEHIND]


def test_an_address_that_gives_several_versions_has_the_newest() -> None:
    ages = {Service.HKP: 9 * HOUR, Service.HTTP: HOUR, Service.HKPS: -HOUR}
    probes = [probe("203.0.113.1", service=service, version=NOW - age) for service, age in ages.items()]
    one = keyserver("ks.example.net", "203.0.113.1").addresses[0]
    assert given_version(KeyserverAddress(one.address, one.stats, tuple(probes)), NOW) == NOW - HOUR
    assert given_version(one, NOW) is None


def test_a_keyserver_votes_once_with_its_newest_version() -> None:
    both = keyserver("ks.example.net", "203.0.113.1", "203.0.113.2", canary=OLD)
    first, second = both.addresses
    newer = tuple(replace(each, version=NOW - HOUR) for each in second.probes)
    both = replace(both, addresses=(first, replace(second, probes=newer)))
    assert newest(both, *givers(1, HOUR)) == HOUR
    assert newest(both, *givers(1, 9 * HOUR)) == 9 * HOUR
    assert newest(both, least=2) is None
