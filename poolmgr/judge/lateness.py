"""A key count against its reference: how far it is behind, ahead, or stuck, and whether that is still allowed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import NamedTuple

from poolmgr.judge.freshness import Reference, Window
from poolmgr.judge.pace import Count, Lag
from poolmgr.model import ReasonCode

_HOUR = timedelta(hours=1)


class Words(NamedTuple):
    """What people read of a check: what was measured, the limit, and both in a sentence."""

    measured: str
    limit: str
    sentence: str


class Check(NamedTuple):
    """One limit on a count. `room` is how many of `unit` are left to it, below 0 where it is passed over.

    `words` makes the words: most checks of a crawl pass, and nobody reads of them.
    """

    code: ReasonCode
    is_passed: bool
    room: float
    unit: str
    words: Callable[[], Words]


@dataclass(frozen=True, slots=True)
class Compared:
    """A `count`, the `reference` that judges it, and what the limits depend on.

    `still` is the count that the address had before and when that was first met, None where it had none. `is_up` says
    that it is no newcomer: entering needs less lag than staying. `is_fresh` says that the canary key shows that it is
    not late.
    """

    count: Count
    reference: Reference
    still: Count | None
    is_up: bool
    is_fresh: bool = False


def checks(compared: Compared, window: Window) -> Iterator[Check]:
    """Yield what each limit on a count says: in hours where the frontier is known for long enough, else in keys.

    Of one that is fresh only how far it is ahead counts: that it has the newest says nothing of what else it has.
    """
    found = _checks(compared, window)
    return (check for check in found if check.code is ReasonCode.AHEAD) if compared.is_fresh else found


def failed_checks(compared: Compared, window: Window) -> tuple[Check, ...]:
    """Return those of `checks` that are not passed."""
    if _is_near(compared, window):
        return ()
    return tuple(check for check in checks(compared, window) if not check.is_passed)


def _is_near(compared: Compared, window: Window) -> bool:
    """Return whether a count is so near to the frontier that it passes all of `checks`, as most do in each crawl."""
    count, pace, still = compared.count, compared.reference.pace, compared.still
    if still is not None and still.keys == count.keys and count.at - still.at > window.max_lag:
        return False
    # Else it may be that keys count, and not hours.
    is_in_hours = pace.keys_an_hour > 0 and window.is_known(pace) and count.keys >= pace.points[0].keys
    return is_in_hours and abs(pace.keys(count.at) - count.keys) <= window.tolerance


def _checks(compared: Compared, window: Window) -> Iterator[Check]:
    lag = compared.reference.lag(compared.count, window)
    if lag is None or lag.time is None:
        yield from _in_keys(compared, window)
    else:
        yield from _in_hours(compared, lag, lag.time, window)
    still = compared.still
    if still is not None and still.keys == compared.count.keys and compared.reference.pace.points:
        yield _stuck(compared, still, window)


def _in_keys(compared: Compared, window: Window) -> Iterator[Check]:
    lead = compared.count.keys - compared.reference.keys
    room = lead + window.behind
    yield Check(ReasonCode.BEHIND, room >= 0, room, "keys", partial(_fewer, compared, lead, window))
    room = window.ahead - lead
    yield Check(ReasonCode.AHEAD, room >= 0, room, "keys", partial(_more, compared, lead, window))


def _fewer(compared: Compared, lead: int, window: Window) -> Words:
    keys, reference = compared.count.keys, compared.reference
    return Words(
        str(keys),
        str(reference.keys - window.behind),
        f"{max(-lead, 0)} keys behind: {keys} of the {reference.keys} of {reference.cohort}, at most {window.behind} "
        "may be missing",
    )


def _more(compared: Compared, lead: int, window: Window) -> Words:
    keys, reference = compared.count.keys, compared.reference
    return Words(
        str(keys),
        str(reference.keys + window.ahead),
        f"{max(lead, 0)} keys ahead: {keys} instead of the {reference.keys} of {reference.cohort}, at most "
        f"{window.ahead} more are believed",
    )


def _in_hours(compared: Compared, lag: Lag, time: timedelta, window: Window) -> Iterator[Check]:
    limit = window.lag_of(is_up=compared.is_up)
    is_passed = time <= limit or lag.keys <= window.tolerance
    words = partial(_later, compared, lag, time, limit, window)
    yield Check(ReasonCode.BEHIND, is_passed, (limit - time).total_seconds(), "seconds", words)
    is_passed = -time <= window.max_lead or -lag.keys <= window.tolerance
    words = partial(_earlier, compared, lag, time, window)
    yield Check(ReasonCode.AHEAD, is_passed, (window.max_lead + time).total_seconds(), "seconds", words)


def _later(compared: Compared, lag: Lag, time: timedelta, limit: timedelta, window: Window) -> Words:
    missing, behind = max(lag.keys, 0), ("at least " if lag.is_least else "") + hours(max(time, timedelta(0)))
    allowed = f"{hours(limit)} or {window.tolerance} keys"
    whom = "" if compared.is_up else " to come in"
    sentence = f"{missing} keys behind = {behind}: {_against(compared, lag)}, at most {allowed} may be missing{whom}"
    return Words(f"{behind}, {missing} keys", allowed, sentence)


def _earlier(compared: Compared, lag: Lag, time: timedelta, window: Window) -> Words:
    more, ahead = max(-lag.keys, 0), hours(max(-time, timedelta(0)))
    allowed = f"{hours(window.max_lead)} or {window.tolerance} keys"
    sentence = f"{more} keys ahead = {ahead}: {_against(compared, lag)}, at most {allowed} more are believed"
    return Words(f"{ahead}, {more} keys", allowed, sentence)


def _stuck(compared: Compared, still: Count, window: Window) -> Check:
    """Return whether the frontier went on while the count did not; on a quiet mesh nobody is stuck."""
    stood = compared.count.at - still.at
    is_passed = stood <= window.max_lag or _moved(compared, still) <= window.tolerance
    words = partial(_stood, compared, still, stood, window)
    return Check(ReasonCode.STUCK, is_passed, (window.max_lag - stood).total_seconds(), "seconds", words)


def _moved(compared: Compared, still: Count) -> int:
    pace = compared.reference.pace
    return pace.keys(compared.count.at) - pace.keys(still.at)


def _stood(compared: Compared, still: Count, stood: timedelta, window: Window) -> Words:
    moved, allowed = _moved(compared, still), f"{hours(window.max_lag)} or {window.tolerance} keys"
    return Words(
        f"{hours(stood)}, {moved} keys",
        allowed,
        f"{still.keys} keys since {still.at:%Y-%m-%d %H:%M} UTC: {compared.reference.cohort} moved by {moved} keys in "
        f"these {hours(stood)}, at most {allowed} may pass",
    )


def _against(compared: Compared, lag: Lag) -> str:
    count, cohort = compared.count, compared.reference.cohort
    return f"{count.keys} at {count.at:%Y-%m-%d %H:%M} UTC, when {cohort} had {count.keys + lag.keys}"


def hours(time: timedelta) -> str:
    """Return `time` in hours, as limits of freshness are said: 31 h, 0.5 h."""
    return f"{time / _HOUR:.1f}".removesuffix(".0") + " h"
