from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, timedelta

import pytest

from poolmgr.errors import ParseError
from poolmgr.hosts import parse_host
from poolmgr.model import Certificate, Family, Peer, Stats
from poolmgr.report.snapshot import MAX_OCTETS, from_json, to_json
from tests.build import NOW, keyserver, mesh, snapshot

FULL = Stats(
    software="Hockeypuck",
    version="2.3",
    hostname="ks\u202e.example.net",
    nodename="node",
    contact="0xABC",
    keys=7,
    taken_at=NOW,
    peers=(Peer(parse_host("2001:db8::1"), 11370, "/stats?a"), Peer(parse_host("b\u00fccher.example.net"))),
    rejected_peers=3,
    mailsync=("a@example.net",),
)


def test_a_snapshot_round_trips() -> None:
    one = keyserver("ks.example.net", "203.0.113.1", "2001:db8::1")
    address = one.addresses[0]
    probe = replace(
        address.probes[0],
        detail="\x1b",
        status=200,
        connect=timedelta(microseconds=1),
        first_byte=timedelta(seconds=9.999999),
        server="sks_www/1.1.6",
        via="1.1 ks",
        certificate=Certificate("CN=\x1b", NOW + timedelta(days=3)),
        version=NOW - timedelta(days=3),
        attempts=2,
    )
    rich = replace(
        one,
        aliases=(parse_host("alias.example.net"), parse_host("203.0.113.1")),
        listed=NOW - timedelta(seconds=9.5),
        peers=(parse_host("gone.example.net"), parse_host("203.0.113.9")),
        addresses=(replace(address, stats=FULL, probes=(probe,), spread=3, country="de"), one.addresses[1]),
    )
    gone = replace(keyserver("gone.example.net"), depth=None, listed=NOW - timedelta(days=9))
    crawl = replace(
        snapshot([rich, gone, *mesh(2)]), cut_short=("at 4 keyservers",), blind={Family.IPV6: "nothing answers"}
    )
    assert from_json(to_json(crawl)) == crawl
    assert to_json(crawl).isascii()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "not JSON: Expecting value (character 0)"),
        ("[]", "a list is not an object"),
        ("null", "null is not an object"),
        ("{}", "format: is missing"),
        ('{"format": "other", "version": 1}', "format: 'other' is not 'poolmgr-snapshot'"),
        ('{"format": "poolmgr-snapshot", "version": 2}', "version: 2 is not 1"),
        ('{"format": "poolmgr-snapshot", "version": true}', "version: true is not 1"),
        ('{"format": "poolmgr-snapshot", "version": 1}', "started: is missing"),
        ('{"version": 1, "format": "poolmgr-snapshot", "version": 1}', "an object has the field 'version' twice"),
        ('{"format": NaN}', "NaN is not a number"),
        ('{"format": -Infinity}', "-Infinity is not a number"),
        ("[" * 100_000, "not JSON that can be read: it is nested too deep"),
        ("[" + "1" * 5000 + "]", "not JSON that can be read: Exceeds the limit"),
        (b"\xff\xfe\xfd", "not UTF-8 text (octet 0)"),
        ('""'.encode("utf-16"), "not UTF-8 text (octet 0)"),
    ],
)
def test_what_is_no_crawl_is_a_parse_error(text: str | bytes, sentence: str) -> None:
    with pytest.raises(ParseError, match=f"^not a poolmgr-snapshot of version 1: {re.escape(sentence)}"):
        from_json(text)


def test_the_longest_crawl_is_read_and_a_longer_one_is_not() -> None:
    crawl = snapshot(mesh(1))
    text = to_json(crawl).ljust(MAX_OCTETS)
    assert from_json(text) == crawl
    with pytest.raises(ParseError, match=f"it is longer than {MAX_OCTETS} octets"):
        from_json(text + " ")


def meddled(place: str, value: object) -> str:
    """Return a crawl with `value` at `place`, such as ``keyservers 0 name``; nothing is there where it is GONE."""
    document = json.loads(to_json(replace(snapshot(mesh(2)), blind={Family.IPV6: "nothing answers"})))
    *steps, last = (int(step) if step.isdigit() else step for step in place.split())
    around = document
    for step in steps:
        around = around[step]
    around[last] = value
    if value is GONE:
        del around[last]
    return json.dumps(document)


GONE = object()
PROBE = "keyservers 1 addresses 0 probes 2"
STATS = "keyservers 1 addresses 0 stats"


