from __future__ import annotations

import math
import statistics
from datetime import timedelta

import pytest

from poolmgr.judge.reliability import MAX_GAP, UNSEEN, WINDOWS, Reliability, observed
from tests.build import NOW

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


def watched(every: timedelta, until: timedelta, *outages: tuple[timedelta, timedelta]) -> Reliability:
    """Return the reliability of an address that was down in `outages`, and looked at so often."""
    found = None
    for number in range(1, until // every + 1):
        at = number * every
        found = observed(found, NOW + at, is_good=not any(start < at <= end for start, end in outages))
    assert found is not None
    return found


def share(of: Reliability, window: str) -> float:
    found = of.share(window)
    assert found is not None
    return found


def test_what_was_never_seen_has_no_share_and_the_score_of_most() -> None:
    nothing = Reliability(NOW, (0.0,) * len(WINDOWS), (0.0,) * len(WINDOWS))
    assert [nothing.share(window) for window in WINDOWS] == [None] * len(WINDOWS)
    assert nothing.score == UNSEEN
    assert {nothing.failed(window) for window in WINDOWS} == {0.0}


def test_one_look_moves_the_short_windows_most_and_leaves_doubt() -> None:
    good, bad = observed(None, NOW, is_good=True), observed(None, NOW, is_good=False)
    assert {good.share(window) for window in WINDOWS} == {1.0}
    assert {bad.share(window) for window in WINDOWS} == {0.0}
    assert list(good.seen) == sorted(good.seen, reverse=True)
    assert good.seen[0] == pytest.approx(1 - math.exp(-1 / 2))
    assert bad.score < UNSEEN < good.score < 1
    assert good.score - bad.score == pytest.approx(statistics.fmean(good.seen))


def test_always_good_and_always_bad_come_to_one_and_nought() -> None:
    assert watched(HOUR, 300 * DAY).score == pytest.approx(1, abs=1e-3)
    assert watched(HOUR, 300 * DAY, (timedelta(0), 300 * DAY)).score == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize(
    "outages",
    [
        (),
        ((9 * DAY, 9 * DAY + 6 * HOUR),),
        ((2 * DAY, 4 * DAY), (9 * DAY + 12 * HOUR, 9 * DAY + 18 * HOUR)),
        tuple((day * DAY, day * DAY + 3 * HOUR) for day in range(10)),
    ],
)
def test_it_does_not_depend_on_how_often_one_looks(outages: tuple[tuple[timedelta, timedelta], ...]) -> None:
    often, seldom = watched(5 * MINUTE, 10 * DAY, *outages), watched(HOUR, 10 * DAY, *outages)
    assert often.score == pytest.approx(seldom.score, abs=0.005)
    for window in WINDOWS:
        assert share(often, window) == pytest.approx(share(seldom, window), abs=0.005)


def test_a_recent_outage_weighs_most_in_the_short_windows_and_an_old_one_in_the_long() -> None:
    recent = watched(5 * MINUTE, 10 * DAY, (10 * DAY - 4 * HOUR, 10 * DAY))
    old = watched(5 * MINUTE, 10 * DAY, (timedelta(0), 5 * DAY))
    assert [share(recent, window) for window in WINDOWS] == sorted(share(recent, window) for window in WINDOWS)
    assert share(recent, "2h") == pytest.approx(math.exp(-2), abs=0.01)
    assert share(old, "2h") == pytest.approx(1)
    assert share(old, "30d") < 0.6


def test_time_without_looks_widens_doubt_and_is_no_failure() -> None:
    before = watched(5 * MINUTE, 10 * DAY)
    after = observed(before, before.at + 5 * DAY, is_good=True)
    assert after.score < before.score
    assert {share(after, window) for window in WINDOWS} == {1.0}
    assert after.seen[0] == pytest.approx(1 - math.exp(-1 / 2)), "the two hours were seen for one only"


@pytest.mark.parametrize(
    ("gap", "is_seen_whole"), [(MAX_GAP - MINUTE, True), (MAX_GAP, True), (MAX_GAP + MINUTE, False)]
)
def test_a_look_stands_for_the_time_since_the_last_up_to_a_limit(gap: timedelta, *, is_seen_whole: bool) -> None:
    full = Reliability(NOW, (1.0,) * len(WINDOWS), (1.0,) * len(WINDOWS))
    after = observed(full, NOW + gap, is_good=True)
    assert all((seen == 1.0) is is_seen_whole for seen in after.seen)


def test_a_look_at_the_same_time_or_before_it_weighs_nothing() -> None:
    before = watched(HOUR, DAY)
    for at in (before.at, before.at - DAY):
        after = observed(before, at, is_good=False)
        assert (after.good, after.seen, after.at) == (before.good, before.seen, at)


def test_every_window_has_its_name() -> None:
    names = {"2h": 2 * HOUR, "8h": 8 * HOUR, "1d": DAY, "7d": 7 * DAY, "30d": 30 * DAY}
    assert dict(WINDOWS) == names
    with pytest.raises(ValueError, match="3h"):
        watched(HOUR, DAY).share("3h")
