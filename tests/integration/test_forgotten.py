"""Keyservers that nobody lists any more: crawled and judged until `crawl.forget_after`, and not after that."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import poolmgr.past
import poolmgr.pipeline
from poolmgr.config import Config, load_config
from poolmgr.crawl.observer import Observer
from poolmgr.model import Snapshot, State
from tests.lab.crawls import Lab, by_name

FORGET_AFTER = timedelta(days=10)
FIRST = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
LAST = FIRST + FORGET_AFTER
"""When what was listed at FIRST is still crawled."""
SECOND = timedelta(seconds=1)

SEED = "a.test"
LISTED = (SEED, "b.test", "c.test")
LOST = ("lost1.test", "lost2.test")
"""These are listed by the seed alone, until it lists them no more. That they list themselves changes nothing."""
ALL = {*LISTED, *LOST}

Make = Callable[[Config], Snapshot]
"""Makes a crawl by one of the commands that do."""


def crawls(config: Config) -> Snapshot:
    return poolmgr.pipeline.crawl(config, lambda _: nullcontext(Observer()))


def runs(config: Config) -> Snapshot:
    assessment, results = poolmgr.pipeline.run(config, lambda _: nullcontext(Observer()), force=False)
    assert [result.error for result in results] == [None]
    return assessment.snapshot


class World:
    """Good keyservers, the first of which lists them all, and crawls of them at any time.

    `snapshot` is what the last crawl saw, `states` how each keyserver is reported after it.
    """

    def __init__(self, lab: Lab, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seed = lab.add(SEED, peers=sorted(ALL))
        for name in ALL - {SEED, *LOST}:
            lab.add(name, peers=[SEED])
        self.lost = [lab.add(name, peers=[SEED, name]) for name in LOST]
        site = lab.site(folder, SEED, forget_after=f"{FORGET_AFTER.days}d")
        site.command()
        self._config = load_config(site.path)
        self._zone_file = folder / "keys.test.zone"
        self._monkeypatch = monkeypatch

    def crawl(self, make: Make, at: datetime) -> None:
        """Make a crawl at that time."""
        self._monkeypatch.setattr(poolmgr.pipeline, "now", lambda: at)
        for keyserver in self.lost:
            keyserver.requests.clear()
        self.snapshot = make(self._config)
        _, rows = poolmgr.past.report(self._config, None)
        self.states = {row.keyserver: row.state for row in rows}

    @property
    def asked(self) -> list[bool]:
        """Whether each of the lost was asked anything in the last crawl."""
        return [bool(keyserver.requests) for keyserver in self.lost]

    @property
    def published(self) -> list[bool]:
        """Whether each of the lost is in the zone."""
        zone = self._zone_file.read_text()
        return [str(keyserver.address) in zone.split() for keyserver in self.lost]


@pytest.fixture
def world(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(lab, tmp_path, monkeypatch)


@pytest.mark.parametrize("make", [crawls, runs])
def test_one_that_nobody_lists_any_more_is_crawled_and_judged_until_it_is_forgotten(world: World, make: Make) -> None:
    world.crawl(make, FIRST)
    assert world.states == dict.fromkeys(ALL, State.MEMBER)
    world.seed.peers = sorted(LISTED)
    # That it was crawled in the meantime does not make it known for longer.
    for time in (FIRST + FORGET_AFTER / 2, LAST):
        world.crawl(make, time)
        assert world.asked == [True, True]
        assert world.states == dict.fromkeys(ALL, State.MEMBER)
        assert {name: (each.depth, each.listed) for name, each in by_name(world.snapshot).items()} == {
            **dict.fromkeys(LOST, (None, FIRST)),
            SEED: (0, time),
            **dict.fromkeys(set(LISTED) - {SEED}, (1, time)),
        }
    world.crawl(make, LAST + SECOND)
    assert world.asked == [False, False]
    assert world.states == dict.fromkeys(LISTED, State.MEMBER)
    assert set(by_name(world.snapshot)) == set(LISTED)


def test_one_that_nobody_lists_any_more_is_published_until_it_is_forgotten(world: World) -> None:
    world.crawl(runs, FIRST)
    assert world.published == [True, True]
    world.seed.peers = sorted(LISTED)
    world.crawl(runs, LAST)
    assert world.published == [True, True]
    world.crawl(runs, LAST + SECOND)
    assert world.published == [False, False]


def test_one_that_nobody_lists_any_more_is_out_with_a_reason_when_it_fails(world: World, lab: Lab) -> None:
    world.crawl(runs, FIRST)
    world.seed.peers = sorted(LISTED)
    lab.mesh.stop(world.lost[0])
    for minutes in (3, 2, 1):
        world.crawl(runs, LAST - timedelta(minutes=minutes))
        assert world.states[LOST[0]] is State.MEMBER
    world.crawl(runs, LAST)
    assert world.states == {**dict.fromkeys(ALL, State.MEMBER), LOST[0]: State.OUT}
    assert world.published == [False, True]


def test_one_that_is_listed_again_is_known_anew(world: World) -> None:
    world.crawl(crawls, FIRST)
    world.seed.peers = sorted(LISTED)
    world.crawl(crawls, LAST)
    world.seed.peers = sorted(ALL)
    world.crawl(crawls, LAST + SECOND)
    assert world.states == dict.fromkeys(ALL, State.MEMBER)
    world.seed.peers = sorted(LISTED)
    world.crawl(crawls, LAST + SECOND + FORGET_AFTER)
    assert world.asked == [True, True]
