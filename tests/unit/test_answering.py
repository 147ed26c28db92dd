from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

import pytest

from poolmgr.errors import ParseError
from poolmgr.judge.answering import FADE, Answering, answered, answering_now, doubts_of
from poolmgr.judge.history import History, Judgement, judge_next
from poolmgr.judge.policy import Policy
from poolmgr.judge.steadiness import Steadiness
from poolmgr.model import Family, Outcome, ReasonCode, Service, Snapshot, State
from poolmgr.report import history as history_json
from tests.build import NOW, keyserver, mesh, pool, snapshot

HOUR = timedelta(hours=1)


def after(count: int, time: timedelta) -> Snapshot:
    crawl = snapshot(mesh(count))
    return replace(crawl, started=crawl.started + time, finished=NOW + time)


def followed(counts: list[int], interval: timedelta) -> float:
    """Return the mean of IPv4 after crawls that saw so many answer."""
    means: Mapping[Family, Answering] = {}
    for number, count in enumerate(counts):
        means = answered(means, after(count, number * interval))
    return means[Family.IPV4].mean


def test_one_good_answer_is_enough_to_be_counted_and_no_address_counts_twice() -> None:
    refused = {Service.HKP: Outcome.REFUSED}
    only_stats = keyserver("stats.example.net", "203.0.113.1", outcomes=refused)
    both = keyserver("both.example.net", "203.0.113.2", "2001:db8::2")
    silent = keyserver("silent.example.net", "203.0.113.3", stats_outcome=Outcome.TIMEOUT)
    crawl = snapshot([only_stats, both, silent, keyserver("gone.example.net")])
    assert answering_now(crawl) == {Family.IPV4: 2, Family.IPV6: 1}


def test_the_first_crawl_is_the_mean() -> None:
    assert answered({}, after(7, HOUR)) == {
        Family.IPV4: Answering(NOW + HOUR, 7.0),
        Family.IPV6: Answering(NOW + HOUR, 0.0),
    }


def test_one_crawl_hardly_moves_the_mean_and_a_day_of_them_does() -> None:
    assert 9.5 < followed([10, 0], HOUR) < 10
    assert followed([10, *[0] * 24], HOUR) == pytest.approx(10 / 2.718281828, rel=0.01)


def test_the_mean_does_not_depend_on_how_often_one_looks() -> None:
    hourly = followed([10, *[4] * 12], HOUR)
    often = followed([10, *[4] * 144], HOUR / 12)
    assert hourly == pytest.approx(often)


def test_a_crawl_after_a_long_gap_is_one_crawl() -> None:
    assert followed([10, 0], 30 * FADE) == followed([10, 0], HOUR)


def test_a_clock_that_goes_back_changes_no_mean() -> None:
    assert followed([10, 0], -HOUR) == 10


def test_a_blind_crawl_counts_for_the_other_family_only() -> None:
    before = {family: Answering(NOW, 5.0) for family in Family}
    found = answered(before, replace(after(1, HOUR), blind={Family.IPV4: "no target was reached"}))
    assert found[Family.IPV4] == before[Family.IPV4]
    assert found[Family.IPV6].mean < 5


# Doubts

POLICY = Policy(min_cohort=1, steadiness=Steadiness(rise=2, fall=1, drop=1, flap_wait=timedelta(0)))


def seen(answer: int, time: timedelta, of: int = 10) -> Snapshot:
    """Return the crawl at that time of a mesh of which the first few answer."""
    down = [
        keyserver(f"ks{number}.example.net", f"198.51.100.{number}", stats_outcome=Outcome.TIMEOUT)
        for number in range(answer + 1, of + 1)
    ]
    crawl = snapshot([*mesh(answer), *down])
    return replace(crawl, started=crawl.started + time, finished=NOW + time)


def judged(answers: list[int], *, policy: Policy = POLICY, of: int = 10) -> list[Judgement]:
    """Judge hourly crawls in which so many answered."""
    judgements, history = [], History()
    for number, answer in enumerate(answers):
        judgements.append(judge_next(history, seen(answer, number * HOUR, of), policy, [pool()]))
        history = judgements[-1].history
    return judgements


