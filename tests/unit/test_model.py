from __future__ import annotations

import ipaddress

import dns.name
import pytest

from poolmgr.hosts import parse_host
from poolmgr.model import Endpoint, Family, Overrides, Reason, ReasonCode, Service, State, Verdict
from tests.build import named

POOL = dns.name.from_text("pool.example.org")
KEYSERVER = named("keys.example.org")
ADDRESS = ipaddress.ip_address("192.0.2.1")
REASON = Reason(ReasonCode.BEHIND, "5", "at least 10", "its key count 5 is below 10")


def test_a_family_is_known_by_its_address_and_has_its_record_type() -> None:
    assert (Family.of(ADDRESS), Family.IPV4.rdtype) == (Family.IPV4, "A")
    assert (Family.of(ipaddress.ip_address("::1")), Family.IPV6.rdtype) == (Family.IPV6, "AAAA")


def test_an_endpoint_is_written_with_brackets_where_needed() -> None:
    assert str(Endpoint(Service.HKP, ADDRESS, 11371)) == "hkp 192.0.2.1:11371"
    assert str(Endpoint(Service.HKPS, ipaddress.ip_address("2001:db8::1"), 443)) == "hkps [2001:db8::1]:443"


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


def test_an_address_is_out_with_a_reason_only() -> None:
    with pytest.raises(ValueError, match="without a reason"):
        Verdict(pool=POOL, keyserver=KEYSERVER, address=ADDRESS, state=State.OUT)
    assert Verdict(pool=POOL, keyserver=KEYSERVER, address=None, state=State.OUT, reasons=(REASON,)).reasons == (
        REASON,
    )


def test_a_member_has_an_address_and_no_reason() -> None:
    with pytest.raises(ValueError, match="cannot be a member"):
        Verdict(pool=POOL, keyserver=KEYSERVER, address=ADDRESS, state=State.MEMBER, reasons=(REASON,))
    with pytest.raises(ValueError, match="cannot be a member"):
        Verdict(pool=POOL, keyserver=KEYSERVER, address=None, state=State.MEMBER)
    assert Verdict(pool=POOL, keyserver=KEYSERVER, address=ADDRESS, state=State.MEMBER).reasons == ()


def test_a_reason_is_written_as_its_sentence() -> None:
    assert str(REASON) == "its key count 5 is below 10"
