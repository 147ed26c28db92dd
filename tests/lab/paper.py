"""A mesh on paper: names, addresses and pages in tables, for tests that need no network."""

from __future__ import annotations

import dataclasses
import ipaddress
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from poolmgr.crawl.agenda import Survey
from poolmgr.crawl.frontier import Answer, Bounds, Frontier, Progress, Resolve, Work
from poolmgr.crawl.place import Target
from poolmgr.crawl.politeness import Politeness
from poolmgr.hosts import Host, HostName, host_text, parse_host
from poolmgr.model import Ask, Outcome, Peer, Probe, Service, Snapshot, Stats

STARTED = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
FINISHED = datetime(2026, 11, 23, 12, 1, tzinfo=UTC)
BOUNDS = Bounds()
POLITENESS = Politeness()
PORTS = {Service.HKP: 11371, Service.HTTP: 80}
SURVEY = Survey(hosts=(), services=(Service.HKP, Service.HTTP), ports=PORTS, max_peers=BOUNDS.max_peers)
USUAL = (PORTS[Service.HKP], None)


def page(*peers: str | Peer, hostname: str | None = None, rejected: int = 0, keys: int | None = None) -> Stats:
    """Return a stats page that lists `peers`."""
    listed = tuple(Peer(parse_host(peer)) if isinstance(peer, str) else peer for peer in peers)
    return Stats(software="SKS", hostname=hostname, peers=listed, rejected_peers=rejected, keys=keys)


@dataclass(frozen=True)
class Paper:
    """`names` leads to addresses, `pages` from addresses to stats pages. What is in neither is not there.

    An address with several pages shows one after the other, again and again. `places` has the port and the path of the
    page of an address that has none at the usual ones: a web server answers there. What `flaky` has fails so often
    before it answers, at each question anew. Those `own_only` hold keys only under the name that their page tells.
    """

    names: Mapping[str, Sequence[str]]
    pages: Mapping[str, Stats | Sequence[Stats]]
    places: Mapping[str, tuple[int, str | None]] = field(default_factory=dict)
    flaky: Mapping[str, int] = field(default_factory=dict)
    own_only: frozenset[str] = frozenset()


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
    def depths(self) -> dict[str, int | None]:
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
    hosts: tuple[HostName, ...] = (),
    survey: Survey = SURVEY,
    politeness: Politeness = POLITENESS,
    known: tuple[tuple[Host, datetime], ...] = (),
    pick: Callable[[int], int] = lambda _: 0,
) -> Crawled:
    """Crawl `paper`; `pick` says which of so many waiting pieces of work is done next."""
    frontier = Frontier(
        seeds=tuple(parse_host(seed) for seed in seeds),
        known=known,
        survey=dataclasses.replace(survey, hosts=hosts, max_peers=bounds.max_peers),
        bounds=bounds,
        politeness=politeness,
        started=STARTED,
    )
    answers = _Answers(paper)
    done: list[Work] = []
    waiting = frontier.take()
    while waiting:
        work = waiting.pop(pick(len(waiting)))
        done.append(work)
        if isinstance(work, Resolve):
            frontier.resolved(work.name, answers.resolve(work.name))
        else:
            frontier.probed(work, *answers.ask(work))
        waiting += frontier.take()
    assert frontier.is_done
    return Crawled(frontier.snapshot(FINISHED), frontier.progress, done)


def without_stats_places(snapshot: Snapshot) -> Snapshot:
    """Return `snapshot` less what may depend on the order of results: the name and place where each page was found."""
    return dataclasses.replace(
        snapshot,
        keyservers=tuple(
            dataclasses.replace(
                keyserver,
                addresses=tuple(
                    dataclasses.replace(
                        at,
                        probes=tuple(
                            dataclasses.replace(
                                probe, host="", endpoint=dataclasses.replace(probe.endpoint, port=0), attempts=1
                            )
                            if probe.ask is Ask.STATS
                            else probe
                            for probe in at.probes
                        ),
                    )
                    for at in keyserver.addresses
                ),
            )
            for keyserver in snapshot.keyservers
        ),
    )


class _Answers:
    """What the mesh says, and how often each question was asked."""

    def __init__(self, paper: Paper) -> None:
        self._paper = paper
        self._asked: Counter[tuple[object, ...]] = Counter()

    def resolve(self, name: HostName) -> Answer:
        addresses = tuple(ipaddress.ip_address(address) for address in self._paper.names.get(host_text(name), ()))
        return Answer(addresses) if addresses else Answer(problem="no such name")

    def ask(self, target: Target) -> tuple[Probe, Stats | None]:
        outcome, stats = self._outcome(target, str(target.endpoint.address))
        host = host_text(target.host)
        return Probe(ask=target.ask, endpoint=target.endpoint, host=host, outcome=outcome, started=STARTED), stats

    def _outcome(self, target: Target, address: str) -> tuple[Outcome, Stats | None]:
        paper = self._paper
        host = target.host if target.ask is Ask.LOOKUP else None
        question = (target.endpoint, target.path, host)
        self._asked[question] += 1
        pages = paper.pages.get(address)
        if pages is None or self._asked[question] <= paper.flaky.get(address, 0):
            return Outcome.REFUSED, None
        shown = (pages,) if isinstance(pages, Stats) else pages
        if target.ask is Ask.LOOKUP:
            is_held = address not in paper.own_only or host_text(target.host) == shown[0].hostname
            return Outcome.OK if is_held else Outcome.NO_KEY, None
        if (target.endpoint.port, target.path) != paper.places.get(address, USUAL):
            return Outcome.NOT_KEYSERVER, None
        hits = self._asked[question] - paper.flaky.get(address, 0)
        return Outcome.OK, shown[(hits - 1) % len(shown)]
