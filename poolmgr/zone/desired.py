"""The desired records: skeleton and selection to a whole zone, zone to text and back."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping

import dns.exception
import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdataset
import dns.rdatatype
import dns.tokenizer
import dns.transaction
import dns.zonefile
from dns.rdtypes.ANY.SOA import SOA

from poolmgr.errors import ZoneError
from poolmgr.hosts import IPAddress, address_order
from poolmgr.model import Family, Pool, Selection
from poolmgr.zone.records import Records, RRset, RRsetKey

RDTYPES: Mapping[Family, dns.rdatatype.RdataType] = {Family.IPV4: dns.rdatatype.A, Family.IPV6: dns.rdatatype.AAAA}
"""The address record type of each family (RFC 1035 section 3.4.1, RFC 3596 section 2.1)."""


def owned_keys(pools: Iterable[Pool]) -> frozenset[RRsetKey]:
    """Return every RRset that poolmgr may create, change or delete.

    Both address types of each pool's owner name are owned, whatever its families: a pool that is turned into an
    IPv4-only one must lose its AAAA records.
    """
    return frozenset((pool.name, rdtype) for pool in pools for rdtype in RDTYPES.values())


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


def whole_zone(skeleton: Records, pools: Records, owned: Iterable[RRsetKey], origin: dns.name.Name) -> Records:
    """Return the zone that has everything of `skeleton` and of `pools`.

    Raises ZoneError where the skeleton leaves no room for an owned RRset: it has that RRset itself, a CNAME or DNAME in
    the way (RFC 1034 section 3.6.2, RFC 6672 section 2.4), or a delegation above it (RFC 1034 section 4.2.1).
    """
    for owner, rdtype in sorted(owned):
        name = owner.relativize(origin)
        if (owner, rdtype) in skeleton:
            raise ZoneError(
                f"the skeleton has {dns.rdatatype.to_text(rdtype)} records at {name}, which belong to a pool: "
                "remove them from the skeleton, or rename the pool"
            )
        if (owner, dns.rdatatype.CNAME) in skeleton:
            raise ZoneError(f"the skeleton has a CNAME at {name}, where a pool is to be: remove one of them")
        for above in _ancestors(owner, origin):
            for kind in (dns.rdatatype.NS, dns.rdatatype.DNAME):
                if (above, kind) in skeleton:
                    raise ZoneError(
                        f"the skeleton's {dns.rdatatype.to_text(kind)} at {above.relativize(origin)} hides the pool "
                        f"{name}: remove it, or move the pool into the zone that it points to"
                    )
    return {**skeleton, **pools}


def _ancestors(name: dns.name.Name, origin: dns.name.Name) -> Iterator[dns.name.Name]:
    """Yield `name` and the names between it and `origin`, which is left out."""
    while name != origin:
        yield name
        name = name.parent()


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

    Raises ZoneError, with `source` and the line where there is one, for a syntax error, a record outside the zone, a
    missing SOA or NS at the apex, a second SOA or CNAME at a name, and signatures. $INCLUDE is refused.
    """
    manager = dns.zonefile.RRSetsReaderManager(origin)
    tokenizer = _Tokenizer(text, source)
    try:
        with manager.writer(replacement=True) as transaction:  # type: ignore[no-untyped-call]  # dnspython's gap
            transaction.check_put_rdataset(_check_nothing_is_lost)
            reader = dns.zonefile.Reader(tokenizer, dns.rdataclass.IN, transaction)
            # The reader drops what lies outside its zone without a word: it is given all, and the loop below looks.
            reader.zone_origin = dns.name.root
            reader.read()
    except (dns.exception.DNSException, ValueError) as error:
        problem = str(error).removeprefix(f"{source}:{tokenizer.where()[1]}: ")
        raise ZoneError(f"{source}:{tokenizer.entry}: not a zone file: {problem}") from error
    records = {}
    for rrset in manager.rrsets:
        owner, rdtype = rrset.name, rrset.rdtype
        if not owner.is_subdomain(origin):
            raise ZoneError(f"{source}: {owner} lies outside the zone {origin}: remove it, or mend a missing final dot")
        if rdtype == dns.rdatatype.RRSIG:
            raise ZoneError(f"{source}: {owner} has signatures: give the unsigned zone, the name server signs it")
        records[owner, rdtype] = RRset(owner, rdtype, rrset.ttl, frozenset(rrset))
    for rdtype in (dns.rdatatype.SOA, dns.rdatatype.NS):
        if (origin, rdtype) not in records:
            raise ZoneError(f"{source}: no {dns.rdatatype.to_text(rdtype)} record at the apex {origin}: add it")
    return records


def _check_nothing_is_lost(
    transaction: dns.transaction.Transaction, name: dns.name.Name, rdataset: dns.rdataset.Rdataset
) -> None:
    """Refuse a second SOA, CNAME or other singleton: dnspython would let it take the first one's place."""
    before = transaction.get(name, rdataset.rdtype, rdataset.covers)
    if before is not None and not set(before) <= set(rdataset):
        raise ValueError(f"a second {dns.rdatatype.to_text(rdataset.rdtype)} record at {name}: remove one")


class _Tokenizer(dns.tokenizer.Tokenizer):
    """Knows in which line the entry being read began; where the reader stands may be a line further."""

    entry = 1

    # The signature is the base class's.
    def get(self, want_leading: bool = False, want_comment: bool = False) -> dns.tokenizer.Token:  # noqa: FBT001, FBT002
        if want_leading:
            self.entry = self.where()[1]
        return super().get(want_leading, want_comment)


def to_text(records: Records, origin: dns.name.Name, provenance: str) -> str:
    """Return `records` as a zone file, in an order that depends on nothing but the records.

    SOA and NS of the apex come first, then owner names in canonical order (RFC 4034 section 6.1), types by number and
    records by their canonical RDATA. `provenance` becomes the first line.
    """
    lines = [
        f"; {provenance}",
        "; Do not edit: the next run overwrites it. Records kept by hand belong into the skeleton.",
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
