"""One keyserver's life, put together: where it stands and why, and what the last crawls saw of it."""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from poolmgr.errors import PoolmgrError
from poolmgr.hosts import Host, IPAddress, host_text
from poolmgr.judge.canary import newest_version
from poolmgr.judge.findings import Finding, findings, steady_findings, trait_findings
from poolmgr.judge.freshness import Cohort, Reference, reference_for, references
from poolmgr.judge.history import History, Judgement
from poolmgr.judge.kinds import companion, newest_versions
from poolmgr.judge.policy import Policy
from poolmgr.judge.reliability import Reliability, ServiceKey
from poolmgr.judge.steadiness import Look, Standing
from poolmgr.judge.verdict import Case
from poolmgr.model import (
    Family,
    Keyserver,
    KeyserverAddress,
    Outcome,
    Reason,
    Selection,
    Service,
    Snapshot,
    Stats,
    Verdict,
)
from poolmgr.pools import Pool
from poolmgr.report.escape import printable
from poolmgr.report.remedies import remedies

NEAR = 3
"""How many names an unknown one is compared to that are told."""


@dataclass(frozen=True, slots=True)
class Count:
    """What one crawl found: the key count, and how far it is from the reference that judged it, None where unknown."""

    at: datetime
    keys: int | None
    difference: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Something that failed in `times` of the last crawls, first and last at these times: what, and how it ended."""

    what: str
    outcome: Outcome
    detail: str
    first: datetime
    last: datetime
    times: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolLife:
    """Where an address stands with one pool: its verdict, every rule, and what would mend those that it fails."""

    verdict: Verdict
    findings: tuple[Finding, ...]
    remedies: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressLife:
    """One address, None for a name that gives none. Counts are oldest first, failures the latest first."""

    address: IPAddress | None
    stats: Stats | None
    counts: tuple[Count, ...]
    reliability: Mapping[Service, Reliability]
    failures: tuple[Failure, ...]
    pools: tuple[PoolLife, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """A keyserver of `crawl`, the one that was judged. `looked_at` has the times of the crawls behind its counts."""

    crawl: Snapshot
    keyserver: Keyserver
    looked_at: tuple[datetime, ...]
    addresses: tuple[AddressLife, ...]


def find_keyserver(snapshot: Snapshot, host: Host) -> Keyserver:
    """Return the keyserver that `host`, a name, an alias or an address, leads to.

    Raises PoolmgrError where there is none; it names those that are written alike.
    """
    known: dict[Host, Keyserver] = {}
    for keyserver in snapshot.keyservers:
        for each in (*keyserver.hosts, *(address.address for address in keyserver.addresses)):
            known.setdefault(each, keyserver)
    if host in known:
        return known[host]
    text, texts = host_text(host), [host_text(each) for each in known]
    holding = (each for each in texts if text in each or each in text)
    near = list(dict.fromkeys((*difflib.get_close_matches(text, texts, n=NEAR), *sorted(holding))))
    remedy = f"did you mean {', '.join(near[:NEAR])}?" if near else "`poolmgr report` lists all that it has"
    raise PoolmgrError(printable(f"the newest crawl has no keyserver {text}: {remedy}"))


def life_of(
    keyserver: Keyserver,
    judgement: Judgement,
    selection: Selection,
    policy: Policy,
    pools: Iterable[Pool],
    before: History,
    crawls: Sequence[Snapshot],
) -> Life:
    """Return the life of `keyserver`, as `judgement`, made by the history `before`, and `selection` left it.

    `crawls` are the last ones, oldest first.
    """
    verdicts: dict[IPAddress | None, list[Verdict]] = defaultdict(list)
    for verdict in selection.verdicts:
        if verdict.keyserver == keyserver.name:
            verdicts[verdict.address].append(verdict)
    crawl = judgement.snapshot
    newest = newest_version(crawl.keyservers, crawl.finished, policy.min_cohort)
    versions = newest_versions(crawl.keyservers, policy.min_cohort)
    measured = {address.address: address for address in keyserver.addresses}
    by_name = {pool.name: pool for pool in pools}
    compared = [(crawl, references(crawl.keyservers, policy.window)) for crawl in crawls]
    lives = []
    for address, group in verdicts.items():
        found = measured.get(address) if address is not None else None
        cases = {
            verdict.pool: Case(
                by_name[verdict.pool],
                policy,
                keyserver,
                found,
                judgement.references,
                crawl.finished,
                still=before.paces.counts.get(found.address),
                is_up=_is_up(before.standings.get(verdict.pool, {}).get(found.address)),
                newest=newest,
                versions=versions,
                reliability=judgement.history.reliability,
            )
            for verdict in group
            if found is not None
        }
        lives.append(
            AddressLife(
                address=address,
                stats=None if found is None else found.stats,
                counts=tuple(_count(address, crawl, known, policy) for crawl, known in compared),
                reliability={
                    service: each
                    for (where, service), each in sorted(judgement.history.reliability.items(), key=_by_service)
                    if where == address
                },
                failures=_failures(keyserver, address, crawls),
                pools=tuple(_pool_life(verdict, cases.get(verdict.pool), judgement) for verdict in group),
            )
        )
    return Life(
        crawl=crawl,
        keyserver=keyserver,
        looked_at=tuple(crawl.finished for crawl in crawls),
        addresses=tuple(lives),
    )


def _is_up(standing: Standing | None) -> bool:
    return standing is not None and standing.is_up


def _by_service(entry: tuple[ServiceKey, Reliability]) -> int:
    return list(Service).index(entry[0][1])


def _pool_life(verdict: Verdict, case: Case | None, judgement: Judgement) -> PoolLife:
    found: tuple[Finding, ...] = ()
    history = judgement.history
    if case is not None:
        found = findings(case)
        beside = companion(case.pool, verdict, _of_same(verdict, judgement.verdicts))
        found += () if beside is None else trait_findings(beside)
        standing = history.standings.get(verdict.pool, {}).get(case.address.address)
        if standing is not None:
            look = Look(case.finished, (), is_final=False)
            rounds = history.crawls[verdict.pool, Family.of(case.address.address)]
            found += steady_findings(standing, look, case.policy.steadiness, rounds=rounds)
    told = {finding.code for finding in found if not finding.is_passed}
    found += tuple(_failed(reason) for reason in (*verdict.reasons, *verdict.warnings) if reason.code not in told)
    return PoolLife(verdict=verdict, findings=found, remedies=remedies(found))


def _of_same(verdict: Verdict, verdicts: Iterable[Verdict]) -> Iterator[Verdict]:
    return (one for one in verdicts if one.keyserver == verdict.keyserver and one.pool == verdict.pool)


def _failed(reason: Reason) -> Finding:
    return Finding(reason.code, is_passed=False, measured=reason.measured, limit=reason.limit, sentence=reason.sentence)


def _count(address: IPAddress | None, crawl: Snapshot, known: Mapping[Cohort, Reference], policy: Policy) -> Count:
    found = _found(address, crawl)
    if found is None or found.stats is None or found.stats.keys is None:
        return Count(crawl.finished, None, None)
    reference = reference_for(found.stats, known, policy.window)
    keys = found.stats.keys
    return Count(crawl.finished, keys, None if reference is None else keys - reference.keys)


def _found(address: IPAddress | None, crawl: Snapshot) -> KeyserverAddress | None:
    addresses = (found for keyserver in crawl.keyservers for found in keyserver.addresses)
    return next((found for found in addresses if found.address == address), None)


def _failures(keyserver: Keyserver, address: IPAddress | None, crawls: Sequence[Snapshot]) -> tuple[Failure, ...]:
    """Return what failed of `address`, or of the name of `keyserver`, the same thing in several crawls once."""
    merged: dict[tuple[str, Outcome], Failure] = {}
    for crawl in crawls:
        for what, outcome, detail in dict.fromkeys(_failed_asks(keyserver, address, crawl)):
            before = merged.pop((what, outcome), None)
            merged[what, outcome] = Failure(
                what=what,
                outcome=outcome,
                detail=detail,
                first=crawl.finished if before is None else before.first,
                last=crawl.finished,
                times=1 if before is None else before.times + 1,
            )
    return tuple(reversed(merged.values()))


def _failed_asks(
    keyserver: Keyserver, address: IPAddress | None, crawl: Snapshot
) -> Iterator[tuple[str, Outcome, str]]:
    found = _found(address, crawl)
    for probe in () if found is None else found.probes:
        if not probe.is_good:
            what = f"{probe.ask} on {probe.endpoint.service} port {probe.endpoint.port} as {probe.host}"
            yield what, probe.outcome, probe.detail
    for each in crawl.keyservers:
        if each.problem is not None and not each.addresses and not set(each.hosts).isdisjoint(keyserver.hosts):
            yield f"address of {host_text(each.name)}", Outcome.UNRESOLVED, each.problem
