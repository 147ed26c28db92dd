"""The section of the config file about the policy.

Defaults are those of the stages' own dataclasses wherever a stage has the value.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from poolmgr.config import fields as kind
from poolmgr.config.section import (
    DAY,
    FILLED,
    LAG,
    NONE,
    SECOND,
    MinimumVersions,
    Overrides,
    Section,
    Timeout,
    default_of,
    written,
)
from poolmgr.judge.policy import Policy
from poolmgr.judge.quality import Quality
from poolmgr.judge.steadiness import Steadiness
from poolmgr.model import Outcome

LOOKS = kind.number(1, 100)
FAILURE = kind.choice(*(outcome for outcome in Outcome if outcome is not Outcome.OK))


class PolicySection(Section):
    """What is asked of every keyserver, whatever the pool."""

    minimum_versions: Annotated[MinimumVersions, FILLED] = written(
        {software: str(version) for software, version in default_of(Policy, "minimum_versions").items()}
    )
    """The software that may serve at all, each with its oldest version, in quotes."""
    max_keys_behind: Annotated[int, kind.number(0, 10**9)] = default_of(Policy, "max_keys_behind")
    """Keys that a keyserver may lack of its cohort's reference."""
    max_keys_ahead: Annotated[int, kind.number(0, 10**9)] = default_of(Policy, "max_keys_ahead")
    """Keys that a keyserver may have over its cohort's reference."""
    max_lag: Annotated[timedelta, LAG] = written(kind.duration_text(default_of(Policy, "max_lag")))
    """Time by which the count of a keyserver that is in may lag the frontier of its cohort."""
    enter_lag: Annotated[timedelta, LAG] = written(kind.duration_text(default_of(Policy, "enter_lag")))
    """The same for a keyserver that is to come in."""
    max_lead: Annotated[timedelta, LAG] = written(kind.duration_text(default_of(Policy, "max_lead")))
    """Time by which a count may be ahead of that frontier."""
    lag_tolerance: Annotated[int, kind.number(0, 10**9)] = default_of(Policy, "lag_tolerance")
    """Keys that a count may be off whatever time that is."""
    min_cohort: Annotated[int, kind.number(1, 1000)] = default_of(Policy, "min_cohort")
    """Keyservers from which on a cohort is judged by itself."""
    min_reliability: Annotated[float, kind.PERCENT] = written(kind.percent_text(default_of(Quality, "min_reliability")))
    """Share of the last week in which an address must not have been seen to fail."""
    enter_reliability: Annotated[float, kind.PERCENT] = written(
        kind.percent_text(default_of(Quality, "enter_reliability"))
    )
    """The same for an address that is to come in."""
    max_latency: Timeout = written(kind.duration_text(default_of(Quality, "max_latency")))
    """Time within which a lookup must be answered."""
    enter_latency: Timeout = written(kind.duration_text(default_of(Quality, "enter_latency")))
    """The same for an address that is to come in."""
    min_seen: Annotated[float, kind.PERCENT] = written(kind.percent_text(default_of(Policy, "min_seen")))
    """Share of a family's addresses answering lately that a crawl must see answering, or it counts for nothing."""
    certificate_warning: Annotated[timedelta, kind.duration(DAY, 365 * DAY)] = written(
        kind.duration_text(default_of(Policy, "certificate_warning"))
    )
    """Time before the end of an hkps certificate from which on the report warns of it."""
    rise: Annotated[int, LOOKS] = default_of(Steadiness, "rise")
    """Good crawls in a row after which an address comes in."""
    fall: Annotated[int, LOOKS] = default_of(Steadiness, "fall")
    """Bad crawls in a row after which an address gives its place to another that is eligible."""
    drop: Annotated[int, LOOKS] = default_of(Steadiness, "drop")
    """Bad crawls in a row after which an address goes out and has to come in anew."""
    fast_fall: tuple[Annotated[Outcome, FAILURE], ...] = written(
        tuple(sorted(map(str, default_of(Policy, "fast_fall"))))
    )
    """Outcomes of a probe after which an address goes out at once."""
    probation: Annotated[timedelta, kind.duration(NONE, 30 * DAY)] = written(
        kind.duration_text(default_of(Steadiness, "probation"))
    )
    """How long an address must be known before it comes in for the first time."""
    flap_wait: Annotated[timedelta, kind.duration(NONE, 7 * DAY)] = written(
        kind.duration_text(default_of(Steadiness, "flap_wait"))
    )
    """How long an address that went out stays out at least, twice as long each time it goes out again."""
    flap_limit: Annotated[timedelta, kind.duration(NONE, 30 * DAY)] = written(
        kind.duration_text(default_of(Steadiness, "flap_limit"))
    )
    """The longest such wait."""
    forgive_after: Annotated[timedelta, kind.duration(60 * SECOND, 365 * DAY)] = written(
        kind.duration_text(default_of(Steadiness, "forgive_after"))
    )
    """Time constant by which it is forgiven that an address went out."""
    exclude: Overrides = ()
    """Names, addresses and networks that are never published."""
    include_only: Overrides = ()
    """Names, addresses and networks that alone may be published; none: everybody."""
