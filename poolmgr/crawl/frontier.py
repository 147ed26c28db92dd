"""The mesh as a state machine: seeds in, next targets out, results fed back."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import dns.name

from poolmgr.crawl.address import refusal
from poolmgr.crawl.identity import UNLISTED, Found, Place, keyservers
from poolmgr.errors import ParseError
from poolmgr.hosts import Host, IPAddress, IPNetwork, address_order, parse_host
from poolmgr.model import Ask, Endpoint, Outcome, Probe, Service, Snapshot, Stats

_SPECIAL_NAMES = frozenset({b"localhost", b"invalid", b"local", b"onion", b"alt"})
"""Top-level labels that never lead to a public keyserver: RFC 6761, 6762, 7686 and 9476. (`test` does, in a lab.)"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How far a crawl goes, whatever the mesh says.

    `max_depth`: gossip links from a seed. `max_keyservers`: names resolved in one crawl. `max_peers`: peers believed of
    one stats page. `max_addresses`: addresses probed of one name. `allow_networks`: special-purpose networks that may
    be connected to all the same.
    """

    max_depth: int = 8
    max_keyservers: int = 2000
    max_peers: int = 500
    max_addresses: int = 8
    allow_networks: tuple[IPNetwork, ...] = ()


@dataclass(frozen=True, slots=True)
class Resolve:
    """Work: look `name` up and feed the Answer to `Frontier.resolved`."""

    name: dns.name.Name


@dataclass(frozen=True, slots=True)
class Target:
    """Work: ask `endpoint` under the Host header `host` and feed the Probe to `Frontier.probed`."""

    ask: Ask
    endpoint: Endpoint
    host: Host


Work = Resolve | Target


@dataclass(frozen=True, slots=True)
class Answer:
    """What DNS says of a name. `problem` is a sentence where there are no addresses, and None where there are."""

    addresses: tuple[IPAddress, ...] = ()
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a crawl is: `names` known and `resolved`, `probes` done, and work `waiting` or under way."""

    names: int = 0
    resolved: int = 0
    probes: int = 0
    waiting: int = 0


