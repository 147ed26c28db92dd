"""The records of a zone, or of the part of one that poolmgr owns, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import dns.name
import dns.rdata
import dns.rdatatype

RRsetKey = tuple[dns.name.Name, dns.rdatatype.RdataType]
"""Absolute owner name and type. Everything is of class IN."""


@dataclass(frozen=True, slots=True)
class RRset:
    """The records of one owner name and type (RFC 9499 section 5). The TTL is in seconds; names are absolute."""

    owner: dns.name.Name
    rdtype: dns.rdatatype.RdataType
    ttl: int
    rdatas: frozenset[dns.rdata.Rdata]

    @property
    def key(self) -> RRsetKey:
        """Where the RRset stands in `Records`."""
        return (self.owner, self.rdtype)


Records = Mapping[RRsetKey, RRset]
"""RRsets by owner name and type; an RRset that does not exist is not in it (there is no empty one)."""
