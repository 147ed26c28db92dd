"""Whose a pool is, written into the zone: a TXT record beside it with the id of who publishes it."""

from __future__ import annotations

from collections.abc import Iterable

import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype

from poolmgr.errors import ZoneError
from poolmgr.hosts import name_text
from poolmgr.zone.records import Records, RRset, RRsetKey

LABEL = dns.name.from_text("_poolmgr", None)
"""What stands before the pool's name. A host name has no underscore: it can be in nobody's way."""

TTL = 300


def marker_key(pool: dns.name.Name) -> RRsetKey:
    """Return where the marker of the pool of that name is. Raises ZoneError where the name is too long for one."""
    try:
        return (LABEL.concatenate(pool), dns.rdatatype.TXT)
    except dns.name.NameTooLong as error:
        raise ZoneError(
            f"{name_text(pool)} is too long to have a marker beside it: shorten it, or remove marker"
        ) from error


def marker_records(pools: Iterable[dns.name.Name], owner: str) -> Records:
    """Return the markers that say that `pools` are published by `owner`."""
    rdata = dns.rdata.from_text(dns.rdataclass.IN, dns.rdatatype.TXT, f'"owner={owner}"')
    rrsets = (RRset(*marker_key(pool), TTL, frozenset({rdata})) for pool in pools)
    return {rrset.key: rrset for rrset in rrsets}


def check_markers(published: Records, pools: Iterable[dns.name.Name], owner: str) -> None:
    """Raise ZoneError, with a sentence for each, where a pool in `published` has a marker that is not of `owner`."""
    problems = []
    for rrset in marker_records(pools, owner).values():
        there = published.get(rrset.key)
        if there is not None and there.rdatas != rrset.rdatas:
            found = ", ".join(rdata.to_text() for rdata in sorted(there.rdatas))
            problems.append(
                f"{name_text(rrset.owner)} TXT is {found}, and marker here is {owner}: somebody else publishes "
                "this pool, and nothing of it was changed; if it is yours now, delete that TXT, or give the same marker"
            )
    if problems:
        raise ZoneError("\n".join(problems))