@pytest.mark.parametrize(
    ("place", "value", "sentence"),
    [
        ("started", GONE, "is missing"),
        ("keyservers", GONE, "is missing"),
        ("keyservers", {}, "an object is not a list"),
        ("keyservers 1", None, "null is not an object"),
        ("keyservers 1 name", GONE, "is missing"),
        ("keyservers 1 name", 7, "7 is not a text"),
        ("keyservers 1 name", "a b", "'a b' is neither an address nor a host name of letters, digits and hyphens"),
        ("keyservers 1 name", "x" * 300, "a host name has at most 255 characters, this has 300"),
        ("keyservers 1 depth", True, "true is not a whole number from 0 to 9223372036854775807"),
        ("keyservers 1 addresses 0 address", "ks.example.net", "'ks.example.net' is not an address"),
        ("keyservers 1 addresses 0 country", "DE", "'DE' is not a country code in lower case"),
        ("keyservers 1 addresses 0 country", "deu", "'deu' is not a country code in lower case"),
        (f"{STATS} software", "x" * 10_001, "has 10001 characters, a text has at most 10000"),
        (f"{STATS} software", [["x"]], "a list is not a text"),
        (f"{STATS} keys", -1, "-1 is not a whole number from 0 to 9223372036854775807"),
        (f"{STATS} keys", 2**63, "9223372036854775808 is not a whole number from 0 to 9223372036854775807"),
        (f"{STATS} keys", 10**100, f"1{'0' * 59}... is not a whole number from 0 to 9223372036854775807"),
        (f"{STATS} keys", 1.0, "1.0 is not a whole number from 0 to 9223372036854775807"),
        (f"{STATS} taken_at", "2026-11-23T12:00:00", "'2026-11-23T12:00:00' is a time without an offset from UTC"),
        (f"{STATS} taken_at", "yesterday", "'yesterday' is not an ISO 8601 time"),
        (f"{STATS} taken_at", "0001-01-01T00:00:00+05:00", "'0001-01-01T00:00:00+05:00' is not an ISO 8601 time"),
        (f"{STATS} taken_at", "1969-12-31T23:59:59Z", "'1969-12-31T23:59:59Z' is not a time from 1970 on"),
        (f"{STATS} taken_at", "3000-01-01T00:00:00Z", "'3000-01-01T00:00:00Z' is not a time before the year 3000"),
        (f"{PROBE} ask", "recon", "'recon' is not one of stats, lookup"),
        (f"{PROBE} ask", ["stats"], "a list is not one of stats, lookup"),
        (f"{PROBE} port", 65_536, "65536 is not a whole number from 0 to 65535"),
        (f"{PROBE} attempts", 0, "0 is not a whole number from 1 to 1000"),
        (f"{PROBE} total", -0.1, "-0.1 is not a number of seconds from 0 to 1000000000"),
        (f"{PROBE} total", 1e9 + 1, "1000000001.0 is not a number of seconds from 0 to 1000000000"),
        (f"{PROBE} total", "1", "'1' is not a number of seconds from 0 to 1000000000"),
        ("cut_short", ["\x1b[2J"], "'\\x1b[2J' is not a text of printable characters"),
        ("blind ipv6", "\ud800", "'\\ud800' is not a text of printable characters"),
    ],
)
def test_what_a_field_cannot_be_is_a_parse_error_that_names_it(place: str, value: object, sentence: str) -> None:
    with pytest.raises(ParseError) as caught:
        from_json(meddled(place, value))
    named = re.sub(r" (\d+)", r"[\1]", place).replace(" ", ".") + ("[0]" if place == "cut_short" else "")
    assert str(caught.value) == f"not a poolmgr-snapshot of version 1: {named}: {sentence}"


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (f"{STATS} keys", 0),
        (f"{STATS} keys", 2**63 - 1),
        (f"{STATS} taken_at", "1970-01-01T00:00:00+00:00"),
        (f"{STATS} taken_at", "2999-12-31T23:59:59.999999+00:00"),
        (f"{STATS} hostname", "x" * 10_000),
        (f"{PROBE} port", 65_535),
        (f"{PROBE} total", 10**9),
        (f"{PROBE} certificate", {"issuer": "\x1b", "not_after": "9999-12-31T23:59:59+00:00"}),
        ("unheard-of", [None]),
    ],
)
def test_what_a_field_can_just_be_is_read(place: str, value: object) -> None:
    crawl = from_json(meddled(place, value))
    assert from_json(to_json(crawl)) == crawl


def test_times_are_read_as_utc() -> None:
    crawl = from_json(meddled("started", "2026-11-23T13:59:00+02:00"))
    assert crawl.started == NOW - timedelta(minutes=1)
    assert crawl.started.tzinfo is UTC


@pytest.mark.parametrize(
    ("place", "value", "sentence"),
    [
        ("keyservers 1 name", "ks1.example.net", "keyservers[1].name: ks1.example.net is the name of another one too"),
        (
            "keyservers 1 addresses 0 address",
            "198.51.100.1",
            "keyservers[1].addresses: 198.51.100.1 is listed twice",
        ),
        ("blind", {"ipv5": "x"}, "blind: 'ipv5' is not one of ipv4, ipv6"),
    ],
)
def test_what_cannot_be_together_is_a_parse_error(place: str, value: object, sentence: str) -> None:
    with pytest.raises(ParseError, match=re.escape(sentence)):
        from_json(meddled(place, value))


def test_a_keyserver_without_the_time_of_its_listing_was_listed_when_the_crawl_started() -> None:
    document = json.loads(to_json(snapshot(mesh(1))))
    del document["keyservers"][0]["listed"]
    crawl = from_json(json.dumps(document))
    assert crawl.keyservers[0].listed == crawl.started


@pytest.mark.parametrize("is_canonical", [True, False, None])
def test_whether_a_name_is_canonical_round_trips_and_is_unknown_where_no_one_told(is_canonical: bool | None) -> None:
    crawl = snapshot([replace(mesh(1)[0], is_canonical=is_canonical)])
    text = to_json(crawl)
    assert from_json(text) == crawl
    document = json.loads(text)
    assert document["keyservers"][0].pop("canonical", None) is is_canonical
    assert from_json(json.dumps(document)).keyservers[0].is_canonical is None
