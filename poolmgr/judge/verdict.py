"""Per address and pool: eligible or out, each exclusion with its reasons."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from poolmgr.hosts import HostName, host_text
from poolmgr.judge.freshness import (
    LEAST_COUNT,
    Cohort,
    Reference,
    Window,
    cohort_of,
    reference_for,
    references,
    version_of,
)
from poolmgr.model import (
    Ask,
    Family,
    Keyserver,
    KeyserverAddress,
    Outcome,
    Overrides,
    Pool,
    Probe,
    Reason,
    ReasonCode,
    Service,
    Snapshot,
    State,
    Verdict,
    Vhost,
)
from poolmgr.version import Version


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What is asked of every keyserver, whatever the pool.

    `minimum_versions` has the software (lower case) that may serve at all, each with its oldest version.
    `max_keys_behind` and `max_keys_ahead` are keys off the cohort's reference. A cohort is judged by itself where at
    least `min_cohort` of its keyservers agree within these: more would let the loss of one take others with it.
    `certificate_warning` is how long before the end of its certificate a keyserver is warned of.
    """

    minimum_versions: Mapping[str, Version] = field(
        default_factory=lambda: {
            "sks": Version.parse("1.1.6"),
            "hockeypuck": Version.parse("2.1.0"),
        }
    )
    max_keys_behind: int = 2000
    max_keys_ahead: int = 2000
    min_cohort: int = 2
    certificate_warning: timedelta = timedelta(days=14)
    exclude: Overrides = Overrides()
    include_only: Overrides = Overrides()

    @property
    def window(self) -> Window:
        """The freshness rule's part."""
        return Window(self.max_keys_behind, self.max_keys_ahead, self.min_cohort)


@dataclass(frozen=True, slots=True)
class Judgement:
    """The verdicts, by pool, keyserver and address as they stood in the input, and the references they rest on."""

    verdicts: tuple[Verdict, ...]
    references: Mapping[Cohort, Reference]


@dataclass(frozen=True, slots=True)
class _Case:
    """One address before one pool, measured by a crawl that ended at `finished`."""

    pool: Pool
    policy: Policy
    keyserver: Keyserver
    address: KeyserverAddress
    references: Mapping[Cohort, Reference]
    finished: datetime


def judge(snapshot: Snapshot, policy: Policy, pools: Iterable[Pool]) -> Judgement:
    """Return a verdict for every address of every keyserver and every pool: eligible, or out with all its reasons.

    A keyserver without an address gets one verdict per pool. No verdict says member yet: that is the selection's.
    """
    known = references(snapshot.keyservers, policy.window)
    verdicts = []
    for pool in pools:
        for keyserver in snapshot.keyservers:
            if not keyserver.addresses:
                verdicts.append(_without_address(pool, keyserver))
            for address in keyserver.addresses:
                case = _Case(pool, policy, keyserver, address, known, snapshot.finished)
                reasons = tuple(reason for rule in _RULES for reason in rule(case))
                state = State.OUT if reasons else State.ELIGIBLE
                verdicts.append(
                    Verdict(
                        pool=pool.name,
                        keyserver=keyserver.name,
                        address=address.address,
                        state=state,
                        reasons=reasons,
                        warnings=tuple(_ending_certificates(case)),
                    )
                )
    return Judgement(tuple(verdicts), known)


def _without_address(pool: Pool, keyserver: Keyserver) -> Verdict:
    problem = keyserver.problem or "the name has no address"
    reason = Reason(ReasonCode.NO_ADDRESS, "none", "at least 1", problem)
    return Verdict(pool=pool.name, keyserver=keyserver.name, address=None, state=State.OUT, reasons=(reason,))


def _overrides(case: _Case) -> Iterator[Reason]:
    for where, of in (("policy", case.policy), ("the pool", case.pool)):
        excluded = of.exclude.match(case.keyserver.hosts, case.address.address)
        if excluded is not None:
            sentence = f"excluded by the operator: {where}'s exclude names {excluded}"
            yield Reason(ReasonCode.EXCLUDED, excluded, "not in exclude", sentence)
        if of.include_only and of.include_only.match(case.keyserver.hosts, case.address.address) is None:
            sentence = f"not among the keyservers that {where}'s include_only names"
            yield Reason(ReasonCode.NOT_INCLUDED, "not named", "in include_only", sentence)


def _family(case: _Case) -> Iterator[Reason]:
    family = Family.of(case.address.address)
    if family not in case.pool.families:
        asked = " or ".join(sorted(case.pool.families))
        yield Reason(ReasonCode.FAMILY, family, asked, f"the pool is for {asked}, this is {family}")


def _special_purpose(case: _Case) -> Iterator[Reason]:
    for probe in case.address.probes:
        if probe.outcome is Outcome.NOT_ALLOWED:
            yield Reason(ReasonCode.SPECIAL_PURPOSE, str(case.address.address), "a public address", probe.detail)
            return


def _stats(case: _Case) -> Iterator[Reason]:
    if case.address.stats is not None:
        return
    probes = [probe for probe in case.address.probes if probe.ask is Ask.STATS]
    for probe in probes:
        if probe.outcome is not Outcome.NOT_ALLOWED:
            yield Reason(ReasonCode.STATS, probe.outcome, Outcome.OK, f"no stats page: {_ending(probe)}")
    if not probes:
        sentence = (
            "its stats page was not asked for in this crawl: crawl.politeness was used up by other addresses of it"
        )
        yield Reason(ReasonCode.STATS, "not asked", Outcome.OK, sentence)


