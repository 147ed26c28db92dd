"""Per address and pool: eligible or out, each exclusion with its reasons."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import NamedTuple

import dns.name

from poolmgr.hosts import Host, HostName, IPAddress, host_text
from poolmgr.judge.canary import Canary, given_version, newest_version
from poolmgr.judge.freshness import (
    LEAST_COUNT,
    Cohort,
    Paces,
    Reference,
    Window,
    cohort_of,
    count_of,
    reference_for,
    version_of,
)
from poolmgr.judge.kinds import Trait, newest_versions, traits
from poolmgr.judge.lateness import Compared, failed_checks
from poolmgr.judge.pace import Count
from poolmgr.judge.policy import Policy
from poolmgr.judge.quality import Quality, failed_quality
from poolmgr.judge.reliability import Reliability, ServiceKey
from poolmgr.judge.steadiness import Standing
from poolmgr.model import (
    Ask,
    Family,
    Keyserver,
    KeyserverAddress,
    Outcome,
    Probe,
    Reason,
    ReasonCode,
    Service,
    Snapshot,
)
from poolmgr.pools import Pool, Vhost
from poolmgr.version import Version

_LOOKUP, _NOT_ALLOWED = Ask.LOOKUP, Outcome.NOT_ALLOWED
_NO_VERSIONS: Mapping[str, Version] = {}


class Case(NamedTuple):
    """One address before one pool, measured by a crawl that ended at `finished`.

    `still` is its count as last met before, `is_up` whether it is up in the pool: it stays with less than it enters.
    `newest` is the version of the canary key that the mesh has, None where unknown. `reliability` is that of all
    services, this crawl counted. `versions` has the newest one of each software where the pool asks for it.
    """

    pool: Pool
    policy: Policy
    keyserver: Keyserver
    address: KeyserverAddress
    references: Mapping[Cohort, Reference]
    finished: datetime
    still: Count | None = None
    is_up: bool = False
    newest: datetime | None = None
    reliability: Mapping[ServiceKey, Reliability] = MappingProxyType({})
    versions: Mapping[str, Version] = _NO_VERSIONS

    @property
    def window(self) -> Window:
        """The freshness rule's part of the policy, and of the pool where that asks for more."""
        return self.policy.window.within(self.pool.max_lag)

    @property
    def quality(self) -> Quality:
        """What the policy asks of each service, and the pool where that asks for more."""
        return self.policy.quality.within(self.pool.max_latency)


class Instant(NamedTuple):
    """What one crawl by itself says of an address in a pool: good without `reasons`, else out for them.

    `before` is where it stood with the pool so far, None where it did not.
    """

    pool: dns.name.Name
    keyserver: Host
    address: IPAddress | None
    reasons: tuple[Reason, ...]
    warnings: tuple[Reason, ...] = ()
    before: Standing | None = None


def instants(
    snapshot: Snapshot,
    policy: Policy,
    pool: Pool,
    known: Mapping[Cohort, Reference],
    paces: Paces,
    standings: Mapping[IPAddress, Standing],
    reliability: Mapping[ServiceKey, Reliability],
) -> Iterator[Instant]:
    """Yield what one crawl by itself says of every address of every keyserver for one pool, with all its reasons.

    A keyserver without an address gets one too. `known` is what key counts are compared with, `paces` what earlier
    crawls told of them, and `standings` has where each address stands with the pool so far.
    `reliability` has this crawl in it.
    """
    is_named = any((policy.exclude, policy.include_only, pool.exclude, pool.include_only))
    rules = [rule for rule in RULES if is_named or rule is not _overrides]
    newest = newest_version(snapshot.keyservers, snapshot.finished, policy.min_cohort)
    versions = newest_versions(snapshot.keyservers, policy.min_cohort) if pool.newest else _NO_VERSIONS
    for keyserver in snapshot.keyservers:
        if not keyserver.addresses:
            yield _without_address(pool, keyserver)
        for address in keyserver.addresses:
            standing = standings.get(address.address)
            case = Case(
                pool,
                policy,
                keyserver,
                address,
                known,
                snapshot.finished,
                still=paces.counts.get(address.address),
                is_up=standing is not None and standing.is_up,
                newest=newest,
                versions=versions,
                reliability=reliability,
            )
            reasons = tuple([reason for rule in rules for reason in rule(case)])
            warnings = tuple(ending_certificates(case)) if Service.HKPS in pool.services else ()
            yield Instant(pool.name, keyserver.name, address.address, reasons, warnings, standing)


def _without_address(pool: Pool, keyserver: Keyserver) -> Instant:
    problem = keyserver.problem or "the name has no address"
    reason = Reason(ReasonCode.NO_ADDRESS, "none", "at least 1", problem)
    return Instant(pool.name, keyserver.name, None, (reason,))


