from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from poolmgr.hosts import IPAddress
from poolmgr.judge.backtest import Fate, Published, Round, Rules, fates, replay
from poolmgr.judge.history import History, Judgement, judge_next
from poolmgr.judge.policy import Policy
from poolmgr.judge.reliability import MAX_GAP
from poolmgr.judge.steadiness import Steadiness
from poolmgr.model import Family, Outcome, Snapshot, State
from poolmgr.pools import Pool
from poolmgr.report import backtest as tables
from tests.build import NOW, POOL, keyserver, mesh, pool, snapshot

MINUTES = timedelta(minutes=5)
A, B, V6 = (ipaddress.ip_address(text) for text in ("198.51.100.1", "198.51.100.2", "2001:db8::1"))


def keep(_: Judgement, published: Published | None) -> Published | None:
    return published


def rules(*pools: Pool) -> Rules:
    return Rules(Policy(), pools or (pool(),), keep)


def rounds(*each: tuple[set[IPAddress], set[IPAddress]], step: timedelta = MINUTES) -> Iterator[Round]:
    """Yield rounds, one every `step`, each with the members of the pool and those that failed."""
    for number, (members, failing) in enumerate(each):
        by_family = {
            (POOL, family): tuple(one for one in sorted(members, key=str) if Family.of(one) is family)
            for family in Family
        }
        yield Round(NOW + number * step, by_family, {POOL: frozenset(failing)}, frozenset())


def fate(replayed: Iterator[Round], since: datetime = NOW) -> Fate:
    ((one,),) = fates({"today": (rules(), replayed)}, since).values()
    return one


def test_members_are_counted_until_the_next_crawl_and_moves_between_the_two() -> None:
    one = fate(rounds(({A}, set()), ({A, B}, set()), ({B}, set())))
    assert (one.days, one.members) == (10 / 1440, 1.5)
    assert (one.joins, one.leaves, one.failing) == (1, 1, 0)


def test_a_member_fails_when_the_next_crawl_finds_it_down() -> None:
    assert fate(rounds(({A, B}, set()), ({B}, {A}), ({B}, {A}))).failing == pytest.approx(1 / 3)
    assert fate(rounds(({A}, {A}), ({A}, set()))).failing == 0


def test_what_happened_before_does_not_count() -> None:
    one = fate(rounds(({A}, set()), ({B}, {A}), ({B}, set())), since=NOW + MINUTES)
    assert (one.days, one.joins, one.leaves, one.failing) == (5 / 1440, 0, 0, 0)


def test_a_long_pause_counts_for_no_more_than_an_hour() -> None:
    assert fate(rounds(({A}, set()), ({A}, set()), step=MAX_GAP)).days == 1 / 24
    assert fate(rounds(({A}, set()), ({A}, set()), step=2 * MAX_GAP)).days == 1 / 24


def test_a_blind_crawl_says_nothing_of_its_family() -> None:
    first, second = rounds(({A, V6}, set()), ({A, V6}, {A, V6}))
    assert fate(iter([first, replace(second, blind=frozenset({Family.IPV6}))])).failing == 1
    assert fate(iter([first, replace(second, blind=frozenset(Family))])).failing is None


def test_nothing_published_fails_nowhere() -> None:
    one = fate(rounds((set(), {A}), (set(), {A})))
    assert (one.members, one.failing) == (0, None)
    assert fate(iter(())) == Fate(pool=POOL, days=0, members=0, joins=0, leaves=0, failing=None)


def test_the_first_rules_say_what_was_down_but_for_pools_that_they_do_not_know() -> None:
    other = replace(pool("other.example.org."), families=frozenset({Family.IPV4}))
    lenient = [
        replace(
            each,
            members={**each.members, (other.name, Family.IPV4): (A,)},
            failing={POOL: frozenset(), other.name: frozenset({A})},
        )
        for each in rounds(({A}, set()), ({A}, set()))
    ]
    replays = {
        "today": (rules(), rounds(({B}, {A}), ({B}, {A}))),
        "other": (rules(pool(), other), iter(lenient)),
    }
    found = {(name, one.pool): one.failing for name, each in fates(replays, NOW).items() for one in each}
    assert found == {("today", POOL): 0, ("other", POOL): 1, ("other", other.name): 1}


