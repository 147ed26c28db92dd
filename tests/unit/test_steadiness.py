from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from poolmgr.judge.steadiness import FAST, Look, Standing, Steadiness, is_final, looked, obstacles, wait_of
from poolmgr.model import Reason, ReasonCode
from tests.build import NOW

RULE = Steadiness(rise=3, fall=2, drop=2, flap_wait=timedelta(0))
SECOND, MINUTE, HOUR, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
DOWN = Reason(ReasonCode.STATS, "timeout", "ok", "no stats page: timeout")
UP = Standing(is_up=True, streak=5, since=NOW, first=NOW)


def look(at: timedelta, *, is_good: bool, is_final: bool = False) -> Look:
    return Look(NOW + at, () if is_good else (DOWN,), is_final)


def ups(looks: str, rule: Steadiness = RULE, *, every: timedelta = 5 * MINUTE, before: int = 1) -> str:
    """Return ^ for each of `looks` (+ good, - bad, ! bad and final) after which an address is up.

    Its pool was judged by so many crawls `before` it was met.
    """
    standing, said = None, ""
    for number, sign in enumerate(looks):
        one = look(number * every, is_good=sign == "+", is_final=sign == "!")
        standing = looked(standing, one, rule, rounds=number + 1 + before)
        said += "^" if standing.is_up else "."
    return said


def codes(standing: Standing, one: Look, rule: Steadiness, *, rounds: int = 2) -> list[ReasonCode]:
    return [reason.code for reason in obstacles(standing, one, rule, rounds=rounds)]


# Rise and fall


@pytest.mark.parametrize(
    ("looks", "expected"),
    [
        ("++", ".."),
        ("+++", "..^"),
        ("++++", "..^^"),
        ("++-+++", ".....^"),
        ("+++-", "..^^"),
        ("+++-+-", "..^^^^"),
        ("+++--", "..^^."),
        ("+++--+++", "..^^...^"),
        ("+++!+++", "..^...^"),
        ("---+++", ".....^"),
    ],
)
def test_it_takes_rise_good_looks_to_come_up_and_drop_bad_ones_to_go_down(looks: str, expected: str) -> None:
    assert ups(looks) == expected


def test_one_of_each_makes_every_look_count() -> None:
    assert ups("+-+-", replace(RULE, rise=1, fall=1, drop=1)) == "^.^."


@pytest.mark.parametrize(
    ("fall", "drop", "expected"),
    [(1, 4, "^^^^.."), (2, 3, "^^^..."), (2, 2, "^^...."), (3, 2, "^^^..."), (4, 1, "^^^^..")],
)
def test_it_goes_down_after_drop_bad_looks_but_not_before_fall(fall: int, drop: int, expected: str) -> None:
    rule = replace(RULE, fall=fall, drop=drop)
    assert ups("+-----", rule, before=0) == expected
    assert rule.last == expected.count("^")


def test_the_first_crawl_of_a_pool_alone_decides() -> None:
    rule = replace(RULE, probation=DAY)
    assert ups("+++", rule, before=0) == "^^^"
    assert ups("-+++", replace(rule, probation=timedelta(0)), before=0) == "...^"
    assert ups("+", rule, before=1) == "."


def test_a_good_look_says_how_many_are_missing() -> None:
    standing = looked(None, look(SECOND, is_good=True), RULE, rounds=2)
    (reason,) = obstacles(standing, look(SECOND, is_good=True), RULE, rounds=2)
    assert reason == Reason(ReasonCode.JOINING, "1", "3", "1 good crawl in a row, 3 are asked for")
    standing = looked(standing, look(MINUTE, is_good=True), RULE, rounds=3)
    (reason,) = obstacles(standing, look(MINUTE, is_good=True), RULE, rounds=3)
    assert reason == Reason(ReasonCode.JOINING, "2", "3", "2 good crawls in a row, 3 are asked for")


def test_a_bad_look_says_only_what_is_bad() -> None:
    bad = look(timedelta(0), is_good=False)
    assert obstacles(looked(None, bad, replace(RULE, probation=DAY), rounds=2), bad, RULE, rounds=2) == (DOWN,)


def test_since_is_when_it_last_changed_sides() -> None:
    came = looked(None, look(timedelta(0), is_good=True), RULE, rounds=1)
    assert came.since == NOW
    stayed = looked(came, look(HOUR, is_good=False), RULE, rounds=2)
    assert (stayed.is_up, stayed.since) == (True, NOW)
    went = looked(stayed, look(2 * HOUR, is_good=False), RULE, rounds=3)
    assert (went.is_up, went.since, went.fell) == (False, NOW + 2 * HOUR, NOW + 2 * HOUR)
    assert looked(went, look(3 * HOUR, is_good=False), RULE, rounds=4).since == NOW + 2 * HOUR


def test_a_gap_without_looks_changes_nothing() -> None:
    assert ups("++++--", every=SECOND) == ups("++++--", every=20 * DAY) == "..^^^."


@pytest.mark.parametrize("code", ReasonCode)
def test_only_facts_and_the_operators_word_need_no_second_look(code: ReasonCode) -> None:
    assert is_final([DOWN, Reason(code, "a", "b", "c")]) is (code in FAST)
    assert not is_final([])


# Probation


@pytest.mark.parametrize(("known", "is_in"), [(HOUR - SECOND, False), (HOUR, True), (HOUR + SECOND, True)])
def test_probation_below_at_and_above(known: timedelta, *, is_in: bool) -> None:
    rule = replace(RULE, rise=1, probation=HOUR)
    first = looked(None, look(timedelta(0), is_good=True), rule, rounds=2)
    assert not first.is_up
    later = look(known, is_good=True)
    standing = looked(first, later, rule, rounds=3)
    assert standing.is_up is is_in
    if not is_in:
        assert codes(standing, later, rule) == [ReasonCode.PROBATION]


