from __future__ import annotations

import ipaddress

import pytest

from poolmgr.crawl.address import MAX_ALIKE, Alike, refusal


@pytest.mark.parametrize(
    ("address", "entry"),
    [
        ("0.0.0.0", "0.0.0.0/8 (this network, RFC 791)"),
        ("10.0.0.1", "10.0.0.0/8 (private use, RFC 1918)"),
        ("100.64.0.1", "100.64.0.0/10 (shared address space, RFC 6598)"),
        ("127.0.0.1", "127.0.0.0/8 (loopback, RFC 1122)"),
        ("169.254.169.254", "169.254.0.0/16 (link local, RFC 3927)"),
        ("172.31.255.255", "172.16.0.0/12 (private use, RFC 1918)"),
        ("192.0.0.9", "192.0.0.0/24 (IETF protocol assignments, RFC 6890)"),
        ("192.0.2.1", "192.0.2.0/24 (documentation, RFC 5737)"),
        ("192.31.196.1", "192.31.196.0/24 (AS112, RFC 7535)"),
        ("192.52.193.1", "192.52.193.0/24 (automatic multicast tunneling, RFC 7450)"),
        ("192.88.99.1", "192.88.99.0/24 (6to4 relay anycast, RFC 7526)"),
        ("192.168.1.1", "192.168.0.0/16 (private use, RFC 1918)"),
        ("192.175.48.1", "192.175.48.0/24 (AS112, RFC 7534)"),
        ("198.19.255.255", "198.18.0.0/15 (benchmarking, RFC 2544)"),
        ("198.51.100.1", "198.51.100.0/24 (documentation, RFC 5737)"),
        ("203.0.113.1", "203.0.113.0/24 (documentation, RFC 5737)"),
        ("224.0.0.1", "224.0.0.0/4 (multicast, RFC 5771)"),
        ("240.0.0.1", "240.0.0.0/4 (reserved, RFC 1112)"),
        ("255.255.255.255", "255.255.255.255/32 (limited broadcast, RFC 919)"),
        ("::", "::/128 (unspecified, RFC 4291)"),
        ("::1", "::1/128 (loopback, RFC 4291)"),
        ("::ffff:9.9.9.9", "::ffff:0:0/96 (IPv4-mapped, RFC 4291)"),
        ("::10.0.0.1", "::/3 (not allocated, RFC 4291)"),
        ("64:ff9b::a00:1", "64:ff9b::/96 (IPv4-IPv6 translation, RFC 6052)"),
        ("64:ff9b:1::1", "64:ff9b:1::/48 (IPv4-IPv6 translation, RFC 8215)"),
        ("100::1", "100::/64 (discard only, RFC 6666)"),
        ("100:0:0:1::1", "100:0:0:1::/64 (dummy prefix, RFC 9780)"),
        ("2001::1", "2001::/32 (Teredo, RFC 4380)"),
        ("2001:2::1", "2001:2::/48 (benchmarking, RFC 5180)"),
        ("2001:10::1", "2001:10::/28 (ORCHID, RFC 4843)"),
        ("2001:20::1", "2001:20::/28 (ORCHIDv2, RFC 7343)"),
        ("2001:4:112::1", "2001::/23 (IETF protocol assignments, RFC 2928)"),
        ("2001:db8::1", "2001:db8::/32 (documentation, RFC 3849)"),
        ("2002:a00:1::", "2002::/16 (6to4, RFC 3056)"),
        ("2620:4f:8000::1", "2620:4f:8000::/48 (AS112, RFC 7534)"),
        ("3fff:fff::1", "3fff::/20 (documentation, RFC 9637)"),
        ("5f00::1", "5f00::/16 (segment routing, RFC 9602)"),
        ("fd00::1", "fc00::/7 (unique local, RFC 4193)"),
        ("fe80::1", "fe80::/10 (link local, RFC 4291)"),
        ("fec0::1", "fec0::/10 (site local, RFC 3879)"),
        ("ff02::1", "ff00::/8 (multicast, RFC 4291)"),
        ("4000::1", "4000::/2 (not allocated, RFC 4291)"),
        ("8000::1", "8000::/1 (not allocated, RFC 4291)"),
    ],
)
def test_a_special_purpose_address_is_refused_with_its_registry_entry(address: str, entry: str) -> None:
    sentence = refusal(ipaddress.ip_address(address))
    assert sentence is not None
    assert sentence.startswith(f"{ipaddress.ip_address(address)} is in {entry}: ")
    assert "crawl.allow_networks" in sentence


@pytest.mark.parametrize(
    "address",
    [
        "1.0.0.0",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "192.0.1.0",
        "198.17.255.255",
        "198.20.0.0",
        "223.255.255.255",
        "2000::",
        "2001:200::",
        "2001:db7:ffff::1",
        "2001:db9::",
        "2003::1",
        "2a00:1450::1",
        "3ffe:ffff::1",
        "3fff:1000::",
    ],
)
def test_a_public_address_beside_a_special_purpose_block_may_be_connected_to(address: str) -> None:
    assert refusal(ipaddress.ip_address(address)) is None


def test_an_allowed_network_lifts_the_refusal_for_its_addresses_only() -> None:
    allow = (ipaddress.ip_network("127.5.0.0/16"), ipaddress.ip_network("fd00::/8"))
    assert refusal(ipaddress.ip_address("127.5.255.255"), allow) is None
    assert refusal(ipaddress.ip_address("fd00::1"), allow) is None
    assert refusal(ipaddress.ip_address("127.6.0.0"), allow) is not None
    assert refusal(ipaddress.ip_address("fc00::1"), allow) is not None


def test_allowing_an_ipv4_network_does_not_allow_the_ipv6_addresses_that_carry_it() -> None:
    allow = (ipaddress.ip_network("10.0.0.0/8"),)
    assert refusal(ipaddress.ip_address("::ffff:10.0.0.1"), allow) is not None
    assert refusal(ipaddress.ip_address("64:ff9b::10.0.0.1"), allow) is not None


def test_of_addresses_that_hash_alike_only_a_few_are_dealt_with() -> None:
    first = ipaddress.IPv6Address("2a00::1")
    crowd = [first + number * (2**61 - 1) for number in range(2 * MAX_ALIKE)]
    assert len({hash(address) for address in crowd}) == 1, "the attack is gone"
    alike = Alike()
    assert [alike.is_one_too_many(address) for address in crowd] == [False] * MAX_ALIKE + [True] * MAX_ALIKE
    assert not alike.is_one_too_many(crowd[0])
    assert not alike.is_one_too_many(first + 1)
