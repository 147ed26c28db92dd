from __future__ import annotations

import ipaddress
import itertools

import dns.name
import pytest

from poolmgr.errors import ParseError
from poolmgr.hosts import (
    MAX_TEXT,
    HostName,
    address_order,
    host_name,
    host_order,
    host_text,
    parse_address,
    parse_host,
)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("keys.example.org", "keys.example.org"),
        ("KEYS.Example.ORG.", "keys.example.org"),
        ("localhost", "localhost"),
        ("sks_1.example.org", "sks_1.example.org"),
        ("a-b.xn--bcher-kva.example", "a-b.xn--bcher-kva.example"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER.example", "xn--bcher-kva.example"),
        ("straße.example", "xn--strae-oqa.example"),
        ("1.example", "1.example"),
        (f"{'a' * 63}.example", f"{'a' * 63}.example"),
        (".".join(["a" * 63] * 3 + ["a" * 61]), ".".join(["a" * 63] * 3 + ["a" * 61])),
        ("192.0.2.1", "192.0.2.1"),
        ("2001:DB8:0::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.1"),
    ],
)
def test_a_host_is_read_and_written_in_its_canonical_form(text: str, canonical: str) -> None:
    host = parse_host(text)
    assert parse_host(canonical) == host
    assert type(host_text(host)) is str
    if isinstance(host, HostName):
        assert host_text(host) == canonical
    else:
        assert host == ipaddress.ip_address(canonical)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "a..b",
        ".a",
        "-a.example",
        "a-.example",
        "a b.example",
        "a\n",
        "a\0b",
        "a<b>.example",
        "user@example.org",
        "http://example.org",
        "example.org:11371",
        r"\097.example",
        r"a\.b.example",
        "1.2.3",
        "192.0.2.256",
        "192.0.2.01",
        "x.\uff11",
        "[example.org]",
        "[192.0.2.1",
        "fe80::1%eth0",
        "2001:db8::g",
        "\ud800.example",
        "\u200d.example",
        f"{'a' * 64}.example",
        "a." * 127 + "a",
        "ü" * 63 + ".example",
        "a" * (MAX_TEXT + 1),
    ],
)
def test_what_is_no_host_is_refused_in_a_printable_sentence(text: str) -> None:
    with pytest.raises(ParseError) as refused:
        parse_host(text)
    assert str(refused.value).isprintable()
    assert str(refused.value).isascii()


@pytest.mark.parametrize("text", [f"{'a' * 64}.example", "a." * 126 + "aa"], ids=["label", "name"])
def test_what_is_too_long_for_dns_is_not_blamed_on_its_letters(text: str) -> None:
    with pytest.raises(ParseError, match="neither an address nor a DNS name"):
        parse_host(text)


def test_a_text_too_long_for_a_name_is_refused_by_its_length() -> None:
    with pytest.raises(ParseError, match="at most 255 characters, this has 1000000"):
        parse_host("ü" * 1_000_000)


@pytest.mark.parametrize(
    "text", ["localhost", "KEYS.example.org", "bücher.example", ".".join(["a" * 63] * 3 + ["a" * 61])]
)
def test_a_host_name_is_an_absolute_name_in_dns_and_comes_back_as_it_was(text: str) -> None:
    host = parse_host(text)
    assert isinstance(host, HostName)
    assert host.to_name() == dns.name.from_text(text, idna_codec=dns.name.IDNA_2008)
    assert host.to_name().is_absolute()
    assert host_name(host.to_name()) == host


@pytest.mark.parametrize(
    "name",
    [
        dns.name.root,
        dns.name.Name([b"keys", b"example", b"org"]),
        dns.name.Name([b"1", b"2", b"3", b"4"]),
        dns.name.Name([b"1", b"2", b"3", b"4", b""]),
        dns.name.Name([b"2001:db8::1", b""]),
        dns.name.Name([b"a.b", b"example", b""]),
        dns.name.Name([b"*", b"example", b""]),
        dns.name.Name([b"a\0b", b"\xff", b""]),
        dns.name.Name([b"\0" * 63] * 3 + [b""]),
    ],
    ids=repr,
)
def test_a_name_of_dns_that_is_relative_or_no_hosts_is_no_host_name(name: dns.name.Name) -> None:
    with pytest.raises(ParseError):
        host_name(name)


def test_names_made_to_hash_alike_in_dnspython_have_hashes_of_their_own() -> None:
    # dnspython's hash is h * 9 + octet, to which "19" and "20" add the same.
    texts = [f"x{''.join(pairs)}.example" for pairs in itertools.product(("19", "20"), repeat=11)]
    assert len({hash(dns.name.from_text(text)) for text in texts}) == 1
    assert len({hash(parse_host(text)) for text in texts}) == len(texts) == 2**11


@pytest.mark.parametrize("text", ["192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1"])
def test_an_address_that_is_read_is_one_object_and_what_ipaddress_makes_of_it(text: str) -> None:
    address, known = parse_address(text), ipaddress.ip_address(text)
    assert address is parse_address(text) is parse_host(text)
    assert (address, hash(address), str(address)) == (known, hash(known), str(known))
    assert {known: "found"}[address] == {address: "found"}[known] == "found"
    assert address in ipaddress.ip_network(known)


@pytest.mark.parametrize("text", ["", "1.2.3", "1.2.3.256", "01.2.3.4", "1:2", "192.0.2.1/32", "[::1]", "name"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_address(text)


def test_hosts_sort_by_name_from_the_right_then_ipv4_then_ipv6() -> None:
    texts = ["example", "a.example", "z.a.example", "b.example", "192.0.2.9", "192.0.2.10", "2001:db8::1"]
    hosts = [parse_host(text) for text in texts]
    assert all(host_order(lower) < host_order(higher) for lower, higher in itertools.combinations(hosts, 2))


def test_addresses_sort_by_number_ipv4_first() -> None:
    texts = ["9.0.0.1", "10.0.0.1", "::1", "2001:db8::1"]
    addresses = [ipaddress.ip_address(text) for text in texts]
    assert all(address_order(lower) < address_order(higher) for lower, higher in itertools.combinations(addresses, 2))
