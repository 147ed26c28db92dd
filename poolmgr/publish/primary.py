"""Where a zone's primary is, asked of DNS: the hidden one that the SOA names (RFC 1035 section 3.3.13)."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from datetime import timedelta

import dns.exception
import dns.name
import dns.nameserver
import dns.rdatatype
import dns.resolver
from dns.rdtypes.ANY.SOA import SOA

from poolmgr.errors import PublishError
from poolmgr.hosts import IPAddress, name_text

MAX_ADDRESSES = 8
"""Addresses of a primary that are tried: each may take the whole timeout."""

_MAX_QUOTE = 200


def find_primary(
    origin: dns.name.Name, nameservers: Sequence[tuple[IPAddress, int]], timeout: timedelta
) -> tuple[IPAddress, ...]:
    """Return the addresses of the name server that the SOA of `origin` names as its primary, IPv4 before IPv6.

    `nameservers` are asked, those of the system where there are none, each question for `timeout` at most. Raises
    PublishError where that gives no address.
    """
    asked = "give publish[].server, the primary's address"
    try:
        resolver = dns.resolver.Resolver(configure=not nameservers)
        if nameservers:
            resolver.nameservers = [dns.nameserver.Do53Nameserver(str(address), port) for address, port in nameservers]
        resolver.lifetime = timeout.total_seconds()
        soa = resolver.resolve(origin, dns.rdatatype.SOA, search=False)
        mname = next(rdata.mname for rdata in soa if isinstance(rdata, SOA))
        found = [
            ipaddress.ip_address(rdata.to_text())
            for rdtype in (dns.rdatatype.A, dns.rdatatype.AAAA)
            for rdata in sorted(resolver.resolve(mname, rdtype, search=False, raise_on_no_answer=False).rrset or ())
        ]
    except (dns.exception.DNSException, OSError) as error:
        told = ascii(str(error) or type(error).__name__)[1:-1][:_MAX_QUOTE]
        raise PublishError(f"cannot find the primary of {name_text(origin)} by its SOA ({told}): {asked}") from error
    if not found:
        raise PublishError(f"{mname}, which the SOA of {name_text(origin)} names as primary, has no address: {asked}")
    return tuple(found[:MAX_ADDRESSES])
