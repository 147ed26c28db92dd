from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from poolmgr.judge.freshness import Cohort, Reference, Window
from poolmgr.judge.history import History, Judgement, judge_next
from poolmgr.judge.lateness import Check, Compared, checks, failed_checks
from poolmgr.judge.pace import Count, Pace
from poolmgr.judge.policy import Policy
from poolmgr.model import Keyserver, KeyserverAddress, ReasonCode, Snapshot, State
from tests.build import NOW, keyserver, pool

SKS = Cohort("sks", (1, 1))
WINDOW = Window(2000, 2000, 2)
SECOND = timedelta(seconds=1)
HOURLY = 40
"""Keys that the frontier gains in an hour."""


def hours(count: float) -> timedelta:
    return timedelta(hours=count)


def frontier(span: int = 240, pace: int = HOURLY) -> Reference:
    """Return a reference whose frontier has had a point each hour for `span` hours, and a million keys now."""
    points = tuple(Count(1_000_000 + pace * hour, NOW + hours(hour)) for hour in range(-span, 1))
    return Reference(SKS, 1_000_000, 5, Pace(points))


def checked(
    keys: int,
    at: datetime = NOW,
    reference: Reference | None = None,
    *,
    is_up: bool = True,
    still: Count | None = None,
    window: Window = WINDOW,
) -> dict[ReasonCode, Check]:
    compared = Compared(Count(keys, at), reference or frontier(), still, is_up)
    return {check.code: check for check in checks(compared, window)}


def failed(found: dict[ReasonCode, Check]) -> list[ReasonCode]:
    return [code for code, check in found.items() if not check.is_passed]


@pytest.mark.parametrize(("is_up", "limit"), [(True, 36), (False, 24)])
@pytest.mark.parametrize(("keys", "is_in"), [(1, True), (0, True), (-1, False)])
def test_lag_below_at_and_above_the_limit_is_less_for_who_comes_in(
    keys: int, limit: int, *, is_up: bool, is_in: bool
) -> None:
    found = checked(1_000_000 - limit * HOURLY + keys, is_up=is_up)
    assert failed(found) == ([] if is_in else [ReasonCode.BEHIND])


@pytest.mark.parametrize(("keys", "is_in"), [(-1, True), (0, True), (1, False)])
def test_lead_below_at_and_above_the_limit(keys: int, *, is_in: bool) -> None:
    found = checked(1_000_000 + 72 * HOURLY + keys)
    assert failed(found) == ([] if is_in else [ReasonCode.AHEAD])


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize(("keys", "is_in"), [(49, True), (50, True), (51, False)])
def test_some_keys_are_allowed_whatever_time_they_are(sign: int, keys: int, *, is_in: bool) -> None:
    quiet = Reference(
        SKS, 1000, 5, Pace((Count(999, NOW - hours(600)), Count(1000, NOW - hours(500)), Count(1000, NOW)))
    )
    found = checked(1000 + sign * keys, reference=quiet)
    assert bool(failed(found)) is not is_in


def test_of_one_that_is_fresh_only_its_lead_is_looked_at() -> None:
    still = Count(5, NOW - hours(40))
    for reference in (frontier(), Reference(SKS, 1_000_000, 5)):
        for keys in (5, 10**9):
            compared = Compared(Count(keys, NOW), reference, still, is_up=True)
            found = list(checks(replace(compared, is_fresh=True), WINDOW))
            assert [check.code for check in found] == [ReasonCode.AHEAD]
            assert [check.is_passed for check in found] == [keys == 5]
            assert ReasonCode.BEHIND in [check.code for check in checks(compared, WINDOW)]


@pytest.mark.parametrize(("hours_ago", "expected"), [(36, []), (37, [ReasonCode.STUCK])])
def test_one_that_stood_is_stuck_although_it_is_at_the_frontier_now(hours_ago: int, expected: list[ReasonCode]) -> None:
    compared = Compared(Count(1_000_000, NOW), frontier(), Count(1_000_000, NOW - hours(hours_ago)), is_up=True)
    assert [check.code for check in failed_checks(compared, WINDOW)] == expected


