from __future__ import annotations

import ipaddress
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from poolmgr.crawl.identity import keyservers
from poolmgr.crawl.place import UNLISTED, Found, Place
from poolmgr.hosts import Host, HostName, IPAddress, host_text, parse_host
from poolmgr.model import Keyserver, Peer
from tests.build import named

STARTED = datetime(2026, 11, 23, 12, tzinfo=UTC)
BEFORE = STARTED - timedelta(days=3)
ONE, TWO = ipaddress.ip_address("9.0.0.1"), ipaddress.ip_address("9.0.0.2")


def hosts(**depths: int) -> dict[Host, Found]:
    """Return names in .test that lead to ONE, with their depths."""
    return {parse_host(f"{name}.test"): Found(depth, (ONE,)) for name, depth in depths.items()}


def at(
    address: IPAddress, depth: int = 0, *, told: HostName | None = None, peers: tuple[str, ...] = ()
) -> tuple[IPAddress, Place]:
    """Return an address and what is known of it."""
    listed = tuple(Peer(parse_host(peer)) for peer in peers)
    return address, Place(address, address, depth, told=told, peers=listed)


def owners(found: dict[Host, Found], *places: tuple[IPAddress, Place]) -> dict[str, list[str]]:
    """Return the canonical names and their addresses."""
    return {
        host_text(each.name): [str(measured.address) for measured in each.addresses]
        for each in keyservers(found, dict(places), STARTED)
    }


def test_of_names_that_lead_to_one_address_the_nearest_to_a_seed_owns_it() -> None:
    assert owners(hosts(a=2, b=1), at(ONE, 1)) == {"b.test": ["9.0.0.1"]}


def test_of_names_at_one_distance_the_first_in_dns_order_owns_it() -> None:
    assert owners(hosts(b=1, a=1), at(ONE, 1)) == {"a.test": ["9.0.0.1"]}


def test_a_literal_owns_its_address_only_where_no_name_does() -> None:
    literal: dict[Host, Found] = {ONE: Found(0, (ONE,))}
    assert owners(literal, at(ONE, 0)) == {"9.0.0.1": ["9.0.0.1"]}
    (keyserver,) = keyservers(literal | hosts(a=3), dict([at(ONE)]), STARTED)
    assert (host_text(keyserver.name), keyserver.aliases, keyserver.depth) == ("a.test", (ONE,), 0)


def test_the_told_name_owns_the_address_before_a_nearer_one() -> None:
    place = at(ONE, told=named("z.test."))
    assert owners(hosts(a=0, z=5), place) == {"z.test": ["9.0.0.1"]}


def test_the_told_name_does_not_own_an_address_that_it_does_not_lead_to() -> None:
    told = named("z.test.")
    found: dict[Host, Found] = {**hosts(a=0), told: Found(0, (TWO,))}
    places = at(ONE, 0, told=told), at(TWO, 0)
    assert owners(found, *places) == {"a.test": ["9.0.0.1"], "z.test": ["9.0.0.2"]}


def test_a_name_that_leads_to_addresses_of_several_is_an_alias_of_each() -> None:
    found: dict[Host, Found] = {
        parse_host("a.test"): Found(0, (ONE,)),
        parse_host("b.test"): Found(0, (TWO,)),
        parse_host("robin.test"): Found(1, (ONE, TWO)),
    }
    aliases = [keyserver.aliases for keyserver in keyservers(found, dict([at(ONE), at(TWO)]), STARTED)]
    assert aliases == [(parse_host("robin.test"),), (parse_host("robin.test"),)]


def test_a_name_without_an_address_is_a_keyserver_with_its_problem() -> None:
    name = parse_host("gone.test")
    (keyserver,) = keyservers({name: Found(2, problem="NXDOMAIN")}, {}, STARTED)
    assert keyserver == Keyserver(name=name, depth=2, listed=STARTED, problem="NXDOMAIN")


def test_a_name_that_nobody_lists_is_left_out() -> None:
    assert keyservers({parse_host("told.test"): Found(UNLISTED, problem="NXDOMAIN")}, {}, STARTED) == ()


def test_keyservers_come_in_the_order_of_their_names() -> None:
    found: dict[Host, Found] = {
        TWO: Found(0, (TWO,)),
        parse_host("b.test"): Found(0, problem="x"),
        parse_host("a.b.test"): Found(0, problem="x"),
        parse_host("a.test"): Found(0, problem="x"),
    }
    names = [host_text(each.name) for each in keyservers(found, dict([at(TWO)]), STARTED)]
    assert names == ["a.test", "b.test", "a.b.test", "9.0.0.2"]


