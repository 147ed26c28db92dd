from __future__ import annotations

import ipaddress

import dns.name
import pytest

from poolmgr.model import Endpoint, Family, Reason, ReasonCode, Service, State, Verdict
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