def test_who_stays_needs_no_less_lag_than_who_comes_in() -> None:
    strict = replace(WINDOW, max_lag=hours(12))
    for is_up in (True, False):
        assert failed(checked(1_000_000 - 12 * HOURLY, is_up=is_up, window=strict)) == []
        assert failed(checked(1_000_000 - 12 * HOURLY - 1, is_up=is_up, window=strict)) == [ReasonCode.BEHIND]


def test_a_count_is_compared_with_the_time_at_which_it_was_taken() -> None:
    a_day_old = NOW - hours(24)
    assert failed(checked(1_000_000 - 24 * HOURLY, a_day_old, is_up=False)) == []
    assert failed(checked(1_000_000 - 48 * HOURLY - 1, a_day_old, is_up=False)) == [ReasonCode.BEHIND]
    assert failed(checked(1_000_000 + 49 * HOURLY, a_day_old)) == [ReasonCode.AHEAD]


@pytest.mark.parametrize(("span", "is_behind"), [(35, True), (36, False)])
def test_until_the_frontier_is_known_for_the_limit_keys_count(span: int, *, is_behind: bool) -> None:
    strict = replace(WINDOW, behind=100)
    found = checked(1_000_000 - 101, reference=frontier(span), window=strict)
    assert failed(found) == ([ReasonCode.BEHIND] if is_behind else [])


@pytest.mark.parametrize(("age", "is_behind"), [(0, True), (4, True), (5, False)])
def test_who_is_further_behind_than_is_known_is_behind_by_at_least_that(age: int, *, is_behind: bool) -> None:
    # Known for 40 hours: at an age of 4, that is 36 from the count to the first point, and then keys count.
    found = checked(1_000_000 - 1999, NOW - hours(age), frontier(40))
    assert failed(found) == ([ReasonCode.BEHIND] if age < 4 else [])
    assert failed(checked(1_000_000 - 2001, NOW - hours(age), frontier(40))) == [ReasonCode.BEHIND]
    assert ("at least" in found[ReasonCode.BEHIND].words().measured) is (is_behind and age < 4)


@pytest.mark.parametrize(("late", "is_in"), [(-SECOND, True), (timedelta(0), True), (SECOND, False)])
def test_a_count_that_stands_while_the_frontier_moves_is_stuck_after_the_limit(late: timedelta, *, is_in: bool) -> None:
    # It is ahead, within what is allowed: only standing still tells.
    still = Count(1_000_800, NOW - hours(36) - late)
    assert failed(checked(1_000_800, still=still)) == ([] if is_in else [ReasonCode.STUCK])


@pytest.mark.parametrize(("moved", "is_in"), [(49, True), (50, True), (51, False)])
def test_nobody_is_stuck_while_the_frontier_moves_by_a_few_keys_only(moved: int, *, is_in: bool) -> None:
    quiet = Reference(SKS, 1000, 5, Pace((Count(1000 - moved, NOW - hours(100)), Count(1000, NOW))))
    found = checked(990, reference=quiet, still=Count(990, NOW - hours(100)))
    assert (ReasonCode.STUCK not in failed(found)) is is_in


def test_another_count_than_before_is_not_stuck() -> None:
    assert ReasonCode.STUCK not in checked(1_000_000, still=Count(999_999, NOW - hours(500)))


def test_sentences_have_what_was_measured_and_the_limit_in_hours_and_keys() -> None:
    late = checked(1_000_000 - 812, is_up=False, window=replace(WINDOW, enter_lag=hours(20)))[ReasonCode.BEHIND].words()
    assert late == (
        "20.3 h, 812 keys",
        "20 h or 50 keys",
        (
            "812 keys behind = 20.3 h: 999188 at 2026-11-23 12:00 UTC, when sks 1.1 had 1000000, "
            "at most 20 h or 50 keys may be missing to come in"
        ),
    )
    early = checked(1_004_000)[ReasonCode.AHEAD].words()
    assert early == (
        "100 h, 4000 keys",
        "72 h or 50 keys",
        (
            "4000 keys ahead = 100 h: 1004000 at 2026-11-23 12:00 UTC, when sks 1.1 had 1000000, "
            "at most 72 h or 50 keys more are believed"
        ),
    )
    stuck = checked(1_000_800, still=Count(1_000_800, NOW - hours(40)))[ReasonCode.STUCK].words()
    assert stuck == (
        "40 h, 1600 keys",
        "36 h or 50 keys",
        (
            "1000800 keys since 2026-11-21 20:00 UTC: sks 1.1 moved by 1600 keys in these 40 h, "
            "at most 36 h or 50 keys may pass"
        ),
    )


