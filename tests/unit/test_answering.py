from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

import pytest

from poolmgr.errors import ParseError
from poolmgr.judge.answering import FADE, Answering, answered, answering_now
from poolmgr.judge.history import History, judge_next
from poolmgr.judge.verdict import Policy
from poolmgr.model import Family, Outcome, Service, Snapshot
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
