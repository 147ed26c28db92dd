"""Who gossips with whom, as both sides tell it."""

from __future__ import annotations

from dataclasses import dataclass

from poolmgr.hosts import Host, host_order
from poolmgr.model import Snapshot


@dataclass(frozen=True, slots=True)
class Links:
    """The links of a mesh, each a pair of canonical names, in order.

    Two keyservers that list each other have a `mutual` link, lesser name first: only over such keys are exchanged. One
    that lists another which does not list it has a `one_way` link to that.
    """

    mutual: tuple[tuple[Host, Host], ...]
    one_way: tuple[tuple[Host, Host], ...]


def links(snapshot: Snapshot) -> Links:
    """Return the links between the keyservers of `snapshot`."""
    listings = {(keyserver.name, peer) for keyserver in snapshot.keyservers for peer in keyserver.peers}
    mutual, one_way = [], []
    for one, other in sorted(listings, key=lambda link: (host_order(link[0]), host_order(link[1]))):
        if (other, one) not in listings:
            one_way.append((one, other))
        elif host_order(one) < host_order(other):
            mutual.append((one, other))
    return Links(tuple(mutual), tuple(one_way))
