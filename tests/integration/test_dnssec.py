"""Updates of a zone that named signs by itself (dnssec-policy): what is published must validate."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
from dns.rdatatype import AAAA, SOA, A, RdataType

from tests.build import ORIGIN, POOL
from tests.lab.dnssec import is_signed, validated
from tests.lab.named import KEY_NAME, Named
from tests.lab.process import wait_until
from tests.lab.updating import FIRST, SECOND, owned, publish, publisher

SIGNED = f"dnssec-policy default; update-policy {{ grant {KEY_NAME} zonesub ANY; }};"


def addresses(named: Named, rdtype: RdataType) -> set[str]:
    """Return the pool's addresses, which validate."""
    return {rdata.to_text() for rdata in validated(named, POOL, rdtype)}


@pytest.mark.parametrize("is_bound", [False, True])
def test_what_is_published_in_a_signed_zone_validates(start_named: Callable[..., Named], is_bound: bool) -> None:
    named = start_named(zone_options=SIGNED)
    wait_until(lambda: is_signed(named, ORIGIN, SOA), "named signs the zone")
    target = publisher(named, named.key_file, soa_prerequisite=is_bound)
    serials = []
    for text, expected in (
        (FIRST, {"192.0.2.1", "192.0.2.2"}),
        (SECOND, {"192.0.2.2", "192.0.2.3"}),
    ):
        serials.append(publish(target, owned(text)))
        for rdtype in (A, AAAA):
            wait_until(partial(is_signed, named, POOL, rdtype), "named signs the pool")
        assert addresses(named, A) == expected
        assert addresses(named, AAAA) == {"2001:db8::1"}
    assert serials[0] < serials[1]
    publish(target, {})
    assert target.read().records == {}