# What follows are crawls in a row, through the whole judgement.


def told(name: str, address: str, keys: int, asked: datetime, taken: datetime | None = None) -> Keyserver:
    """Return a keyserver that was asked at `asked`, and told a count that it says was taken at `taken`."""
    one = keyserver(name, address, keys=keys)
    addresses = tuple(
        KeyserverAddress(
            each.address,
            None if each.stats is None else replace(each.stats, taken_at=taken),
            tuple(replace(probe, started=asked) for probe in each.probes),
        )
        for each in one.addresses
    )
    return replace(one, addresses=addresses)


def crawled(mesh: list[Keyserver], at: datetime, history: History) -> Judgement:
    return judge_next(history, Snapshot(started=at, finished=at, keyservers=tuple(mesh)), Policy(), [pool()])


def grown(hour: float) -> int:
    return 1_000_000 + int(HOURLY * hour)


def healthy(hour: float, count: int = 5, keys: int | None = None) -> list[Keyserver]:
    """Return keyservers that have what the mesh has, or `keys`, and lag by some minutes each."""
    return [
        told(
            f"ks{n}.example.net", f"198.51.100.{n}", (grown(hour) if keys is None else keys) - 4 * n, NOW + hours(hour)
        )
        for n in range(1, count + 1)
    ]


def codes(judgement: Judgement) -> dict[str, set[ReasonCode]]:
    return {str(each.keyserver): {r.code for r in each.reasons} for each in judgement.verdicts}


def all_in(judgement: Judgement) -> bool:
    return all(verdict.state is State.ELIGIBLE and not verdict.warnings for verdict in judgement.verdicts)


def test_a_healthy_keyserver_whose_page_is_a_day_old_is_never_behind() -> None:
    history = History()
    for hour in range(120):
        counted = hour - hour % 24
        old = told("old.example.net", "203.0.113.1", grown(counted), NOW + hours(hour), NOW + hours(counted))
        judgement = crawled([*healthy(hour), old], NOW + hours(hour), history)
        assert all_in(judgement)
        history = judgement.history


def test_a_page_that_is_never_made_again_is_behind_and_stuck_in_the_end() -> None:
    history, found = History(), {}
    for hour in range(120):
        old = told("old.example.net", "203.0.113.1", grown(0), NOW + hours(hour), NOW)
        judgement = crawled([*healthy(hour), old], NOW + hours(hour), history)
        history, found[hour] = judgement.history, codes(judgement)["old.example.net"]
    # It is believed for 26 hours, and may lag 36; one bad look is none.
    assert found[36] == set()
    assert found[38] == {ReasonCode.BEHIND, ReasonCode.STUCK}
    assert found[119] == {ReasonCode.BEHIND, ReasonCode.STUCK}


