"""The primary that a zone's SOA names, with a real named both as the one that is asked and as the one that is found."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from ipaddress import IPv4Address

import dns.name
import pytest

from poolmgr.errors import PublishError
from poolmgr.publish.primary import find_primary
from poolmgr.publish.wire import Unreachable
from tests.build import ORIGIN
from tests.lab.named import KEY_NAME, Named
from tests.lab.updating import FIRST, owned, publish, publisher

StartNamed = Callable[..., Named]
SECOND = timedelta(seconds=1)
ZONE = "$TTL 300\n@ SOA {mname} h ( 2026010101 900 600 86400 60 )\n@ NS ns1\nns1 A 127.0.0.1\n{more}\n"
OPTIONS = f"allow-query {{ any; }}; update-policy {{ grant {KEY_NAME} zonesub ANY; }};"


def serving(start_named: StartNamed, mname: str, more: str) -> Named:
    return start_named(zone_text=ZONE.format(mname=mname, more=more), zone_options=OPTIONS)


def test_the_primary_that_the_soa_names_is_updated(start_named: StartNamed) -> None:
    named = serving(start_named, "hidden", "hidden A 127.0.0.1")
    target = publisher(named, named.key_file, server=None, nameservers=((named.address, named.port),))
    assert target.label == "primary named by the zone's SOA"
    assert publish(target, owned(FIRST)) == 2026010102
    assert publisher(named, named.key_file).read().records == owned(FIRST)


def test_the_next_address_is_tried_where_nobody_listens(start_named: StartNamed) -> None:
    # Only named's own addresses have its port: 127.0.0.2 and 127.0.0.3 are nobody's.
    named = serving(start_named, "hidden", "hidden A 127.0.0.2\nhidden A 127.0.0.3\nhidden AAAA ::1")
    target = publisher(named, named.key_file, server=None, nameservers=((named.address, named.port),))
    assert publish(target, owned(FIRST)) == 2026010102


def test_each_address_that_does_not_answer_is_told(start_named: StartNamed) -> None:
    named = serving(start_named, "hidden", "hidden A 127.0.0.2\nhidden A 127.0.0.3")
    target = publisher(named, named.key_file, server=None, nameservers=((named.address, named.port),))
    with pytest.raises(Unreachable, match=r"127\.0\.0\.2 port .* cannot be reached.*127\.0\.0\.3 port .* cannot"):
        target.read()


def test_a_primary_without_an_address_is_told(start_named: StartNamed) -> None:
    named = serving(start_named, "hidden", "hidden TXT nothing")
    with pytest.raises(
        PublishError, match=r"hidden\.example\.org\., which the SOA of example\.org names .* no address"
    ):
        find_primary(ORIGIN, ((named.address, named.port),), SECOND)


def test_a_zone_that_dns_does_not_know_is_told_with_the_remedy(named: Named) -> None:
    other = dns.name.from_text("example.net.")
    sentence = r"cannot find the primary of example\.net by its SOA \(.+\): give publish\[\]\.server"
    with pytest.raises(PublishError, match=sentence):
        find_primary(other, ((named.address, named.port),), SECOND)


def test_a_name_server_that_is_down_is_told() -> None:
    with pytest.raises(PublishError, match=r"cannot find the primary of example\.org by its SOA"):
        find_primary(ORIGIN, ((IPv4Address("127.0.0.2"), 1),), SECOND)
