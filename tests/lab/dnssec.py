"""Answers of name servers that sign their zone, example.org, and whether they validate."""

from __future__ import annotations

import dns.dnssec
import dns.message
import dns.name
import dns.query
import dns.rdataclass
import dns.rrset
from dns.rdatatype import DNSKEY, RRSIG, RdataType

from tests.build import ORIGIN
from tests.lab.updating import Target


def signed(server: Target, owner: dns.name.Name, rdtype: RdataType) -> tuple[dns.rrset.RRset, dns.rrset.RRset] | None:
    """Return an RRset and its signatures as they are served, None where either is missing."""
    question = dns.message.make_query(owner, rdtype, want_dnssec=True)
    reply = dns.query.tcp(question, str(server.address), port=server.port, timeout=5)
    found = reply.get_rrset(reply.answer, owner, dns.rdataclass.IN, rdtype)
    signatures = reply.get_rrset(reply.answer, owner, dns.rdataclass.IN, RRSIG, rdtype)
    return None if found is None or signatures is None else (found, signatures)


def is_signed(server: Target, owner: dns.name.Name, rdtype: RdataType) -> bool:
    """Return whether an RRset is served with signatures."""
    return signed(server, owner, rdtype) is not None


def validated(server: Target, owner: dns.name.Name, rdtype: RdataType) -> dns.rrset.RRset:
    """Return an RRset that the zone's own keys have signed. Else dnspython raises ValidationFailure."""
    of_keys, of_owner = signed(server, ORIGIN, DNSKEY), signed(server, owner, rdtype)
    assert of_keys is not None, f"{ORIGIN} has no signed DNSKEY"
    assert of_owner is not None, f"{owner} has no signed {rdtype.name}"
    keys, _ = of_keys
    for rrset, signatures in (of_keys, of_owner):
        dns.dnssec.validate(rrset, signatures, {ORIGIN: keys})
    return of_owner[0]