def test_on_a_quiet_mesh_nobody_is_behind_ahead_or_stuck() -> None:
    history = History()
    for hour in range(120):
        other = told("other.example.net", "203.0.113.1", 999_985, NOW + hours(hour))
        more = told("more.example.net", "203.0.113.2", 1_000_015, NOW + hours(hour))
        judgement = crawled([*healthy(hour, keys=1_000_000 + hour // 40), other, more], NOW + hours(hour), history)
        assert all_in(judgement)
        history = judgement.history


def test_a_cohort_that_stops_synchronising_together_is_not_put_out() -> None:
    history = History()
    for hour in range(160):
        keys = grown(min(hour, 50))
        goes_on = [
            told(f"hp{n}.example.net", f"203.0.113.{n}", grown(hour) - n, NOW + hours(hour)) for n in range(1, 4)
        ]
        goes_on = [
            replace(
                one,
                addresses=tuple(
                    replace(each, stats=replace(each.stats, software="Hockeypuck", version="2.2"))
                    for each in one.addresses
                    if each.stats is not None
                ),
            )
            for one in goes_on
        ]
        judgement = crawled([*healthy(hour, keys=keys), *goes_on], NOW + hours(hour), history)
        assert all_in(judgement)
        history = judgement.history


def test_liars_of_every_kind_leave_the_healthy_in_and_are_out_themselves() -> None:
    history, final = History(), dict[str, set[ReasonCode]]()
    for hour in range(120):
        lies = {"zero": 0, "huge": 2**63 - 1, "frozen": grown(0) + 4000, "leaping": grown(0) + (hour * 7919) % 100_000}
        liars = [
            told(f"{name}.example.net", f"203.0.113.{n}", keys, NOW + hours(hour))
            for n, (name, keys) in enumerate(lies.items(), 1)
        ]
        judgement = crawled([*healthy(hour), *liars], NOW + hours(hour), history)
        states = {str(each.keyserver): each for each in judgement.verdicts}
        assert all(states[f"ks{n}.example.net"].state is State.ELIGIBLE for n in range(1, 6))
        assert not any(states[f"ks{n}.example.net"].warnings for n in range(1, 6))
        history, final = judgement.history, codes(judgement)
    assert final["zero.example.net"] == {ReasonCode.NO_COUNT}
    assert final["huge.example.net"] == {ReasonCode.AHEAD, ReasonCode.STUCK}
    assert final["frozen.example.net"] == {ReasonCode.STUCK}
    assert final["leaping.example.net"]


def test_two_that_lead_by_a_day_and_more_do_not_make_the_others_late() -> None:
    history = History()
    for hour in range(120):
        leaders = [
            told(f"l{n}.example.net", f"203.0.113.{n}", grown(hour + 30), NOW + hours(hour)) for n in range(1, 3)
        ]
        judgement = crawled([*healthy(hour), *(leaders if hour > 40 else [])], NOW + hours(hour), history)
        assert all(each.state is State.ELIGIBLE and not each.warnings for each in judgement.verdicts[:5])
        history = judgement.history
    assert history.paces.frontiers[SKS].points[-1].keys <= grown(119)


def test_a_crowd_in_one_block_of_the_internet_does_not_move_the_frontier() -> None:
    def public(hour: float) -> list[Keyserver]:
        return [told(f"ks{n}.example.net", f"5.6.{n}.1", grown(hour) - 4 * n, NOW + hours(hour)) for n in range(1, 6)]

    history = History()
    for hour in range(100):
        crowd = [
            told(f"c{n}.example.net", f"1.2.3.{n}", grown(hour) // 2 if n % 2 else grown(hour + 20), NOW + hours(hour))
            for n in range(1, 40)
        ]
        judgement = crawled([*public(hour), *crowd], NOW + hours(hour), history)
        honest = [each for each in judgement.verdicts if str(each.keyserver).startswith("ks")]
        assert all(each.state is State.ELIGIBLE and not each.warnings for each in honest)
        history = judgement.history


def test_keys_that_are_removed_everywhere_put_nobody_out_for_long() -> None:
    history = History()
    for hour in range(100):
        lost = 5000 if hour > 60 else 0
        judgement = crawled(healthy(hour, keys=grown(hour) - lost), NOW + hours(hour), history)
        assert all_in(judgement)
        history = judgement.history


def test_one_that_is_in_may_be_later_than_one_that_comes_in() -> None:
    history = History()
    for hour in range(150):
        # Both are 30 hours late in the end, and only one was there before.
        member = told("member.example.net", "203.0.113.1", grown(min(hour, 40) + max(hour - 70, 0)), NOW + hours(hour))
        new = told("new.example.net", "203.0.113.2", grown(hour - 30), NOW + hours(hour))
        judgement = crawled([*healthy(hour), member, *([new] if hour > 100 else [])], NOW + hours(hour), history)
        history, final = judgement.history, codes(judgement)
        assert final["member.example.net"] == set()
        assert hour <= 100 or final["new.example.net"] == {ReasonCode.BEHIND}
