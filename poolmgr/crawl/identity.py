"""Which keyserver each address belongs to, once a crawl knows all there is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import dns.name

from poolmgr.hosts import Host, IPAddress, address_order, host_order
from poolmgr.model import Ask, Keyserver, KeyserverAddress, Probe, Stats

UNLISTED = 2**31
"""The depth of a name that no seed and no believed peer list has: more links than any crawl follows."""


@dataclass(slots=True)
class Found:
    """A name or literal that the crawl came across, and what it leads to.

    `surplus` counts the addresses of the name that were over the bound and left out.
    """

    depth: int = UNLISTED
    addresses: tuple[IPAddress, ...] = ()
    surplus: int = 0
    problem: str | None = None


@dataclass(slots=True)
class Place:
    """An address that the crawl came to. `told` is the believable name that its stats page gives itself."""

    depth: int
    stats: Stats | None = None
    told: dns.name.Name | None = None
    probes: list[Probe] = field(default_factory=list)


def keyservers(hosts: Mapping[Host, Found], places: Mapping[IPAddress, Place]) -> tuple[Keyserver, ...]:
    """Return the keyservers behind `hosts` and `places`, in the order of their names.

    Each address belongs to one: to the name that it gives itself where that name leads to it, else to the best name
    that leads to it (fewest links from a seed, then by name), and to the literal only where no name does. A name that
    leads to addresses of others only is an alias of each of those; a name without any address is a keyserver with a
    problem. A name that is only told, and does not lead back to the address that told it, is nobody's.
    """
    listed = {host: found for host, found in hosts.items() if found.depth < UNLISTED}
    leading: dict[IPAddress, list[Host]] = defaultdict(list)
    for host, found in listed.items():
        for address in found.addresses:
            leading[address].append(host)
    owners = {address: _owner(places[address], names, listed) for address, names in leading.items()}
    owned: dict[Host, list[IPAddress]] = defaultdict(list)
    for address, owner in owners.items():
        owned[owner].append(address)
    aliases: dict[Host, set[Host]] = defaultdict(set)
    for host, found in listed.items():
        if host not in owned:
            for address in found.addresses:
                aliases[owners[address]].add(host)
    named = (host for host, found in listed.items() if host in owned or not found.addresses)
    return tuple(
        Keyserver(
            name=host,
            aliases=tuple(sorted(aliases.get(host, ()), key=host_order)),
            depth=min([listed[host].depth, *(places[address].depth for address in owned.get(host, ()))]),
            addresses=_measured(owned.get(host, ()), places),
            problem=listed[host].problem,
        )
        for host in sorted(named, key=host_order)
    )


def _owner(place: Place, leading: list[Host], listed: Mapping[Host, Found]) -> Host:
    if place.told in leading:
        return place.told
    return min(leading, key=lambda host: (not isinstance(host, dns.name.Name), listed[host].depth, host_order(host)))


def _measured(addresses: Iterable[IPAddress], places: Mapping[IPAddress, Place]) -> tuple[KeyserverAddress, ...]:
    return tuple(
        KeyserverAddress(address, places[address].stats, tuple(sorted(places[address].probes, key=_probe_order)))
        for address in sorted(addresses, key=address_order)
    )


def _probe_order(probe: Probe) -> tuple[bool, str, str]:
    return (probe.ask is not Ask.STATS, probe.endpoint.service, probe.host)
