"""The names beside a pool's own: where its SRV records are, and the labels that they lead to."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Collection, Iterable, Mapping

import dns.name
import dns.rdatatype
from dns.rdtypes.IN.SRV import SRV

from poolmgr.hosts import IPAddress
from poolmgr.model import Family
from poolmgr.pools import Pool, SrvKind
from poolmgr.zone.records import Records, RRsetKey

HOSTS = dns.name.from_text("hosts", None)
"""Below it, at the pool, each address that SRV records lead to has a name of its own."""

LONGEST_POOL = 255 - len("-20010db8000000000000000000000001-hosts")
"""Octets of the longest name of a pool that all of these can be below (RFC 1035 section 2.3.4)."""

_HEX_DIGITS: Mapping[int, Callable[[int], IPAddress]] = {8: ipaddress.IPv4Address, 32: ipaddress.IPv6Address}


def srv_key(pool: dns.name.Name, kind: SrvKind) -> RRsetKey:
    """Return where the SRV records of that kind are (RFC 2782), such as ``_hkp._tcp.<pool>``."""
    return (dns.name.from_text(f"_{kind}._tcp", None).concatenate(pool), dns.rdatatype.SRV)


def companion_keys(pool: Pool) -> frozenset[RRsetKey]:
    """Return the RRsets beside the addresses that poolmgr owns at `pool`, whatever of them it publishes.

    The labels are not among them: which of them there are follows from the SRV records, see `further_keys`.
    """
    srv = () if pool.srv is None else (srv_key(pool.name, kind) for kind in SrvKind)
    txt = () if pool.txt is None else ((pool.name, dns.rdatatype.TXT),)
    return frozenset((*srv, *txt))


def label_key(pool: dns.name.Name, address: IPAddress) -> RRsetKey:
    """Return where the record is that is `address` alone: ``<its octets in hex>.hosts.<pool>``."""
    owner = dns.name.Name((address.packed.hex().encode(), *HOSTS.labels, *pool.labels))
    return (owner, dns.rdatatype.from_text(Family.of(address).rdtype))


def labelled(pool: dns.name.Name, name: dns.name.Name) -> IPAddress | None:
    """Return the address of which `name` is the label at `pool`, None where it is none."""
    digits = name.labels[0]
    kind = _HEX_DIGITS.get(len(digits))
    try:
        address = None if kind is None else kind(int(digits, 16))
    except ValueError:
        return None
    return address if address is not None and label_key(pool, address)[0] == name else None


def further_keys(records: Records, owned: Collection[RRsetKey]) -> frozenset[RRsetKey]:
    """Return the labels that the SRV records in `records`, of those that are `owned`, lead to: they are owned too."""
    return frozenset(
        label_key(pool, address)
        for owner, rdtype in owned
        if rdtype == dns.rdatatype.SRV and (owner, rdtype) in records
        for pool in [dns.name.Name(owner.labels[2:])]
        for target in targets(records[owner, rdtype].rdatas)
        if (address := labelled(pool, target)) is not None
    )


def targets(rdatas: Iterable[object]) -> frozenset[dns.name.Name]:
    """Return the names that SRV records lead to."""
    return frozenset(rdata.target for rdata in rdatas if isinstance(rdata, SRV))