def up(judgement: Judgement) -> int:
    return sum(verdict.state is State.ELIGIBLE for verdict in judgement.verdicts)


@pytest.mark.parametrize(("answer", "left"), [(4, 10), (5, 5), (6, 6)])
def test_what_a_crawl_saw_counts_from_min_seen_on(answer: int, left: int) -> None:
    last = judged([10, answer])[-1]
    assert up(last) == left
    assert bool(last.snapshot.blind) is (left == 10)
    assert up(judged([10, answer], policy=replace(POLICY, min_seen=0.0))[-1]) == answer


def test_a_crawl_that_saw_too_few_leaves_no_trace_but_in_the_mean() -> None:
    first, doubted, third = judged([10, 3, 10])
    assert doubted.snapshot.blind == {
        Family.IPV4: "in the crawl 3 ipv4 addresses answered, lately it was 10, "
        "and at least 50% is asked for (min_seen)"
    }
    before, after = first.history, doubted.history
    assert (after.standings, after.reliability) == (before.standings, before.reliability)
    assert {key: count for key, count in after.crawls.items() if key[1] is Family.IPV4} == {
        key: count for key, count in before.crawls.items() if key[1] is Family.IPV4
    }
    assert after.answering[Family.IPV4].mean < before.answering[Family.IPV4].mean
    assert not any(verdict.progress for verdict in doubted.verdicts)
    assert {verdict.since for verdict in doubted.verdicts} == {NOW}
    # Had it counted, all would be joining, or wait for having gone out.
    assert up(third) == 10
    assert {verdict.since for verdict in third.verdicts} == {NOW}


def test_a_crawl_that_saw_too_few_lets_nobody_in() -> None:
    of_one_more = [judge_next(History(), seen(9, timedelta(0)), POLICY, [pool()])]
    for number, answer in ((1, 10), (2, 10)):
        crawl = seen(answer, number * HOUR)
        history = replace(of_one_more[-1].history, answering={Family.IPV4: Answering(NOW, 10.0 * number**2)})
        of_one_more.append(judge_next(history, crawl, POLICY, [pool()]))
    last = of_one_more[-1]
    assert last.snapshot.blind
    assert up(last) == 9
    (out,) = [verdict for verdict in last.verdicts if verdict.state is State.OUT]
    assert [(reason.code, reason.measured, reason.sentence) for reason in out.reasons] == [
        (ReasonCode.JOINING, "1", "this crawl is not believed, and lets nobody in")
    ]


@pytest.mark.parametrize(("of", "least_hours", "most_hours"), [(4, 3, 6), (10, 12, 36), (40, 36, 72)])
def test_doubts_end_by_themselves(of: int, least_hours: int, most_hours: int) -> None:
    judgements = judged([of, *[1] * 80], of=of)
    doubted = [bool(each.snapshot.blind) for each in judgements]
    assert least_hours <= sum(doubted) <= most_hours
    assert doubted[1:] == sorted(doubted[1:], reverse=True), "once it is believed it stays so"
    assert up(judgements[-1]) == 1


def test_each_family_is_doubted_by_itself() -> None:
    before = {Family.IPV4: Answering(NOW, 10.0), Family.IPV6: Answering(NOW, 10.0)}
    assert set(doubts_of(seen(9, HOUR), before, 0.5)) == {Family.IPV6}


def test_the_history_keeps_it_through_json() -> None:
    history = judge_next(History(), after(7, HOUR), Policy(), [pool()]).history
    assert history.answering[Family.IPV4] == Answering(NOW + HOUR, 7.0)
    assert history_json.from_json(history_json.to_json(history)).answering == history.answering


@pytest.mark.parametrize("values", [[1.0], [1.0, "many"], [1.0, float("nan")], [1e300, 1.0], ["now", 1.0], None])
def test_junk_in_its_place_is_refused(values: object) -> None:
    document = json.loads(history_json.to_json(History()))
    with pytest.raises(ParseError):
        history_json.from_json(json.dumps({**document, "answering": {"ipv4": values}}))
    with pytest.raises(ParseError):
        history_json.from_json(json.dumps({**document, "answering": {"ipv5": [1.0, 1.0]}}))
