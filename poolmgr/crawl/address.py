"""Whether an address may be connected to and published.

Keyservers name addresses in their peer lists and in DNS. One that points into the operator's own network, or at nobody,
is neither connected to nor published.
"""

from __future__ import annotations

import ipaddress
from typing import NamedTuple

from poolmgr.hosts import IPAddress, IPNetwork


class _Special(NamedTuple):
    text: str
    network: IPNetwork
    name: str
    rfc: int


def _special(network: str, name: str, rfc: int) -> _Special:
    return _Special(network, ipaddress.ip_network(network), name, rfc)


# The IANA IPv4 and IPv6 Special-Purpose Address Registries (RFC 6890), with multicast and the blocks that no registry
# allocates. Written out, because what `ipaddress.is_global` says of these differs between patch releases of Python, and
# because an anycast service that counts as global there is no keyserver either. The first match names the entry.
_IPV4 = (
    _special("0.0.0.0/8", "this network", 791),
    _special("10.0.0.0/8", "private use", 1918),
    _special("100.64.0.0/10", "shared address space", 6598),
    _special("127.0.0.0/8", "loopback", 1122),
    _special("169.254.0.0/16", "link local", 3927),
    _special("172.16.0.0/12", "private use", 1918),
    _special("192.0.0.0/24", "IETF protocol assignments", 6890),
    _special("192.0.2.0/24", "documentation", 5737),
    _special("192.31.196.0/24", "AS112", 7535),
    _special("192.52.193.0/24", "automatic multicast tunneling", 7450),
    _special("192.88.99.0/24", "6to4 relay anycast", 7526),
    _special("192.168.0.0/16", "private use", 1918),
    _special("192.175.48.0/24", "AS112", 7534),
    _special("198.18.0.0/15", "benchmarking", 2544),
    _special("198.51.100.0/24", "documentation", 5737),
    _special("203.0.113.0/24", "documentation", 5737),
    _special("224.0.0.0/4", "multicast", 5771),
    _special("255.255.255.255/32", "limited broadcast", 919),
    _special("240.0.0.0/4", "reserved", 1112),
)
_IPV6 = (
    _special("::1/128", "loopback", 4291),
    _special("::/128", "unspecified", 4291),
    _special("::ffff:0:0/96", "IPv4-mapped", 4291),
    _special("64:ff9b::/96", "IPv4-IPv6 translation", 6052),
    _special("64:ff9b:1::/48", "IPv4-IPv6 translation", 8215),
    _special("100::/64", "discard only", 6666),
    _special("100:0:0:1::/64", "dummy prefix", 9780),
    _special("2001::/32", "Teredo", 4380),
    _special("2001:2::/48", "benchmarking", 5180),
    _special("2001:10::/28", "ORCHID", 4843),
    _special("2001:20::/28", "ORCHIDv2", 7343),
    _special("2001::/23", "IETF protocol assignments", 2928),
    _special("2001:db8::/32", "documentation", 3849),
    _special("2002::/16", "6to4", 3056),
    _special("2620:4f:8000::/48", "AS112", 7534),
    _special("3fff::/20", "documentation", 9637),
    _special("5f00::/16", "segment routing", 9602),
    _special("fc00::/7", "unique local", 4193),
    _special("fe80::/10", "link local", 4291),
    _special("fec0::/10", "site local", 3879),
    _special("ff00::/8", "multicast", 4291),
    _special("::/3", "not allocated", 4291),
    _special("4000::/2", "not allocated", 4291),
    _special("8000::/1", "not allocated", 4291),
)


MAX_ALIKE = 8
"""Addresses of one hash that a crawl deals with. That two are alike by chance is one in 10^12."""


class Alike:
    """Keeps a crawl's dicts of addresses quick.

    ipaddress hashes an IPv6 address by its number modulo 2**61 - 1. In a /48 there are thousands that hash alike, and a
    dict of those looks at all of them for each.
    """

    def __init__(self) -> None:
        self._known: dict[int, set[bytes]] = {}

    def is_one_too_many(self, address: IPAddress) -> bool:
        """Take note of `address`, and return whether it is alike to MAX_ALIKE others that came before it."""
        known = self._known.setdefault(hash(address), set())
        if len(known) < MAX_ALIKE:
            known.add(address.packed)
        return address.packed not in known


def refusal(address: IPAddress, allow: tuple[IPNetwork, ...] = ()) -> str | None:
    """Return why `address` must be neither connected to nor published, or None where it may be.

    An address in one of `allow` may be, whatever it is for. IPv6 addresses that carry an IPv4 address (mapped,
    translated, 6to4, Teredo) are refused as such: nobody publishes a keyserver under one.
    """
    if any(address in network for network in allow):
        return None
    for text, network, name, rfc in _IPV4 if address.version == 4 else _IPV6:
        if address in network:
            return (
                f"{address} is in {text} ({name}, RFC {rfc}): special-purpose addresses are neither connected to "
                f"nor published unless crawl.allow_networks lists them"
            )
    return None
