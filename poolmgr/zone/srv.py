"""The SRV records of a pool (RFC 2782), and the labels that they lead to.

They follow from the addresses that are published, so that no target is without address. What is published stays as
long as it is not far off: a weight changes when it is two classes away, a name when it leads elsewhere.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype
from dns.rdtypes.IN.SRV import SRV

from poolmgr.hosts import IPAddress, address_order
from poolmgr.model import Family, Service
from poolmgr.pools import Pool, SrvKind
from poolmgr.zone.naming import label_key, labelled, srv_key, targets
from poolmgr.zone.offers import PORTS, Offer
from poolmgr.zone.records import Records, RRset

WEIGHTS = (1024, 512, 256, 128, 64, 32)
"""A class each, by doublings of the time that an answer takes; bounded, so that each gets some of the clients."""

Siblings = Mapping[dns.name.Name, frozenset[IPAddress]]
"""The addresses that a crawl found of each keyserver, by its own name."""


def srv_records(
    pool: Pool,
    addresses: Collection[IPAddress],
    held: Collection[Family],
    offers: Mapping[IPAddress, Offer],
    siblings: Siblings,
    published: Records,
) -> Records:
    """Return the SRV records and labels of `pool`, of which `addresses` are published after the limits.

    Those of a family that is `held` stay as they are in `published`: the crawl is not believed, or must not count.
    """
    ordered = tuple(sorted(addresses, key=address_order))
    ttl = int(pool.ttl.total_seconds())
    records = {}
    for kind in sorted(pool.srv or ()):
        key = srv_key(pool.name, kind)
        before = published[key].rdatas if key in published else frozenset()
        known = {rdata.target: rdata for rdata in sorted(before) if isinstance(rdata, SRV)}
        rdatas = _Kind(pool, kind, ordered, frozenset(held), offers, known).rdatas(siblings)
        if rdatas:
            records[key] = RRset(*key, ttl, rdatas)
    return {**records, **_labels(pool, records, ttl)}


def _labels(pool: Pool, records: Records, ttl: int) -> Records:
    found = {labelled(pool.name, target) for rrset in records.values() for target in targets(rrset.rdatas)}
    labels = {}
    for address in found - {None}:
        assert address is not None
        owner, rdtype = label_key(pool.name, address)
        rdata = dns.rdata.from_text(dns.rdataclass.IN, rdtype, str(address))
        labels[owner, rdtype] = RRset(owner, rdtype, ttl, frozenset({rdata}))
    return labels


class _Kind:
    """The SRV records of one kind: `known` are the published ones by target."""

    def __init__(
        self,
        pool: Pool,
        kind: SrvKind,
        addresses: tuple[IPAddress, ...],
        held: frozenset[Family],
        offers: Mapping[IPAddress, Offer],
        known: Mapping[dns.name.Name, SRV],
    ) -> None:
        self._pool = pool
        self._services = sorted(kind.services, key=lambda service: service not in pool.services)
        self._addresses = addresses
        self._held = held
        self._offers = offers
        self._known = known

    def rdatas(self, siblings: Siblings) -> frozenset[dns.rdata.Rdata]:
        """Return the records: those that a held family keeps, and one for each other address or own name."""
        chosen = dict(self._kept(siblings))
        covered = {address for target in chosen for address in siblings.get(target, ())}
        for address in self._addresses:
            if Family.of(address) in self._held or address in covered:
                continue
            service = self._service(address)
            if service is None:
                continue
            offer = self._offers[address]
            port = self._port(address, service)
            if offer.name is not None and self._is_under_its_name(offer, port):
                target, those = offer.name, sorted(offer.siblings, key=address_order)
            else:
                target, those = label_key(self._pool.name, address)[0], [address]
            if target not in chosen:
                chosen[target] = self._rdata(target, port, service, [self._offers[one] for one in those])
        return frozenset(chosen.values())

    def _kept(self, siblings: Siblings) -> Mapping[dns.name.Name, SRV]:
        """Return the published records that lead to addresses of a held family, or that it may be that they do."""
        left = {address for address in self._addresses if Family.of(address) in self._held}
        kept, unmet, reached = {}, {}, set[IPAddress]()
        for target, rdata in self._known.items() if left else ():
            address = labelled(self._pool.name, target)
            those = siblings.get(target) if address is None else frozenset({address})
            if those is None:
                unmet[target] = rdata
            elif not those.isdisjoint(left):
                kept[target] = rdata
                reached |= those
        # An own name that the crawl did not meet may be that of a held address to which no other record leads.
        return kept if left <= reached else {**kept, **unmet}

    def _service(self, address: IPAddress) -> Service | None:
        """Return the service that the record for `address` leads to, None where it has none to offer."""
        offer = self._offers[address]
        published = self._published_ports(address)
        for service in self._services:
            stays = service in offer.lately and self._port(address, service) in published
            if service in self._pool.services or service in offer.answers or stays:
                return service
        return None

    def _port(self, address: IPAddress, service: Service) -> int:
        """Return where `service` is: a crawl that did not ask for it leaves it where it is published."""
        asked = self._offers[address].ports.get(service)
        return asked if asked is not None else next(iter(self._published_ports(address)), PORTS[service])

    def _published_ports(self, address: IPAddress) -> tuple[int, ...]:
        """Return the ports of the published records that lead to `address`: that of its label, that of its own name."""
        names = (label_key(self._pool.name, address)[0], self._offers[address].name)
        return tuple(self._known[name].port for name in names if name is not None and name in self._known)

    def _is_under_its_name(self, offer: Offer, port: int) -> bool:
        """Return whether the own name leads only to published addresses, each with that service at `port`."""
        if not offer.is_certain and offer.name not in self._known:
            return False
        for one in offer.siblings:
            if one not in self._addresses or Family.of(one) in self._held:
                return False
            service = self._service(one)
            if service is None or self._port(one, service) != port:
                return False
        return True

    def _rdata(self, target: dns.name.Name, port: int, service: Service, offers: list[Offer]) -> SRV:
        """Return the record of the worst of `offers`, which are all behind `target`."""
        handicaps = [offer.handicap[service] for offer in offers if service in offer.handicap]
        known = self._known.get(target)
        if handicaps:
            weight = WEIGHTS[_class(max(handicaps), None if known is None else known.weight)]
        else:
            weight = WEIGHTS[-1] if known is None else known.weight
        priority = max(offer.priority for offer in offers)
        rdata = dns.rdata.from_text(dns.rdataclass.IN, dns.rdatatype.SRV, f"{priority} {weight} {port} {target}")
        assert isinstance(rdata, SRV)
        return rdata


def _class(handicap: float, published: int | None) -> int:
    """Return the class of that many doublings; where the `published` weight is of one beside it, that one."""
    now = min(max(round(handicap), 0), len(WEIGHTS) - 1)
    if published in WEIGHTS and abs(WEIGHTS.index(published) - now) <= 1:
        return WEIGHTS.index(published)
    return now
