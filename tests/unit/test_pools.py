from __future__ import annotations

import ipaddress

import pytest

from poolmgr.hosts import parse_host
from poolmgr.pools import Overrides
from tests.build import named

KEYSERVER = named("keys.example.org")
ADDRESS = ipaddress.ip_address("192.0.2.1")


def test_overrides_match_a_name_an_alias_an_address_or_a_network_and_say_which() -> None:
    overrides = Overrides(
        names=frozenset({KEYSERVER}),
        networks=(ipaddress.ip_network("192.0.2.1/32"), ipaddress.ip_network("2001:db8::/32")),
    )
    alias = parse_host("alias.example.org")
    assert overrides.match((alias, KEYSERVER), None) == "keys.example.org"
    assert overrides.match((alias,), ADDRESS) == "192.0.2.1"
    assert overrides.match((alias,), ipaddress.ip_address("2001:db8::1")) == "2001:db8::/32"
    assert overrides.match((alias,), ipaddress.ip_address("192.0.2.2")) is None
    assert overrides.match((alias,), None) is None
    assert overrides


@pytest.mark.parametrize(
    "overrides",
    [Overrides(names=frozenset({KEYSERVER})), Overrides(networks=(ipaddress.ip_network("192.0.2.0/24"),))],
)
def test_overrides_are_true_with_a_single_entry(overrides: Overrides) -> None:
    assert overrides


def test_empty_overrides_are_false_and_match_nothing() -> None:
    assert not Overrides()
    assert Overrides().match((KEYSERVER,), ADDRESS) is None