def listing(found: dict[Host, Found], *places: tuple[IPAddress, Place]) -> dict[str, list[str]]:
    """Return the canonical names and the peers of each."""
    return {
        host_text(each.name): [host_text(peer) for peer in each.peers]
        for each in keyservers(found, dict(places), STARTED)
    }


def test_peers_are_told_by_their_canonical_names_and_once() -> None:
    found: dict[Host, Found] = {
        parse_host("a.test"): Found(0, (ONE,)),
        parse_host("b.test"): Found(0, (TWO,)),
        parse_host("z.test"): Found(1, (TWO,)),
        parse_host("gone.test"): Found(1, problem="NXDOMAIN"),
    }
    page = ("gone.test", "z.test", "9.0.0.2", "b.test", "a.test", "9.0.0.1", "elsewhere.test")
    peers = listing(found, at(ONE, peers=page), at(TWO, peers=("a.test",)))
    assert peers == {"a.test": ["b.test", "gone.test"], "b.test": ["a.test"], "gone.test": []}


def test_one_that_only_earlier_crawls_knew_has_no_depth_and_was_listed_then() -> None:
    found: dict[Host, Found] = {
        parse_host("a.test"): Found(0, (ONE,)),
        parse_host("old.test"): Found(known=BEFORE, problem="NXDOMAIN"),
    }
    old = keyservers(found, dict([at(ONE)]), STARTED)[1]
    assert (host_text(old.name), old.depth, old.listed, old.problem) == ("old.test", None, BEFORE, "NXDOMAIN")


def test_keyservers_that_only_list_each_other_were_listed_when_the_mesh_last_did() -> None:
    found: dict[Host, Found] = {
        parse_host("a.test"): Found(known=BEFORE, addresses=(ONE,)),
        parse_host("b.test"): Found(known=BEFORE, addresses=(TWO,)),
    }
    places = dict([at(ONE, UNLISTED, peers=("b.test", "a.test")), at(TWO, UNLISTED, peers=("a.test",))])
    assert [(each.depth, each.listed) for each in keyservers(found, places, STARTED)] == [(None, BEFORE)] * 2


def test_one_beyond_the_depth_of_the_crawl_is_listed_by_the_last_that_is_within() -> None:
    found: dict[Host, Found] = {
        parse_host("a.test"): Found(8, addresses=(ONE,)),
        parse_host("b.test"): Found(known=BEFORE, addresses=(TWO,)),
    }
    a, b = keyservers(found, dict([at(ONE, 8, peers=("b.test",)), at(TWO, UNLISTED)]), STARTED)
    assert (a.depth, a.listed) == (8, STARTED)
    assert (b.depth, b.listed) == (None, STARTED)


def canonical(found: dict[Host, Found], *places: tuple[IPAddress, Place]) -> dict[str, bool | None]:
    """Return what is said of the name of each keyserver: whether it leads just to it."""
    return {host_text(each.name): each.is_canonical for each in keyservers(found, dict(places), STARTED)}


@pytest.mark.parametrize("looked_up", [True, False, None])
def test_a_name_that_leads_just_to_its_keyserver_is_what_the_look_up_says(looked_up: bool | None) -> None:
    found: dict[Host, Found] = {parse_host("a.test"): Found(0, (ONE, TWO), is_canonical=looked_up)}
    assert canonical(found, at(ONE), at(TWO)) == {"a.test": looked_up}


def test_a_name_that_leads_to_the_address_of_another_keyserver_too_is_not_canonical() -> None:
    a = Found(0, (ONE, TWO), is_canonical=True)
    found: dict[Host, Found] = {parse_host("a.test"): a, parse_host("b.test"): Found(1, (TWO,), is_canonical=True)}
    assert canonical(found, at(ONE), at(TWO, told=named("b.test."))) == {"a.test": False, "b.test": True}


def test_a_name_with_more_addresses_than_were_looked_at_is_not_canonical() -> None:
    name = parse_host("a.test")
    whole = Found(0, (ONE,), is_canonical=True)
    assert canonical({name: replace(whole, surplus=1)}, at(ONE)) == {"a.test": False}
