from __future__ import annotations

from poolmgr.crawl.frontier import Bounds
from poolmgr.crawl.politeness import Lanes, Politeness
from poolmgr.hosts import parse_host
from poolmgr.model import Ask
from tests.lab.paper import Paper, crawl_paper, page

ONE, TWO = parse_host("a.test"), parse_host("b.test")


def filled(politeness: Politeness, requests: int) -> Lanes[int]:
    """Return lanes in which as many requests to ONE were put."""
    lanes: Lanes[int] = Lanes(politeness)
    for request in range(requests):
        lanes.put(ONE, request)
    return lanes


def test_a_keyserver_gets_so_many_requests_at_a_time_and_the_next_when_one_has_ended() -> None:
    lanes = filled(Politeness(in_flight=2), 4)
    assert lanes.take() == [0, 1]
    assert lanes.take() == []
    lanes.done(ONE)
    assert lanes.take() == [2]


def test_what_waits_for_one_keyserver_holds_up_nothing_for_another() -> None:
    lanes = filled(Politeness(in_flight=1), 3)
    lanes.put(TWO, 7)
    assert lanes.take() == [0, 7]


def test_a_keyserver_gets_so_many_requests_in_all() -> None:
    lanes = filled(Politeness(per_crawl=3), 3)
    assert lanes.full == 0
    assert not lanes.put(ONE, 4)
    assert not lanes.put(ONE, 5)
    assert lanes.put(TWO, 6)
    assert lanes.full == 1


WIDE = [f"9.0.0.{number}" for number in range(8)]
PAPER = Paper({"a.test": WIDE, "b.test": ["9.0.1.0"]}, {address: page() for address in [*WIDE, "9.0.1.0"]})


def test_a_crawl_never_asks_one_keyserver_more_than_so_much_at_a_time_at_all_its_addresses_together() -> None:
    waiting: list[int] = []

    def pick(count: int) -> int:
        waiting.append(count)
        return 0

    crawl_paper(PAPER, "a.test", politeness=Politeness(in_flight=3), pick=pick)
    assert max(waiting) == 3


def test_what_is_over_the_bound_is_not_asked_and_the_snapshot_says_so() -> None:
    bounds = Bounds(max_addresses=8)
    assert crawl_paper(PAPER, "a.test", bounds=bounds, politeness=Politeness(per_crawl=8)).snapshot.cut_short == ()
    crawled = crawl_paper(PAPER, "a.test", "b.test", bounds=bounds, politeness=Politeness(per_crawl=7))
    assert len(crawled.targets(Ask.STATS)) == 7 + 1
    sentence = "crawl.politeness.per_crawl (7) was reached: 1 keyservers were not asked everything"
    assert crawled.snapshot.cut_short == (sentence,)
