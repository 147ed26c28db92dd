from __future__ import annotations

import ipaddress
from dataclasses import replace

import pytest

from poolmgr.crawl.agenda import Agenda
from poolmgr.crawl.frontier import Frontier
from poolmgr.crawl.place import MAX_HINTS, Place, Target
from poolmgr.hosts import host_text, parse_host
from poolmgr.model import Ask, Endpoint, Outcome, Peer, Probe, Service, Stats
from tests.build import named
from tests.lab.paper import BOUNDS, POLITENESS, STARTED, SURVEY, Crawled, Paper, crawl_paper, page

POOL = named("pool.keys.test.")
REGION = named("eu.pool.keys.test.")
ADDRESS = ipaddress.ip_address("9.0.0.1")
ONE = {"a.test": ["9.0.0.1"]}


def places(crawled: Crawled, address: str) -> list[tuple[int, str | None]]:
    """Return the ports and paths at which the stats page of `address` was asked for, in order."""
    asked = [target for target in crawled.targets(Ask.STATS) if str(target.endpoint.address) == address]
    return [(target.endpoint.port, target.path) for target in asked]


def stats_of(crawled: Crawled, name: str = "a.test") -> Stats:
    """Return the stats of the only address of `name`."""
    (at,) = next(each for each in crawled.snapshot.keyservers if host_text(each.name) == name).addresses
    assert at.stats is not None
    return at.stats


def probes(crawled: Crawled, name: str = "a.test") -> list[tuple[Ask, str, Outcome, int]]:
    """Return the probes of the only address of `name`: service and host, how they ended, after how many attempts."""
    (at,) = next(each for each in crawled.snapshot.keyservers if host_text(each.name) == name).addresses
    return [(probe.ask, f"{probe.endpoint.service} {probe.host}", probe.outcome, probe.attempts) for probe in at.probes]


def listing(peer: Peer) -> Paper:
    """Return a.test, which lists `peer` at b.test, whose web server has no stats page at the usual place."""
    return Paper({**ONE, "b.test": ["9.0.0.2"]}, {"9.0.0.1": page(peer)})


def test_a_web_server_without_the_page_is_asked_at_the_other_usual_path_and_then_where_a_peer_says() -> None:
    paper = listing(Peer(parse_host("b.test"), stats_path="/other"))
    paper = replace(paper, pages={**paper.pages, "9.0.0.2": page()}, places={"9.0.0.2": (11371, "/other")})
    crawled = crawl_paper(paper, "a.test")
    assert places(crawled, "9.0.0.2") == [(11371, None), (11371, "/pks/stats"), (11371, "/other")]
    assert probes(crawled, "b.test") == [(Ask.STATS, "hkp b.test", Outcome.OK, 1)]


def test_one_that_refuses_is_not_asked_at_other_paths() -> None:
    crawled = crawl_paper(listing(Peer(parse_host("b.test"), stats_path="/other")), "a.test")
    assert places(crawled, "9.0.0.2") == [(11371, None)]


def test_hkp_is_looked_for_next_to_another_recon_port_and_lookups_stay_on_the_pools_port() -> None:
    paper = listing(Peer(parse_host("b.test"), 12000))
    paper = replace(paper, pages={**paper.pages, "9.0.0.2": page()}, places={"9.0.0.2": (12001, None)})
    crawled = crawl_paper(paper, "a.test", hosts=(POOL,))
    assert places(crawled, "9.0.0.2")[-1] == (12001, None)
    lookups = [target.endpoint for target in crawled.targets(Ask.LOOKUP) if str(target.endpoint.address) == "9.0.0.2"]
    assert sorted(endpoint.port for endpoint in lookups) == [80, 11371]


@pytest.mark.parametrize("recon_port", [None, 11370, 65535])
def test_a_recon_port_that_says_nothing_of_hkp_leads_nowhere_else(recon_port: int | None) -> None:
    assert places(crawl_paper(listing(Peer(parse_host("b.test"), recon_port)), "a.test"), "9.0.0.2") == [(11371, None)]


