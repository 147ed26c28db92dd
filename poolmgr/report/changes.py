"""Plans for people and programs: what comes, what goes and why, as lines of text or as JSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import dns.name
import dns.rdatatype

from poolmgr.hosts import host_text, name_text
from poolmgr.model import Verdict
from poolmgr.report.escape import printable
from poolmgr.zone.nearness import nearness
from poolmgr.zone.plan import Change, Plan
from poolmgr.zone.records import RRset, RRsetKey

FORMAT = "poolmgr-plan"
VERSION = 1

_ADDRESSES = (dns.rdatatype.A, dns.rdatatype.AAAA)

_VERBS = {"created": "create", "changed": "change", "deleted": "delete"}
"""What becomes of an RRset, and what is therefore to be done."""


@dataclass(frozen=True, slots=True)
class Line:
    """One record that comes (``+``) or goes (``-``), in master-file form, and why; `why` may be empty."""

    sign: str
    record: str
    why: str


Verdicts = Mapping[dns.name.Name, Mapping[str, Verdict]]
"""The verdicts of each pool by the address, as records write it."""


def by_address(verdicts: Iterable[Verdict]) -> Verdicts:
    """Return `verdicts` as `lines` takes them."""
    found: dict[dns.name.Name, dict[str, Verdict]] = {}
    for verdict in verdicts:
        found.setdefault(verdict.pool, {})[str(verdict.address)] = verdict
    return found


def lines(change: Change, verdicts: Verdicts) -> Iterator[Line]:
    """Yield the records that go, then those that come. A record whose TTL changes goes and comes."""
    for sign, rrset, other in (("-", change.before, change.after), ("+", change.after, change.before)):
        if rrset is None:
            continue
        others = other.rdatas if other is not None else frozenset()
        shown = rrset.rdatas if other is None or other.ttl != rrset.ttl else rrset.rdatas - others
        for rdata in sorted(shown):
            rdtype = dns.rdatatype.to_text(rrset.rdtype)
            record = f"{rrset.owner} {rrset.ttl} IN {rdtype} {rdata.to_text()}"
            why = _why(rrset, rdata.to_text(), verdicts) if rdata not in others else "TTL"
            yield Line(sign, record, why)


def _why(rrset: RRset, rdata: str, verdicts: Verdicts) -> str:
    if rrset.rdtype not in _ADDRESSES or rrset.owner not in verdicts:
        return ""
    verdict = verdicts[rrset.owner].get(rdata)
    if verdict is None:
        return "not found by the crawl"
    reasons = "; ".join(printable(reason.sentence) for reason in verdict.reasons)
    return f"{printable(host_text(verdict.keyserver))}: {reasons or verdict.state}"


def to_text(label: str, plan: Plan, verdicts: Iterable[Verdict]) -> Iterator[str]:
    """Yield a summary of `plan`, which is for the target `label`, then a line for each record that comes or goes."""
    known = by_address(verdicts)
    yield f"{label}: {_summary(plan)}"
    for change in plan.changes:
        for line in lines(change, known):
            yield f"{line.sign} {line.record}" + (f"  ; {line.why}" if line.why else "")


def _summary(plan: Plan) -> str:
    if not plan.changes:
        return f"nothing to change, serial {plan.serial}" if plan.serial is not None else "nothing to publish"
    counts = Counter(map(_action, plan.changes))
    serial = "" if plan.next_serial is None else f", serial {plan.serial or 'none'} -> {plan.next_serial}"
    what = ", ".join(f"{counts[action]} to {verb}" for action, verb in _VERBS.items() if counts[action])
    first, _, rest = what.partition(" ")
    return f"{first} RRset{'s' if first != '1' else ''} {rest}, {plan.unchanged} unchanged{serial}"


def _action(change: Change) -> str:
    if change.before is None:
        return "created"
    return "deleted" if change.after is None else "changed"


def limits_to_text(plan: Plan) -> Iterator[str]:
    """Yield a line for each RRset with limits: how near the plan comes to them."""
    for near in nearness(plan):
        members, floor = f"{near.members} members", near.limits.min_members
        if floor:
            spare = near.members - floor
            of = f"{spare} to spare" if spare >= 0 else f"{-spare} too few"
            members += f" ({of}, min_members {floor})"
        removed = f"{near.removed} of {near.before} removed"
        if near.may_go is not None:
            removed += f" ({near.may_go} may be, max_removed {near.limits.max_removed})"
        added = f"{near.added} added"
        if near.may_come is not None:
            added += f" ({near.may_come} may be, max_added {near.limits.max_added})"
        yield f"  {_shown(near.key)}: {members}; {removed}; {added}"


def _shown(key: RRsetKey) -> str:
    return f"{name_text(key[0])} {dns.rdatatype.to_text(key[1])}"


def to_json(plans: Mapping[str, Plan], verdicts: Iterable[Verdict], warnings: Mapping[str, Sequence[str]]) -> str:
    """Return `plans` and the `warnings` about them, both by target label, as a JSON document in ASCII."""
    known = by_address(verdicts)
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
                    "action": _action(change),
                    "records": [
                        {"sign": line.sign, "record": line.record, "why": line.why} for line in lines(change, known)
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
            "limits": [
                {
                    "owner": near.key[0].to_text(),
                    "type": dns.rdatatype.to_text(near.key[1]),
                    "published": near.before,
                    "members": near.members,
                    "min_members": near.limits.min_members,
                    "removed": near.removed,
                    "max_removed": near.may_go,
                    "added": near.added,
                    "max_added": near.may_come,
                }
                for near in nearness(plan)
            ],
            "unchanged": plan.unchanged,
            "warnings": list(warnings[label]),
        }
        for label, plan in plans.items()
    ]
    return json.dumps({"format": FORMAT, "version": VERSION, "targets": targets}, indent=2) + "\n"
