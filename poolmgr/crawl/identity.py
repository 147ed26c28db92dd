"""Which keyserver each address belongs to, and who lists whom, once a crawl knows all there is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime

from poolmgr.crawl.place import UNLISTED, Found, Place
from poolmgr.hosts import Host, HostName, IPAddress, address_order, host_order
from poolmgr.model import Keyserver


def owners(hosts: Mapping[Host, Found], places: Mapping[IPAddress, Place]) -> dict[IPAddress, Host]:
    """Return the canonical name of the keyserver that each address belongs to.

    It is the name that the address gives itself where that name leads to it, else the best name that leads to it
    (fewest links from a seed, then by name), and the literal only where no name does.
    """
    leading: dict[IPAddress, list[Host]] = defaultdict(list)
    for host, found in hosts.items():
        if found.is_followed:
            for address in found.addresses:
                leading[address].append(host)
    return {address: _owner(places[address], names, hosts) for address, names in leading.items()}


def keyservers(
    hosts: Mapping[Host, Found], places: Mapping[IPAddress, Place], started: datetime
) -> tuple[Keyserver, ...]:
    """Return the keyservers that a crawl found which `started` then, in the order of their names.

    A name that leads to addresses of others only is an alias of each of those; a name without any address is a
    keyserver with a problem. A name that is only told, and does not lead back to the address that told it, is nobody's.
    """
    followed = {host: found for host, found in hosts.items() if found.is_followed}
    owner = owners(hosts, places)
    owned: dict[Host, list[Place]] = defaultdict(list)
    for address in sorted(owner, key=address_order):
        owned[owner[address]].append(places[address])
    # A name without an address of its own stands for the owners of those that it leads to; without any, for itself.
    meant = {
        host: {owner[address] for address in found.addresses}
        for host, found in followed.items()
        if found.addresses and host not in owned
    }
    ordered = sorted(followed, key=host_order)
    aliases: dict[Host, list[Host]] = defaultdict(list)
    for host in ordered:
        for name in meant.get(host, ()):
            aliases[name].append(host)
    names = [host for host in ordered if host not in meant]
    order = {name: number for number, name in enumerate(names)}
    peers = {name: _peers(name, owned.get(name, ()), meant, order) for name in names}
    depths = {name: min([followed[name].depth, *(place.depth for place in owned.get(name, ()))]) for name in names}
    # What nobody lists but keyservers that are themselves remembered is not listed: a ring of them would never end.
    listed = {peer for name, each in peers.items() if depths[name] < UNLISTED for peer in each}
    return tuple(
        Keyserver(
            name=name,
            aliases=tuple(aliases.get(name, ())),
            depth=None if depths[name] == UNLISTED else depths[name],
            listed=started
            if depths[name] < UNLISTED or name in listed
            else _last_listed((name, *aliases.get(name, ())), followed, started),
            addresses=tuple(place.measured for place in owned.get(name, ())),
            peers=peers[name],
            problem=followed[name].problem,
            is_canonical=_is_canonical(followed[name], owned.get(name, ())),
        )
        for name in names
    )


def _owner(place: Place, leading: list[Host], hosts: Mapping[Host, Found]) -> Host:
    if place.told is not None and place.told in leading:
        return place.told
    return min(leading, key=lambda host: (not isinstance(host, HostName), hosts[host].depth, host_order(host)))


def _peers(
    keyserver: Host, places: Iterable[Place], meant: Mapping[Host, set[Host]], order: Mapping[Host, int]
) -> tuple[Host, ...]:
    """Return the keyservers that the pages of `keyserver` list, itself apart, in that `order`.

    A name in `meant` is an alias of the keyservers there.
    """
    hosts = {peer.host for place in places for peer in place.peers}
    listed = hosts & order.keys()
    for alias in hosts & meant.keys():
        listed |= meant[alias]
    return tuple(sorted(listed - {keyserver}, key=order.__getitem__))


def _is_canonical(found: Found, own: Iterable[Place]) -> bool | None:
    """Return whether the name that was `found` leads just to what its keyserver has for its `own`."""
    is_apart = found.surplus > 0 or {place.address for place in own} != set(found.addresses)
    return False if is_apart else found.is_canonical


def _last_listed(hosts: Iterable[Host], followed: Mapping[Host, Found], started: datetime) -> datetime:
    return max((known for host in hosts if (known := followed[host].known) is not None), default=started)