def test_of_failures_the_one_at_the_pools_port_and_usual_path_is_kept() -> None:
    paper = listing(Peer(parse_host("b.test"), 12000, "/other"))
    paper = replace(paper, pages={**paper.pages, "9.0.0.2": page()}, places={"9.0.0.2": (1, None)})
    crawled = crawl_paper(paper, "a.test")
    assert len(places(crawled, "9.0.0.2")) == 6
    (kept,) = crawled.snapshot.keyservers[1].addresses[0].probes
    assert (kept.endpoint.port, kept.outcome) == (11371, Outcome.NOT_KEYSERVER)


def test_peer_lists_send_a_crawl_to_few_other_ports_of_an_address() -> None:
    liars = {f"9.0.1.{number}": page(Peer(parse_host("b.test"), 12000 + number)) for number in range(10)}
    paper = Paper({"b.test": ["9.0.0.2"]}, liars)
    assert len(places(crawl_paper(paper, *liars), "9.0.0.2")) == 1 + MAX_HINTS


def test_a_failed_lookup_is_made_under_the_own_name_too() -> None:
    paper = Paper(ONE, {"9.0.0.1": page(hostname="a.test")}, own_only=frozenset({"9.0.0.1"}))
    assert probes(crawl_paper(paper, "a.test", hosts=(POOL, REGION))) == [
        (Ask.STATS, "hkp a.test", Outcome.OK, 1),
        *(
            (Ask.LOOKUP, f"{service} {host}", outcome, 1)
            for service in ("hkp", "http")
            for host, outcome in (
                ("a.test", Outcome.OK),
                ("eu.pool.keys.test", Outcome.NO_KEY),
                ("pool.keys.test", Outcome.NO_KEY),
            )
        ),
    ]


def test_the_own_name_is_the_canonical_one() -> None:
    names = {"alias.test": ["9.0.0.1"], "keys.test": ["9.0.0.1"]}
    paper = Paper(names, {"9.0.0.1": page(hostname="keys.test")}, own_only=frozenset({"9.0.0.1"}))
    crawled = crawl_paper(paper, "alias.test", hosts=(POOL,))
    assert {host_text(target.host) for target in crawled.targets(Ask.LOOKUP)} == {"pool.keys.test", "keys.test"}


def test_the_own_name_is_not_asked_where_all_is_well_unless_the_survey_says_so() -> None:
    paper = Paper(ONE, {"9.0.0.1": page()})
    assert len(crawl_paper(paper, "a.test", hosts=(POOL,)).targets(Ask.LOOKUP)) == 2
    always = crawl_paper(paper, "a.test", hosts=(POOL,), survey=replace(SURVEY, own_name=True))
    assert [host_text(target.host) for target in always.targets(Ask.LOOKUP)] == ["pool.keys.test"] * 2 + ["a.test"] * 2


def test_an_address_without_a_name_has_no_own_name() -> None:
    paper = Paper({}, {"9.0.0.1": page()}, own_only=frozenset({"9.0.0.1"}))
    crawled = crawl_paper(paper, "9.0.0.1", hosts=(POOL,), survey=replace(SURVEY, own_name=True))
    assert {host_text(target.host) for target in crawled.targets(Ask.LOOKUP)} == {"pool.keys.test"}


def test_a_dead_port_is_not_asked_under_another_name() -> None:
    paper = Paper(ONE, {"9.0.0.1": page()}, flaky={"9.0.0.1": 1})
    crawled = crawl_paper(paper, "a.test", hosts=(POOL,), survey=replace(SURVEY, retries=1))
    assert {host_text(target.host) for target in crawled.targets(Ask.LOOKUP)} == {"pool.keys.test"}


