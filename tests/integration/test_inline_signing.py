"""A zone file behind a name server that signs it: the file stays poolmgr's, and what is served can be validated."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import dns.name
import pytest
from dns.rdatatype import AAAA, DNSKEY, SOA, A

from poolmgr.publish.checkers import Checker
from poolmgr.publish.query import ask_serial
from poolmgr.publish.wire import Server
from poolmgr.publish.zonefile import Verify, ZoneFile, ZoneFilePublisher
from poolmgr.zone.serial import is_newer
from tests.build import ORIGIN, POOL, zone
from tests.conftest import Need
from tests.lab.dnssec import is_signed, validated
from tests.lab.knot import Knot
from tests.lab.named import Named
from tests.lab.process import wait_until
from tests.lab.updating import plan

BOTH = "pool 300 A 192.0.2.1\npool 300 A 192.0.2.2\npool 300 AAAA 2001:db8::1\n"
ONE = "pool 300 A 192.0.2.3\n"


@pytest.fixture(params=["named", "knotd"])
def signing(request: pytest.FixtureRequest, need: Need, tmp_path: Path) -> Iterator[Named | Knot]:
    """A name server that has signed its zone."""
    need(request.param)
    if request.param == "named":
        options = f'dnssec-policy default; inline-signing yes; key-directory "{tmp_path}";'
        server: Named | Knot = Named(tmp_path, "example.org.", zone_options=options)
    else:
        server = Knot(tmp_path, "example.org.", zone_options=("dnssec-signing: on",))
    with server:
        wait_until(lambda: is_signed(server, ORIGIN, DNSKEY), "the zone is signed")
        yield server


def serial_of(server: Named | Knot) -> int:
    return ask_serial(ORIGIN, Server(server.address, server.port, timedelta(seconds=5)))


def test_what_is_published_is_served_signed_again_and_again(signing: Named | Knot) -> None:
    config = ZoneFile(
        path=signing.zone_file,
        checks=(Checker.AUTO,),
        reload=signing.reload_command,
        verify=Verify(server=signing.address, port=signing.port),
    )
    publisher = ZoneFilePublisher(config, ORIGIN)
    for number, text in enumerate([BOTH, ONE, BOTH, ONE]):
        published = publisher.read()
        assert not published.is_stale
        assert published.serial is not None
        assert published.served is not None
        assert published.served == serial_of(signing)
        serial = max(published.serial, published.served) + 1
        publisher.publish(plan(published, zone(text), serial))
        served = serial_of(signing)
        assert served == serial or is_newer(served, serial), number
        addresses = {rdata.to_text() for rdata in validated(signing, POOL, A)}
        assert addresses == {rdata.to_text() for rdata in zone(text)[POOL, A].rdatas}
        assert is_signed(signing, POOL, AAAA) is (text == BOTH)
        validated(signing, ORIGIN, SOA)
    validated(signing, dns.name.from_text("ns1.example.org."), A)
