"""The desired records: selection to RRsets, zone to text and back."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping

import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype
from dns.rdtypes.ANY.SOA import SOA

from poolmgr.hosts import IPAddress, address_order
from poolmgr.model import Family, Selection
from poolmgr.pools import Pool
from poolmgr.zone.masterfile import misplaced, missing, read_entries, records_of, refuse
from poolmgr.zone.naming import companion_keys
from poolmgr.zone.records import Records, RRset, RRsetKey

RDTYPES: Mapping[Family, dns.rdatatype.RdataType] = {Family.IPV4: dns.rdatatype.A, Family.IPV6: dns.rdatatype.AAAA}
"""The address record type of each family (RFC 1035 section 3.4.1, RFC 3596 section 2.1)."""


def owned_keys(pools: Iterable[Pool]) -> frozenset[RRsetKey]:
    """Return every RRset that poolmgr may create, change or delete.

    Both address types of each pool's owner name are owned, whatever its families: a pool that is turned into an
    IPv4-only one must lose its AAAA records. The labels that published SRV records lead to are owned beside these, see
    `naming.further_keys`.
    """
    pools = tuple(pools)
    addresses = ((pool.name, rdtype) for pool in pools for rdtype in RDTYPES.values())
    return frozenset(addresses).union(*map(companion_keys, pools))


def pool_records(selection: Selection, pools: Iterable[Pool]) -> Records:
    """Return the RRsets of all pools; a family without members has none."""
    records = {}
    for pool in pools:
        for family in pool.families:
            members = selection.members.get((pool.name, family), ())
            if members:
                rrset = RRset(pool.name, RDTYPES[family], int(pool.ttl.total_seconds()), address_rdatas(members))
                records[rrset.key] = rrset
    return records


def address_rdatas(addresses: Iterable[IPAddress]) -> frozenset[dns.rdata.Rdata]:
    """Return the RDATA of `addresses`, each of the type of its family."""
    return frozenset(
        dns.rdata.from_text(dns.rdataclass.IN, RDTYPES[Family.of(address)], str(address)) for address in addresses
    )


def members_of(records: Records, pools: Iterable[Pool]) -> Mapping[tuple[dns.name.Name, Family], tuple[IPAddress, ...]]:
    """Return the addresses that `records` publish for each pool and family, in address order."""
    members = {}
    for pool in pools:
        for family, rdtype in RDTYPES.items():
            rrset = records.get((pool.name, rdtype))
            if rrset is not None:
                addresses = (ipaddress.ip_address(rdata.to_text()) for rdata in rrset.rdatas)
                members[pool.name, family] = tuple(sorted(addresses, key=address_order))
    return members


def soa_serial(records: Records, origin: dns.name.Name) -> int | None:
    """Return the serial of the SOA at `origin`, None where there is no SOA."""
    soa = records.get((origin, dns.rdatatype.SOA))
    return None if soa is None else max(rdata.serial for rdata in soa.rdatas if isinstance(rdata, SOA))


def with_serial(records: Records, origin: dns.name.Name, serial: int) -> Records:
    """Return `records` with that SOA serial; without an SOA they are returned as they are."""
    soa = records.get((origin, dns.rdatatype.SOA))
    if soa is None:
        return records
    rdatas = frozenset(rdata.replace(serial=serial) for rdata in soa.rdatas)
    return {**records, soa.key: RRset(soa.owner, soa.rdtype, soa.ttl, rdatas)}


def from_text(text: str, origin: dns.name.Name, source: str) -> Records:
    """Return the records of the zone file `text` (RFC 1035 section 5) of the zone `origin`.

    Raises ZoneError, with a line for each problem that names `source` and the line where there is one, for a syntax
    error, a record outside the zone, a missing SOA or NS at the apex, a second SOA or CNAME at a name, a CNAME beside
    other data, and signatures. $INCLUDE is refused.
    """
    entries, problems = read_entries(text, origin, source)
    refuse((*problems, *misplaced(entries, origin), *(missing(entries, origin, source) if not problems else ())))
    return records_of(entries)


def to_text(records: Records, origin: dns.name.Name, provenance: str) -> str:
    """Return `records` as a zone file, in an order that depends on nothing but the records.

    SOA and NS of the apex come first, then owner names in canonical order (RFC 4034 section 6.1), types by number and
    records by their canonical RDATA. `provenance` becomes the first line.
    """
    lines = [
        f"; {provenance}",
        "; Records kept by hand belong into the skeleton.",
        f"$ORIGIN {origin}",
    ]
    for rrset in sorted(records.values(), key=lambda rrset: _order(rrset, origin)):
        owner = rrset.owner.relativize(origin).to_text()
        rdtype = dns.rdatatype.to_text(rrset.rdtype)
        lines += [
            f"{owner}\t{rrset.ttl}\tIN\t{rdtype}\t{rdata.to_text(origin, relativize=True)}"
            for rdata in sorted(rrset.rdatas)
        ]
    return "\n".join(lines) + "\n"


def _order(rrset: RRset, origin: dns.name.Name) -> tuple[bool, bool, bool, dns.name.Name, int]:
    apex = rrset.owner == origin
    is_soa = apex and rrset.rdtype == dns.rdatatype.SOA
    is_ns = apex and rrset.rdtype == dns.rdatatype.NS
    return (not is_soa, not is_ns, not apex, rrset.owner, int(rrset.rdtype))
