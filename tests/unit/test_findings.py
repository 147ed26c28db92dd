from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from poolmgr.judge.findings import Finding, Margin, findings, steady_findings
from poolmgr.judge.freshness import references
from poolmgr.judge.policy import Policy
from poolmgr.judge.steadiness import Look, Standing, Steadiness
from poolmgr.judge.verdict import Case
from poolmgr.model import Certificate, Keyserver, Outcome, ReasonCode, Service
from poolmgr.pools import Pool, Vhost
from tests.build import NOW, judge, keyserver, mesh, overrides, pool, probe, snapshot

POLICY = Policy(max_keys_behind=100, max_keys_ahead=100)


def found_of(one: Keyserver, *, of: Pool | None = None, policy: Policy = POLICY) -> dict[ReasonCode, Finding]:
    """Return what the rules find of the first address of `one` among five healthy keyservers."""
    crawled = snapshot([one, *mesh(5, first=100)])
    known = references(crawled.keyservers, policy.window)
    case = Case(of or pool(), policy, one, one.addresses[0], known, crawled.finished)
    return {finding.code: finding for finding in findings(case)}


def test_every_rule_that_looked_at_a_healthy_address_says_that_it_passed() -> None:
    found = found_of(keyserver("ks.example.net", "203.0.113.1"))
    assert all(finding.is_passed for finding in found.values())
    assert found.keys() >= {
        ReasonCode.EXCLUDED,
        ReasonCode.FAMILY,
        ReasonCode.SPECIAL_PURPOSE,
        ReasonCode.STATS,
        ReasonCode.SOFTWARE,
        ReasonCode.VERSION,
        ReasonCode.NO_COUNT,
        ReasonCode.COHORT,
        ReasonCode.BEHIND,
        ReasonCode.AHEAD,
        ReasonCode.SERVICE,
    }
    version = found[ReasonCode.VERSION]
    assert (version.measured, version.limit, version.margin) == ("1.1.6", "1.1.6", None)


@pytest.mark.parametrize(
    ("keys", "behind", "ahead"),
    [(-101, -1, 201), (-100, 0, 200), (-99, 1, 199), (99, 199, 1), (100, 200, 0), (101, 201, -1)],
)
def test_the_margin_of_a_count_is_what_is_left_to_its_limit(keys: int, behind: int, ahead: int) -> None:
    found = found_of(keyserver("ks.example.net", "203.0.113.1", keys=5_000_000 + keys))
    for code, margin in ((ReasonCode.BEHIND, behind), (ReasonCode.AHEAD, ahead)):
        assert found[code].margin == Margin(margin, "keys")
        assert found[code].is_passed is (margin >= 0)


def test_what_was_not_measured_is_neither_passed_nor_failed() -> None:
    silent = found_of(keyserver("ks.example.net", "203.0.113.1", stats_outcome=Outcome.REFUSED))
    assert not silent[ReasonCode.STATS].is_passed
    assert silent.keys().isdisjoint({ReasonCode.SOFTWARE, ReasonCode.VERSION, ReasonCode.BEHIND, ReasonCode.SERVICE})


def test_failed_findings_are_the_reasons_and_come_first() -> None:
    one = keyserver(
        "ks.example.net", "203.0.113.1", version="1.1.5", keys=4_000_000, outcomes={Service.HKP: Outcome.RESET}
    )
    crawled = snapshot([one, *mesh(5, first=100)])
    (verdict, *_), known = judge(crawled, POLICY, [pool()])
    found = findings(Case(pool(), POLICY, one, one.addresses[0], known, crawled.finished))
    failed = found[: len(verdict.reasons)]
    assert [(each.code, each.measured, each.limit, each.sentence) for each in failed] == [
        (each.code, each.measured, each.limit, each.sentence) for each in verdict.reasons
    ]
    assert not any(each.is_passed for each in failed)
    assert all(each.is_passed for each in found[len(failed) :])


def test_each_service_is_found_by_itself() -> None:
    one = keyserver("ks.example.net", "203.0.113.1", outcomes={Service.HKP: Outcome.OK, Service.HTTP: Outcome.RESET})
    of = pool(services=frozenset({Service.HKP, Service.HTTP}))
    crawled = snapshot([one, *mesh(5, first=100)])
    case = Case(of, POLICY, one, one.addresses[0], references(crawled.keyservers, POLICY.window), crawled.finished)
    found = {each.limit: each.is_passed for each in findings(case) if each.code is ReasonCode.SERVICE}
    assert found == {"hkp ok": True, "http ok": False}


