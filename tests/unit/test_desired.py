from __future__ import annotations

import ipaddress

import dns.rdatatype
import pytest

from poolmgr.errors import ZoneError
from poolmgr.model import Family, Selection
from poolmgr.zone.desired import (
    from_text,
    members_of,
    owned_keys,
    pool_records,
    soa_serial,
    to_text,
    with_serial,
)
from tests.build import ORIGIN, POOL, SKELETON, pool, zone

ADDRESSES = (ipaddress.ip_address("198.51.100.10"), ipaddress.ip_address("198.51.100.9"))


def test_a_family_without_members_has_no_rrset() -> None:
    selection = Selection({(POOL, Family.IPV4): ADDRESSES, (POOL, Family.IPV6): ()}, ())
    records = pool_records(selection, [pool()])
    assert set(records) == {(POOL, dns.rdatatype.A)}
    assert records[POOL, dns.rdatatype.A].ttl == 300


def test_members_come_back_from_records_in_address_order() -> None:
    selection = Selection({(POOL, Family.IPV4): ADDRESSES}, ())
    records = pool_records(selection, [pool()])
    assert members_of(records, [pool()]) == {(POOL, Family.IPV4): tuple(sorted(ADDRESSES))}


def test_both_address_types_of_a_pool_are_owned_whatever_its_families() -> None:
    owned = owned_keys([pool(families=frozenset({Family.IPV4}))])
    assert owned == {(POOL, dns.rdatatype.A), (POOL, dns.rdatatype.AAAA)}


def test_text_is_in_an_order_that_depends_on_the_records_alone() -> None:
    lines = [
        "b A 192.0.2.2",
        "a.b A 192.0.2.3",
        "pool A 198.51.100.10",
        "pool A 198.51.100.9",
        "@ TXT last",
        'b TXT "one; two"',
    ]
    shuffled = to_text(zone("\n".join(reversed(lines)) + "\n"), ORIGIN, "a test")
    assert shuffled == to_text(zone("\n".join(lines) + "\n"), ORIGIN, "a test")
    owners = [line.split("\t")[0] for line in shuffled.splitlines()[3:]]
    assert owners == ["@", "@", "@", "b", "b", "a.b", "ns1", "pool", "pool"]
    assert shuffled.splitlines()[0] == "; a test"
    assert shuffled.index("198.51.100.9") < shuffled.index("198.51.100.10")


def test_text_and_back_is_the_same_zone() -> None:
    records = zone('mail MX 10 mx.example.net.\nodd\\.name TXT "a\\"b" "\\000"\n_sip._tcp SRV 1 2 3 ns1\n')
    assert from_text(to_text(records, ORIGIN, "a test"), ORIGIN, "again") == records


def test_serial_is_read_and_replaced() -> None:
    assert soa_serial(zone(), ORIGIN) == 1
    assert soa_serial(with_serial(zone(), ORIGIN, 77), ORIGIN) == 77
    assert with_serial({}, ORIGIN, 77) == {}
    assert soa_serial({}, ORIGIN) is None


def test_directives_of_a_skeleton_are_understood() -> None:
    records = zone("$ORIGIN sub.example.org.\nhost A 192.0.2.1\n$TTL 60\nother A 192.0.2.2\n")
    found = {str(owner): rrset.ttl for (owner, _), rrset in records.items()}
    assert found["host.sub.example.org."] == 300
    assert found["other.sub.example.org."] == 60


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("www IN A 192.0.2.999\n", r"test\.zone:5:"),
        ("www IN CNAME ns1\nwww IN A 192.0.2.1\n", r"test\.zone:6:.*CNAME"),
        ("www.example.net. A 192.0.2.1\n", r"www\.example\.net\. lies outside the zone example\.org\.: .*final dot"),
        ("$INCLUDE /etc/passwd\n", r"test\.zone:5:"),
        ("www CNAME a\nwww CNAME b\n", r"test\.zone:6:.*a second CNAME record at www\.example\.org\."),
        ("@ SOA a b 1 2 3 4 5\n", r"test\.zone:5:.*a second SOA record"),
        ("www SOA a b 1 2 3 4 5\n", r"test\.zone:5:.*SOA"),
        ("www IN A ( 192.0.2.1\n\n", r"test\.zone:5:"),
        ("www RRSIG A 8 3 300 20300101000000 20200101000000 1 example.org. AAAA\n", "signatures"),
    ],
)
def test_a_bad_zone_file_is_refused_with_its_line(text: str, message: str) -> None:
    with pytest.raises(ZoneError, match=message):
        zone(text)


@pytest.mark.parametrize(("missing", "rdtype"), [("@ IN SOA", "SOA"), ("@ IN NS", "NS")])
def test_a_zone_file_without_apex_records_is_refused(missing: str, rdtype: str) -> None:
    text = "\n".join(line for line in SKELETON.splitlines() if not line.startswith(missing))
    with pytest.raises(ZoneError, match=f"no {rdtype} record at the apex"):
        from_text(text, ORIGIN, "test.zone")
