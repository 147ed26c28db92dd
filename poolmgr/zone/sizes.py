"""How large an RRset may be, and how large the answer is that has it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import dns.flags
import dns.message
import dns.name
import dns.rdatatype
import dns.rrset
from dns.rdtypes.ANY.NS import NS
from dns.rdtypes.IN.SRV import SRV

from poolmgr.errors import ZoneError
from poolmgr.hosts import name_text
from poolmgr.zone.records import Records, RRset, RRsetKey

MAX_RECORDS = 100
"""Records of one RRset: named does not load a zone with more (max-records-per-type), and named-checkzone passes it."""

MAX_UDP = 1232
"""Octets of an answer that every path carries whole (DNS flag day 2020)."""

MAX_PLAIN = 512
"""Octets of an answer to a client without EDNS (RFC 1035 section 4.2.1)."""

_ADDRESSES = (dns.rdatatype.A, dns.rdatatype.AAAA)


def refuse_too_many(records: Records) -> None:
    """Raise ZoneError, with a sentence for each, where an RRset has more than MAX_RECORDS records."""
    problems = [
        f"{rrset.owner} {dns.rdatatype.to_text(rrset.rdtype)} has {len(rrset.rdatas)} records, name servers load at "
        f"most {MAX_RECORDS} of one name and type: lower max_records"
        for _, rrset in sorted(records.items())
        if len(rrset.rdatas) > MAX_RECORDS
    ]
    if problems:
        raise ZoneError("\n".join(problems))


def oversized(records: Records, owned: Iterable[RRsetKey], origin: dns.name.Name) -> Iterator[str]:
    """Yield a sentence for each RRset of `owned` whose answer does not fit where clients expect it to."""
    for key in sorted(owned):
        if key not in records:
            continue
        what = f"{name_text(key[0])} {dns.rdatatype.to_text(key[1])}"
        plain, edns = (answer_size(records, key, origin, is_edns=is_edns) for is_edns in (False, True))
        remedy = "resolvers ask again over TCP, which some networks block: lower max_records"
        if edns > MAX_UDP:
            yield f"{what}: the answer has {edns} octets, over {MAX_UDP} it does not fit into UDP: {remedy}"
        elif plain > MAX_PLAIN:
            yield f"{what}: the answer has {plain} octets, over {MAX_PLAIN} it does not fit without EDNS: {remedy}"


def answer_size(records: Records, key: RRsetKey, origin: dns.name.Name, *, is_edns: bool) -> int:
    """Return the octets of the answer to a resolver's question for `key`, as a server of the zone `origin` gives it.

    With the NS of the zone in the authority section and what addresses `records` has of the names in it and in the
    answer in the additional section, with names compressed (RFC 1035 section 4.1) but for SRV targets (RFC 2782).

    NSD sends just that, and Knot and PowerDNS less, which leave the NS out. named refers back to SRV targets, which
    makes most answers smaller, but writes the zone's own name out once more behind them, and a last label that a name
    server outside shares with the zone: it sends at most as many octets more as these have.
    """
    query = dns.message.make_query(*key, use_edns=0 if is_edns else False, flags=0)
    reply = dns.message.make_response(query)
    assert isinstance(reply, dns.message.QueryMessage)
    reply.flags |= dns.flags.AA
    answer, servers = records[key], records.get((origin, dns.rdatatype.NS))
    reply.answer.append(_shown(answer))
    if servers is not None and servers != answer:
        reply.authority.append(_shown(servers))
    leading = [*answer.rdatas, *(() if servers is None else servers.rdatas)]
    names = {rdata.target for rdata in leading if isinstance(rdata, NS | SRV)}
    found = (records.get((name, rdtype)) for name in sorted(names) for rdtype in _ADDRESSES)
    reply.additional.extend(_shown(rrset) for rrset in found if rrset is not None and rrset != answer)
    return len(reply.to_wire(max_size=65535))


def _shown(rrset: RRset) -> dns.rrset.RRset:
    return dns.rrset.from_rdata_list(rrset.owner, rrset.ttl, sorted(rrset.rdatas))
