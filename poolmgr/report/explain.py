"""One keyserver's life as text for people and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from poolmgr.hosts import host_text, name_text
from poolmgr.judge.findings import Finding
from poolmgr.judge.reliability import WINDOWS, Reliability
from poolmgr.judge.steadiness import duration
from poolmgr.model import Service, State
from poolmgr.report.escape import printable
from poolmgr.report.life import AddressLife, Count, Failure, Life, PoolLife
from poolmgr.report.movement import moment
from poolmgr.report.remedies import amount
from poolmgr.report.rows import crawl_document, progress_document, standing_text

FORMAT = "poolmgr-explain"
VERSION = 1

_BARS = "▁▂▃▄▅▆▇█"
_NO_BAR = "·"


def to_text(life: Life) -> Iterator[str]:
    """Yield lines on the keyserver, then on each of its addresses. What keyservers said is escaped."""
    names = [host_text(life.keyserver.name), *(f"alias {host_text(alias)}" for alias in life.keyserver.aliases)]
    yield printable(", ".join(names))
    yield f"judged by the crawl of {moment(life.crawl.finished)}{_looked_at(life)}"
    for address in life.addresses:
        yield ""
        yield printable(f"{address.address or 'no address'}{_said(address)}")
        yield from (f"  {printable(line)}" for line in _about(address))
        for pool in address.pools:
            yield from (f"  {printable(line)}" for line in _judged(pool, life))


def _looked_at(life: Life) -> str:
    if not life.looked_at:
        return ""
    count = len(life.looked_at)
    crawls = f"{count} crawls" if count > 1 else "one crawl"
    return f"; counts and failures are of the last {crawls}, since {moment(life.looked_at[0])}"


def _said(address: AddressLife) -> str:
    if address.stats is None:
        return ""
    keys = "key count unknown" if address.stats.keys is None else f"{address.stats.keys} keys"
    return f": {address.stats.software} {address.stats.version or 'of unknown version'}, {keys}"


def _about(address: AddressLife) -> Iterator[str]:
    differences = [count.difference for count in address.counts if count.difference is not None]
    if differences:
        least, most, last = (f"{keys:+d}" for keys in (min(differences), max(differences), differences[-1]))
        yield f"keys against the reference, from {least} to {most}, last {last}:"
        yield f"  {sparkline(address.counts)}"
    if address.reliability:
        yield "share of good looks:"
        yield "  " + " ".join(["     ", *(f"{window:>5}" for window in WINDOWS), "score"])
        for service, each in address.reliability.items():
            shares = (each.share(window) for window in WINDOWS)
            cells = ("    -" if share is None else f"{share:>5.0%}" for share in shares)
            yield "  " + " ".join([f"{service:<5}", *cells, f"{each.score:>5.2f}"])
    if address.failures:
        yield "what failed, the latest first:"
        yield from (f"  {_failure(failure)}" for failure in address.failures)


def sparkline(counts: Sequence[Count]) -> str:
    """Return one character for each count: the lowest bar for the least difference, a dot where there is none."""
    known = [count.difference for count in counts if count.difference is not None]
    if not known:
        return _NO_BAR * len(counts)
    least, spread = min(known), max(known) - min(known)
    return "".join(
        _NO_BAR
        if count.difference is None
        else _BARS[(count.difference - least) * (len(_BARS) - 1) // spread if spread else len(_BARS) // 2]
        for count in counts
    )


def _failure(failure: Failure) -> str:
    detail = f" ({failure.detail})" if failure.detail else ""
    often = f"; {failure.times} times since {moment(failure.first)}" if failure.times > 1 else ""
    return f"{moment(failure.last)}  {failure.what}: {failure.outcome}{detail}{often}"


def _judged(pool: PoolLife, life: Life) -> Iterator[str]:
    verdict = pool.verdict
    since = ""
    if verdict.since is not None:
        side = "out" if verdict.state is State.OUT else "in"
        since = f", {side} since {moment(verdict.since)} ({duration(life.crawl.finished - verdict.since)})"
    yield f"{name_text(verdict.pool)}: {standing_text(verdict.state, verdict.progress)}{since}"
    warned = {warning.code for warning in verdict.warnings}
    for finding in pool.findings:
        is_warning = finding.code in warned or verdict.state is State.MEMBER
        mark = "ok" if finding.is_passed else "warn" if is_warning else "FAIL"
        yield f"  {mark:<4}  {finding.code:<15}  {finding.sentence}{_margin(finding)}"
    if pool.remedies:
        yield f"  to {_aim(verdict.state)}: {'; '.join(pool.remedies)}"


def _margin(finding: Finding) -> str:
    margin = finding.margin
    if margin is None or margin.amount == 0 or finding.is_passed is (margin.amount < 0):
        return ""
    return f" ({amount(margin)} to spare)" if finding.is_passed else f" (fails by {amount(margin)})"


def _aim(state: State) -> str:
    return {State.OUT: "come in", State.ELIGIBLE: "be published", State.MEMBER: "stay"}[state]


def to_json(life: Life) -> str:
    """Return `life` as a JSON document in ASCII."""
    document = {
        "format": FORMAT,
        "version": VERSION,
        "crawl": crawl_document(life.crawl),
        "crawls": [at.isoformat() for at in life.looked_at],
        "keyserver": host_text(life.keyserver.name),
        "aliases": [host_text(alias) for alias in life.keyserver.aliases],
        "addresses": [_address(address) for address in life.addresses],
    }
    return json.dumps(document, indent=2) + "\n"


def _address(address: AddressLife) -> Mapping[str, Any]:
    stats = address.stats
    return {
        "address": None if address.address is None else str(address.address),
        "software": None if stats is None else stats.software,
        "version": None if stats is None else stats.version,
        "keys": None if stats is None else stats.keys,
        "counts": [
            {"at": count.at.isoformat(), "keys": count.keys, "difference": count.difference} for count in address.counts
        ],
        "reliability": [_reliability(service, each) for service, each in address.reliability.items()],
        "failures": [
            {
                "what": failure.what,
                "outcome": failure.outcome,
                "detail": failure.detail,
                "first": failure.first.isoformat(),
                "last": failure.last.isoformat(),
                "times": failure.times,
            }
            for failure in address.failures
        ],
        "pools": [_pool(pool) for pool in address.pools],
    }


def _reliability(service: Service, each: Reliability) -> Mapping[str, Any]:
    windows = [
        {"window": window, "good": round(good, 6), "seen": round(seen, 6)}
        for window, good, seen in zip(WINDOWS, each.good, each.seen, strict=True)
    ]
    return {"service": service, "score": round(each.score, 6), "windows": windows}


def _pool(pool: PoolLife) -> Mapping[str, Any]:
    verdict = pool.verdict
    return {
        "name": name_text(verdict.pool),
        "state": verdict.state,
        "since": None if verdict.since is None else verdict.since.isoformat(),
        "progress": progress_document(verdict.progress),
        "findings": [_finding(finding) for finding in pool.findings],
        "remedies": list(pool.remedies),
    }


def _finding(finding: Finding) -> Mapping[str, Any]:
    margin = finding.margin
    return {
        "code": finding.code,
        "passed": finding.is_passed,
        "measured": finding.measured,
        "limit": finding.limit,
        "margin": None if margin is None else {"amount": margin.amount, "unit": margin.unit},
        "sentence": finding.sentence,
    }
