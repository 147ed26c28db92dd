"""What a crawl knows of a name and of an address."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime

from poolmgr.hosts import Host, HostName, IPAddress
from poolmgr.model import Ask, Endpoint, KeyserverAddress, Peer, Probe, Stats

UNLISTED = 2**31
"""The depth of a name that no chain of believed peer lists leads to from a seed: more links than any crawl follows."""

MAX_HINTS = 3
"""Other ports, and other paths, where the stats page of a keyserver is looked for: peer lists may say anything."""


@dataclass(frozen=True, slots=True)
class Target:
    """Work: ask `endpoint` under the Host header `host` and feed the Probe to `Frontier.probed`.

    `path` is the path and query of a stats page, None for the usual ones. `attempt` counts from 1; whichever it is, the
    target is the same.
    """

    ask: Ask
    endpoint: Endpoint
    host: Host
    path: str | None = None
    attempt: int = field(default=1, compare=False)


@dataclass(slots=True)
class Hints:
    """Where peers say that a stats page is, beside the usual port and paths."""

    ports: tuple[int, ...] = ()
    paths: tuple[str, ...] = ()

    def add(self, ports: tuple[int, ...], paths: tuple[str, ...]) -> bool:
        """Take in further ones while there is room, and return whether any was new."""
        if not ports and not paths:
            return False
        before = self.ports, self.paths
        self.ports = tuple(dict.fromkeys(self.ports + ports))[:MAX_HINTS]
        self.paths = tuple(dict.fromkeys(self.paths + paths))[:MAX_HINTS]
        return (self.ports, self.paths) != before


@dataclass(slots=True)
class Found:
    """A name or literal that the crawl came across, and what it leads to.

    `known` is when it was last listed, None where no earlier crawl knew it. `surplus` counts the addresses of the name
    that were over the bound and left out, and `is_canonical` is the Answer's.
    """

    depth: int = UNLISTED
    addresses: tuple[IPAddress, ...] = ()
    known: datetime | None = None
    surplus: int = 0
    problem: str | None = None
    is_canonical: bool | None = None
    hints: Hints = field(default_factory=Hints)

    @property
    def is_followed(self) -> bool:
        """Whether a seed, a peer list or an earlier crawl leads here, and not only what a keyserver calls itself."""
        return self.depth < UNLISTED or self.known is not None


@dataclass(slots=True)
class Place:
    """An address that the crawl came to, by the name or literal `host` first.

    `refused` stands for the probe of one that may not be connected to. `is_tried` says that a try at its stats page is
    under way. `page` is the target that gave a good one, and `hits` how often that answered; `stats` is what its pages
    say together, and `counts` has the key count of each. `told` is the believable name that the first gives itself, and
    `peers` are the believable ones listed. `probes` has the last probe of each target.
    """

    address: IPAddress
    host: Host
    depth: int = UNLISTED
    refused: Probe | None = None
    hints: Hints = field(default_factory=Hints)
    is_tried: bool = False
    page: Target | None = None
    hits: int = 0
    stats: Stats | None = None
    counts: list[int] = field(default_factory=list)
    told: HostName | None = None
    peers: tuple[Peer, ...] = ()
    probes: dict[Target, Probe] = field(default_factory=dict)

    def sample(self, stats: Stats, max_peers: int) -> None:
        """Take in what one more stats page says."""
        if stats.keys is not None:
            self.counts.append(stats.keys)
        self.stats = stats if self.stats is None else _union(self.stats, stats, max_peers)

    @property
    def measured(self) -> KeyserverAddress:
        """What was measured. Of the tries at the stats page one is kept: the good one, else that at the usual place."""
        if self.refused is not None:
            return KeyserverAddress(self.address, None, (self.refused,))
        tries = [target for target in self.probes if target.ask is Ask.STATS]
        kept = self.page or min(tries, key=self._try_order, default=None)
        probes = [probe for target, probe in self.probes.items() if target.ask is not Ask.STATS or target == kept]
        spread = max(self.counts, default=0) - min(self.counts, default=0)
        return KeyserverAddress(self.address, self.stats, tuple(sorted(probes, key=_probe_order)), spread)

    def _try_order(self, target: Target) -> tuple[bool, int, str]:
        port = target.endpoint.port
        return (port in self.hints.ports, port, target.path or "")


def _union(one: Stats, other: Stats, max_peers: int) -> Stats:
    """Return `one` with the peers of both, at most `max_peers`, and the larger count of both with its time."""
    known = {peer.host for peer in one.peers}
    peers = (*one.peers, *(peer for peer in other.peers if peer.host not in known))
    fuller = max(one, other, key=lambda stats: -1 if stats.keys is None else stats.keys)
    return replace(
        one,
        keys=fuller.keys,
        taken_at=fuller.taken_at,
        peers=peers[:max_peers],
        rejected_peers=max(one.rejected_peers, other.rejected_peers) + len(peers[max_peers:]),
    )


def _probe_order(probe: Probe) -> tuple[bool, str, str]:
    return (probe.ask is not Ask.STATS, probe.endpoint.service, probe.host)
