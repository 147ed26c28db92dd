"""What must hold of the limits on a count, whatever it is and whatever the frontier was."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from poolmgr.judge.freshness import Cohort, Reference, Window
from poolmgr.judge.lateness import Compared, checks, failed_checks
from poolmgr.judge.pace import Count, Pace
from tests.build import NOW

HOURS, SPAN = timedelta(hours=1), 30
TOLERANCE = 3
# Mostly near to the frontier and to the limits: hours up to its span, keys up to the tolerance and little more.
AGES = st.integers(-3, SPAN + 3)
PACES = st.lists(st.sampled_from((0, 0, 1, 2)), min_size=2, max_size=12).map(
    lambda gains: Pace(
        tuple(
            Count(50 + sum(gains[: number + 1]), NOW + (number * SPAN / (len(gains) - 1) - SPAN) * HOURS)
            for number in range(len(gains))
        )
    )
)
WINDOWS = st.builds(
    lambda keys, stays, enters, leads: Window(
        keys, keys, 2, max_lag=stays * HOURS, enter_lag=enters * HOURS, max_lead=leads * HOURS, tolerance=TOLERANCE
    ),
    st.integers(0, 3),
    st.integers(1, SPAN + 10),
    st.integers(1, SPAN),
    st.integers(1, SPAN),
)
COMPARED = st.builds(
    lambda pace, age, off, keys, still, is_up, is_fresh: Compared(
        count := Count(pace.keys(NOW - age * HOURS) + off, NOW - age * HOURS),
        Reference(Cohort("sks", (1, 1)), keys, 3, pace),
        None if still is None else Count(count.keys + still[0], NOW - still[1] * HOURS),
        is_up,
        is_fresh,
    ),
    PACES,
    AGES,
    st.integers(-TOLERANCE - 2, TOLERANCE + 2),
    st.integers(45, 75),
    st.none() | st.tuples(st.sampled_from((0, 0, 1)), AGES),
    st.booleans(),
    st.booleans(),
)


@settings(max_examples=1000)
@given(COMPARED, WINDOWS)
def test_the_failed_checks_are_those_that_are_not_passed(compared: Compared, window: Window) -> None:
    expected = [(check.code, check.room) for check in checks(compared, window) if not check.is_passed]
    assert [(check.code, check.room) for check in failed_checks(compared, window)] == expected