def _software(case: _Case) -> Iterator[Reason]:
    stats = case.address.stats
    if stats is None:
        return
    software = stats.software.lower()
    if software not in case.policy.minimum_versions:
        admitted = ", ".join(sorted(case.policy.minimum_versions))
        yield Reason(
            ReasonCode.SOFTWARE, stats.software, admitted, f"{stats.software} is not admitted: only {admitted}"
        )
    asked = [
        versions[software]
        for versions in (case.policy.minimum_versions, case.pool.minimum_versions)
        if software in versions
    ]
    if not asked:
        return
    minimum, version = max(asked), version_of(stats)
    if version is None:
        told = stats.version or "none"
        sentence = f"its version ({told}) cannot be ordered: at least {stats.software} {minimum} is asked for"
        yield Reason(ReasonCode.VERSION, told, str(minimum), sentence)
    elif version < minimum:
        sentence = f"{stats.software} {version} is older than {minimum}"
        yield Reason(ReasonCode.VERSION, str(version), str(minimum), sentence)


def _freshness(case: _Case) -> Iterator[Reason]:
    stats, policy = case.address.stats, case.policy
    if stats is None:
        return
    if stats.keys is None or stats.keys < LEAST_COUNT:
        told = "unknown" if stats.keys is None else str(stats.keys)
        yield Reason(ReasonCode.NO_COUNT, told, f"at least {LEAST_COUNT}", f"its key count is {told}")
        return
    cohort = cohort_of(stats)
    if cohort is None:
        return  # the version rule says so
    reference = reference_for(stats, case.references, policy.window)
    if reference is None:
        votes = case.references[cohort].votes
        sentence = (
            f"its {stats.keys} keys cannot be judged: {votes} of at least {policy.min_cohort} keyservers of {cohort} "
            "agree on a count, and no other cohort has as many"
        )
        yield Reason(ReasonCode.COHORT, str(votes), str(policy.min_cohort), sentence)
        return
    lead = stats.keys - reference.keys
    against = f"of the {reference.keys} of {reference.cohort}"
    if lead < -policy.max_keys_behind:
        sentence = f"{-lead} keys behind: {stats.keys} {against}, at most {policy.max_keys_behind} may be missing"
        yield Reason(ReasonCode.BEHIND, str(stats.keys), str(reference.keys - policy.max_keys_behind), sentence)
    if lead > policy.max_keys_ahead:
        sentence = (
            f"{lead} keys ahead: {stats.keys} instead {against}, at most {policy.max_keys_ahead} more are believed"
        )
        yield Reason(ReasonCode.AHEAD, str(stats.keys), str(reference.keys + policy.max_keys_ahead), sentence)


def _accepted(case: _Case) -> tuple[str, ...]:
    """Return the names of which an address must answer under one."""
    pool, own = host_text(case.pool.host), host_text(case.keyserver.name)
    return {Vhost.POOL: (pool,), Vhost.OWN: (own,), Vhost.EITHER: (pool, own)}[case.pool.vhost]


def _services(case: _Case) -> Iterator[Reason]:
    if case.address.stats is None:
        return
    own, accepted = host_text(case.keyserver.name), _accepted(case)
    for service in sorted(case.pool.services):
        probes = {
            probe.host: probe
            for probe in case.address.probes
            if probe.ask is Ask.LOOKUP and probe.endpoint.service is service
        }
        asked = [probes[host] for host in accepted if host in probes]
        if any(probe.is_good for probe in asked):
            continue
        measured = f"{service} {asked[0].outcome}" if asked else f"{service} not asked"
        sentence = _not_answered(asked, probes.get(own)) if asked else _not_asked(case, service, accepted)
        yield Reason(ReasonCode.SERVICE, measured, f"{service} {Outcome.OK}", sentence)


def _not_asked(case: _Case, service: Service, accepted: tuple[str, ...]) -> str:
    if case.pool.vhost is Vhost.OWN and not isinstance(case.keyserver.name, HostName):
        return f"{service} must answer under the keyserver's own name, and no name leads to this address"
    return f"{service} was not asked as {' or '.join(accepted)} in this crawl: crawl again"


def _not_answered(asked: list[Probe], own: Probe | None) -> str:
    """Return how those that were `asked` ended, and whether the keyserver answers under its own name at least."""
    endings = "; ".join(f"as {probe.host}: {_ending(probe)}" for probe in asked)
    where = f"{asked[0].endpoint.service} on port {asked[0].endpoint.port}"
    if own is not None and own.is_good:
        return f"{where} answers under its own name {own.host} only, {endings}"
    return f"{where} {endings}"


def _ending_certificates(case: _Case) -> Iterator[Reason]:
    if Service.HKPS not in case.pool.services:
        return
    accepted, limit = _accepted(case), case.policy.certificate_warning
    for probe in case.address.probes:
        certificate = probe.certificate
        if certificate is None or probe.host not in accepted:
            continue
        left = certificate.not_after - case.finished
        if left <= limit:
            days = _days(left)
            sentence = f"its certificate for {probe.host} ends in {days}, on {certificate.not_after:%Y-%m-%d}"
            yield Reason(ReasonCode.CERTIFICATE, days, f"more than {_days(limit)}", sentence)


def _days(time: timedelta) -> str:
    return f"{time.days} day{'' if time.days == 1 else 's'}"


def _ending(probe: Probe) -> str:
    return f"{probe.outcome} ({probe.detail})" if probe.detail else str(probe.outcome)


_RULES: tuple[Callable[[_Case], Iterator[Reason]], ...] = (
    _overrides,
    _family,
    _special_purpose,
    _stats,
    _software,
    _freshness,
    _services,
)
"""Every rule is asked, so that a keyserver's operator sees all there is to mend at once."""
