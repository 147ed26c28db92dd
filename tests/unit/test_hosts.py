from __future__ import annotations

import ipaddress
import itertools
import pickle

import dns.name
import pytest

from poolmgr.errors import ParseError
from poolmgr.hosts import MAX_TEXT, address_order, host_order, host_text, parse_host


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
    if isinstance(host, dns.name.Name):
        assert host.is_absolute()
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


def test_a_text_too_long_for_a_name_is_refused_by_its_length() -> None:
    with pytest.raises(ParseError, match="at most 255 characters, this has 1000000"):
        parse_host("ü" * 1_000_000)


def test_a_parsed_name_is_found_wherever_dnspythons_own_is() -> None:
    parsed = parse_host("Keys.example.org")
    known: dict[object, int] = {dns.name.from_text("keys.example.org"): 1}
    assert (
        known[parsed]
        == {parsed: 1}[dns.name.from_text("keys.example.org")]
        == known[pickle.loads(pickle.dumps(parsed))]
        == 1
    )
    assert hash(parsed) == hash(parsed) == hash(dns.name.from_text("KEYS.EXAMPLE.ORG"))


def test_hosts_sort_by_name_from_the_right_then_ipv4_then_ipv6() -> None:
    texts = ["example", "a.example", "z.a.example", "b.example", "192.0.2.9", "192.0.2.10", "2001:db8::1"]
    hosts = [parse_host(text) for text in texts]
    assert all(host_order(lower) < host_order(higher) for lower, higher in itertools.combinations(hosts, 2))


def test_addresses_sort_by_number_ipv4_first() -> None:
    texts = ["9.0.0.1", "10.0.0.1", "::1", "2001:db8::1"]
    addresses = [ipaddress.ip_address(text) for text in texts]
    assert all(address_order(lower) < address_order(higher) for lower, higher in itertools.combinations(addresses, 2))
