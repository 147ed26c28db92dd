"""What a keyserver, or its operator, must do about a rule that it fails: an amount where there is one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta

from poolmgr.judge.findings import Finding, Margin
from poolmgr.judge.steadiness import duration
from poolmgr.model import ReasonCode

ADVICE = frozenset({ReasonCode.CERTIFICATE, ReasonCode.RELAXED, ReasonCode.FALLBACK})
"""Rules that warn and put nobody out."""


def remedies(findings: Iterable[Finding]) -> tuple[str, ...]:
    """Return what would mend each of `findings` that puts the address out, in their order."""
    failed = (finding for finding in findings if not finding.is_passed and finding.code not in ADVICE)
    return tuple(dict.fromkeys(_remedy(finding) for finding in failed))


def amount(margin: Margin) -> str:
    """Return how much `margin` is, whatever its sign: "812 keys", "1 crawl", "40 min"."""
    if margin.unit == "seconds":
        return duration(timedelta(seconds=abs(margin.amount)))
    size = round(abs(margin.amount))
    return f"{size} {margin.unit if size != 1 else margin.unit.removesuffix('s')}"


def _remedy(finding: Finding) -> str:
    if finding.code in _WITH_AMOUNT and finding.margin is not None:
        size, _, unit = amount(finding.margin).partition(" ")
        return _WITH_AMOUNT[finding.code].format(size=size, unit=unit)
    return _BY_LIMIT.get(finding.code, "{limit}").format(limit=finding.limit)


_WITH_AMOUNT: Mapping[ReasonCode, str] = {
    ReasonCode.BEHIND: "catch up {size} {unit}",
    ReasonCode.AHEAD: "be ahead by {size} {unit} less",
    ReasonCode.COHORT: "{size} more {unit} that agree with its count",
    ReasonCode.UNRELIABLE: "not fail for some days: {size} {unit} are missing",
    ReasonCode.JOINING: "{size} more good {unit}",
    ReasonCode.PROBATION: "wait {size} {unit}",
    ReasonCode.FLAPPING: "wait {size} {unit}",
}

_BY_LIMIT: Mapping[ReasonCode, str] = {
    ReasonCode.EXCLUDED: "be taken off exclude, by the operator of the pool",
    ReasonCode.NOT_INCLUDED: "be named {limit}, by the operator of the pool",
    ReasonCode.NO_ADDRESS: "have its name lead to an address",
    ReasonCode.FAMILY: "an address of {limit}: this one cannot come in",
    ReasonCode.SPECIAL_PURPOSE: "be reached at {limit}",
    ReasonCode.STATS: "give its stats page",
    ReasonCode.SOFTWARE: "run {limit}",
    ReasonCode.VERSION: "run version {limit} or a newer one",
    ReasonCode.NO_COUNT: "tell its key count",
    ReasonCode.STUCK: "have its key count move",
    ReasonCode.CANARY: "give the canary key as it was signed on {limit} or later",
    ReasonCode.COHORT: "{limit} keyservers of its version that agree on a count",
    ReasonCode.PROXY: "answer with {limit}",
    ReasonCode.COUNTRY: "an address in {limit}: this one cannot come in",
    ReasonCode.DUAL_STACK: "have {limit}",
    ReasonCode.SERVICE: "answer lookups: {limit}",
    ReasonCode.UNRELIABLE: "not fail for some days: {limit}",
    ReasonCode.SLOW: "answer lookups in time: {limit}",
    ReasonCode.FALLING: "one good crawl",
    ReasonCode.JOINING: "{limit} good crawls in a row",
    ReasonCode.PROBATION: "wait {limit} from when it was met first",
    ReasonCode.FLAPPING: "wait {limit} from when it went out",
    ReasonCode.CAP: "wait for one that is published to leave",
    ReasonCode.NETWORK: "wait for one of its network that is published to leave",
}