def _overrides(case: Case) -> Iterator[Reason]:
    for where, of in (("policy", case.policy), ("the pool", case.pool)):
        excluded = of.exclude.match(case.keyserver.hosts, case.address.address) if of.exclude else None
        if excluded is not None:
            sentence = f"excluded by the operator: {where}'s exclude names {excluded}"
            yield Reason(ReasonCode.EXCLUDED, excluded, "not in exclude", sentence)
        if of.include_only and of.include_only.match(case.keyserver.hosts, case.address.address) is None:
            sentence = f"not among the keyservers that {where}'s include_only names"
            yield Reason(ReasonCode.NOT_INCLUDED, "not named", "in include_only", sentence)


def _family(case: Case) -> Iterator[Reason]:
    family = Family.of(case.address.address)
    if family not in case.pool.families:
        asked = " or ".join(sorted(case.pool.families))
        yield Reason(ReasonCode.FAMILY, family, asked, f"the pool is for {asked}, this is {family}")


def _special_purpose(case: Case) -> Iterator[Reason]:
    for probe in case.address.probes:
        if probe.outcome is _NOT_ALLOWED:
            yield Reason(ReasonCode.SPECIAL_PURPOSE, str(case.address.address), "a public address", probe.detail)
            return


def _stats(case: Case) -> Iterator[Reason]:
    if case.address.stats is not None:
        return
    probes = [probe for probe in case.address.probes if probe.ask is Ask.STATS]
    for probe in probes:
        if probe.outcome is not Outcome.NOT_ALLOWED:
            sentence = f"no stats page: {_ending(probe)}"
            yield Reason(ReasonCode.STATS, probe.outcome, Outcome.OK, sentence, probe.outcome)
    if not probes:
        sentence = (
            "its stats page was not asked for in this crawl: crawl.politeness was used up by other addresses of it"
        )
        yield Reason(ReasonCode.STATS, "not asked", Outcome.OK, sentence)


def _software(case: Case) -> Iterator[Reason]:
    stats = case.address.stats
    if stats is None:
        return
    software = stats.software.lower()
    if software not in case.policy.minimum_versions:
        admitted = ", ".join(sorted(case.policy.minimum_versions))
        yield Reason(
            ReasonCode.SOFTWARE, stats.software, admitted, f"{stats.software} is not admitted: only {admitted}"
        )
    minimum, version = minimum_version(case, software), version_of(stats)
    if minimum is None:
        return
    if version is None:
        told = stats.version or "none"
        sentence = f"its version ({told}) cannot be ordered: at least {stats.software} {minimum} is asked for"
        yield Reason(ReasonCode.VERSION, told, str(minimum), sentence)
    elif version < minimum:
        sentence = f"{stats.software} {version} is older than {minimum}"
        yield Reason(ReasonCode.VERSION, str(version), str(minimum), sentence)


def minimum_version(case: Case, software: str) -> Version | None:
    """Return the oldest version of `software` (lower case) that policy and pool ask for, None where neither does."""
    asked = [
        versions[software]
        for versions in (case.policy.minimum_versions, case.pool.minimum_versions)
        if software in versions
    ]
    return max(asked, default=None)


def _freshness(case: Case) -> Iterator[Reason]:
    stats, policy, window = case.address.stats, case.policy, case.window
    if stats is None:
        return
    canary = canary_of(case)
    if canary is not None and canary.is_late:
        check = canary.check()
        yield Reason(check.code, *check.words(), excess=-check.room)
    if stats.keys is None or stats.keys < LEAST_COUNT:
        told = "unknown" if stats.keys is None else str(stats.keys)
        yield Reason(ReasonCode.NO_COUNT, told, f"at least {LEAST_COUNT}", f"its key count is {told}")
        return
    cohort = cohort_of(stats)
    if cohort is None:
        return  # the version rule says so
    reference = reference_for(stats, case.references, window)
    if reference is None:
        if canary is not None and canary.is_fresh:
            return
        votes = case.references[cohort].votes
        sentence = (
            f"its {stats.keys} keys cannot be judged: {votes} of at least {policy.min_cohort} keyservers of {cohort} "
            "agree on a count, and no other cohort has as many"
        )
        yield Reason(ReasonCode.COHORT, str(votes), str(policy.min_cohort), sentence)
        return
    compared = compared_with(reference, case, canary)
    if compared is not None:
        for check in failed_checks(compared, window):
            yield Reason(check.code, *check.words(), excess=-check.room)


