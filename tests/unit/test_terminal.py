from __future__ import annotations

import time
from datetime import timedelta

from rich.console import Console

from poolmgr.crawl.frontier import Progress, Resolve
from poolmgr.crawl.probe import Exchange, Search
from poolmgr.crawl.resolve import Nameservers
from poolmgr.crawl.spider import Crawl
from poolmgr.model import Outcome
from poolmgr.terminal import Refused, Screen
from tests.build import named, probe

PLAN = Crawl(
    seeds=(),
    lookup=Search("x"),
    hosts=(named("pool.example.org"),),
    exchange=Exchange(deadline=timedelta(seconds=10)),
    nameservers=Nameservers(timeout=timedelta(seconds=5)),
)


def names(count: int) -> list[Resolve]:
    return [Resolve(named(f"ks{number}.example.net")) for number in range(count)]


def test_the_screen_says_how_far_the_crawl_is() -> None:
    screen = Screen(PLAN)
    screen.progressed(Progress(names=12, resolved=10, probes=30, waiting=4))
    assert list(screen.lines(time.monotonic())) == ["crawling: 12 names found, 30 probes done, 4 waiting"]


def test_the_slowest_are_shown_with_their_time_and_the_bound_of_what_is_left() -> None:
    screen = Screen(PLAN)
    for work in names(5):
        screen.began(work)
    screen.ended(names(1)[0])
    lines = list(screen.lines(time.monotonic() + 3))
    assert lines[1] == "the 4 under way end within 2 s, their deadline"
    assert lines[2:] == [f"     3 s  DNS of ks{number}.example.net" for number in (1, 2, 3)]


def test_what_has_just_begun_is_not_slow() -> None:
    screen = Screen(PLAN)
    screen.began(names(1)[0])
    assert len(list(screen.lines(time.monotonic()))) == 2


def test_the_screen_can_be_drawn() -> None:
    console = Console(width=80)
    with console.capture() as capture:
        console.print(Screen(PLAN))
    assert capture.get() == "crawling: 0 names found, 0 probes done, 0 waiting\n"


def test_only_refused_answers_are_kept() -> None:
    refused = Refused()
    bad = probe("192.0.2.1", outcome=Outcome.REDIRECT)
    refused.exchanged(probe("192.0.2.1"), b"HTTP/1.0 200 OK")
    refused.exchanged(bad, b"HTTP/1.0 302 Found")
    refused.exchanged(probe("192.0.2.1", outcome=Outcome.REFUSED), b"")
    assert refused.heads == [(bad, b"HTTP/1.0 302 Found")]
