from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

import pytest

from poolmgr.judge.findings import Finding, Margin, findings
from poolmgr.judge.freshness import references
from poolmgr.judge.policy import Policy
from poolmgr.judge.quality import Quality, latency_of
from poolmgr.judge.reliability import WINDOWS, Reliability, ServiceKey
from poolmgr.judge.verdict import RULES, Case
from poolmgr.model import KeyserverAddress, Outcome, Reason, ReasonCode, Service
from poolmgr.pools import Pool
from tests.build import NOW, keyserver, mesh, pool, probe, snapshot

ADDRESS = "203.0.113.1"
QUALITY = Quality(
    min_reliability=0.5,
    enter_reliability=0.75,
    max_latency=timedelta(seconds=8),
    enter_latency=timedelta(seconds=4),
)
BOTH = pool(services=frozenset({Service.HKP, Service.HTTP}))
MILLISECOND = timedelta(milliseconds=1)


def failed(share: float) -> Reliability:
    """Return the reliability of a service that was seen to fail in that share of the last week alone."""
    is_week = [window == "7d" for window in WINDOWS]
    return Reliability(NOW, tuple(1 - share if each else 1.0 for each in is_week), (1.0,) * len(WINDOWS))


def answering(**latencies: timedelta) -> KeyserverAddress:
    """Return an address whose services, by their names, answer a lookup so quickly."""
    stats, *_ = keyserver("ks.example.net", ADDRESS).addresses[0].probes
    lookups = (replace(probe(ADDRESS, service=Service(name)), total=total) for name, total in latencies.items())
    return replace(keyserver("ks.example.net", ADDRESS).addresses[0], probes=(stats, *lookups))


def case_of(
    address: KeyserverAddress,
    reliability: Mapping[ServiceKey, Reliability],
    *,
    is_up: bool,
    quality: Quality = QUALITY,
    of: Pool | None = None,
) -> Case:
    one = replace(keyserver("ks.example.net", ADDRESS), addresses=(address,))
    crawled, policy = snapshot([one, *mesh(3)]), Policy(quality=quality)
    known = references(crawled.keyservers, policy.window)
    return Case(of or pool(), policy, one, address, known, NOW, is_up=is_up, reliability=reliability)


def of_service(share: float, service: Service = Service.HKP) -> Mapping[ServiceKey, Reliability]:
    return {(answering().address, service): failed(share)}


def reasons(case: Case) -> list[Reason]:
    return [reason for rule in RULES for reason in rule(case)]


def found(case: Case) -> dict[ReasonCode, Finding]:
    return {each.code: each for each in findings(case)}


QUICK = timedelta(milliseconds=150)


@pytest.mark.parametrize(("is_up", "limit", "text"), [(True, 0.5, "hkp 50%"), (False, 0.25, "hkp 75%")])
@pytest.mark.parametrize(("past", "is_passed"), [(-1 / 64, True), (0.0, True), (1 / 64, False)])
def test_reliability_below_at_and_above_its_limit(
    limit: float, text: str, past: float, *, is_up: bool, is_passed: bool
) -> None:
    case = case_of(answering(hkp=QUICK), of_service(limit + past), is_up=is_up)
    assert [(reason.code, reason.limit) for reason in reasons(case)] == (
        [] if is_passed else [(ReasonCode.UNRELIABLE, text)]
    )
    finding = found(case)[ReasonCode.UNRELIABLE]
    assert (finding.is_passed, finding.limit, finding.margin) == (is_passed, text, Margin(-past * 100, "percent"))


@pytest.mark.parametrize(("is_up", "limit"), [(True, QUALITY.max_latency), (False, QUALITY.enter_latency)])
@pytest.mark.parametrize(("past", "is_passed"), [(-MILLISECOND, True), (0 * MILLISECOND, True), (MILLISECOND, False)])
def test_latency_below_at_and_above_its_limit(
    limit: timedelta, past: timedelta, *, is_up: bool, is_passed: bool
) -> None:
    case = case_of(answering(hkp=limit + past), {}, is_up=is_up)
    assert [reason.code for reason in reasons(case)] == ([] if is_passed else [ReasonCode.SLOW])
    finding = found(case)[ReasonCode.SLOW]
    assert finding.is_passed is is_passed
    assert finding.margin == Margin(-past.total_seconds(), "seconds")
    assert finding.limit == f"hkp {limit.total_seconds():.0f} s"