def test_where_either_name_will_do_the_one_that_answered_is_told() -> None:
    one = keyserver("ks.example.net", "203.0.113.1", outcomes={Service.HKP: Outcome.NO_KEY})
    (address,) = one.addresses
    own = probe("203.0.113.1", host="ks.example.net")
    one = replace(one, addresses=(replace(address, probes=(*address.probes, own)),))
    found = found_of(one, of=pool(vhost=Vhost.EITHER))[ReasonCode.SERVICE]
    assert (found.is_passed, found.sentence) == (True, "hkp on port 11371 answers as ks.example.net")


def test_who_is_named_in_include_only_passes_by_that_entry() -> None:
    one = keyserver("ks.example.net", "203.0.113.1")
    named = found_of(one, of=pool(include_only=overrides("203.0.113.0/28")))[ReasonCode.NOT_INCLUDED]
    assert (named.is_passed, named.measured) == (True, "203.0.113.0/28")
    assert ReasonCode.NOT_INCLUDED not in found_of(one)
    assert not found_of(one, of=pool(include_only=overrides("other.example.net")))[ReasonCode.NOT_INCLUDED].is_passed


@pytest.mark.parametrize(("left", "is_passed"), [(timedelta(days=14, seconds=1), True), (timedelta(days=14), False)])
def test_a_certificate_is_found_where_the_pool_asks_for_it(left: timedelta, *, is_passed: bool) -> None:
    one = keyserver("ks.example.net", "203.0.113.1")
    shown = probe("203.0.113.1", service=Service.HKPS, certificate=Certificate("Lab CA", NOW + left))
    (address,) = one.addresses
    one = replace(one, addresses=(replace(address, probes=(*address.probes, shown)),))
    assert ReasonCode.CERTIFICATE not in found_of(one)
    found = found_of(one, of=pool(services=frozenset({Service.HKPS})))[ReasonCode.CERTIFICATE]
    assert found.is_passed is is_passed
    assert found.margin == Margin((left - timedelta(days=14)).total_seconds(), "seconds")


RULE = Steadiness(rise=3, fall=2, probation=timedelta(hours=1), flap_wait=timedelta(minutes=40))
LOOK = Look(NOW, (), is_final=False)


def waits(standing: Standing, *, rounds: int = 9) -> dict[ReasonCode, tuple[bool, Margin | None]]:
    found = steady_findings(standing, LOOK, RULE, rounds=rounds)
    return {each.code: (each.is_passed, each.margin) for each in found}


def test_who_is_down_is_told_how_many_good_crawls_and_how_long_it_takes() -> None:
    newcomer = Standing(False, 1, NOW, NOW - timedelta(minutes=15))
    assert waits(newcomer) == {
        ReasonCode.JOINING: (False, Margin(-2, "crawls")),
        ReasonCode.PROBATION: (False, Margin(-2700, "seconds")),
    }
    fallen = Standing(False, 2, NOW, NOW - timedelta(days=1), NOW - timedelta(minutes=30), 1.0)
    assert waits(fallen) == {
        ReasonCode.JOINING: (False, Margin(-1, "crawls")),
        ReasonCode.FLAPPING: (False, Margin(-600, "seconds")),
    }


def test_bad_looks_in_a_row_are_no_good_ones_and_not_fewer_than_none() -> None:
    bad = Standing(False, -4, NOW, NOW - timedelta(days=1))
    assert waits(bad)[ReasonCode.JOINING] == (False, Margin(-3, "crawls"))


def test_waits_that_are_over_have_passed() -> None:
    fallen = Standing(False, 2, NOW, NOW - timedelta(days=1), NOW - timedelta(minutes=41), 1.0)
    assert waits(fallen)[ReasonCode.FLAPPING] == (True, Margin(60, "seconds"))
    known = Standing(False, 2, NOW, NOW - timedelta(hours=2))
    assert waits(known)[ReasonCode.PROBATION] == (True, Margin(3600, "seconds"))


def test_who_is_up_and_whom_the_first_crawl_decides_waits_for_nothing() -> None:
    assert waits(Standing(True, -1, NOW, NOW)) == {}
    assert waits(Standing(False, -1, NOW, NOW), rounds=1) == {}