def crawl(number: int, *, broken: bool = False) -> Snapshot:
    """Return a crawl in which the last of four keyservers answers or not."""
    outcome = Outcome.TIMEOUT if broken else Outcome.OK
    last = keyserver("ks4.example.net", "198.51.100.4", stats_outcome=outcome)
    at = NOW + number * MINUTES
    return replace(snapshot([*mesh(3), last]), started=at - timedelta(seconds=10), finished=at)


def eligible(judgement: Judgement, __: Published | None) -> Published:
    """Publish everybody who is eligible."""
    found = tuple(one.address for one in judgement.verdicts if one.state is State.ELIGIBLE and one.address is not None)
    return Published({(POOL, Family.IPV4): found}, judgement.snapshot.finished)


@pytest.mark.parametrize(("fall", "left_at"), [(1, 2), (2, 3), (3, None)])
def test_a_replay_judges_each_crawl_by_those_before_it(fall: int, left_at: int | None) -> None:
    policy = Policy(steadiness=Steadiness(fall=fall, drop=fall))
    crawls = [crawl(number, broken=number in {2, 3}) for number in range(5)]
    made = list(replay(History(), crawls, Rules(policy, (pool(),), eligible), None))
    address = ipaddress.ip_address("198.51.100.4")
    is_in = [address in one.members[POOL, Family.IPV4] for one in made]
    assert (is_in.index(False) if False in is_in else None) == left_at
    assert [address in one.failing[POOL] for one in made] == [False, False, True, True, False]
    assert [one.at for one in made] == [each.finished for each in crawls]


def test_who_gives_an_old_canary_key_is_failing() -> None:
    others = [keyserver(f"ks{n}.example.net", f"198.51.100.{n}", canary=NOW - timedelta(hours=50)) for n in range(1, 4)]
    late = keyserver("ks4.example.net", "198.51.100.4", canary=NOW - timedelta(hours=60))
    (made,) = replay(History(), [snapshot([*others, late])], Rules(Policy(), (pool(),), eligible), None)
    assert made.failing[POOL] == {ipaddress.ip_address("198.51.100.4")}


def test_a_replay_goes_on_from_a_history_and_from_what_is_published() -> None:
    crawls = [crawl(number) for number in range(3)]
    history = judge_next(History(), crawls[0], Policy(), [pool()]).history
    published = Published({(POOL, Family.IPV4): (A,)}, NOW)
    seen: list[History] = []

    def publish(judgement: Judgement, last: Published | None) -> Published | None:
        seen.append(judgement.history)
        return last

    made = list(replay(history, crawls[1:], Rules(Policy(), (pool(),), publish), published))
    first = judge_next(history, crawls[1], Policy(), [pool()]).history
    assert seen == [first, judge_next(first, crawls[2], Policy(), [pool()]).history]
    assert [one.members for one in made] == [published.members] * 2


FATES = {
    "today": (Fate(pool=POOL, days=2.0, members=9.5, joins=3, leaves=4, failing=0.0123),),
    "other": (Fate(pool=POOL, days=0.0, members=0, joins=0, leaves=0, failing=None),),
}


def test_the_table_has_a_line_for_each_policy() -> None:
    assert tables.to_text(FATES).splitlines() == [
        "pool              policy  days  members  joins a day  leaves a day  down or stale",
        "pool.example.org  today    2.0      9.5          1.5           2.0          1.23%",
        "pool.example.org  other    0.0      0.0            -             -              -",
    ]


def test_json_and_csv_have_the_same_numbers() -> None:
    document = json.loads(tables.to_json(FATES, NOW))
    assert (document["format"], document["version"], document["since"]) == ("poolmgr-backtest", 1, NOW.isoformat())
    today, other = document["pools"]
    assert (today["policy"], today["joins_per_day"], today["failing"]) == ("today", 1.5, 0.0123)
    assert (other["policy"], other["joins_per_day"], other["failing"]) == ("other", None, None)
    head, *lines = tables.to_csv(FATES).splitlines()
    assert [line.split(",") for line in lines] == [
        ["pool.example.org", "today", "2.0", "9.5", "1.5", "2.0", "0.0123"],
        ["pool.example.org", "other", "0.0", "0", "", "", ""],
    ]
    assert head.split(",") == list(today)