def test_what_failed_in_passing_is_asked_again_after_all_others() -> None:
    names = {"a.test": ["9.0.0.1"], "b.test": ["9.0.0.2"]}
    paper = Paper(names, {"9.0.0.1": page(), "9.0.0.2": page()}, flaky={"9.0.0.1": 1})
    crawled = crawl_paper(paper, "a.test", "b.test", hosts=(POOL,), survey=replace(SURVEY, retries=1))
    asked = [(str(target.endpoint), target.attempt) for target in crawled.work if isinstance(target, Target)]
    assert asked[:4] == [
        ("hkp 9.0.0.1:11371", 1),
        ("hkp 9.0.0.2:11371", 1),
        ("hkp 9.0.0.2:11371", 1),
        ("http 9.0.0.2:80", 1),
    ]
    assert asked[4] == ("hkp 9.0.0.1:11371", 2)
    assert [(outcome, attempts) for _, _, outcome, attempts in probes(crawled)] == [(Outcome.OK, 2)] * 3


@pytest.mark.parametrize(("failures", "outcome"), [(2, Outcome.OK), (3, Outcome.REFUSED)])
def test_it_is_asked_again_as_often_as_the_survey_says(failures: int, outcome: Outcome) -> None:
    paper = Paper(ONE, {"9.0.0.1": page()}, flaky={"9.0.0.1": failures})
    crawled = crawl_paper(paper, "a.test", survey=replace(SURVEY, retries=2))
    assert probes(crawled) == [(Ask.STATS, "hkp a.test", outcome, 3)]


FLEETING = {"refused", "unreachable", "connect-timeout", "first-byte-timeout", "timeout", "reset", "truncated"}


@pytest.mark.parametrize("outcome", Outcome)
def test_only_what_may_be_over_a_moment_later_is_worth_another_attempt(outcome: Outcome) -> None:
    endpoint = Endpoint(Service.HKP, ADDRESS, 11371)
    target = Target(Ask.LOOKUP, endpoint, POOL)
    probe = Probe(ask=Ask.LOOKUP, endpoint=endpoint, host="x", outcome=outcome, started=STARTED)
    agenda = Agenda(replace(SURVEY, retries=1))
    assert (agenda.again(target, probe) is not None) == (outcome in FLEETING)
    assert agenda.again(replace(target, attempt=2), probe) is None


@pytest.mark.parametrize(
    ("status", "is_worth_it"), [(403, False), (404, False), (499, False), (500, True), (503, True)]
)
def test_a_server_that_says_it_is_in_trouble_is_asked_again(status: int, *, is_worth_it: bool) -> None:
    endpoint = Endpoint(Service.HKP, ADDRESS, 11371)
    probe = Probe(
        ask=Ask.LOOKUP, endpoint=endpoint, host="x", outcome=Outcome.HTTP_STATUS, status=status, started=STARTED
    )
    again = Agenda(replace(SURVEY, retries=1)).again(Target(Ask.LOOKUP, endpoint, POOL), probe)
    assert (again is not None) == is_worth_it


def test_a_cluster_is_sampled_for_the_union_of_its_peers_its_largest_count_and_the_spread() -> None:
    cluster = [page("b.test", keys=90), page("c.test", "b.test", keys=100), page("d.test"), page("e.test", keys=80)]
    crawled = crawl_paper(Paper(ONE, {"9.0.0.1": cluster}), "a.test", hosts=(POOL,), survey=replace(SURVEY, samples=3))
    assert places(crawled, "9.0.0.1") == [(11371, None)] * 3
    assert len(crawled.targets(Ask.LOOKUP)) == 2
    assert list(crawled.depths) == ["a.test", "b.test", "c.test", "d.test"]
    stats = stats_of(crawled)
    assert ({host_text(peer.host) for peer in stats.peers}, stats.keys) == ({"b.test", "c.test", "d.test"}, 100)
    assert crawled.snapshot.keyservers[0].addresses[0].spread == 10


