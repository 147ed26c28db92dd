from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import pytest

from poolmgr.errors import ParseError
from poolmgr.hosts import parse_host
from poolmgr.model import Certificate, Family, Peer, Stats
from poolmgr.report.snapshot import from_json, to_json
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
        attempts=2,
    )
    rich = replace(
        one,
        aliases=(parse_host("alias.example.net"), parse_host("203.0.113.1")),
        listed=NOW - timedelta(seconds=9.5),
        peers=(parse_host("gone.example.net"), parse_host("203.0.113.9")),
        addresses=(replace(address, stats=FULL, probes=(probe,), spread=3), one.addresses[1]),
    )
    gone = replace(keyserver("gone.example.net"), depth=None, listed=NOW - timedelta(days=9))
    crawl = replace(
        snapshot([rich, gone, *mesh(2)]), cut_short=("at 4 keyservers",), blind={Family.IPV6: "nothing answers"}
    )
    assert from_json(to_json(crawl)) == crawl
    assert to_json(crawl).isascii()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "{}",
        '{"format": "other", "version": 1}',
        '{"format": "poolmgr-snapshot", "version": 2}',
        '{"format": "poolmgr-snapshot", "version": 1}',
        "[" * 100_000,
        b"\xff\xfe\xfd",
    ],
)
def test_anything_else_is_a_parse_error(text: str | bytes) -> None:
    with pytest.raises(ParseError):
        from_json(text)


def test_a_missing_field_is_a_parse_error() -> None:
    document = json.loads(to_json(snapshot(mesh(1))))
    del document["keyservers"][0]["name"]
    with pytest.raises(ParseError, match="name"):
        from_json(json.dumps(document))


def test_a_keyserver_without_the_time_of_its_listing_was_listed_when_the_crawl_started() -> None:
    document = json.loads(to_json(snapshot(mesh(1))))
    del document["keyservers"][0]["listed"]
    crawl = from_json(json.dumps(document))
    assert crawl.keyservers[0].listed == crawl.started
