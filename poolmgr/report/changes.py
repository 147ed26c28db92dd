"""Plans for people and programs: what comes, what goes and why, as lines of text or as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import dns.name
import dns.rdatatype

from poolmgr.hosts import host_text
from poolmgr.model import Verdict
from poolmgr.report.escape import printable
from poolmgr.zone.plan import Change, Plan
from poolmgr.zone.records import RRset

FORMAT = "poolmgr-plan"
VERSION = 1

_ADDRESSES = (dns.rdatatype.A, dns.rdatatype.AAAA)


@dataclass(frozen=True, slots=True)
class Line:
    """One record that comes (``+``) or goes (``-``), in master-file form, and why; `why` may be empty."""

    sign: str
    record: str
    why: str


def lines(change: Change, verdicts: Iterable[Verdict]) -> Iterator[Line]:
    """Yield the records that go, then those that come. A record whose TTL changes goes and comes."""
    known = {(verdict.pool, str(verdict.address)): verdict for verdict in verdicts}
    for sign, rrset, other in (("-", change.before, change.after), ("+", change.after, change.before)):
        if rrset is None:
            continue
        others = other.rdatas if other is not None else frozenset()
        shown = rrset.rdatas if other is None or other.ttl != rrset.ttl else rrset.rdatas - others
        for rdata in sorted(shown):
            rdtype = dns.rdatatype.to_text(rrset.rdtype)
            record = f"{rrset.owner} {rrset.ttl} IN {rdtype} {rdata.to_text()}"
            why = _why(rrset, rdata.to_text(), known) if rdata not in others else "TTL"
            yield Line(sign, record, why)


def _why(rrset: RRset, rdata: str, verdicts: Mapping[tuple[dns.name.Name, str], Verdict]) -> str:
    if rrset.rdtype not in _ADDRESSES:
        return ""
    verdict = verdicts.get((rrset.owner, rdata))
    if verdict is None:
        is_pool = any(pool == rrset.owner for pool, _ in verdicts)
        return "not found by the crawl" if is_pool else ""
    reasons = "; ".join(printable(reason.sentence) for reason in verdict.reasons)
    return f"{printable(host_text(verdict.keyserver))}: {reasons or verdict.state}"


def to_text(label: str, plan: Plan, verdicts: Iterable[Verdict]) -> Iterator[str]:
    """Yield a summary of `plan`, which is for the target `label`, then a line for each record that comes or goes."""
    verdicts = tuple(verdicts)
    yield f"{label}: {_summary(plan)}"
    for change in plan.changes:
        for line in lines(change, verdicts):
            yield f"{line.sign} {line.record}" + (f"  ; {line.why}" if line.why else "")


def _summary(plan: Plan) -> str:
    if not plan.changes:
        return f"nothing to change, serial {plan.serial}" if plan.serial is not None else "nothing to publish"
    count = len(plan.changes)
    serial = "" if plan.next_serial is None else f", serial {plan.serial or 'none'} -> {plan.next_serial}"
    return f"{count} RRset{'s' if count > 1 else ''} to change, {plan.unchanged} unchanged{serial}"


def to_json(plans: Mapping[str, Plan], verdicts: Iterable[Verdict]) -> str:
    """Return `plans`, by target label, as a JSON document in ASCII."""
    verdicts = tuple(verdicts)
    targets = [
        {
            "target": label,
            "zone": plan.origin.to_text(),
            "serial": plan.serial,
            "next_serial": plan.next_serial,
            "changes": [
                {
                    "owner": change.key[0].to_text(),
                    "type": dns.rdatatype.to_text(change.key[1]),
                    "records": [
                        {"sign": line.sign, "record": line.record, "why": line.why} for line in lines(change, verdicts)
                    ],
                }
                for change in plan.changes
            ],
            "held": [
                {
                    "owner": held.change.key[0].to_text(),
                    "type": dns.rdatatype.to_text(held.change.key[1]),
                    "sentence": held.sentence,
                    "since": held.since.isoformat(),
                }
                for held in plan.held
            ],
            "unchanged": plan.unchanged,
        }
        for label, plan in plans.items()
    ]
    return json.dumps({"format": FORMAT, "version": VERSION, "targets": targets}, indent=2) + "\n"