def test_the_union_of_peers_is_bounded_as_one_page_is() -> None:
    cluster = [page("b.test", "c.test", rejected=2), page("d.test", "e.test", rejected=1)]
    bounds = replace(BOUNDS, max_peers=3)
    survey = replace(SURVEY, samples=2)
    stats = stats_of(crawl_paper(Paper(ONE, {"9.0.0.1": cluster}), "a.test", bounds=bounds, survey=survey))
    assert (len(stats.peers), stats.rejected_peers) == (3, 3)


def test_a_page_that_is_always_the_same_has_no_spread() -> None:
    crawled = crawl_paper(Paper(ONE, {"9.0.0.1": page(keys=7)}), "a.test", survey=replace(SURVEY, samples=5))
    assert crawled.snapshot.keyservers[0].addresses[0].spread == 0
    assert len(crawled.targets(Ask.STATS)) == 5


def test_an_address_that_two_names_lead_to_is_asked_once_while_the_first_question_is_open() -> None:
    paper = Paper({**ONE, "b.test": ["9.0.0.1"]}, {"9.0.0.1": page()})
    assert places(crawl_paper(paper, "a.test", "b.test"), "9.0.0.1") == [(11371, None)]


def lookup(service: Service, port: int, outcome: Outcome) -> tuple[Target, Probe]:
    """Return a lookup at ADDRESS under the pool's name and how it ended."""
    target = Target(Ask.LOOKUP, Endpoint(service, ADDRESS, port), POOL)
    return target, Probe(ask=target.ask, endpoint=target.endpoint, host="x", outcome=outcome, started=STARTED)


def test_only_an_endpoint_that_was_connected_to_is_asked_under_the_own_name() -> None:
    name = named("a.test.")
    probes = dict([lookup(Service.HKP, 11371, Outcome.NO_KEY), lookup(Service.HTTP, 80, Outcome.REFUSED)])
    place = Place(ADDRESS, name, stats=page(), probes=probes)
    asked = Agenda(replace(SURVEY, hosts=(POOL,))).under_own_name(place, name)
    assert [(target.endpoint.service, target.host) for target in asked] == [(Service.HKP, name)]


def test_another_attempt_under_one_pools_name_does_not_repeat_the_next_ones() -> None:
    paper = Paper(ONE, {"9.0.0.1": page()}, flaky={"9.0.0.1": 1})
    crawled = crawl_paper(paper, "a.test", hosts=(POOL, REGION), survey=replace(SURVEY, retries=1))
    asked = [(host_text(target.host), target.attempt) for target in crawled.targets(Ask.LOOKUP)]
    twice = [(host, attempt) for host in ("eu.pool.keys.test", "pool.keys.test") for attempt in (1, 1, 2, 2)]
    assert sorted(asked) == twice


def test_the_samples_after_a_second_attempt_are_first_attempts() -> None:
    paper = Paper(ONE, {"9.0.0.1": page()}, flaky={"9.0.0.1": 1})
    crawled = crawl_paper(paper, "a.test", survey=replace(SURVEY, retries=1, samples=2))
    assert [target.attempt for target in crawled.targets(Ask.STATS)] == [1, 2, 1]


def test_a_place_that_failed_is_not_tried_again_once_the_page_was_found_elsewhere() -> None:
    frontier = Frontier(
        seeds=(parse_host("9.0.0.2"), ADDRESS),
        survey=replace(SURVEY, services=(), retries=1),
        bounds=BOUNDS,
        politeness=POLITENESS,
        started=STARTED,
    )
    lister, usual = (work for work in frontier.take() if isinstance(work, Target))
    refused = Probe(ask=Ask.STATS, endpoint=usual.endpoint, host="x", outcome=Outcome.REFUSED, started=STARTED)
    good = replace(refused, outcome=Outcome.OK)
    frontier.probed(usual, refused, None)
    frontier.probed(lister, good, page(Peer(ADDRESS, 12000)))
    (elsewhere,) = (work for work in frontier.take() if isinstance(work, Target))
    frontier.probed(elsewhere, good, page())
    assert (elsewhere.endpoint.port, frontier.take(), frontier.is_done) == (12001, [], True)
