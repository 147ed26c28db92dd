from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from poolmgr.crawl.frontier import Bounds
from poolmgr.crawl.known import known_keyservers
from poolmgr.hosts import Host, host_text, parse_host
from poolmgr.model import Ask
from tests.build import NOW, keyserver, snapshot
from tests.lab.paper import STARTED, Paper, crawl_paper, page

MONTH = timedelta(days=30)
BEFORE = STARTED - timedelta(days=2)


def known(*names: str) -> tuple[tuple[Host, datetime], ...]:
    return tuple((parse_host(name), BEFORE) for name in names)


def test_nothing_is_known_before_the_first_crawl() -> None:
    assert known_keyservers(None, NOW, MONTH) == ()


def test_a_keyserver_is_forgotten_when_nobody_listed_it_for_that_long() -> None:
    listed = (NOW - MONTH, NOW - MONTH - timedelta(seconds=1))
    crawl = snapshot([replace(keyserver(f"{at:%H-%M-%S}.test", "9.0.0.1"), listed=at) for at in listed])
    assert known_keyservers(crawl, NOW, MONTH) == ((parse_host(f"{listed[0]:%H-%M-%S}.test"), listed[0]),)


def test_one_without_an_address_stays_known_too() -> None:
    assert known_keyservers(snapshot([keyserver("gone.test")]), NOW, MONTH) == ((parse_host("gone.test"), NOW),)


def test_those_listed_last_and_nearest_to_a_seed_come_first() -> None:
    crawl = snapshot(
        replace(keyserver(f"{name}.test"), listed=NOW - timedelta(days=days), depth=depth)
        for name, days, depth in (("d", 1, 0), ("c", 0, None), ("b", 0, 2), ("a", 0, 3))
    )
    assert [host_text(host) for host, _ in known_keyservers(crawl, NOW, MONTH)] == [
        "b.test",
        "a.test",
        "c.test",
        "d.test",
    ]


def test_a_known_keyserver_is_crawled_though_nobody_lists_it() -> None:
    paper = Paper({"a.test": ["9.0.0.1"], "old.test": ["9.0.0.2"]}, {"9.0.0.1": page(), "9.0.0.2": page(keys=7)})
    crawled = crawl_paper(paper, "a.test", known=known("old.test", "9.0.0.3"))
    assert crawled.depths == {"a.test": 0, "old.test": None, "9.0.0.3": None}
    assert [each.listed for each in crawled.snapshot.keyservers] == [STARTED, BEFORE, BEFORE]
    assert crawled.snapshot.keyservers[1].addresses[0].stats == page(keys=7)
    assert len(crawled.targets(Ask.STATS)) == 3


def test_a_known_name_that_gives_no_address_any_more_is_kept() -> None:
    (gone,) = crawl_paper(Paper({}, {}), known=known("gone.test")).snapshot.keyservers
    assert (gone.depth, gone.listed, gone.problem) == (None, BEFORE, "no such name")


def test_a_known_keyserver_that_is_listed_has_its_distance_and_was_listed_now() -> None:
    paper = Paper(
        {"a.test": ["9.0.0.1"], "b.test": ["9.0.0.2"]}, {"9.0.0.1": page("b.test"), "9.0.0.2": page("c.test")}
    )
    for pick in (lambda _: 0, lambda waiting: waiting - 1):
        crawled = crawl_paper(paper, "a.test", known=known("b.test", "c.test"), pick=pick)
        assert crawled.depths == {"a.test": 0, "b.test": 1, "c.test": 2}
        assert {each.listed for each in crawled.snapshot.keyservers} == {STARTED}


def test_one_that_only_earlier_crawls_know_makes_nobody_else_known() -> None:
    paper = Paper({"old.test": ["9.0.0.2"]}, {"9.0.0.2": page("new.test", "9.0.0.9")})
    assert crawl_paper(paper, known=known("old.test")).hosts == {"old.test": ["9.0.0.2"]}


def test_a_name_that_nobody_may_be_called_by_is_not_known_again() -> None:
    assert crawl_paper(Paper({}, {}), known=known("localhost", "a.invalid")).hosts == {}


def test_what_is_known_takes_up_half_of_the_room_at_most_and_the_snapshot_says_so() -> None:
    names = [f"k{number}.test" for number in range(5)]
    paper = Paper({"a.test": ["9.0.0.1"]}, {"9.0.0.1": page("b.test", "c.test", "d.test")})
    assert crawl_paper(Paper({}, {}), known=known(*names), bounds=Bounds(max_keyservers=10)).snapshot.cut_short == ()
    crawled = crawl_paper(paper, "a.test", known=known(*names), bounds=Bounds(max_keyservers=8))
    assert list(crawled.hosts) == ["a.test", "b.test", "c.test", "d.test", *names[:4]]
    assert crawled.snapshot.cut_short == ("crawl.max_keyservers (8) was reached: more names are listed",)
