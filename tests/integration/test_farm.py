from __future__ import annotations

from datetime import timedelta

from poolmgr.crawl.probe import Exchange
from tests.lab.bench import ONE, crawl_farm
from tests.lab.farm import Farm, Manner, plan_farm

DEADLINE = timedelta(seconds=1)


def test_a_small_farm_is_crawled_whole_and_not_faster_than_the_ideal() -> None:
    plan = plan_farm(20, seed=2)
    assert {each.manner for each in plan.keyservers} == set(Manner)
    with Farm(plan) as served:
        crawled = crawl_farm(plan, served, ONE, Exchange(deadline=DEADLINE))
    assert (crawled.exchanges, crawled.lost) == (20, 0)
    assert crawled.cost.wall >= plan.ideal(DEADLINE.total_seconds(), attempts=1, lookups=0)


def test_the_ideal_is_the_longest_chain_of_discovery() -> None:
    plan = plan_farm(20, seed=2)
    slow = max(each.latency for each in plan.keyservers if each.manner is Manner.GOOD)
    assert slow < plan.ideal(0.0, attempts=1, lookups=0) < plan.ideal(0.0, attempts=1, lookups=1)
    assert plan.ideal(30.0, attempts=2, lookups=0) > 60
