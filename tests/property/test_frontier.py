from __future__ import annotations

import ipaddress
from collections import Counter
from random import Random

import dns.name
from hypothesis import given, settings
from hypothesis import strategies as st

from poolmgr.crawl.frontier import Bounds
from poolmgr.model import Ask, Service
from tests.lab.paper import Paper, crawl_paper, page, without_stats_hosts

NAMES = [f"k{number}.mesh.test" for number in range(8)]
ADDRESSES = [*(f"9.0.0.{number}" for number in range(6)), "2a00::1", "2a00::2", "10.0.0.1"]
PEERS = [*NAMES[:5], *ADDRESSES, "localhost", "pool.test"]
POOL = dns.name.from_text("pool.test.")


def few(values: list[str], most: int) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(values), max_size=most, unique=True)


@st.composite
def meshes(draw: st.DrawFn) -> Paper:
    """Draw a mesh in which names lead to few addresses, and a page often tells a name that leads back to it."""
    names = {name: draw(few(ADDRESSES, 2)) for name in NAMES}
    told = {address: [name for name in NAMES if address in names[name]] or ["localhost"] for address in ADDRESSES}
    dead = draw(few(ADDRESSES, 2))
    pages = {
        address: page(*draw(few(PEERS, 4)), hostname=draw(st.sampled_from(told[address]) | st.sampled_from(NAMES)))
        for address in ADDRESSES
        if address not in dead
    }
    return Paper(names, pages)


papers = meshes()
seeds = st.lists(st.sampled_from([*NAMES, *ADDRESSES]), min_size=1, max_size=3)
orders = st.builds(Random, st.integers(0, 2**32))


@settings(max_examples=150)
@given(papers, seeds, orders, st.integers(1, 3), st.integers(1, 4))
def test_the_snapshot_is_the_same_whatever_order_results_come_in(
    paper: Paper, seeds: list[str], order: Random, max_depth: int, max_addresses: int
) -> None:
    bounds = Bounds(max_depth=max_depth, max_addresses=max_addresses)
    first = crawl_paper(paper, *seeds, bounds=bounds, hosts=(POOL,)).snapshot
    for _ in range(8):
        other = crawl_paper(paper, *reversed(seeds), bounds=bounds, hosts=(POOL,), pick=order.randrange).snapshot
        assert without_stats_hosts(first) == without_stats_hosts(other)


@given(papers, seeds, orders)
def test_each_address_belongs_to_one_keyserver_and_is_asked_once(paper: Paper, seeds: list[str], order: Random) -> None:
    crawled = crawl_paper(paper, *seeds, hosts=(POOL,), pick=order.randrange)
    owned = Counter(at.address for each in crawled.snapshot.keyservers for at in each.addresses)
    asked = Counter(target.endpoint.address for target in crawled.targets(Ask.STATS))
    assert set(owned.values()) <= {1}
    assert asked == owned - Counter([ipaddress.ip_address("10.0.0.1")])


@given(papers, seeds, orders)
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
