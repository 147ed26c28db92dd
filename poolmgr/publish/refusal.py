"""What a name server's reply means when it is not the good one, in the operator's words."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

import dns.message
import dns.opcode
import dns.rcode
import dns.rdatatype
import dns.update
from dns.rcode import Rcode

_CHANGED = "somebody else changed the zone meanwhile, or a wildcard answers for the name: plan again"

_UPDATE: Mapping[Rcode, str] = {
    Rcode.NOTIMP: "takes no dynamic updates, as NSD never does: publish to it by zone file",
    Rcode.REFUSED: "refuses the update: the zone is frozen (rndc thaw, knotc zone-thaw), static or a "
    "secondary there, or its update-policy does not let the key {key} write {what}",
    Rcode.NOTAUTH: "is not authoritative for {zone}: give the address of the zone's primary",
    Rcode.NOTZONE: "says that a name lies outside {zone}: mend the zone's name in the config",
    Rcode.SERVFAIL: "could not apply the update: one RRset over its limit (BIND: max-records-per-type, 100 unless "
    "set), a zone that failed to load, or a full disk; its log says which",
    Rcode.YXRRSET: _CHANGED,
    Rcode.NXRRSET: _CHANGED,
    Rcode.YXDOMAIN: _CHANGED,
    Rcode.NXDOMAIN: _CHANGED,
}

_OVERTAKEN = frozenset({Rcode.YXRRSET, Rcode.NXRRSET, Rcode.YXDOMAIN, Rcode.NXDOMAIN})

_QUESTION: Mapping[Rcode, str] = {
    Rcode.REFUSED: "refuses to answer for {what}: give the address of a server of the zone, which lets this machine "
    "ask (allow-query)",
    Rcode.NOTAUTH: "is not authoritative for {what}: give the address of the zone's primary",
    Rcode.SERVFAIL: "cannot answer for {what}: the zone failed to load there; its log says why",
}


def refusal(request: dns.message.Message, reply: dns.message.Message) -> str | None:
    """Return why `reply`, whose signature was checked if `request` has one, is not the good one; None where it is.

    The text is the predicate to a server's name. NXDOMAIN is a good reply to a question.
    """
    is_update = request.opcode() == dns.opcode.UPDATE
    rcode = reply.rcode()
    if rcode == Rcode.NOERROR or (rcode == Rcode.NXDOMAIN and not is_update):
        return None
    template = (_UPDATE if is_update else _QUESTION).get(rcode, "did not do what it was asked: its log may say why")
    zone = request.sections[0][0].name
    return f"{template.format(key=request.keyname, what=_subject(request), zone=zone)} ({dns.rcode.to_text(rcode)})"


def is_overtaken(request: dns.message.Message, reply: dns.message.Message) -> bool:
    """Return whether a prerequisite of the update `request` did not hold (RFC 2136 section 2.2)."""
    return request.opcode() == dns.opcode.UPDATE and reply.rcode() in _OVERTAKEN


def unsigned_refusal(request: dns.message.Message, reply: dns.message.Message) -> str:
    """Return why `reply` to the signed `request` does not count: its signature is no good (RFC 8945 section 5).

    What it says is not proven, and only good for a diagnosis.
    """
    if reply.had_tsig:
        return _tsig_error(request, reply)
    if reply.rcode() == Rcode.REFUSED:
        return (
            f"refuses, and does not sign that: it does not accept the key {request.keyname} (name, algorithm, secret "
            "or clock), or nothing from this address (REFUSED)"
        )
    return refusal(request, reply) or (
        f"did not sign its reply, so that {dns.rcode.to_text(reply.rcode())} proves nothing: make sure that it is a "
        f"server which knows the key {request.keyname}, and that nothing on the way answers for it"
    )


def _subject(request: dns.message.Message) -> str:
    """Return the RRsets that `request` is about."""
    rrsets = request.update if isinstance(request, dns.update.UpdateMessage) else request.question
    names = dict.fromkeys(f"{rrset.name} {dns.rdatatype.to_text(rrset.rdtype)}" for rrset in rrsets)
    return ", ".join(names)


def _tsig_error(request: dns.message.Message, reply: dns.message.Message) -> str:
    assert request.tsig is not None
    assert reply.tsig is not None
    ours, theirs = request.tsig[0], reply.tsig[0]
    algorithm = ours.algorithm.to_text(omit_final_dot=True)
    match theirs.error:
        case Rcode.BADKEY:
            return (
                f"knows no TSIG key {request.keyname} with {algorithm} for this zone: give it this key, or name the "
                "one that it has; NSD takes no updates: publish to it by zone file (BADKEY)"
            )
        case Rcode.BADSIG:
            return f"has another secret for the TSIG key {request.keyname}: copy it from there again (BADSIG)"
        case Rcode.BADTIME:
            there = int.from_bytes(theirs.other) or theirs.time_signed
            return (
                f"says that it is {_utc(there)} while it is {_utc(ours.time_signed)} here: "
                f"{abs(there - ours.time_signed)} s apart, {ours.fudge} s are allowed: set both clocks (BADTIME)"
            )
        case 0:
            return (
                f"signed its reply in a way that the TSIG key {request.keyname} does not confirm: compare the secrets "
                "and the clocks of both sides, and what lies between"
            )
        case other:
            return f"rejects the signature by the TSIG key {request.keyname} ({dns.rcode.to_text(other, tsig=True)})"


def _utc(seconds: int) -> str:
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (OverflowError, ValueError):
        return f"{seconds} s after 1970"
