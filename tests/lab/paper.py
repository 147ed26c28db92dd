"""A mesh on paper: names, addresses and pages in tables, for tests that need no network."""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import dns.name

from poolmgr.crawl.frontier import Answer, Bounds, Frontier, Progress, Resolve, Target, Work
from poolmgr.hosts import host_text, parse_host
from poolmgr.model import Ask, Outcome, Peer, Probe, Service, Snapshot, Stats

STARTED = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
FINISHED = datetime(2026, 11, 23, 12, 1, tzinfo=UTC)
BOUNDS = Bounds()
PORTS = {Service.HKP: 11371, Service.HTTP: 80}


def page(*peers: str, hostname: str | None = None, rejected: int = 0) -> Stats:
    """Return a stats page that lists `peers`."""
    listed = tuple(Peer(parse_host(peer)) for peer in peers)
    return Stats(software="SKS", hostname=hostname, peers=listed, rejected_peers=rejected)


@dataclass(frozen=True)
class Paper:
    """`names` leads to addresses, `pages` from addresses to stats pages. What is in neither is not there."""

    names: Mapping[str, Sequence[str]]
    pages: Mapping[str, Stats]


@dataclass
class Crawled:
    """One crawl of a mesh on paper: every piece of work in the order it was done, and what came of it."""

    snapshot: Snapshot
    progress: Progress
    work: list[Work] = field(default_factory=list)

    def targets(self, ask: Ask) -> list[Target]:
        """Return the targets that were asked `ask`."""
        return [work for work in self.work if isinstance(work, Target) and work.ask is ask]

    @property
    def hosts(self) -> dict[str, list[str]]:
        """The canonical names and their addresses."""
        return {host_text(each.name): [str(at.address) for at in each.addresses] for each in self.snapshot.keyservers}

    @property
    def depths(self) -> dict[str, int]:
        """The canonical names and their depths."""
        return {host_text(each.name): each.depth for each in self.snapshot.keyservers}

    @property
    def aliases(self) -> dict[str, list[str]]:
        """The canonical names that have aliases, and those."""
        return {
            host_text(each.name): [host_text(alias) for alias in each.aliases]
            for each in self.snapshot.keyservers
            if each.aliases
        }


def crawl_paper(
    paper: Paper,
    *seeds: str,
    bounds: Bounds = BOUNDS,
    hosts: tuple[dns.name.Name, ...] = (),
    services: tuple[Service, ...] = (Service.HKP, Service.HTTP),
    pick: Callable[[int], int] = lambda _: 0,
) -> Crawled:
    """Crawl `paper`; `pick` says which of so many waiting pieces of work is done next."""
    frontier = Frontier(
        seeds=tuple(parse_host(seed) for seed in seeds),
        hosts=hosts,
        services=services,
        ports=PORTS,
        bounds=bounds,
        started=STARTED,
    )
    done: list[Work] = []
    waiting = frontier.take()
    while waiting:
        work = waiting.pop(pick(len(waiting)))
        done.append(work)
        if isinstance(work, Resolve):
            frontier.resolved(work.name, _answer(paper, work.name))
        else:
            frontier.probed(work, *_probe(paper, work))
        waiting += frontier.take()
    assert frontier.is_done
    return Crawled(frontier.snapshot(FINISHED), frontier.progress, done)


def without_stats_hosts(snapshot: Snapshot) -> Snapshot:
    """Return `snapshot` less what may depend on the order of results: the name each stats page was asked for under."""
    return dataclasses.replace(
        snapshot,
        keyservers=tuple(
            dataclasses.replace(
                keyserver,
                addresses=tuple(
                    dataclasses.replace(
                        at,
                        probes=tuple(
                            dataclasses.replace(probe, host="") if probe.ask is Ask.STATS else probe
                            for probe in at.probes
                        ),
                    )
                    for at in keyserver.addresses
                ),
            )
            for keyserver in snapshot.keyservers
        ),
    )


def _answer(paper: Paper, name: dns.name.Name) -> Answer:
    addresses = tuple(ipaddress.ip_address(address) for address in paper.names.get(host_text(name), ()))
    return Answer(addresses) if addresses else Answer(problem="no such name")


def _probe(paper: Paper, target: Target) -> tuple[Probe, Stats | None]:
    stats = paper.pages.get(str(target.endpoint.address))
    outcome = Outcome.REFUSED if stats is None else Outcome.OK
    probe = Probe(
        ask=target.ask, endpoint=target.endpoint, host=host_text(target.host), outcome=outcome, started=STARTED
    )
    return probe, stats if target.ask is Ask.STATS else None
