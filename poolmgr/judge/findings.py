"""Every rule with what it measured, also where it passed: for whoever asks why, not for each crawl."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta

from poolmgr.judge.canary import Canary
from poolmgr.judge.freshness import LEAST_COUNT, Reference, reference_for, version_of
from poolmgr.judge.kinds import Trait
from poolmgr.judge.lateness import Check, checks
from poolmgr.judge.quality import quality_checks
from poolmgr.judge.steadiness import Look, Standing, Steadiness, duration, obstacles, wait_of
from poolmgr.judge.verdict import (
    RULES,
    Case,
    accepted,
    canary_of,
    compared_with,
    days_text,
    ending_certificates,
    minimum_version,
    traits_of,
)
from poolmgr.model import Ask, Family, Outcome, Reason, ReasonCode, Service


@dataclass(frozen=True, slots=True)
class Margin:
    """How far from its limit a measured value lies: below 0 it fails by so much. `unit` is the plural, or "seconds"."""

    amount: float
    unit: str


@dataclass(frozen=True, slots=True)
class Finding:
    """What one rule makes of an address: the reason where it failed, and the same words where it passed.

    `margin` is None where the rule is about something that has no size.
    """

    code: ReasonCode
    is_passed: bool
    measured: str
    limit: str
    sentence: str
    margin: Margin | None = None


@dataclass(frozen=True, slots=True)
class _Measure:
    """What one rule looks at, whether it passes or not. A reason with the same code and limit says that it failed."""

    code: ReasonCode
    measured: str
    limit: str
    sentence: str
    margin: Margin | None = None


def findings(case: Case) -> tuple[Finding, ...]:
    """Return what every rule finds: those that failed first, each in the order of the rules.

    The failed ones are the reasons that `judge` gives. A rule that had nothing to look at is left out.
    """
    reasons = [reason for rule in RULES for reason in rule(case)]
    reasons += ending_certificates(case)
    return _found(reasons, [measure for of in _MEASURES for measure in of(case)])


def steady_findings(standing: Standing, look: Look, rule: Steadiness, *, rounds: int) -> tuple[Finding, ...]:
    """Return what keeps an address that is down from coming up, or would, were its last look good; none for one up.

    `rounds` is how many crawls the pool was judged by.
    """
    if standing.is_up:
        return ()
    good = standing._replace(streak=max(standing.streak, 0))
    reasons = obstacles(good, look._replace(reasons=(), is_final=False), rule, rounds=rounds)
    return _found(reasons, list(_waits(good, look, rule, rounds)))


def trait_findings(trait: Trait) -> tuple[Finding, ...]:
    """Return what a rule that looks at more than one address finds of this one."""
    return _found(() if trait.is_passed else (trait.reason(),), [_of_trait(trait)])


def _found(reasons: list[Reason] | tuple[Reason, ...], measures: list[_Measure]) -> tuple[Finding, ...]:
    margins = {(measure.code, measure.limit): measure.margin for measure in measures}
    failed = {(reason.code, reason.limit) for reason in reasons}
    return (
        *(
            Finding(
                reason.code,
                is_passed=False,
                measured=reason.measured,
                limit=reason.limit,
                sentence=reason.sentence,
                margin=margins.get((reason.code, reason.limit)),
            )
            for reason in reasons
        ),
        *(
            Finding(
                measure.code,
                is_passed=True,
                measured=measure.measured,
                limit=measure.limit,
                sentence=measure.sentence,
                margin=measure.margin,
            )
            for measure in measures
            if (measure.code, measure.limit) not in failed
        ),
    )


def _overrides(case: Case) -> Iterator[_Measure]:
    yield _Measure(ReasonCode.EXCLUDED, "not named", "not in exclude", "no exclude names it")
    for where, of in (("policy", case.policy), ("the pool", case.pool)):
        named = of.include_only.match(case.keyserver.hosts, case.address.address)
        if named is not None:
            sentence = f"{where}'s include_only names {named}"
            yield _Measure(ReasonCode.NOT_INCLUDED, named, "in include_only", sentence)


def _place(case: Case) -> Iterator[_Measure]:
    family, asked = Family.of(case.address.address), " or ".join(sorted(case.pool.families))
    yield _Measure(ReasonCode.FAMILY, family, asked, f"the pool is for {asked}, and this is {family}")
    address = str(case.address.address)
    yield _Measure(ReasonCode.SPECIAL_PURPOSE, address, "a public address", "its address may be published")


def _page(case: Case) -> Iterator[_Measure]:
    stats = case.address.stats
    if stats is None:
        return
    yield _Measure(ReasonCode.STATS, Outcome.OK, Outcome.OK, "it gave its stats page")
    software, admitted = stats.software.lower(), ", ".join(sorted(case.policy.minimum_versions))
    yield _Measure(ReasonCode.SOFTWARE, stats.software, admitted, f"{stats.software} is admitted")
    minimum, version = minimum_version(case, software), version_of(stats)
    if minimum is not None and version is not None:
        sentence = f"{stats.software} {version} is not older than {minimum}"
        yield _Measure(ReasonCode.VERSION, str(version), str(minimum), sentence)


def _counts(case: Case) -> Iterator[_Measure]:
    stats = case.address.stats
    if stats is None:
        return
    canary = canary_of(case)
    if canary is not None:
        yield _of_check(canary.check())
    if stats.keys is None:
        return
    limit, margin = f"at least {LEAST_COUNT}", Margin(stats.keys - LEAST_COUNT, "keys")
    yield _Measure(ReasonCode.NO_COUNT, str(stats.keys), limit, f"it counts {stats.keys} keys", margin)
    reference = reference_for(stats, case.references, case.window)
    if reference is not None:
        yield from _compared(reference, case, canary)


def _compared(reference: Reference, case: Case, canary: Canary | None) -> Iterator[_Measure]:
    policy, votes = case.policy, reference.votes
    sentence = f"{votes} keyservers of {reference.cohort} agree on a count, at least {policy.min_cohort} must"
    margin = Margin(votes - policy.min_cohort, "keyservers")
    yield _Measure(ReasonCode.COHORT, str(votes), str(policy.min_cohort), sentence, margin)
    compared = compared_with(reference, case, canary)
    if compared is not None:
        yield from map(_of_check, checks(compared, case.window))


def _of_check(check: Check) -> _Measure:
    return _Measure(check.code, *check.words(), Margin(check.room, check.unit))


def _services(case: Case) -> Iterator[_Measure]:
    names = accepted(case)
    for service in sorted(case.pool.services):
        for probe in case.address.probes:
            is_asked = probe.ask is Ask.LOOKUP and probe.endpoint.service is service and probe.host in names
            if is_asked and probe.is_good:
                sentence = f"{service} on port {probe.endpoint.port} answers as {probe.host}"
                yield _Measure(ReasonCode.SERVICE, f"{service} {Outcome.OK}", f"{service} {Outcome.OK}", sentence)
                break


def _quality(case: Case) -> Iterator[_Measure]:
    for service in sorted(case.pool.services):
        checked = quality_checks(service, case.address, case.reliability, case.quality, is_up=case.is_up)
        yield from map(_of_check, checked)


def _certificates(case: Case) -> Iterator[_Measure]:
    if Service.HKPS not in case.pool.services:
        return
    names, least = accepted(case), case.policy.certificate_warning
    for probe in case.address.probes:
        if probe.certificate is not None and probe.host in names:
            left = probe.certificate.not_after - case.finished
            sentence = f"its certificate for {probe.host} ends in {days_text(left)}"
            limit = f"more than {days_text(least)}"
            yield _Measure(ReasonCode.CERTIFICATE, days_text(left), limit, sentence, _seconds(left - least))


def _kind(case: Case) -> Iterator[_Measure]:
    yield from map(_of_trait, traits_of(case))


def _of_trait(trait: Trait) -> _Measure:
    return _Measure(trait.code, trait.measured, trait.limit, trait.sentence)


def _waits(standing: Standing, look: Look, rule: Steadiness, rounds: int) -> Iterator[_Measure]:
    """Yield how far an address that is down is with each wait."""
    if rounds == 1:
        return
    sentence = f"{standing.streak} good crawls in a row, {rule.rise} are asked for"
    margin = Margin(standing.streak - rule.rise, "crawls")
    yield _Measure(ReasonCode.JOINING, str(standing.streak), str(rule.rise), sentence, margin)
    since, least, code = standing.first, rule.probation, ReasonCode.PROBATION
    if standing.fell is not None:
        since, least, code = standing.fell, wait_of(standing.falls, rule), ReasonCode.FLAPPING
    waited = look.at - since
    if least:
        yield _Measure(code, duration(waited), duration(least), "it has waited long enough", _seconds(waited - least))


def _seconds(time: timedelta) -> Margin:
    return Margin(time.total_seconds(), "seconds")


_MEASURES: tuple[Callable[[Case], Iterator[_Measure]], ...] = (
    _overrides,
    _place,
    _page,
    _counts,
    _services,
    _quality,
    _certificates,
    _kind,
)
