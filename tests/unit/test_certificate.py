from __future__ import annotations

import ssl
from datetime import UTC, datetime

import pytest

from poolmgr.crawl.certificate import Shown, broken, certificate_of, misnamed
from poolmgr.hosts import MAX_TEXT


def naming(*names: str) -> Shown:
    """Return a certificate for `names`, as the ssl module shows it."""
    return {"subjectAltName": tuple(("DNS", name) for name in names)}


@pytest.mark.parametrize(
    ("names", "asked"),
    [
        (("keys.example.org",), "keys.example.org"),
        (("other.example.org", "KEYS.Example.ORG"), "keys.example.org"),
        (("*.example.org",), "keys.example.org"),
        (("org",), "org"),
    ],
)
def test_a_name_matches_as_a_whole_or_by_a_star_for_its_first_label(names: tuple[str, ...], asked: str) -> None:
    assert misnamed(naming(*names), asked) is None


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("example.org", "keys.example.org"),
        ("keys.example.org", "example.org"),
        ("*.example.org", "example.org"),
        ("*.example.org", "a.keys.example.org"),
        ("k*.example.org", "keys.example.org"),
        ("*.*.org", "keys.example.org"),
        ("*.org", "example.org"),
        ("*", "org"),
        ("keys.example.org\0.example.net", "keys.example.org"),
        ("", "keys.example.org"),
    ],
)
def test_nothing_else_matches(name: str, asked: str) -> None:
    assert misnamed(naming(name), asked) == f"certificate: it is for {name!a}, not for {asked}"


def test_a_common_name_or_an_address_does_not_count() -> None:
    shown = {
        "subject": ((("commonName", "keys.example.org"),),),
        "subjectAltName": (("IP Address", "keys.example.org"), ("URI", "keys.example.org")),
    }
    assert misnamed(shown, "keys.example.org") == "certificate: it is for no DNS name, not for keys.example.org"


def test_the_names_of_a_certificate_are_bounded_and_escaped() -> None:
    names = ("\x1b[31m\u202e", "x" * 65, *(f"{number}.example.org" for number in range(98)))
    problem = misnamed(naming(*names), "keys.example.org")
    quoted = rf"'\x1b[31m\u202e', '{'x' * 64}', '0.example.org' and 97 more"
    assert problem == f"certificate: it is for {quoted}, not for keys.example.org"


def test_issuer_and_end_are_read_and_bounded() -> None:
    shown: Shown = {
        "issuer": ((("countryName", "XX"),), (("organizationName", "Lab"), ("commonName", "CA"))),
        "notAfter": "Feb  1 00:30:00 2027 GMT",
    }
    certificate = certificate_of(shown)
    assert (certificate.issuer, certificate.not_after) == ("Lab, CA", datetime(2027, 2, 1, 0, 30, tzinfo=UTC))
    long = certificate_of({"issuer": ((("commonName", "x" * 300),),), "notAfter": "Dec 31 23:59:59 9999 GMT"})
    assert (len(long.issuer), long.not_after.year) == (MAX_TEXT, 9999)


def test_a_failure_without_a_sentence_of_its_own_is_told_by_its_name() -> None:
    error = ssl.SSLError(1, "[SSL: BAD_SIGNATURE] bad signature")
    error.reason = "BAD_SIGNATURE"
    assert broken(error) == "TLS is broken (BAD_SIGNATURE)"
