"""A plan as a script for nsupdate (BIND 9): it does what the publisher does, on the same conditions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import dns.rdatatype

from poolmgr.hosts import IPAddress
from poolmgr.zone.plan import Change, Plan
from poolmgr.zone.records import RRset

Message = tuple[Sequence[Change], Sequence[RRset]]
"""The changes that are made together, and what must be as it is though they do not change it."""


def to_nsupdate(plan: Plan, messages: Iterable[Message], server: tuple[IPAddress, int] | None) -> Iterator[str]:
    """Yield the lines that ``nsupdate -k KEYFILE`` reads; without a `server` it asks for the zone's primary itself.

    It sends each of `messages`, whose changes are those of `plan`. Each RRset has a prerequisite (RFC 2136 sections
    2.4.2 and 2.4.3), so that nothing happens where it is no longer as it was read. A plan without changes is a comment
    alone. The key is not in it.
    """
    yield f"; {plan.provenance}"
    if not plan.changes:
        yield "; nothing to change"
        return
    if server is not None:
        yield f"server {server[0]} {server[1]}"
    yield f"zone {plan.origin}"
    for changes, guards in messages:
        for guard in guards:
            yield from _present(guard)
        for change in changes:
            yield from _unchanged(change)
        for change in changes:
            yield from _made(change)
        yield "send"


def _unchanged(change: Change) -> Iterator[str]:
    """Yield the prerequisites that the RRset is as it was read."""
    if change.before is None:
        yield f"prereq nxrrset {change.key[0]} {dns.rdatatype.to_text(change.key[1])}"
    else:
        yield from _present(change.before)


def _made(change: Change) -> Iterator[str]:
    owner, rdtype = change.key[0].to_text(), dns.rdatatype.to_text(change.key[1])
    if change.before is not None:
        yield f"update delete {owner} {rdtype}"
    if change.after is not None:
        for rdata in sorted(change.after.rdatas):
            yield f"update add {owner} {change.after.ttl} {rdtype} {rdata.to_text()}"


def _present(rrset: RRset) -> Iterator[str]:
    for rdata in sorted(rrset.rdatas):
        yield f"prereq yxrrset {rrset.owner} {dns.rdatatype.to_text(rrset.rdtype)} {rdata.to_text()}"
