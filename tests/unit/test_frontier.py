from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import replace

import pytest

from poolmgr.crawl.address import MAX_ALIKE
from poolmgr.crawl.frontier import Bounds, Resolve
from poolmgr.hosts import host_text
from poolmgr.model import Ask, Endpoint, Outcome, Service
from tests.build import named
from tests.lab.paper import STARTED, SURVEY, Paper, crawl_paper, page

POOL = named("pool.keys.test.")
REGION = named("eu.pool.keys.test.")


def chain(length: int) -> Paper:
    """Return k0, which lists k1, which lists k2, and so on."""
    return Paper(
        {f"k{number}.test": [f"9.0.0.{number}"] for number in range(length)},
        {f"9.0.0.{number}": page(f"k{number + 1}.test") for number in range(length)},
    )


def test_peers_are_found_from_the_seed_on_with_their_distance() -> None:
    crawled = crawl_paper(chain(4), "k0.test", bounds=Bounds(max_depth=4))
    assert crawled.depths == {"k0.test": 0, "k1.test": 1, "k2.test": 2, "k3.test": 3, "k4.test": 4}
    assert crawled.snapshot.keyservers[4].problem == "no such name"
    assert crawled.snapshot.cut_short == ()


def test_no_seeds_is_done_at_once() -> None:
    assert crawl_paper(chain(2)).snapshot.keyservers == ()


def test_peers_beyond_max_depth_are_not_followed_and_the_snapshot_says_so() -> None:
    crawled = crawl_paper(chain(4), "k0.test", bounds=Bounds(max_depth=2))
    assert list(crawled.depths) == ["k0.test", "k1.test", "k2.test"]
    assert crawled.snapshot.cut_short == ("crawl.max_depth (2) was reached: keyservers further away are listed",)


def test_a_peer_list_at_max_depth_that_names_nothing_new_cuts_nothing_short() -> None:
    paper = Paper(
        {"a.test": ["9.0.0.1"], "b.test": ["9.0.0.2"]},
        {"9.0.0.1": page("b.test"), "9.0.0.2": page("a.test", "localhost", "9.0.0.1")},
    )
    assert crawl_paper(paper, "a.test", "9.0.0.1", bounds=Bounds(max_depth=1)).snapshot.cut_short == ()


def test_a_shorter_way_found_late_brings_what_lies_behind_within_max_depth() -> None:
    paper = Paper(
        {f"{name}.test": [f"9.0.0.{number}"] for number, name in enumerate("abcds")},
        {
            "9.0.0.0": page("b.test"),
            "9.0.0.1": page("c.test"),
            "9.0.0.2": page("d.test"),
            "9.0.0.4": page("c.test"),
        },
    )
    last_come_first_served = crawl_paper(
        paper, "s.test", "a.test", bounds=Bounds(max_depth=2), pick=lambda waiting: waiting - 1
    )
    assert last_come_first_served.depths == {"a.test": 0, "b.test": 1, "c.test": 1, "d.test": 2, "s.test": 0}
    assert last_come_first_served.snapshot.cut_short == ()


def test_an_address_is_asked_once_however_many_names_lead_to_it() -> None:
    names = {f"k{number}.test": ["9.0.0.1"] for number in range(5)}
    crawled = crawl_paper(Paper(names, {"9.0.0.1": page(*names, "9.0.0.1")}), "k0.test")
    assert len(crawled.targets(Ask.STATS)) == 1
    assert [work for work in crawled.work if isinstance(work, Resolve)] == [Resolve(named(name)) for name in names]
    assert crawled.aliases == {"k0.test": [*list(names)[1:], "9.0.0.1"]}


def test_the_stats_page_is_asked_for_under_the_name_that_led_there() -> None:
    crawled = crawl_paper(chain(1), "k0.test", "9.0.0.7")
    hosts = {str(target.endpoint): host_text(target.host) for target in crawled.targets(Ask.STATS)}
    assert hosts == {"hkp 9.0.0.0:11371": "k0.test", "hkp 9.0.0.7:11371": "9.0.0.7"}


def test_good_stats_are_followed_by_a_lookup_on_each_service_under_each_pool_name() -> None:
    crawled = crawl_paper(chain(1), "k0.test", hosts=(POOL, REGION), bounds=Bounds(max_depth=0))
    asked = {(str(target.endpoint), host_text(target.host)) for target in crawled.targets(Ask.LOOKUP)}
    assert asked == {
        (endpoint, host)
        for endpoint in ("hkp 9.0.0.0:11371", "http 9.0.0.0:80")
        for host in ("pool.keys.test", "eu.pool.keys.test")
    }
    (keyserver,) = crawled.snapshot.keyservers
    assert [probe.ask for probe in keyserver.addresses[0].probes] == [Ask.STATS, *[Ask.LOOKUP] * 4]


