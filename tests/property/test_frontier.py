from __future__ import annotations

import ipaddress
from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from poolmgr.crawl.agenda import Survey
from poolmgr.crawl.frontier import Bounds
from poolmgr.crawl.politeness import Politeness
from poolmgr.hosts import Host, parse_host
from poolmgr.model import Ask, Peer, Service, Stats
from tests.build import named
from tests.lab.paper import STARTED, SURVEY, Paper, crawl_paper, page, without_stats_places

NAMES = [f"k{number}.mesh.test" for number in range(8)]
ADDRESSES = [*(f"9.0.0.{number}" for number in range(6)), "2a00::1", "2a00::2", "10.0.0.1"]
PEERS = [*NAMES[:5], *ADDRESSES, "localhost", "pool.test"]
POOL = named("pool.test.")


PORTS = [None, 11370, 12000, 13000]
PATHS = [None, "/other"]
BEFORE = STARTED - timedelta(days=2)


def few(values: list[str], most: int) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(values), max_size=most, unique=True)


@st.composite
def listed(draw: st.DrawFn) -> list[Peer]:
    """Draw a peer list, which now and then says that a stats page is elsewhere."""
    hosts = map(parse_host, draw(few(PEERS, 4)))
    return [Peer(host, draw(st.sampled_from(PORTS)), draw(st.sampled_from(PATHS))) for host in hosts]


@st.composite
def meshes(draw: st.DrawFn) -> Paper:
    """Draw a mesh in which names lead to few addresses, and a page often tells a name that leads back to it.

    Some keyservers are clusters, some have their page elsewhere, fail at first, or answer under their own name only.
    """
    names = {name: draw(few(ADDRESSES, 2)) for name in NAMES}
    told = {address: [name for name in NAMES if address in names[name]] or ["localhost"] for address in ADDRESSES}
    dead = draw(few(ADDRESSES, 2))
    pages = {
        address: [
            page(
                *draw(listed()),
                hostname=draw(st.sampled_from(told[address]) | st.sampled_from(NAMES)),
                keys=draw(st.none() | st.integers(0, 9)),
            )
            for _ in range(draw(st.integers(1, 3)))
        ]
        for address in ADDRESSES
        if address not in dead
    }
    return Paper(
        names,
        pages,
        places={
            address: (
                draw(st.sampled_from([11371, 12001, 13001])),
                draw(st.sampled_from([None, "/pks/stats", "/other"])),
            )
            for address in draw(few(ADDRESSES, 2))
        },
        flaky={address: draw(st.integers(1, 3)) for address in draw(few(ADDRESSES, 3))},
        own_only=frozenset(draw(few(ADDRESSES, 3))),
    )


def calmed(paper: Paper) -> Paper:
    """Return `paper` with every page at its usual place, and at the first attempt."""
    pages = {
        address: [replace(one, peers=tuple(Peer(peer.host) for peer in one.peers)) for one in shown]
        for address, shown in paper.pages.items()
        if not isinstance(shown, Stats)
    }
    return Paper(paper.names, pages)


papers = meshes()
calm_papers = papers.map(calmed)
surveys = st.builds(
    partial(replace, SURVEY), samples=st.integers(1, 3), retries=st.integers(0, 2), own_name=st.booleans()
)
politeness = st.builds(Politeness, in_flight=st.integers(1, 3), per_crawl=st.just(10_000))
known = few(NAMES, 3).map(lambda names: tuple((parse_host(name), BEFORE) for name in names))
seeds = st.lists(st.sampled_from([*NAMES, *ADDRESSES]), min_size=1, max_size=3)
orders = st.builds(Random, st.integers(0, 2**32))


@settings(max_examples=80)
@given(papers, seeds, known, orders, st.integers(1, 3), st.integers(1, 4), surveys, politeness)
def test_the_snapshot_is_the_same_whatever_order_results_come_in(
    paper: Paper,
    seeds: list[str],
    known: tuple[tuple[Host, datetime], ...],
    order: Random,
    max_depth: int,
    max_addresses: int,
    survey: Survey,
    politeness: Politeness,
) -> None:
    crawl = partial(
        crawl_paper,
        paper,
        bounds=Bounds(max_depth=max_depth, max_addresses=max_addresses),
        hosts=(POOL,),
        survey=survey,
        politeness=politeness,
        known=known,
    )
    first = crawl(*seeds).snapshot
    for _ in range(4):
        other = crawl(*reversed(seeds), pick=order.randrange).snapshot
        assert without_stats_places(first) == without_stats_places(other)


@given(calm_papers, seeds, orders)
def test_each_address_belongs_to_one_keyserver_and_is_asked_once(paper: Paper, seeds: list[str], order: Random) -> None:
    crawled = crawl_paper(paper, *seeds, hosts=(POOL,), pick=order.randrange)
    owned = Counter(at.address for each in crawled.snapshot.keyservers for at in each.addresses)
    asked = Counter(target.endpoint.address for target in crawled.targets(Ask.STATS))
    assert set(owned.values()) <= {1}
    assert asked == owned - Counter([ipaddress.ip_address("10.0.0.1")])


@given(calm_papers, seeds, orders)
def test_every_address_with_good_stats_is_looked_up_at_every_service_once(
    paper: Paper, seeds: list[str], order: Random
) -> None:
    crawled = crawl_paper(paper, *seeds, hosts=(POOL,), pick=order.randrange)
    good = {at.address for each in crawled.snapshot.keyservers for at in each.addresses if at.stats is not None}
    asked = Counter((target.endpoint.address, target.endpoint.service) for target in crawled.targets(Ask.LOOKUP))
    assert asked == Counter((address, service) for address in good for service in (Service.HKP, Service.HTTP))


@given(papers, seeds, orders, st.integers(1, 12))
def test_max_keyservers_holds_and_is_told_exactly_when_it_was_reached(
    paper: Paper, seeds: list[str], order: Random, limit: int
) -> None:
    names = crawl_paper(paper, *seeds).progress.names
    cut = crawl_paper(paper, *seeds, bounds=Bounds(max_keyservers=limit), pick=order.randrange)
    assert cut.progress.names == min(names, limit)
    assert any("max_keyservers" in sentence for sentence in cut.snapshot.cut_short) == (names > limit)