def canary_of(case: Case) -> Canary | None:
    """Return the version of the canary key that the case's address gave with what judges it, None where unknown."""
    given = None if case.newest is None else given_version(case.address, case.finished)
    if given is None or case.newest is None:
        return None
    return Canary(given, case.newest, case.finished, case.window.lag_of(is_up=case.is_up), case.is_up)


def compared_with(reference: Reference, case: Case, canary: Canary | None) -> Compared | None:
    """Return the count of the case's address with what judges it, None where it has no count."""
    count = count_of(case.address)
    is_fresh = canary is not None and canary.is_fresh
    return None if count is None else Compared(count, reference, case.still, case.is_up, is_fresh)


def accepted(case: Case) -> tuple[str, ...]:
    """Return the names of which an address must answer under one."""
    pool = () if case.pool.vhost is Vhost.OWN else (host_text(case.pool.host),)
    own = () if case.pool.vhost is Vhost.POOL else (host_text(case.keyserver.name),)
    return (*pool, *own)


@functools.lru_cache(maxsize=16)
def _in_order(services: frozenset[Service]) -> tuple[Service, ...]:
    return tuple(sorted(services))


def _services(case: Case) -> Iterator[Reason]:
    if case.address.stats is None:
        return
    names = accepted(case)
    lookups = [probe for probe in case.address.probes if probe.ask is _LOOKUP]
    for service in _in_order(case.pool.services):
        probes = {probe.host: probe for probe in lookups if probe.endpoint.service is service}
        asked = [probes[host] for host in names if host in probes]
        if any(probe.is_good for probe in asked):
            continue
        own = host_text(case.keyserver.name)
        measured = f"{service} {asked[0].outcome}" if asked else f"{service} not asked"
        sentence = _not_answered(asked, probes.get(own)) if asked else _not_asked(case, service, names)
        outcome = asked[0].outcome if asked else None
        yield Reason(ReasonCode.SERVICE, measured, f"{service} {Outcome.OK}", sentence, outcome)


def _quality(case: Case) -> Iterator[Reason]:
    for service in _in_order(case.pool.services):
        failed = failed_quality(service, case.address, case.reliability, case.quality, is_up=case.is_up)
        for check in failed:
            yield Reason(check.code, *check.words(), excess=-check.room)


def traits_of(case: Case) -> Iterator[Trait]:
    """Yield what the case's pool asks for beyond what all pools do, passed or not."""
    return traits(case.pool, case.address, accepted(case), case.versions)


def _kind(case: Case) -> Iterator[Reason]:
    return (trait.reason() for trait in traits_of(case) if not trait.is_passed)


def _not_asked(case: Case, service: Service, names: tuple[str, ...]) -> str:
    if case.pool.vhost is Vhost.OWN and not isinstance(case.keyserver.name, HostName):
        return f"{service} must answer under the keyserver's own name, and no name leads to this address"
    return f"{service} was not asked as {' or '.join(names)} in this crawl: crawl again"


def _not_answered(asked: list[Probe], own: Probe | None) -> str:
    """Return how those that were `asked` ended, and whether the keyserver answers under its own name at least."""
    endings = "; ".join(f"as {probe.host}: {_ending(probe)}" for probe in asked)
    where = f"{asked[0].endpoint.service} on port {asked[0].endpoint.port}"
    if own is not None and own.is_good:
        return f"{where} answers under its own name {own.host} only, {endings}"
    return f"{where} {endings}"


def ending_certificates(case: Case) -> Iterator[Reason]:
    """Yield a warning for each certificate that the pool's clients will soon refuse."""
    if Service.HKPS not in case.pool.services:
        return
    names, limit = accepted(case), case.policy.certificate_warning
    for probe in case.address.probes:
        certificate = probe.certificate
        if certificate is None or probe.host not in names:
            continue
        left = certificate.not_after - case.finished
        if left <= limit:
            days = days_text(left)
            sentence = f"its certificate for {probe.host} ends in {days}, on {certificate.not_after:%Y-%m-%d}"
            yield Reason(ReasonCode.CERTIFICATE, days, f"more than {days_text(limit)}", sentence)


def days_text(time: timedelta) -> str:
    """Return the whole days of `time`, such as ``1 day``."""
    return f"{time.days} day{'' if time.days == 1 else 's'}"


def _ending(probe: Probe) -> str:
    return f"{probe.outcome} ({probe.detail})" if probe.detail else str(probe.outcome)


RULES: tuple[Callable[[Case], Iterator[Reason]], ...] = (
    _overrides,
    _family,
    _special_purpose,
    _stats,
    _software,
    _freshness,
    _services,
    _kind,
    _quality,
)
"""Every rule is asked, so that a keyserver's operator sees all there is to mend at once."""
