"""Crawls judged one after the other."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta

import dns.name
import pytest

from poolmgr.errors import ParseError
from poolmgr.hosts import IPAddress, host_name
from poolmgr.judge.history import FORGET, MAX_ABSENT, History, Judgement, judge_next
from poolmgr.judge.policy import Policy
from poolmgr.judge.reliability import Reliability, observed
from poolmgr.judge.steadiness import Standing, Steadiness
from poolmgr.model import (
    Certificate,
    Family,
    Keyserver,
    KeyserverAddress,
    Outcome,
    ReasonCode,
    Service,
    Snapshot,
    State,
    Verdict,
)
from poolmgr.pools import Pool
from poolmgr.report.history import from_json, to_json
from tests.build import NOW, POOL, keyserver, mesh, overrides, pool, probe, snapshot

EVERY = timedelta(minutes=5)
POLICY = Policy(steadiness=Steadiness(rise=2, fall=2, drop=2, flap_wait=timedelta(0)))
ONE, SIX = "203.0.113.1", "2001:db8::1"
NO_NAME_SERVER = "ks.example.net: SERVFAIL"

GOOD = keyserver("ks.example.net", ONE)
BAD = keyserver("ks.example.net", ONE, stats_outcome=Outcome.TIMEOUT)
REFUSED = keyserver("ks.example.net", ONE, stats_outcome=Outcome.REFUSED)
UNRESOLVED = replace(keyserver("ks.example.net"), problem=NO_NAME_SERVER)


def at(number: float, *keyservers: Keyserver, blind: Iterable[Family] = ()) -> Snapshot:
    """Return the crawl at that multiple of EVERY, of `keyservers` and three healthy others."""
    crawl = snapshot([*keyservers, *mesh(3)])
    later = number * EVERY
    why = dict.fromkeys(blind, "no way out")
    return replace(crawl, started=crawl.started + later, finished=crawl.finished + later, blind=why)


def judged(
    *crawls: Snapshot, policy: Policy = POLICY, pools: Iterable[Pool] = (pool(),), after: History | None = None
) -> list[Judgement]:
    """Judge `crawls` one after the other."""
    judgements, history = [], History() if after is None else after
    for crawl in crawls:
        judgements.append(judge_next(history, crawl, policy, pools))
        history = judgements[-1].history
    return judgements


def verdict_of(judgement: Judgement, address: str = ONE, of: dns.name.Name = POOL) -> Verdict:
    wanted = ipaddress.ip_address(address)
    (verdict,) = [each for each in judgement.verdicts if each.address == wanted and each.pool == of]
    return verdict


def said(verdict: Verdict) -> tuple[State, list[ReasonCode], list[ReasonCode]]:
    return verdict.state, [reason.code for reason in verdict.reasons], [warning.code for warning in verdict.warnings]


def line(*looks: Keyserver, policy: Policy = POLICY) -> str:
    """Return ^ for each crawl, with `looks` one after the other, after which the address is eligible."""
    judgements = judged(*(at(number, one) for number, one in enumerate(looks)), policy=policy)
    return "".join("^" if verdict_of(each).state is State.ELIGIBLE else "." for each in judgements)


# In and out


def test_one_bad_crawl_is_a_warning_and_the_second_puts_out() -> None:
    good, first, second = judged(at(0, GOOD), at(1, BAD), at(2, BAD))
    assert said(verdict_of(good)) == (State.ELIGIBLE, [], [])
    assert said(verdict_of(first)) == (State.ELIGIBLE, [], [ReasonCode.STATS])
    assert (verdict_of(first).progress, verdict_of(first).since) == ((1, 2), NOW)
    assert said(verdict_of(second)) == (State.OUT, [ReasonCode.STATS], [])
    assert (verdict_of(second).progress, verdict_of(second).since) == (None, NOW + 2 * EVERY)


def test_between_fall_and_drop_it_is_falling_and_one_good_crawl_ends_that() -> None:
    policy = replace(POLICY, steadiness=replace(POLICY.steadiness, drop=4))
    judgements = judged(at(0, GOOD), *(at(number, BAD) for number in (1, 2, 3)), at(4, GOOD), policy=policy)
    told = [(one.progress, one.is_falling) for one in map(verdict_of, judgements)]
    assert told == [(None, False), ((1, 4), False), ((2, 4), True), ((3, 4), True), (None, False)]
    assert line(GOOD, BAD, BAD, BAD, BAD, GOOD, GOOD, policy=policy) == "^^^^..^"
    blind = judge_next(judgements[2].history, at(3, GOOD, blind=[Family.IPV4]), policy, [pool()])
    assert (verdict_of(blind).progress, verdict_of(blind).is_falling) == ((2, 4), True)


def test_one_good_crawl_is_joining_and_the_second_lets_in() -> None:
    _, first, second = judged(at(0, BAD), at(1, GOOD), at(2, GOOD))
    assert said(verdict_of(first)) == (State.OUT, [ReasonCode.JOINING], [])
    assert (verdict_of(first).progress, verdict_of(first).since) == ((1, 2), NOW)
    assert said(verdict_of(second)) == (State.ELIGIBLE, [], [])
    assert (verdict_of(second).progress, verdict_of(second).since) == (None, NOW + 2 * EVERY)


def test_a_certificate_that_ends_is_warned_of_beside_the_first_failure() -> None:
    (address,) = GOOD.addresses
    shown = probe(ONE, service=Service.HKPS, certificate=Certificate("Lab CA", NOW + timedelta(days=1)))
    late = probe(ONE, outcome=Outcome.TIMEOUT)
    ending = replace(GOOD, addresses=(replace(address, probes=(address.probes[0], late, shown)),))
    secure = pool(services=frozenset({Service.HKP, Service.HKPS}))
    good = replace(GOOD, addresses=(replace(address, probes=(*address.probes, shown)),))
    _, first = judged(at(0, good), at(1, ending), pools=[secure])
    assert said(verdict_of(first)) == (State.ELIGIBLE, [], [ReasonCode.CERTIFICATE, ReasonCode.SERVICE])


@pytest.mark.parametrize("outcome", [Outcome.WRONG_KEY, Outcome.BAD_TLS])
def test_a_lookup_that_ends_for_certain_needs_no_second(outcome: Outcome) -> None:
    ended = keyserver("ks.example.net", ONE, outcomes={Service.HKP: outcome})
    assert line(GOOD, ended, GOOD, GOOD) == "^..^"
    assert line(GOOD, ended, GOOD, policy=replace(POLICY, fast_fall=frozenset())) == "^^^"


def test_a_port_that_is_refused_needs_a_second_since_it_may_be_a_restart() -> None:
    ended = keyserver("ks.example.net", ONE, outcomes={Service.HKP: Outcome.REFUSED})
    assert line(GOOD, ended, GOOD) == line(GOOD, REFUSED, GOOD) == "^^^"
    assert line(GOOD, ended, ended) == line(GOOD, REFUSED, REFUSED) == "^^."


def test_a_stats_page_that_is_refused_wherever_it_was_asked_for_needs_no_second() -> None:
    policy = replace(POLICY, fast_fall=frozenset({Outcome.REFUSED}))
    (address,) = REFUSED.addresses
    elsewhere = replace(BAD.addresses[0].probes[0], endpoint=replace(address.probes[0].endpoint, port=8080))
    partly = replace(REFUSED, addresses=(replace(address, probes=(*address.probes, elsewhere)),))
    assert line(GOOD, REFUSED, policy=policy) == "^."
    assert line(GOOD, partly, GOOD, policy=policy) == "^^^"
    assert line(GOOD, partly, partly, policy=policy) == "^^."
    assert line(GOOD, partly, policy=replace(POLICY, fast_fall=frozenset({Outcome.REFUSED, Outcome.TIMEOUT}))) == "^."


def test_the_operators_word_counts_at_once() -> None:
    excluding = replace(POLICY, exclude=overrides("ks.example.net"))
    (first,) = judged(at(0, GOOD))
    (second,) = judged(at(1, GOOD), policy=excluding, after=first.history)
    assert said(verdict_of(second)) == (State.OUT, [ReasonCode.EXCLUDED], [])


def test_a_newcomer_waits_for_its_probation() -> None:
    policy = replace(POLICY, steadiness=Steadiness(rise=2, probation=3 * EVERY))
    judgements = judged(at(0), *(at(number, GOOD) for number in range(1, 5)), policy=policy)
    reasons = [said(verdict_of(each))[1] for each in judgements[1:]]
    assert reasons == [[ReasonCode.JOINING, ReasonCode.PROBATION], [ReasonCode.PROBATION], [ReasonCode.PROBATION], []]


def test_one_that_goes_out_again_and_again_waits_longer() -> None:
    policy = replace(POLICY, steadiness=Steadiness(rise=1, fall=1, drop=1, flap_wait=2 * EVERY))
    assert line(GOOD, BAD, GOOD, GOOD, BAD, GOOD, GOOD, GOOD, GOOD, policy=policy) == "^..^....^"


# Pools and families


def test_the_first_crawl_of_a_pool_alone_decides_for_one_added_later_too() -> None:
    old, new = pool(), pool("new.example.org.", host=host_name(POOL))
    (first,) = judged(at(0), pools=[old])
    (second,) = judged(at(1, GOOD), pools=[old, new], after=first.history)
    assert said(verdict_of(second))[:2] == (State.OUT, [ReasonCode.JOINING])
    assert said(verdict_of(second, of=new.name))[:2] == (State.ELIGIBLE, [])
    assert second.history.crawls == {
        (old.name, Family.IPV4): 2,
        (old.name, Family.IPV6): 2,
        (new.name, Family.IPV4): 1,
        (new.name, Family.IPV6): 1,
    }


def test_a_pool_that_is_gone_is_forgotten() -> None:
    old, new = pool(), pool("new.example.org.", host=host_name(POOL))
    (first,) = judged(at(0, GOOD), pools=[old, new])
    (second,) = judged(at(1, GOOD), pools=[old], after=first.history)
    assert set(second.history.standings) == {key[0] for key in second.history.crawls} == {POOL}


def test_each_address_stands_by_itself() -> None:
    both = keyserver("ks.example.net", ONE, SIX)
    half = replace(both, addresses=(both.addresses[0], keyserver("x", SIX, stats_outcome=Outcome.RESET).addresses[0]))
    last = judged(at(0, both), at(1, half), at(2, half))[-1]
    assert (verdict_of(last, ONE).state, verdict_of(last, SIX).state) == (State.ELIGIBLE, State.OUT)


# Blind crawls


def test_a_blind_crawl_puts_nobody_out() -> None:
    judgements = judged(at(0, GOOD), *(at(number, BAD, blind=[Family.IPV4]) for number in (1, 2, 3)), at(4, BAD))
    assert [said(verdict_of(each))[0] for each in judgements] == [State.ELIGIBLE] * 5
    assert verdict_of(judgements[3]).progress is None
    assert verdict_of(judgements[4]).progress == (1, 2)


def test_a_blind_crawl_lets_nobody_in_and_takes_nothing_away() -> None:
    judgements = judged(at(0, BAD), at(1, GOOD), at(2, GOOD, blind=[Family.IPV4]), at(3, GOOD))
    assert [said(verdict_of(each))[0] for each in judgements] == [State.OUT, State.OUT, State.OUT, State.ELIGIBLE]
    blind = verdict_of(judgements[2])
    (reason,) = blind.reasons
    assert (reason.code, reason.measured, reason.sentence) == (
        ReasonCode.JOINING,
        "1",
        "this crawl is not believed, and lets nobody in",
    )
    assert blind.progress == (1, 2)


def test_a_blind_crawl_that_met_one_after_a_bad_look_tells_no_negative_count() -> None:
    blind = verdict_of(judged(at(0, BAD), at(1, GOOD, blind=[Family.IPV4]))[-1])
    assert (blind.state, blind.reasons[0].measured, blind.progress) == (State.OUT, "0", None)


def test_a_first_crawl_that_was_blind_lets_nobody_in_and_the_next_one_is_the_first() -> None:
    both = keyserver("ks.example.net", ONE, SIX)
    blind, seeing = judged(at(0, both, blind=[Family.IPV6]), at(1, both))
    assert (verdict_of(blind, ONE).state, verdict_of(blind, SIX).state) == (State.ELIGIBLE, State.OUT)
    assert verdict_of(blind, SIX).since is None
    assert verdict_of(seeing, SIX).state is State.ELIGIBLE


def test_a_blind_crawl_leaves_no_trace_in_the_history_of_its_family() -> None:
    before, after = judged(at(0, GOOD), at(1, BAD, blind=[Family.IPV4]))
    assert (after.history.standings, after.history.reliability, after.history.crawls[POOL, Family.IPV4]) == (
        before.history.standings,
        before.history.reliability,
        1,
    )


def test_a_gap_without_crawls_counts_for_nothing() -> None:
    soon, late = (judged(at(0, GOOD), at(gap, BAD))[-1] for gap in (1, 9000))
    assert said(verdict_of(soon)) == said(verdict_of(late)) == (State.ELIGIBLE, [], [ReasonCode.STATS])


# Names that lead nowhere


def test_a_name_server_that_fails_once_leaves_the_addresses_in_with_a_warning() -> None:
    judgements = judged(at(0, GOOD), at(1, UNRESOLVED), at(2, GOOD))
    failing = judgements[1]
    assert said(verdict_of(failing)) == (State.ELIGIBLE, [], [ReasonCode.STATS])
    assert verdict_of(failing).warnings[0].sentence == f"no stats page: unresolved ({NO_NAME_SERVER})"
    (one,) = [each for each in failing.snapshot.keyservers if each.name == GOOD.name]
    assert [address.address for address in one.addresses] == [ipaddress.ip_address(ONE)]
    assert said(verdict_of(judgements[2])) == (State.ELIGIBLE, [], [])


def test_a_name_server_that_goes_on_failing_puts_out_and_then_the_name_has_no_address() -> None:
    steady = replace(POLICY, steadiness=Steadiness(drop=3))
    judgements = judged(at(0, GOOD), *(at(number, UNRESOLVED) for number in range(1, 5)), policy=steady)
    assert [said(verdict_of(each))[0] for each in judgements[:4]] == [*[State.ELIGIBLE] * 3, State.OUT]
    (without,) = [each for each in judgements[4].verdicts if each.keyserver == GOOD.name]
    assert (without.address, [reason.code for reason in without.reasons]) == (None, [ReasonCode.NO_ADDRESS])


def test_addresses_linger_through_a_crawl_without_dns_too() -> None:
    dark = at(1, UNRESOLVED, blind=list(Family))
    judgements = judged(at(0, GOOD), dark, replace(dark, finished=dark.finished + EVERY), at(3, UNRESOLVED))
    assert [said(verdict_of(each))[0] for each in judgements] == [State.ELIGIBLE] * 4
    assert verdict_of(judgements[3]).progress == (1, 2)


def test_an_address_that_another_name_leads_to_now_does_not_linger() -> None:
    other = keyserver("other.example.net", ONE)
    last = judged(at(0, GOOD), at(1, UNRESOLVED, other))[-1]
    verdict = verdict_of(last)
    assert (verdict.keyserver, verdict.state, verdict.warnings) == (other.name, State.ELIGIBLE, ())


def test_an_address_that_no_name_leads_to_comes_back_like_one_that_was_down() -> None:
    moved = keyserver("ks.example.net", "203.0.113.2")
    once = judged(at(0, GOOD), at(1, moved), at(2, BAD))
    assert said(verdict_of(once[2]))[0] is State.OUT
    back = judged(at(0, GOOD), at(1, moved), at(2, GOOD))
    assert said(verdict_of(back[2])) == (State.ELIGIBLE, [], [])
    later = judged(at(0, GOOD), at(1, moved), at(2, moved), at(3, GOOD), at(4, GOOD))
    assert [said(verdict_of(each))[0] for each in later[3:]] == [State.OUT, State.ELIGIBLE]


def test_a_blind_crawl_that_does_not_meet_an_address_holds_nothing_against_it() -> None:
    crawls = [at(0, GOOD), *(at(number, blind=[Family.IPV4]) for number in (1, 2, 3)), at(4, BAD)]
    assert said(verdict_of(judged(*crawls)[-1]))[0] is State.ELIGIBLE


# What is remembered


def shares(history: History, address: str = ONE) -> dict[Service, float | None]:
    wanted = ipaddress.ip_address(address)
    return {service: each.share("2h") for (of, service), each in history.reliability.items() if of == wanted}


def test_every_service_that_answered_is_reliable() -> None:
    mixed = keyserver("ks.example.net", ONE, outcomes={Service.HKP: Outcome.OK, Service.HTTP: Outcome.REFUSED})
    assert shares(judged(at(0, mixed))[-1].history) == {Service.HKP: 1.0, Service.HTTP: 0.0}


def test_without_a_stats_page_hkp_failed_and_so_did_what_was_asked_for_before() -> None:
    assert shares(judged(at(0, BAD))[-1].history) == {Service.HKP: 0.0}
    after = shares(judged(at(0, GOOD), at(1, BAD))[-1].history)
    assert after.keys() == {Service.HKP, Service.HTTP}
    assert all(share is not None and 0 < share < 1 for share in after.values())


def test_any_name_under_which_a_service_answers_is_good_enough() -> None:
    (address,) = GOOD.addresses
    more = probe(ONE, host="other.example.org", outcome=Outcome.NO_KEY)
    for probes in ((more, *address.probes), (*address.probes, more)):
        one = replace(GOOD, addresses=(replace(address, probes=probes),))
        assert shares(judged(at(0, one))[-1].history)[Service.HKP] == 1.0


def test_an_address_that_was_not_asked_is_neither_good_nor_bad() -> None:
    unasked = replace(GOOD, addresses=(KeyserverAddress(GOOD.addresses[0].address, None, ()),))
    before, after = judged(at(0, GOOD), at(1, unasked))
    assert after.history.reliability[GOOD.addresses[0].address, Service.HKP].at == NOW
    assert shares(before.history) == shares(after.history)
    assert shares(judged(at(0, unasked))[-1].history) == {}


@pytest.mark.parametrize(
    ("gone", "is_kept"), [(FORGET - EVERY, True), (FORGET, True), (FORGET + timedelta(seconds=1), False)]
)
def test_an_address_that_no_crawl_meets_is_forgotten_after_its_time(gone: timedelta, *, is_kept: bool) -> None:
    history = judged(at(0, GOOD), at(gone / EVERY))[-1].history
    address = ipaddress.ip_address(ONE)
    assert (address in history.standings.get(POOL, {})) is is_kept
    assert ((address, Service.HKP) in history.reliability) is is_kept


def test_of_addresses_that_change_at_each_crawl_only_the_last_are_remembered() -> None:
    base = int(ipaddress.ip_address("2001:db8::"))
    many: list[IPAddress] = [ipaddress.ip_address(base + number) for number in range(MAX_ABSENT + 2)]
    history = History(
        crawls={(POOL, family): 9 for family in Family},
        standings={POOL: {address: Standing(is_up=True, streak=1, since=NOW, first=NOW) for address in many}},
        reliability={
            (address, Service.HKP): observed(None, NOW + number * timedelta(seconds=1), is_good=True)
            for number, address in enumerate(many)
        },
    )
    after = judge_next(history, at(100, GOOD), POLICY, [pool()]).history
    remembered = set(after.standings[POOL])
    assert remembered == {address for address, _ in after.reliability}
    assert remembered >= {*many[2:], ipaddress.ip_address(ONE)}
    assert remembered.isdisjoint(many[:2])


# As JSON


def test_a_history_round_trips() -> None:
    both = keyserver("b\u00fccher.example.net", ONE, SIX)
    literal = keyserver("203.0.113.9", "203.0.113.9", stats_outcome=Outcome.RESET)
    pools = [pool(), pool("other\\.pool.example.org.", host=host_name(POOL))]
    crawls = [
        at(0.123457, both, literal),
        *(at(number, REFUSED) for number in (1.7, 1.8)),
        at(2, literal, blind=[Family.IPV6]),
        at(3, both),
    ]
    history = judged(*crawls, pools=pools)[-1].history
    assert any(standing.fell for standing in history.standings[POOL].values())
    assert from_json(to_json(history)) == history
    assert from_json(to_json(History())) == History()
    assert to_json(history).isascii()


RELIABLE = [ONE, "hkp", 0.0, [0.0] * 5, [0.0] * 5]
STANDING = ["pool.example.org", ONE, True, 1, 0.0, 0.0, None, 0.0]
EMPTY = {
    "format": "poolmgr-history",
    "version": 1,
    "crawls": [["pool.example.org", "ipv4", 1]],
    "standings": [STANDING],
    "reliability": [RELIABLE],
    "addresses": {"ks.example.net": [ONE]},
}


def test_the_smallest_document_is_read() -> None:
    history = from_json(json.dumps({**json.loads(to_json(History())), **EMPTY}))
    assert list(history.standings[POOL]) == [ipaddress.ip_address(ONE)]
    assert isinstance(history.reliability[ipaddress.ip_address(ONE), Service.HKP], Reliability)


@pytest.mark.parametrize(
    "change",
    [
        {"format": "poolmgr-snapshot"},
        {"version": 2},
        {"crawls": None},
        {"crawls": [["pool.example.org", "ipv4", "many"]]},
        {"crawls": [["pool.example.org", "ipv4", 1.5]]},
        {"crawls": [["pool.example.org", "ipv5", 1]]},
        {"crawls": [["a..b", "ipv4", 1]]},
        {"crawls": [[[None], "ipv4", 1]]},
        {"crawls": [["a" * 64, "ipv4", 1]]},
        {"standings": [STANDING[:-1]]},
        {"standings": [[*STANDING[:4], "now", *STANDING[5:]]]},
        {"standings": [[*STANDING[:4], 1e300, *STANDING[5:]]]},
        {"standings": [[*STANDING[:4], float("nan"), *STANDING[5:]]]},
        {"standings": [[*STANDING[:-1], float("nan")]]},
        {"standings": [["pool.example.org", "203.0.113.999", *STANDING[2:]]]},
        {"reliability": [[*RELIABLE[:3], [0.0] * 4, [0.0] * 4]]},
        {"reliability": [[*RELIABLE[:3], [0.0] * 5, [0.0] * 6]]},
        {"reliability": [[*RELIABLE[:3], ["a"] * 5, [0.0] * 5]]},
        {"reliability": [[ONE, "gopher", *RELIABLE[2:]]]},
        {"addresses": {"no name": []}},
        {"addresses": {"ks.example.net": ["here"]}},
    ],
)
def test_what_is_no_history_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ParseError):
        from_json(json.dumps({**json.loads(to_json(History())), **EMPTY, **change}))


@pytest.mark.parametrize("text", ["", "[]", "null", "7", "{}", '{"format": "poolmgr-history"}', "[" * 100_000, b"\xff"])
def test_what_is_no_document_is_refused(text: str | bytes) -> None:
    with pytest.raises(ParseError):
        from_json(text)