def test_probation_is_for_newcomers_not_for_one_that_comes_back() -> None:
    assert ups("+-+", replace(RULE, rise=1, fall=1, drop=1, probation=DAY), before=0) == "^.^"


def test_probation_runs_while_good_looks_are_counted() -> None:
    rule = replace(RULE, probation=10 * MINUTE)
    assert ups("+++", rule) == "..^"
    first = look(timedelta(0), is_good=True)
    both = obstacles(looked(None, first, rule, rounds=2), first, rule, rounds=2)
    assert [reason.code for reason in both] == [ReasonCode.JOINING, ReasonCode.PROBATION]
    assert both[1].sentence == "known for 0 s, a newcomer is looked at for 10 min first"


# Flapping

FLAPPY = Steadiness(rise=1, fall=1, drop=1, flap_wait=10 * MINUTE, flap_limit=HOUR, forgive_after=100 * DAY)


def test_the_wait_doubles_with_every_fall_up_to_its_limit() -> None:
    waits = [wait_of(falls, FLAPPY) for falls in (0.5, 1, 2, 3, 3.6, 4, 1e9)]
    assert waits[:4] == [10 * MINUTE, 10 * MINUTE, 20 * MINUTE, 40 * MINUTE]
    assert waits[4:] == [HOUR, HOUR, HOUR]


def test_no_wait_is_too_long_to_be_told() -> None:
    long = Steadiness(flap_wait=7 * DAY, flap_limit=30 * DAY)
    assert [wait_of(falls, long) for falls in (2, 40, 1e300)] == [14 * DAY, 30 * DAY, 30 * DAY]
    assert wait_of(1e300, replace(long, flap_wait=timedelta(0))) == timedelta(0)


@pytest.mark.parametrize(("waited", "is_in"), [(600 * SECOND - SECOND, False), (600 * SECOND, True)])
def test_one_that_went_out_waits_below_and_at(waited: timedelta, *, is_in: bool) -> None:
    fallen = looked(UP, look(timedelta(0), is_good=False), FLAPPY, rounds=2)
    assert fallen.falls == 1
    back = look(waited, is_good=True)
    standing = looked(fallen, back, FLAPPY, rounds=3)
    assert standing.is_up is is_in
    if not is_in:
        (reason,) = obstacles(standing, back, FLAPPY, rounds=3)
        sentence = "went out 10 min ago, and waits 10 min for having gone out once lately"
        assert reason == Reason(ReasonCode.FLAPPING, "10 min", "10 min", sentence)


def falls_after(pauses: list[timedelta], rule: Steadiness) -> float:
    """Return how often an address went out, faded, that went out once more after each pause."""
    at, standing = timedelta(0), UP
    for pause in pauses:
        at += pause
        standing = looked(standing._replace(is_up=True), look(at, is_good=False, is_final=True), rule, rounds=2)
    return standing.falls


def test_a_fall_is_forgiven_with_time() -> None:
    rule = replace(FLAPPY, forgive_after=DAY)
    assert falls_after([SECOND], rule) == 1
    assert falls_after([SECOND, DAY], rule) == pytest.approx(1 + 0.3679, abs=1e-4)
    assert falls_after([SECOND, DAY, DAY], rule) == pytest.approx(1 + 0.3679 + 0.1353, abs=1e-4)
    assert falls_after([SECOND, 60 * DAY], rule) == pytest.approx(1)
    assert falls_after([SECOND] * 4, rule) == pytest.approx(4, abs=0.001)


def test_one_that_flaps_is_told_how_often() -> None:
    rule = replace(FLAPPY, forgive_after=DAY)
    standing = UP
    for at in (timedelta(0), HOUR):
        standing = looked(standing._replace(is_up=True), look(at, is_good=False, is_final=True), rule, rounds=2)
    back = look(HOUR + 5 * MINUTE, is_good=True)
    (reason,) = obstacles(looked(standing, back, rule, rounds=3), back, rule, rounds=3)
    assert reason.sentence == "went out 5 min ago, and waits 19 min for having gone out 2.0 times lately"


def test_bad_looks_while_it_is_down_are_no_further_falls() -> None:
    fallen = looked(UP, look(timedelta(0), is_good=False), FLAPPY, rounds=2)
    again = looked(fallen, look(HOUR, is_good=False), FLAPPY, rounds=3)
    assert (again.fell, again.falls, again.streak) == (NOW, 1, -2)


def test_what_a_clock_said_that_was_set_back_makes_no_wait_longer() -> None:
    rule = replace(FLAPPY, probation=HOUR, forgive_after=MINUTE)
    fallen = looked(UP, look(4000 * DAY, is_good=False), rule, rounds=2)
    back = look(HOUR, is_good=True)
    waiting = looked(fallen, back, rule, rounds=3)
    assert (waiting.since, waiting.fell) == (back.at, back.at)
    assert codes(waiting, back, rule) == [ReasonCode.FLAPPING]
    assert looked(waiting, look(HOUR + 10 * MINUTE, is_good=True), rule, rounds=4).is_up
    assert looked(fallen._replace(is_up=True), look(HOUR, is_good=False), rule, rounds=3).falls == 2
    newcomer = looked(None, look(4000 * DAY, is_good=True), rule, rounds=2)
    waiting = looked(newcomer, back, rule, rounds=3)
    assert looked(waiting, look(2 * HOUR, is_good=True), rule, rounds=4).is_up