def test_a_reason_says_what_was_measured_and_by_how_much_it_is_past_its_limit() -> None:
    slow, unreliable = answering(hkp=timedelta(seconds=4.5)), of_service(0.375)
    first, second = reasons(case_of(slow, unreliable, is_up=False))
    assert (first.code, first.measured, first.limit, first.excess) == (
        ReasonCode.UNRELIABLE,
        "hkp 62.5%",
        "hkp 75%",
        12.5,
    )
    assert first.sentence == "hkp was not seen to fail in 62.5% of the last week, at least 75% is asked for"
    assert (second.code, second.measured, second.limit, second.excess) == (
        ReasonCode.SLOW,
        "hkp 4.5 s",
        "hkp 4 s",
        0.5,
    )
    assert second.sentence == "hkp answers a lookup in 4.5 s, at most 4 s is allowed"
    assert reasons(case_of(slow, unreliable, is_up=True)) == []


def test_entering_never_asks_for_less_than_staying() -> None:
    lax = Quality(
        min_reliability=0.75,
        enter_reliability=0.5,
        max_latency=timedelta(seconds=4),
        enter_latency=timedelta(seconds=8),
    )
    for is_up in (True, False):
        case = case_of(answering(hkp=timedelta(seconds=5)), of_service(0.3), is_up=is_up, quality=lax)
        assert [reason.code for reason in reasons(case)] == [ReasonCode.UNRELIABLE, ReasonCode.SLOW]


def test_what_was_not_measured_is_neither_passed_nor_failed() -> None:
    unknown = case_of(answering(hkp=QUICK), {}, is_up=False)
    assert reasons(unknown) == []
    assert ReasonCode.UNRELIABLE not in found(unknown)
    silent = case_of(answering(), of_service(0.0), is_up=False)
    assert [reason.code for reason in reasons(silent)] == [ReasonCode.SERVICE]
    assert ReasonCode.SLOW not in found(silent)


def test_only_what_the_pool_promises_counts_and_each_service_by_itself() -> None:
    address = answering(hkp=QUICK, http=timedelta(seconds=9))
    known = {**of_service(0.0), **of_service(0.9, Service.HTTP)}
    assert reasons(case_of(address, known, is_up=True)) == []
    case = case_of(address, known, is_up=True, of=BOTH)
    assert [(reason.code, reason.limit) for reason in reasons(case)] == [
        (ReasonCode.UNRELIABLE, "http 50%"),
        (ReasonCode.SLOW, "http 8 s"),
    ]
    told = {(each.limit, each.is_passed) for each in findings(case)}
    assert told >= {("hkp 50%", True), ("hkp 8 s", True), ("http 50%", False), ("http 8 s", False)}


def test_time_in_which_nobody_looked_is_no_failure() -> None:
    seldom = Reliability(NOW, (0.0,) * len(WINDOWS), (0.25,) * len(WINDOWS))
    case = case_of(answering(hkp=QUICK), {(answering().address, Service.HKP): seldom}, is_up=False)
    assert reasons(case) == []
    assert found(case)[ReasonCode.UNRELIABLE].measured == "hkp 75.0%"


def test_the_latency_is_that_of_the_quickest_good_lookup() -> None:
    address = answering(hkp=timedelta(seconds=3))
    more = [
        replace(probe(ADDRESS, host="ks.example.net"), total=timedelta(seconds=2)),
        replace(probe(ADDRESS, outcome=Outcome.RESET), total=timedelta(seconds=1)),
        replace(probe(ADDRESS, service=Service.HTTP), total=timedelta(seconds=1)),
        replace(probe(ADDRESS), total=None),
    ]
    assert latency_of(replace(address, probes=(*address.probes, *more)), Service.HKP) == timedelta(seconds=2)
    assert latency_of(answering(), Service.HKP) is None
