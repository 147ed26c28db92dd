"""One look at a keyserver is a bad judge: who comes in and who goes out takes several.

Each crawl gives every address an instant verdict for every pool. Here a run of them becomes a standing: up or down,
with as many good looks in a row to come up, and bad ones to go down, as the policy asks for.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from poolmgr.model import Reason, ReasonCode

FAST = frozenset(
    {
        ReasonCode.EXCLUDED,
        ReasonCode.NOT_INCLUDED,
        ReasonCode.FAMILY,
        ReasonCode.SPECIAL_PURPOSE,
        ReasonCode.SOFTWARE,
        ReasonCode.VERSION,
        ReasonCode.NO_COUNT,
        ReasonCode.BEHIND,
        ReasonCode.AHEAD,
        ReasonCode.STUCK,
        ReasonCode.CANARY,
        ReasonCode.COUNTRY,
    }
)
"""Reasons that one look establishes: facts or the operator's word, not how a probe happened to end. Counts are facts,
and who is in may be further behind than who comes in."""

MAX_DOUBLINGS = 64.0
"""More make no wait longer: a second doubled so often is past every limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Steadiness:
    """How an address comes in and goes out.

    It comes in after `rise` good looks in a row. After `fall` bad ones its place goes to another that is eligible, and
    after `drop` (or `fall`, if that is more) it is out, and has to come in anew; a bad look for a reason in FAST, or
    one that `is_final`, needs no second. A newcomer is looked at for `probation` first. Who goes out waits for
    `flap_wait` before it may come back, twice as long each time it happens again, at most `flap_limit`; a fall is
    forgiven with the time constant `forgive_after`, which is not 0.
    """

    rise: int = 2
    fall: int = 2
    drop: int = 4
    probation: timedelta = timedelta(0)
    flap_wait: timedelta = timedelta(hours=4)
    flap_limit: timedelta = timedelta(days=7)
    forgive_after: timedelta = timedelta(days=7)

    @property
    def last(self) -> int:
        """The number of bad looks in a row after which an address is out."""
        return max(self.fall, self.drop)


class Standing(NamedTuple):
    """Where an address stands with one pool.

    `streak` counts the looks in a row that went the same way: good ones above 0, bad ones below. `since` is when it
    came up or went down, `first` when it was first looked at, and `fell` when it last went down, None where it never
    did. `falls` counts how often it did, faded at that time.
    """

    is_up: bool
    streak: int
    since: datetime
    first: datetime
    fell: datetime | None = None
    falls: float = 0.0


class Look(NamedTuple):
    """One crawl's instant verdict: the reasons that stand against the address, none when it was good.

    `is_final` says that no second look is needed to believe them.
    """

    at: datetime
    reasons: tuple[Reason, ...]
    is_final: bool

    @property
    def is_good(self) -> bool:
        """Whether nothing stands against the address."""
        return not self.reasons


def looked(before: Standing | None, look: Look, rule: Steadiness, *, rounds: int) -> Standing:
    """Return the standing after `look`. `rounds` is how many crawls, with this one, the pool was judged by.

    A pool's first crawl alone decides: there is nothing else to go by. What `before` has of a time after `look` was
    told by a clock that was set back since, and is taken for now: no wait is longer for it.
    """
    before = None if before is None else _not_after(before, look.at)
    first = look.at if before is None else before.first
    was_up = before is not None and before.is_up
    streak = _streak(0 if before is None else before.streak, is_good=look.is_good)
    since = look.at if before is None else before.since
    fell, falls = (None, 0.0) if before is None else (before.fell, before.falls)
    if was_up and (look.is_final or -streak >= rule.last):
        faded = falls * math.exp(-((look.at - fell) / rule.forgive_after)) if fell is not None else 0.0
        return Standing(is_up=False, streak=streak, since=look.at, first=first, fell=look.at, falls=faded + 1)
    standing = Standing(was_up, streak, since, first, fell, falls)
    if was_up or obstacles(standing, look, rule, rounds=rounds):
        return standing
    return standing._replace(is_up=True, since=look.at)


def obstacles(standing: Standing, look: Look, rule: Steadiness, *, rounds: int) -> tuple[Reason, ...]:
    """Return what keeps an address that is down from coming up at `look`, besides the reasons of the look itself."""
    if not look.is_good:
        return look.reasons
    if rounds == 1:
        return ()
    found = []
    if standing.streak < rule.rise:
        good = f"{standing.streak} good crawl{'' if standing.streak == 1 else 's'}"
        sentence = f"{good} in a row, {rule.rise} are asked for"
        found.append(Reason(ReasonCode.JOINING, str(standing.streak), str(rule.rise), sentence))
    known = look.at - standing.first
    if known < rule.probation and standing.fell is None:
        sentence = f"known for {duration(known)}, a newcomer is looked at for {duration(rule.probation)} first"
        found.append(Reason(ReasonCode.PROBATION, duration(known), duration(rule.probation), sentence))
    if standing.fell is not None:
        wait = wait_of(standing.falls, rule)
        waited = look.at - standing.fell
        if waited < wait:
            often = _times(standing.falls)
            sentence = f"went out {duration(waited)} ago, and waits {duration(wait)} for having gone out {often}"
            found.append(Reason(ReasonCode.FLAPPING, duration(waited), duration(wait), sentence))
    return tuple(found)


def wait_of(falls: float, rule: Steadiness) -> timedelta:
    """Return how long an address that went out `falls` times, faded, waits before it may come back."""
    doublings = min(max(falls - 1, 0.0), MAX_DOUBLINGS)
    return timedelta(
        seconds=min(rule.flap_wait.total_seconds() * math.exp2(doublings), rule.flap_limit.total_seconds())
    )


def is_final(reasons: Iterable[Reason]) -> bool:
    """Return whether one of `reasons` needs no second look."""
    return any(reason.code in FAST for reason in reasons)


def _streak(before: int, *, is_good: bool) -> int:
    if is_good:
        return max(before, 0) + 1
    return min(before, 0) - 1


def _not_after(standing: Standing, now: datetime) -> Standing:
    if standing.since <= now and standing.first <= now and (standing.fell is None or standing.fell <= now):
        return standing
    fell = None if standing.fell is None else min(standing.fell, now)
    return standing._replace(since=min(standing.since, now), first=min(standing.first, now), fell=fell)


def _times(falls: float) -> str:
    """Return how often it went out, as people say it: once it is forgiven in part, it is no whole number."""
    return "once lately" if falls == 1 else f"{falls:.1f} times lately"


def duration(time: timedelta) -> str:
    """Return `time` as people say it: 300 ms, 45 s, 12 min, 3.5 h, 2 d."""
    seconds = max(time.total_seconds(), 0.0)
    if 0 < seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 7200:
        return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
    count, unit = (seconds / 3600, "h") if seconds < 172_800 else (seconds / 86_400, "d")
    return f"{count:.1f}".removesuffix(".0") + f" {unit}"
