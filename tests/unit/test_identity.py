from __future__ import annotations

import ipaddress

import dns.name

from poolmgr.crawl.identity import UNLISTED, Found, Place, keyservers
from poolmgr.hosts import Host, IPAddress, host_text, parse_host
from poolmgr.model import Keyserver

ONE, TWO = ipaddress.ip_address("9.0.0.1"), ipaddress.ip_address("9.0.0.2")


def hosts(**depths: int) -> dict[Host, Found]:
    """Return names in .test that lead to ONE, with their depths."""
    return {parse_host(f"{name}.test"): Found(depth, (ONE,)) for name, depth in depths.items()}


def owners(found: dict[Host, Found], *places: tuple[IPAddress, Place]) -> dict[str, list[str]]:
    """Return the canonical names and their addresses."""
    return {
        host_text(each.name): [str(at.address) for at in each.addresses] for each in keyservers(found, dict(places))
    }


def test_of_names_that_lead_to_one_address_the_nearest_to_a_seed_owns_it() -> None:
    assert owners(hosts(a=2, b=1), (ONE, Place(1))) == {"b.test": ["9.0.0.1"]}


def test_of_names_at_one_distance_the_first_in_dns_order_owns_it() -> None:
    assert owners(hosts(b=1, a=1), (ONE, Place(1))) == {"a.test": ["9.0.0.1"]}


def test_a_literal_owns_its_address_only_where_no_name_does() -> None:
    literal: dict[Host, Found] = {ONE: Found(0, (ONE,))}
    assert owners(literal, (ONE, Place(0))) == {"9.0.0.1": ["9.0.0.1"]}
    (keyserver,) = keyservers(literal | hosts(a=3), {ONE: Place(0)})
    assert (host_text(keyserver.name), keyserver.aliases, keyserver.depth) == ("a.test", (ONE,), 0)


def test_the_told_name_owns_the_address_before_a_nearer_one() -> None:
    place = Place(0, told=dns.name.from_text("z.test."))
    assert owners(hosts(a=0, z=5), (ONE, place)) == {"z.test": ["9.0.0.1"]}


def test_the_told_name_does_not_own_an_address_that_it_does_not_lead_to() -> None:
    told = dns.name.from_text("z.test.")
    found: dict[Host, Found] = {**hosts(a=0), told: Found(0, (TWO,))}
    places = (ONE, Place(0, told=told)), (TWO, Place(0))
    assert owners(found, *places) == {"a.test": ["9.0.0.1"], "z.test": ["9.0.0.2"]}


def test_a_name_that_leads_to_addresses_of_several_is_an_alias_of_each() -> None:
    found: dict[Host, Found] = {
        parse_host("a.test"): Found(0, (ONE,)),
        parse_host("b.test"): Found(0, (TWO,)),
        parse_host("robin.test"): Found(1, (ONE, TWO)),
    }
    aliases = [keyserver.aliases for keyserver in keyservers(found, {ONE: Place(0), TWO: Place(0)})]
    assert aliases == [(parse_host("robin.test"),), (parse_host("robin.test"),)]


def test_a_name_without_an_address_is_a_keyserver_with_its_problem() -> None:
    name = parse_host("gone.test")
    assert keyservers({name: Found(2, problem="NXDOMAIN")}, {}) == (Keyserver(name=name, depth=2, problem="NXDOMAIN"),)


def test_a_name_that_nobody_lists_is_left_out() -> None:
    assert keyservers({parse_host("told.test"): Found(UNLISTED, problem="NXDOMAIN")}, {}) == ()


def test_keyservers_come_in_the_order_of_their_names() -> None:
    found: dict[Host, Found] = {
        TWO: Found(0, (TWO,)),
        parse_host("b.test"): Found(0, problem="x"),
        parse_host("a.b.test"): Found(0, problem="x"),
        parse_host("a.test"): Found(0, problem="x"),
    }
    names = [host_text(each.name) for each in keyservers(found, {TWO: Place(0)})]
    assert names == ["a.test", "b.test", "a.b.test", "9.0.0.2"]
