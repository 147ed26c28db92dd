"""The mesh as a state machine: seeds in, next targets out, results fed back."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from poolmgr.crawl.address import Alike, refusal
from poolmgr.crawl.agenda import Agenda, Survey
from poolmgr.crawl.identity import keyservers, owners
from poolmgr.crawl.place import UNLISTED, Found, Place, Target
from poolmgr.crawl.politeness import Lanes, Politeness
from poolmgr.errors import ParseError
from poolmgr.hosts import Host, HostName, IPAddress, IPNetwork, address_order, parse_host
from poolmgr.model import Ask, Outcome, Peer, Probe, Service, Snapshot, Stats

RECON_PORT = 11370
"""The usual port of gossip. One that has another has HKP at the next port, by convention."""

MAX_PORT = 65535

_SPECIAL_NAMES = frozenset({"localhost", "invalid", "local", "onion", "alt"})
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

    name: HostName


Work = Resolve | Target


@dataclass(frozen=True, slots=True)
class Answer:
    """What DNS says of a name. `problem` is a sentence where there are no addresses, and None where there are.

    `is_canonical` says whether these are all of its addresses, and its own rather than those of an alias's target; None
    where that is not known.
    """

    addresses: tuple[IPAddress, ...] = ()
    problem: str | None = None
    is_canonical: bool | None = None


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
    `probed`, and go on until `is_done`; `snapshot` then says the same whatever order the results came in. What does
    depend on the order: under which of its names, and at which of several good places, the stats page of an address was
    found; and which names, places and questions were left out where one of the bounds was reached.

    `known` are keyservers of earlier crawls, each with the time when it was last listed. They are crawled as seeds are,
    but nothing is listed by them alone. They take up half of `Bounds.max_keyservers` at most: who is listed now has the
    other half.

    An address is asked what `survey` says, however many names lead to it. When nothing else waits, what failed in
    passing is asked again, and in the end the lookups under own names, which only then are certain.
    """

    def __init__(
        self,
        *,
        seeds: tuple[Host, ...],
        known: tuple[tuple[Host, datetime], ...] = (),
        survey: Survey,
        bounds: Bounds,
        politeness: Politeness,
        started: datetime,
    ) -> None:
        self._bounds = bounds
        self._politeness = politeness
        self._agenda = Agenda(survey)
        self._started = started
        self._pool_hosts = frozenset(survey.hosts)
        self._alike = Alike()
        self._hosts: dict[Host, Found] = {}
        self._places: dict[IPAddress, Place] = {}
        self._listed: deque[tuple[Peer, int]] = deque((Peer(seed), 0) for seed in seeds)
        self._due: list[Work] = []
        self._lanes: Lanes[Target] = Lanes(politeness)
        self._failed: list[Target] = []
        self._refused_names = False
        self._asked_own_names = False
        self._emitted = self._resolved = self._probed = 0
        self._spread()
        self._remember(known)
        self._settle()

    def take(self) -> list[Work]:
        """Return the work that has become due since the last call."""
        due, self._due = self._due, []
        return [*due, *self._lanes.take()]

    @property
    def is_done(self) -> bool:
        """Whether every result is in and nothing more is due."""
        return self._waiting == 0

    @property
    def progress(self) -> Progress:
        """How far the crawl is."""
        return Progress(len(self._hosts), self._resolved, self._probed, self._waiting)

    def resolved(self, name: HostName, answer: Answer) -> None:
        """Take in what DNS says of `name`."""
        self._resolved += 1
        found = self._hosts[name]
        told = {address.packed: address for address in answer.addresses}
        share = _fair_share(told.values(), self._bounds.max_addresses)
        found.addresses = tuple(address for address in share if not self._alike.is_one_too_many(address))
        found.surplus = len(told) - len(found.addresses)
        found.problem = answer.problem
        found.is_canonical = answer.is_canonical
        if found.is_followed:
            self._follow(name, found)
        for address in found.addresses:
            if address in self._places:
                self._confirm(self._places[address])
        self._spread()
        self._settle()

    def probed(self, target: Target, probe: Probe, stats: Stats | None) -> None:
        """Take in what `target` answered. `stats` is its stats page, None when it gave no good one or was not asked."""
        self._probed += 1
        place = self._places[target.endpoint.address]
        self._lanes.done(place.host)
        before = place.stats
        counted = probe if target.attempt == 1 else replace(probe, attempts=target.attempt)
        self._ask(place, self._agenda.answered(place, target, counted, stats))
        again = self._agenda.again(target, probe)
        if again is not None:
            self._failed.append(again)
        if place.stats is not None and place.stats is not before:
            self._read(place, place.stats, is_first=before is None)
        self._spread()
        self._settle()

    def snapshot(self, finished: datetime) -> Snapshot:
        """Return what the crawl saw, once it `is_done`."""
        return Snapshot(
            started=self._started,
            finished=finished,
            keyservers=keyservers(self._hosts, self._places, self._started),
            cut_short=self._cut_short(),
        )

    @property
    def _waiting(self) -> int:
        return self._emitted - self._resolved - self._probed

    def _ask(self, place: Place, targets: Iterable[Target]) -> None:
        for target in targets:
            if self._lanes.put(place.host, target):
                self._emitted += 1

    def _remember(self, known: tuple[tuple[Host, datetime], ...]) -> None:
        """Make the keyservers of earlier crawls known."""
        room = self._bounds.max_keyservers // 2
        self._refused_names = self._refused_names or len(known) > room
        for host, listed in known[:room]:
            found = self._admit(host) if self._is_believable(host) else None
            if found is not None:
                found.known = listed
                self._follow(host, found)

    def _settle(self) -> None:
        """Where nothing is under way: ask again what failed in passing, and in the end under own names."""
        if not self._waiting:
            failed, self._failed = self._failed, []
            for target in failed:
                place = self._places[target.endpoint.address]
                if target.ask is Ask.LOOKUP or place.stats is None:
                    self._ask(place, [target])
        if not self._waiting and not self._asked_own_names:
            self._asked_own_names = True
            for address, name in owners(self._hosts, self._places).items():
                self._ask(self._places[address], self._agenda.under_own_name(self._places[address], name))

    def _spread(self) -> None:
        """Carry every newly listed name, and every shorter way to a known one, as far as is known."""
        while self._listed:
            peer, depth = self._listed.popleft()
            found = self._admit(peer.host)
            if found is not None and (found.hints.add(*_hints(peer)) or depth < found.depth):
                found.depth = min(depth, found.depth)
                self._follow(peer.host, found)

    def _admit(self, host: Host) -> Found | None:
        """Return what is known of `host`, making it known while there is room, else None."""
        found = self._hosts.get(host)
        if found is not None:
            return found
        if len(self._hosts) >= self._bounds.max_keyservers:
            self._refused_names = True
            return None
        if not isinstance(host, HostName) and self._alike.is_one_too_many(host):
            return None
        found = self._hosts[host] = Found()
        if isinstance(host, HostName):
            self._emitted += 1
            self._due.append(Resolve(host))
        else:
            found.addresses = (host,)
        return found

    def _follow(self, host: Host, found: Found) -> None:
        """Go to the addresses of `host` at its depth, or let those already known be as near as it is."""
        for address in found.addresses:
            place = self._places.get(address)
            if place is None:
                place = self._places[address] = Place(address, host, refused=self._refused(address))
            place.hints.add(found.hints.ports, found.hints.paths)
            self._ask(place, self._agenda.next_try(place))
            if found.depth < place.depth:
                place.depth = found.depth
                self._list(place)

    def _refused(self, address: IPAddress) -> Probe | None:
        """Return the probe that is never made of an address that may not be connected to, None where it may be."""
        sentence = refusal(address, self._bounds.allow_networks)
        if sentence is None:
            return None
        return Probe(
            ask=Ask.STATS,
            endpoint=self._agenda.endpoint(address, Service.HKP),
            host=str(address),
            outcome=Outcome.NOT_ALLOWED,
            detail=sentence,
            started=self._started,
        )

    def _read(self, place: Place, stats: Stats, *, is_first: bool) -> None:
        """Take in what the page of `place` says now."""
        if is_first:
            place.told = self._told(stats)
            if place.told is not None:
                self._admit(place.told)
        within = stats.peers[: self._bounds.max_peers]
        place.peers = tuple(peer for peer in within if self._is_believable(peer.host))
        self._list(place)

    def _list(self, place: Place) -> None:
        """List what the page of `place` says: its peers one link further, and its own name where that leads back."""
        self._confirm(place)
        if place.depth < self._bounds.max_depth:
            self._listed.extend((peer, place.depth + 1) for peer in place.peers)

    def _confirm(self, place: Place) -> None:
        told = place.told
        if told is not None and told in self._hosts and place.address in self._hosts[told].addresses:
            self._listed.append((Peer(told), place.depth))

    def _told(self, stats: Stats) -> HostName | None:
        """Return the name that a page gives itself, less the port that Hockeypuck may echo after it."""
        try:
            host = parse_host((stats.hostname or "").partition(":")[0])
        except ParseError:
            return None
        return host if isinstance(host, HostName) and self._is_believable(host) else None

    def _is_believable(self, host: Host) -> bool:
        """Whether a keyserver may call itself or a peer so. A pool's own name leads to many keyservers and is none."""
        if not isinstance(host, HostName):
            return True
        _, dot, top = host.rpartition(".")
        return bool(dot) and top not in _SPECIAL_NAMES and host not in self._pool_hosts

    def _cut_short(self) -> tuple[str, ...]:
        bounds = self._bounds
        places = self._places.values()
        sentences: list[str] = []
        if self._refused_names:
            sentences.append(f"crawl.max_keyservers ({bounds.max_keyservers}) was reached: more names are listed")
        # A depth of 0 asks for the seeds alone: that others are listed is no surprise then.
        if bounds.max_depth and any(place.depth == bounds.max_depth and self._lists_unknown(place) for place in places):
            sentences.append(f"crawl.max_depth ({bounds.max_depth}) was reached: keyservers further away are listed")
        pages = [place.stats for place in places if place.stats is not None]
        full = sum(len(stats.peers) >= bounds.max_peers and stats.rejected_peers > 0 for stats in pages)
        if full:
            sentences.append(f"crawl.max_peers ({bounds.max_peers}) was reached: {full} stats pages list more")
        wide = sum(found.surplus > 0 for found in self._hosts.values() if found.is_followed)
        if wide:
            sentences.append(f"crawl.max_addresses ({bounds.max_addresses}) was reached: {wide} names have more")
        busy = self._lanes.full
        if busy:
            limit = self._politeness.per_crawl
            sentences.append(
                f"crawl.politeness.per_crawl ({limit}) was reached: {busy} keyservers were not asked everything"
            )
        return tuple(sentences)

    def _lists_unknown(self, place: Place) -> bool:
        known = self._hosts
        return any(peer.host not in known or known[peer.host].depth == UNLISTED for peer in place.peers)


def _hints(peer: Peer) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Return the HKP ports and the paths that a listing has for a stats page, beside the usual ones."""
    recon = peer.recon_port or RECON_PORT
    ports = () if recon in {RECON_PORT, MAX_PORT} else (recon + 1,)
    return ports, () if peer.stats_path is None else (peer.stats_path,)


def _fair_share(addresses: Iterable[IPAddress], limit: int) -> tuple[IPAddress, ...]:
    """Return at most `limit` of `addresses`, lowest first, the families in turn: neither crowds out the other."""
    ordered = sorted(addresses, key=address_order)
    families = ([address for address in ordered if address.version == version] for version in (4, 6))
    pairs = itertools.zip_longest(*families)
    return tuple(address for pair in pairs for address in pair if address is not None)[:limit]
