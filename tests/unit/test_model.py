from __future__ import annotations

import ipaddress
import itertools

import dns.name
import pytest

from poolmgr.errors import ParseError
from poolmgr.hosts import MAX_TEXT, address_order, host_order, host_text, parse_host
from poolmgr.model import Endpoint, Family, Overrides, Reason, ReasonCode, Service, State, Verdict
from poolmgr.version import Version

POOL = dns.name.from_text("pool.example.org")
KEYSERVER = dns.name.from_text("keys.example.org")
ADDRESS = ipaddress.ip_address("192.0.2.1")
REASON = Reason(ReasonCode.BEHIND, "5", "at least 10", "its key count 5 is below 10")


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


def test_hosts_sort_by_name_from_the_right_then_ipv4_then_ipv6() -> None:
    texts = ["example", "a.example", "z.a.example", "b.example", "192.0.2.9", "192.0.2.10", "2001:db8::1"]
    hosts = [parse_host(text) for text in texts]
    assert all(host_order(lower) < host_order(higher) for lower, higher in itertools.combinations(hosts, 2))


def test_addresses_sort_by_number_ipv4_first() -> None:
    texts = ["9.0.0.1", "10.0.0.1", "::1", "2001:db8::1"]
    addresses = [ipaddress.ip_address(text) for text in texts]
    assert all(address_order(lower) < address_order(higher) for lower, higher in itertools.combinations(addresses, 2))


def test_a_family_is_known_by_its_address_and_has_its_record_type() -> None:
    assert (Family.of(ADDRESS), Family.IPV4.rdtype) == (Family.IPV4, "A")
    assert (Family.of(ipaddress.ip_address("::1")), Family.IPV6.rdtype) == (Family.IPV6, "AAAA")


def test_an_endpoint_is_written_with_brackets_where_needed() -> None:
    assert str(Endpoint(Service.HKP, ADDRESS, 11371)) == "hkp 192.0.2.1:11371"
    assert str(Endpoint(Service.HKPS, ipaddress.ip_address("2001:db8::1"), 443)) == "hkps [2001:db8::1]:443"


@pytest.mark.parametrize(
    "texts",
    [
        ["0.9.2", "1.0.10", "1.1.1", "1.1.4", "1.1.6", "1.1.6+", "1.1.7"],
        ["2.0", "2.1.0-alpha1", "2.1.0-beta2", "2.1.0-beta10", "2.1.0-rc1", "2.1.0"],
        ["2.1.0", "2.1.0-9-gabcdef0", "2.1.0-104-gabcdef", "2.1.1"],
        ["2.2", "2.2.1", "2.2.10", "2.10"],
        ["2.4-beta2", "v2.4", "2.4.1"],
        ["2.2", "2.3~unreleased", "2.3"],
    ],
)
def test_versions_sort_as_their_software_released_them(texts: list[str]) -> None:
    versions = [Version.parse(text) for text in texts]
    assert all(lower < higher for lower, higher in itertools.combinations(versions, 2))


@pytest.mark.parametrize(
    ("one", "other"),
    [("2.2", "2.2.0"), ("v2.2", "2.2"), ("1.1.7 (build 1a2b3c)", "1.1.7"), ("1.1.7+ (build 1a2b3c)", "1.1.7+")],
)
def test_versions_that_mean_the_same_are_equal_and_hash_alike(one: str, other: str) -> None:
    assert Version.parse(one) == Version.parse(other)
    assert hash(Version.parse(one)) == hash(Version.parse(other))


def test_a_version_keeps_its_text_and_knows_its_minor() -> None:
    version = Version.parse("2.1.0-104-gabcdef")
    assert (str(version), version.minor) == ("2.1.0-104-gabcdef", (2, 1))
    assert Version.parse("3").minor == (3, 0)
    assert Version.parse("2.4-beta2").minor == (2, 4)


def test_a_version_equals_nothing_that_is_no_version() -> None:
    assert Version.parse("2.2") != "2.2"


@pytest.mark.parametrize("text", ["", "~unreleased", "beta", "+1", "\u0661.1", "\x1b2"])
def test_a_version_that_starts_with_no_number_is_refused(text: str) -> None:
    with pytest.raises(ParseError, match="is not a version"):
        Version.parse(text)


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
