from __future__ import annotations

from datetime import timedelta

import pytest

from poolmgr.judge.pace import KEPT, LEAST_SPAN, MAX_POINTS, STEP, UNTOLD, Count, Lag, Pace
from tests.build import NOW

HOUR = timedelta(hours=1)


def at(hours: float) -> timedelta:
    return timedelta(hours=hours)


def count(keys: int, hours: float) -> Count:
    """Return a count that was taken so many hours after NOW."""
    return Count(keys, NOW + at(hours))


def steady(hours: int, keys_an_hour: int = 40) -> Pace:
    """Return a frontier of one point an hour up to NOW, where it has a million keys."""
    return Pace(tuple(count(1_000_000 + keys_an_hour * hour, hour) for hour in range(-hours, 1)))


def fed(*counts: Count) -> Pace:
    pace = Pace()
    for each in counts:
        pace = pace.reached(each)
    return pace


def test_the_frontier_lies_between_its_points_and_stands_still_beyond_them() -> None:
    pace = Pace((count(100, 0), count(200, 10)))
    assert [pace.keys(NOW + at(hours)) for hours in (-5, 0, 2.5, 10, 99)] == [100, 100, 125, 200, 200]


def test_what_is_newer_than_the_frontier_is_reckoned_by_its_pace() -> None:
    pace = steady(48)
    assert pace.keys_an_hour == 40
    assert pace.reckoned(NOW + at(3)) == 1_000_000 + 120
    assert pace.reckoned(NOW - at(3)) == 1_000_000 - 120


@pytest.mark.parametrize(("span", "pace"), [(LEAST_SPAN - STEP, 0.0), (LEAST_SPAN, 10.0), (2 * LEAST_SPAN, 5.0)])
def test_less_than_a_day_has_no_pace(span: timedelta, pace: float) -> None:
    assert Pace((count(0, 0), Count(240, NOW + span))).keys_an_hour == pace


@pytest.mark.parametrize(
    ("one", "lag"),
    [
        pytest.param(count(1_000_000, 0), Lag(0, at(0)), id="at the frontier"),
        pytest.param(count(1_000_000 - 800, 0), Lag(800, at(20)), id="behind"),
        pytest.param(count(1_000_000 - 800, -20), Lag(0, at(0)), id="an old count is compared with its own time"),
        pytest.param(count(1_000_000 - 1200, -20), Lag(400, at(10)), id="an old count that is behind"),
        pytest.param(count(1_000_000 - 400, -20), Lag(-400, at(-10)), id="an old count that is ahead"),
        pytest.param(count(1_000_000 + 400, 0), Lag(-400, at(-10)), id="ahead of all points"),
        pytest.param(count(1_000_000 + 40, 1), Lag(-40, at(0)), id="newer than all points and as much ahead"),
        pytest.param(count(1_000_000 + 10, 1), Lag(-10, at(0)), id="newer than all points and not ahead of their pace"),
        pytest.param(count(5, 0), Lag(999_995, at(48), is_least=True), id="further behind than the points go"),
        pytest.param(count(2**63, 0), Lag(1_000_000 - 2**63, -UNTOLD), id="absurdly far ahead"),
    ],
)
def test_lag_is_how_long_before_a_count_was_taken_the_frontier_stood_there(one: Count, lag: Lag) -> None:
    assert steady(48).lag(one) == lag


def test_lag_counts_from_the_end_of_a_quiet_time() -> None:
    pace = Pace((count(100, 0), count(100, 30), count(150, 31), count(200, 32)))
    assert pace.lag(count(100, 32)) == Lag(100, at(2))


def test_no_time_tells_a_lead_where_nothing_moves() -> None:
    assert steady(48, keys_an_hour=0).lag(count(1_000_001, 0)) == Lag(-1, None)


def test_one_point_is_kept_of_each_step_and_the_newest_always() -> None:
    pace = fed(*(Count(1000 + minute, NOW + timedelta(minutes=minute)) for minute in range(0, 61, 5)))
    assert [(point.at - NOW) // timedelta(minutes=1) for point in pace.points] == [0, 10, 20, 30, 40, 50, 60]
    assert pace.reached(Count(2000, NOW + timedelta(minutes=65))).points[-1].keys == 2000


def test_a_quiet_time_takes_two_points() -> None:
    pace = fed(*(count(1000, hours) for hours in range(50)), count(1001, 50))
    assert pace.points == (count(1000, 0), count(1000, 49), count(1001, 50))


def test_a_frontier_that_stood_still_for_longer_than_a_month_is_still_known() -> None:
    pace = fed(*(count(1000, 24 * day) for day in range(50)))
    assert pace.span >= KEPT


def test_an_older_count_changes_nothing_unless_it_is_larger() -> None:
    pace = fed(count(100, 0), count(200, 10))
    assert pace.reached(count(150, 5)) == pace
    assert pace.reached(count(200, 10)) == pace
    assert pace.reached(count(250, 5)).points == (count(100, 0), count(250, 10))


def test_where_keys_were_removed_everywhere_the_frontier_goes_back() -> None:
    pace = fed(count(100, 0), count(200, 10), count(300, 20)).reached(count(150, 30))
    assert pace.points == (count(100, 0), count(150, 5), count(150, 30))
    assert pace.lag(count(150, 30)) == Lag(0, at(0))


def test_where_more_were_removed_than_is_remembered_it_is_flat_and_keeps_its_span() -> None:
    pace = fed(count(100, 0), count(200, 10)).reached(count(50, 20))
    assert pace.points == (count(50, 0), count(50, 20))


def test_points_are_bounded_fine_where_they_are_new_and_go_back_a_month() -> None:
    pace = Pace()
    for number in range(45 * 24 * 6):
        pace = pace.reached(Count(1000 + number, NOW + number * STEP))
        assert len(pace.points) <= MAX_POINTS
    newest = pace.points[-1].at
    assert KEPT <= pace.span <= KEPT + at(6)
    assert sum(newest - point.at <= timedelta(days=4) for point in pace.points) >= 4 * 24 * 6
    assert abs(pace.keys(newest - timedelta(days=20)) - (pace.points[-1].keys - 20 * 24 * 6)) <= 1