def test_an_endpoint_never_has_two_exchanges_at_a_time() -> None:
    crawled = crawl_paper(chain(1), "k0.test", hosts=(POOL, REGION), survey=replace(SURVEY, services=(Service.HKP,)))
    asked = [host_text(target.host) for target in crawled.targets(Ask.LOOKUP)]
    assert asked == ["pool.keys.test", "eu.pool.keys.test"]


def test_an_address_without_good_stats_is_not_looked_up() -> None:
    crawled = crawl_paper(Paper({"a.test": ["9.0.0.1"]}, {}), "a.test", hosts=(POOL,))
    assert crawled.targets(Ask.LOOKUP) == []
    (at,) = crawled.snapshot.keyservers[0].addresses
    assert (at.stats, [probe.outcome for probe in at.probes]) == (None, [Outcome.REFUSED])


def test_a_special_purpose_address_is_never_asked_and_says_why() -> None:
    crawled = crawl_paper(Paper({"a.test": ["10.0.0.1", "9.0.0.1"]}, {"9.0.0.1": page("127.0.0.1")}), "a.test")
    assert [str(target.endpoint.address) for target in crawled.targets(Ask.STATS)] == ["9.0.0.1"]
    loopback, keyserver = sorted(crawled.snapshot.keyservers, key=lambda each: len(each.addresses))
    refused = [loopback.addresses[0], keyserver.addresses[1]]
    for at, address in zip(refused, ("127.0.0.1", "10.0.0.1"), strict=True):
        (probe,) = at.probes
        assert (str(at.address), at.stats, probe.outcome) == (address, None, Outcome.NOT_ALLOWED)
        assert probe.detail.startswith(f"{address} is in ")
        assert probe.endpoint == Endpoint(Service.HKP, ipaddress.ip_address(address), 11371)
        assert (probe.started, probe.total) == (STARTED, None)


def test_an_allowed_special_purpose_address_is_asked() -> None:
    bounds = Bounds(allow_networks=(ipaddress.ip_network("10.0.0.0/8"),))
    crawled = crawl_paper(Paper({"a.test": ["10.0.0.1"]}, {}), "a.test", bounds=bounds)
    assert len(crawled.targets(Ask.STATS)) == 1


@pytest.mark.parametrize(
    "peer", ["localhost", "a.localhost", "printer.local", "keys.invalid", "abc.onion", "a.alt", "keyserver"]
)
def test_names_that_lead_nowhere_public_are_not_believed(peer: str) -> None:
    crawled = crawl_paper(Paper({"a.test": ["9.0.0.1"]}, {"9.0.0.1": page(peer, hostname=peer)}), "a.test")
    assert crawled.hosts == {"a.test": ["9.0.0.1"]}
    assert crawled.progress.names == 1


def test_a_pools_own_name_is_no_keyserver_to_peers() -> None:
    paper = Paper(
        {"pool.keys.test": ["9.0.0.1"], "a.test": ["9.0.0.1"]},
        {"9.0.0.1": page("pool.keys.test", hostname="pool.keys.test")},
    )
    assert crawl_paper(paper, "a.test", hosts=(POOL,)).hosts == {"a.test": ["9.0.0.1"]}


def test_the_self_told_name_owns_the_address_when_it_leads_back_to_it() -> None:
    paper = Paper(
        {"alias.test": ["9.0.0.1"], "keys.test": ["9.0.0.1", "9.0.0.2"]},
        {"9.0.0.1": page(hostname="keys.test:11371"), "9.0.0.2": page(hostname="keys.test")},
    )
    crawled = crawl_paper(paper, "alias.test")
    assert crawled.hosts == {"keys.test": ["9.0.0.1", "9.0.0.2"]}
    assert crawled.aliases == {"keys.test": ["alias.test"]}
    assert crawled.depths == {"keys.test": 0}


@pytest.mark.parametrize("pick", [lambda _: 0, lambda waiting: waiting - 1])
def test_a_self_told_name_is_believed_of_the_address_that_it_leads_to_whoever_told_it_first(
    pick: Callable[[int], int],
) -> None:
    told = page(hostname="keys.test")
    paper = Paper({"keys.test": ["9.0.0.2"]}, {"9.0.0.1": told, "9.0.0.2": told})
    crawled = crawl_paper(paper, "9.0.0.1", "9.0.0.2", pick=pick)
    assert crawled.hosts == {"keys.test": ["9.0.0.2"], "9.0.0.1": ["9.0.0.1"]}


def test_a_self_told_name_that_leads_elsewhere_is_nobodys() -> None:
    paper = Paper({"a.test": ["9.0.0.1"], "victim.test": ["9.0.0.9"]}, {"9.0.0.1": page(hostname="victim.test")})
    crawled = crawl_paper(paper, "a.test")
    assert crawled.hosts == {"a.test": ["9.0.0.1"]}
    assert len(crawled.targets(Ask.STATS)) == 1


