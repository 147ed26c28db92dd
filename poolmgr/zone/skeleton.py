"""The skeleton: a master file with all of the zone that is kept by hand, and what it may not have."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

import dns.name
import dns.rdatatype
from dns.rdtypes.ANY.MX import MX
from dns.rdtypes.ANY.NS import NS
from dns.rdtypes.IN.SRV import SRV

from poolmgr.zone.masterfile import Entry, Problem, ReadFile, misplaced, missing, read_entries, records_of, refuse
from poolmgr.zone.records import Records, RRsetKey

ADDRESSES = (dns.rdatatype.A, dns.rdatatype.AAAA)


def read_skeleton(source: str, origin: dns.name.Name, owned: Collection[RRsetKey], read: ReadFile) -> Records:
    """Return the records of the skeleton at the path `source`, for the zone `origin` in which poolmgr owns `owned`.

    `read` gives that file and those that it includes, at paths relative to the file that does. Raises ZoneError with
    a line for each problem: what is no zone, leaves no room for `owned`, leads to a name without address, or would
    be answered otherwise than it is written.
    """
    entries, problems = read_entries(read(source), origin, source, read)
    first = {entry.key: entry for entry in reversed(entries)}
    found = [*problems, *misplaced(entries, origin), *_conflicts(first, origin, owned), *_ttls(entries, first)]
    # What is missing may stand in a line that could not be read.
    if not problems:
        found += [*missing(entries, origin, source), *_dead_ends(entries, first, origin, owned)]
    refuse(found)
    return records_of(entries)


def _conflicts(
    first: Mapping[RRsetKey, Entry], origin: dns.name.Name, owned: Collection[RRsetKey]
) -> Iterator[Problem]:
    """Yield what leaves no room for an owned RRset, or hides it.

    That is an RRset of that name and type, a CNAME at the name (RFC 1034 section 3.6.2), a DNAME above it (RFC 6672
    section 2.4), and a delegation at it or above it (RFC 1034 section 4.2.1).
    """
    for owner, rdtype in owned:
        name = owner.relativize(origin)
        if (owner, rdtype) in first:
            yield first[owner, rdtype].problem(
                f"{dns.rdatatype.to_text(rdtype)} records at {name} belong to a pool: remove them from the skeleton, "
                "or rename the pool"
            )
        if (owner, dns.rdatatype.CNAME) in first:
            yield first[owner, dns.rdatatype.CNAME].problem(
                f"a CNAME at {name}, where a pool is to be: remove it, or rename the pool"
            )
        for above in _upwards(owner, origin):
            for kind in (dns.rdatatype.NS, dns.rdatatype.DNAME):
                hides = above != (origin if kind == dns.rdatatype.NS else owner)
                if hides and (above, kind) in first:
                    yield first[above, kind].problem(
                        f"the {dns.rdatatype.to_text(kind)} at {above.relativize(origin)} hides the pool {name}: "
                        "remove it, or move the pool into the zone that it points to"
                    )


def _upwards(name: dns.name.Name, origin: dns.name.Name) -> Iterator[dns.name.Name]:
    """Yield `name`, the names above it, and `origin`."""
    while name != origin:
        yield name
        name = name.parent()
    yield origin


def _dead_ends(
    entries: Sequence[Entry], first: Mapping[RRsetKey, Entry], origin: dns.name.Name, owned: Collection[RRsetKey]
) -> Iterator[Problem]:
    """Yield each NS, MX and SRV that leads to a name of this zone without address, or to an alias (RFC 2181 10.3).

    Names in a zone that is delegated may have addresses there; a delegation to a name below itself needs glue here.
    """
    having = {owner for owner, rdtype in (*first, *owned) if rdtype in ADDRESSES}
    cuts = {owner for owner, rdtype in first if rdtype == dns.rdatatype.NS and owner != origin}
    for entry in entries:
        target = _target(entry)
        if target is None or not target.is_subdomain(origin):
            continue
        kind, name = dns.rdatatype.to_text(entry.rdata.rdtype), target.relativize(origin)
        if (target, dns.rdatatype.CNAME) in first:
            yield entry.problem(f"the {kind} leads to the alias {name}: give the name that it stands for")
            continue
        above = list(_upwards(target, origin))
        is_glue = entry.rdata.rdtype == dns.rdatatype.NS and entry.owner in cuts and entry.owner in above
        is_elsewhere = any(one in cuts or (one, dns.rdatatype.DNAME) in first for one in above)
        if target in having or (is_elsewhere and not is_glue):
            continue
        if not any(_wildcard(one) in having for one in above[1:]):
            yield entry.problem(f"the {kind} leads to {name}, which has no address in this zone: add its A or AAAA")


def _target(entry: Entry) -> dns.name.Name | None:
    """Return the name that `entry` leads to; the root stands for none (RFC 2782, RFC 7505)."""
    match entry.rdata:
        case NS(target=target) | SRV(target=target) | MX(exchange=target):
            assert isinstance(target, dns.name.Name)
            return target
    return None


def _wildcard(name: dns.name.Name) -> dns.name.Name:
    return dns.name.Name((b"*", *name.labels))


def _ttls(entries: Sequence[Entry], first: Mapping[RRsetKey, Entry]) -> Iterator[Problem]:
    """Yield the records whose TTL is not that of their RRset: the zone can have only one (RFC 2181 section 5.2)."""
    for entry in entries:
        other = first[entry.key]
        if entry.ttl != other.ttl:
            kind = dns.rdatatype.to_text(entry.rdata.rdtype)
            yield entry.problem(
                f"{entry.owner} {kind} has the TTL {entry.ttl}, and {other.ttl} in {other.seen_from(entry)}: "
                "records of one name and type have one TTL, give all the same"
            )