class Frontier:
    """Decides what a crawl does next, and in the end what it saw.

    `take` the work that is due, in any order and as much at a time as one likes, feed each result back to `resolved` or
    `probed`, and go on until `is_done`; `snapshot` then says the same whatever order the results came in. Two things do
    depend on the order: under which of its names the stats page of an address was asked for, and, where
    `Bounds.max_keyservers` is reached, which names were left out.

    An address is asked for its stats page once, however many names lead to it, and one that gives a good page is then
    looked up under each of `hosts` at each of `services`, at each endpoint one after the other. `ports` has the port of
    HKP and of every service.
    """

    def __init__(
        self,
        *,
        seeds: tuple[Host, ...],
        hosts: tuple[dns.name.Name, ...],
        services: tuple[Service, ...],
        ports: Mapping[Service, int],
        bounds: Bounds,
        started: datetime,
    ) -> None:
        self._bounds = bounds
        self._services = services
        self._ports = ports
        self._started = started
        self._pool_hosts = hosts
        self._next_host: dict[Host, dns.name.Name] = dict(itertools.pairwise(hosts))
        self._hosts: dict[Host, Found] = {}
        self._places: dict[IPAddress, Place] = {}
        self._listed: deque[tuple[Host, int]] = deque((seed, 0) for seed in seeds)
        self._due: list[Work] = []
        self._refused_names = False
        self._emitted = self._resolved = self._probed = 0
        self._spread()

    def take(self) -> list[Work]:
        """Return the work that has become due since the last call."""
        due, self._due = self._due, []
        return due

    @property
    def is_done(self) -> bool:
        """Whether every result is in and nothing more is due."""
        return self.progress.waiting == 0

    @property
    def progress(self) -> Progress:
        """How far the crawl is."""
        done = self._resolved + self._probed
        return Progress(len(self._hosts), self._resolved, self._probed, self._emitted - done)

    def resolved(self, name: dns.name.Name, answer: Answer) -> None:
        """Take in what DNS says of `name`."""
        self._resolved += 1
        found = self._hosts[name]
        found.addresses = _fair_share(answer.addresses, self._bounds.max_addresses)
        found.surplus = len(set(answer.addresses)) - len(found.addresses)
        found.problem = answer.problem
        if found.depth < UNLISTED:
            self._follow(name, found)
        for address in found.addresses:
            if address in self._places:
                self._confirm(address, self._places[address])
        self._spread()

    def probed(self, target: Target, probe: Probe, stats: Stats | None) -> None:
        """Take in what `target` answered. `stats` is its stats page, None when it gave no good one or was not asked."""
        self._probed += 1
        address = target.endpoint.address
        place = self._places[address]
        place.probes.append(probe)
        if target.ask is Ask.LOOKUP:
            if target.host in self._next_host:
                self._emit(Target(Ask.LOOKUP, target.endpoint, self._next_host[target.host]))
        elif stats is not None:
            place.stats = stats
            place.told = self._told(stats)
            for service in self._services:
                for host in self._pool_hosts[:1]:
                    self._emit(Target(Ask.LOOKUP, self._endpoint(service, address), host))
            if place.told is not None:
                self._admit(place.told)
            self._believe(address, place)
            self._spread()

    def snapshot(self, finished: datetime) -> Snapshot:
        """Return what the crawl saw, once it `is_done`."""
        return Snapshot(
            started=self._started,
            finished=finished,
            keyservers=keyservers(self._hosts, self._places),
            cut_short=self._cut_short(),
        )

    def _emit(self, work: Work) -> None:
        self._emitted += 1
        self._due.append(work)

    def _endpoint(self, service: Service, address: IPAddress) -> Endpoint:
        return Endpoint(service, address, self._ports[service])

    def _spread(self) -> None:
        """Carry every newly listed name, and every shorter way to a known one, as far as is known."""
        while self._listed:
            host, depth = self._listed.popleft()
            found = self._admit(host)
            if found is not None and depth < found.depth:
                found.depth = depth
                self._follow(host, found)

    def _admit(self, host: Host) -> Found | None:
        """Return what is known of `host`, making it known while there is room, else None."""
        found = self._hosts.get(host)
        if found is not None:
            return found
        if len(self._hosts) >= self._bounds.max_keyservers:
            self._refused_names = True
            return None
        found = self._hosts[host] = Found()
        if isinstance(host, dns.name.Name):
            self._emit(Resolve(host))
        else:
            found.addresses = (host,)
        return found

    def _follow(self, host: Host, found: Found) -> None:
        """Go to the addresses of `host` at its depth, or let those already known be as near as it is."""
        for address in found.addresses:
            place = self._places.get(address)
            if place is None:
                self._places[address] = Place(found.depth)
                self._open(address, host)
            elif found.depth < place.depth:
                place.depth = found.depth
                self._believe(address, place)

    def _open(self, address: IPAddress, host: Host) -> None:
        endpoint = self._endpoint(Service.HKP, address)
        sentence = refusal(address, self._bounds.allow_networks)
        if sentence is None:
            self._emit(Target(Ask.STATS, endpoint, host))
        else:
            refused = Probe(
                ask=Ask.STATS,
                endpoint=endpoint,
                host=str(address),
                outcome=Outcome.NOT_ALLOWED,
                detail=sentence,
                started=self._started,
            )
            self._places[address].probes.append(refused)

    def _believe(self, address: IPAddress, place: Place) -> None:
        """List what the page of `place` says: its peers one link further, and its own name where that leads back."""
        if place.stats is None:
            return
        self._confirm(address, place)
        if place.depth < self._bounds.max_depth:
            self._listed.extend((peer, place.depth + 1) for peer in self._peers(place.stats))

    def _confirm(self, address: IPAddress, place: Place) -> None:
        told = place.told
        if told is not None and told in self._hosts and address in self._hosts[told].addresses:
            self._listed.append((told, place.depth))

    def _peers(self, stats: Stats) -> list[Host]:
        return [peer.host for peer in stats.peers[: self._bounds.max_peers] if self._is_believable(peer.host)]

    def _told(self, stats: Stats) -> dns.name.Name | None:
        """Return the name that a page gives itself, less the port that Hockeypuck may echo after it."""
        try:
            host = parse_host((stats.hostname or "").partition(":")[0])
        except ParseError:
            return None
        return host if isinstance(host, dns.name.Name) and self._is_believable(host) else None

    def _is_believable(self, host: Host) -> bool:
        """Whether a keyserver may call itself or a peer so. A pool's own name leads to many keyservers and is none."""
        if not isinstance(host, dns.name.Name):
            return True
        return len(host) > 2 and host.labels[-2] not in _SPECIAL_NAMES and host not in self._pool_hosts

    def _cut_short(self) -> tuple[str, ...]:
        bounds = self._bounds
        pages = [(place.depth, place.stats) for place in self._places.values() if place.stats is not None]
        sentences: list[str] = []
        if self._refused_names:
            sentences.append(f"crawl.max_keyservers ({bounds.max_keyservers}) was reached: more names are listed")
        if any(depth == bounds.max_depth and self._lists_unknown(stats) for depth, stats in pages):
            sentences.append(f"crawl.max_depth ({bounds.max_depth}) was reached: keyservers further away are listed")
        full = sum(len(stats.peers) >= bounds.max_peers and stats.rejected_peers > 0 for _, stats in pages)
        if full:
            sentences.append(f"crawl.max_peers ({bounds.max_peers}) was reached: {full} stats pages list more")
        wide = sum(found.surplus > 0 for found in self._hosts.values() if found.depth < UNLISTED)
        if wide:
            sentences.append(f"crawl.max_addresses ({bounds.max_addresses}) was reached: {wide} names have more")
        return tuple(sentences)

    def _lists_unknown(self, stats: Stats) -> bool:
        known = self._hosts
        return any(peer not in known or known[peer].depth == UNLISTED for peer in self._peers(stats))


def _fair_share(addresses: tuple[IPAddress, ...], limit: int) -> tuple[IPAddress, ...]:
    """Return at most `limit` of `addresses`, lowest first, the families in turn: neither crowds out the other."""
    ordered = sorted(set(addresses), key=address_order)
    families = ([address for address in ordered if address.version == version] for version in (4, 6))
    pairs = itertools.zip_longest(*families)
    return tuple(address for pair in pairs for address in pair if address is not None)[:limit]