def test_a_self_told_name_that_does_not_resolve_is_nobodys() -> None:
    paper = Paper({"a.test": ["9.0.0.1"]}, {"9.0.0.1": page(hostname="gone.test")})
    assert crawl_paper(paper, "a.test").hosts == {"a.test": ["9.0.0.1"]}


@pytest.mark.parametrize("hostname", [None, "", "not a name", "9.0.0.1", "a..b", "x" * 255])
def test_a_self_told_name_that_is_none_changes_nothing(hostname: str | None) -> None:
    paper = Paper({"a.test": ["9.0.0.1"]}, {"9.0.0.1": page(hostname=hostname)})
    assert crawl_paper(paper, "a.test").hosts == {"a.test": ["9.0.0.1"]}


def test_max_keyservers_bounds_the_names_and_the_snapshot_says_so() -> None:
    names = {f"k{number}.test": [f"9.0.0.{number}"] for number in range(10)}
    paper = Paper(names, {"9.0.0.0": page(*names)})
    assert crawl_paper(paper, "k0.test", bounds=Bounds(max_keyservers=10)).snapshot.cut_short == ()
    crawled = crawl_paper(paper, "k0.test", bounds=Bounds(max_keyservers=9))
    assert len(crawled.hosts) == 9
    assert crawled.snapshot.cut_short == ("crawl.max_keyservers (9) was reached: more names are listed",)


def test_max_peers_bounds_what_is_believed_of_one_page_and_the_snapshot_says_so() -> None:
    paper = Paper({}, {"9.0.0.1": page("a.test", "b.test", rejected=1)})
    assert crawl_paper(paper, "9.0.0.1", bounds=Bounds(max_peers=3)).snapshot.cut_short == ()
    cut = crawl_paper(paper, "9.0.0.1", bounds=Bounds(max_peers=2)).snapshot.cut_short
    assert cut == ("crawl.max_peers (2) was reached: 1 stats pages list more",)
    assert "b.test" not in crawl_paper(paper, "9.0.0.1", bounds=Bounds(max_peers=1)).hosts


def test_max_addresses_keeps_both_families_and_the_snapshot_says_so() -> None:
    addresses = [*(f"9.0.0.{number}" for number in range(6)), "2a00::1", "2a00::2"]
    paper = Paper({"wide.test": addresses}, {})
    assert crawl_paper(paper, "wide.test", bounds=Bounds(max_addresses=8)).snapshot.cut_short == ()
    crawled = crawl_paper(paper, "wide.test", bounds=Bounds(max_addresses=4))
    assert crawled.hosts == {"wide.test": ["9.0.0.0", "9.0.0.1", "2a00::1", "2a00::2"]}
    assert crawled.snapshot.cut_short == ("crawl.max_addresses (4) was reached: 1 names have more",)


def test_progress_counts_names_probes_and_what_waits() -> None:
    progress = crawl_paper(chain(3), "k0.test", hosts=(POOL,)).progress
    assert (progress.names, progress.resolved, progress.probes, progress.waiting) == (4, 4, 9, 0)


def test_a_chain_of_ten_thousand_pages_is_followed_without_recursion() -> None:
    length = 10_000
    paper = Paper(
        {},
        {
            str(ipaddress.ip_address("9.0.0.0") + number): page(str(ipaddress.ip_address("9.0.0.0") + number + 1))
            for number in range(length)
        },
    )
    bounds = Bounds(max_depth=length, max_keyservers=length + 1)
    crawled = crawl_paper(paper, "9.0.0.0", bounds=bounds, survey=replace(SURVEY, services=()))
    assert crawled.snapshot.keyservers[-1].depth == length


ALIKE = [str(ipaddress.IPv6Address("2a00::1") + number * (2**61 - 1)) for number in range(3 * MAX_ALIKE)]
"""Addresses that hash alike: a dict of them looks at all for each."""


def test_of_literals_that_hash_alike_only_a_few_are_crawled() -> None:
    crawled = crawl_paper(Paper({"a.test": ["9.0.0.1"]}, {"9.0.0.1": page(*ALIKE, "9.0.0.2")}), "a.test")
    asked = {str(target.endpoint.address) for target in crawled.targets(Ask.STATS)}
    assert len(asked) == 2 + MAX_ALIKE
    assert {"9.0.0.1", "9.0.0.2"} < asked


def test_of_addresses_in_dns_that_hash_alike_only_a_few_are_crawled() -> None:
    names = {f"k{number}.test": [address] for number, address in enumerate(ALIKE)}
    crawled = crawl_paper(Paper(names, {}), *names)
    assert len(crawled.targets(Ask.STATS)) == MAX_ALIKE
