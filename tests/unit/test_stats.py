from __future__ import annotations

import contextlib
import json
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from poolmgr.crawl import stats
from poolmgr.crawl.stats import header_text, parse_port, parse_stats
from poolmgr.errors import ParseError
from poolmgr.hosts import MAX_TEXT, Host, parse_host
from poolmgr.model import Peer, Stats

DATA = Path(__file__).parent.parent / "data" / "stats"
WRITTEN = DATA / "written"
SKS_HEAD = b"<h2>Settings</h2><table><tr><td>Version:</td><td>1.1.6</td></tr></table><h2>Gossip Peers</h2>"


def captured(name: str) -> bytes:
    return (DATA / name).read_bytes().partition(b"\r\n\r\n")[2]


def peer(host: str, recon_port: int | None = 11370) -> Peer:
    return Peer(parse_host(host), recon_port)


def sks(rows: bytes = b"", rest: bytes = b"", *, max_peers: int = 100) -> Stats:
    return parse_stats(SKS_HEAD + b"<table>" + rows + b"</table>" + rest, max_peers=max_peers)


def hockeypuck(**fields: object) -> Stats:
    return parse_stats(json.dumps({"version": "2.2", "peers": None, **fields}).encode(), max_peers=100)


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"", "it is empty"),
        (b" \r\n", "it is empty"),
        ((WRITTEN / "not-onak.txt").read_bytes(), "it starts with 'Error: No operation supplied.'"),
        ((WRITTEN / "not-nginx-default.html").read_bytes(), "its title is 'Welcome to nginx!'"),
        (
            (WRITTEN / "not-another-api.json").read_bytes(),
            "JSON without a version, or with neither peers nor a key count",
        ),
        (b'{"peers": [], "total": 1}', "JSON without a version, or with neither peers nor a key count"),
        (b'{"version": "2.2", "peers": [}', "it starts like JSON and is none"),
        (b'{"version": "2.2", "total": ' + b"9" * 5000 + b"}", "it starts like JSON and is none"),
        (b'{"version":' + b"[" * 200_000, "its JSON is nested too deeply"),
        (b'{"version":' + b'["]",' * 200_000, "its JSON is nested too deeply"),
        (b'{"version":' + b'["\\"]",' * 200_000, "its JSON is nested too deeply"),
        ("\x1b]0;\u202e".encode(), r"it starts with '\x1b]0;\u202e'"),
    ],
)
def test_what_is_no_stats_page_is_refused_with_what_it_looks_like(body: bytes, sentence: str) -> None:
    with pytest.raises(ParseError) as refused:
        parse_stats(body, max_peers=100)
    assert str(refused.value) == f"not a keyserver's stats page: {sentence}"


def test_blanks_and_a_byte_order_mark_before_json_do_not_matter() -> None:
    assert parse_stats(b'\xef\xbb\xbf\r\n {"version":"2.2","total":3}', max_peers=100).keys == 3


def test_broken_utf_8_is_replaced() -> None:
    assert parse_stats(b'{"version":"2.2","total":3,"contact":"a\xff"}', max_peers=100).contact == "a\ufffd"


@pytest.mark.parametrize(
    ("said", "keys"),
    [
        ("0", 0),
        ("  12 ", 12),
        (str(2**63 - 1), 2**63 - 1),
        (str(2**63), None),
        ("9" * 400, None),
        ("-1", None),
        ("+1", None),
        ("1_000", None),
        ("1,000", None),
        ("1e6", None),
        ("\u0661", None),
        ("", None),
        ("many", None),
    ],
)
def test_an_html_key_count_is_plain_digits_up_to_63_bits(said: str, keys: int | None) -> None:
    assert sks(rest=f"<p>Total number of keys: {said}</p>".encode()).keys == keys


@pytest.mark.parametrize(
    ("said", "keys"),
    [
        (0, 0),
        (2**63 - 1, 2**63 - 1),
        (2**63, None),
        (10**400, None),
        (-1, None),
        (5.0, None),
        (float("nan"), None),
        (True, None),
        ("5", None),
        (None, None),
        ([5], None),
    ],
)
def test_a_json_key_count_is_a_whole_number_up_to_63_bits(said: object, keys: int | None) -> None:
    assert hockeypuck(Total=said).keys == keys


def test_a_count_of_another_spelling_is_taken_when_the_first_is_none() -> None:
    assert hockeypuck(total=None, Total=5, numkeys=6).keys == 5


def test_a_json_field_that_is_said_twice_is_unknown() -> None:
    said = parse_stats(b'{"version":"2.2","total":5,"total":9,"hostname":"one.example.test"}', max_peers=100)
    assert (said.keys, said.hostname) == (None, "one.example.test")


@pytest.mark.parametrize("wrong", [None, 1, 1.5, True, "text", [], [None], {}, {"a": 1}])
def test_json_fields_of_wrong_types_are_unknown(wrong: object) -> None:
    fields = ("nodename", "contact", "now", "peers", "Total", "mailsync_peers")
    said = hockeypuck(hostname="h", **dict.fromkeys(fields, wrong))
    assert (said.hostname, said.taken_at, said.peers, said.mailsync) == ("h", None, (), ())
    assert said.contact == (wrong if isinstance(wrong, str) else None)


@pytest.mark.parametrize(
    ("said", "taken_at"),
    [
        ("2026-11-23T11:30:36Z", datetime(2026, 11, 23, 11, 30, 36, tzinfo=UTC)),
        ("2026-11-23T11:30:36.123456789Z", datetime(2026, 11, 23, 11, 30, 36, tzinfo=UTC)),
        ("2026-11-23T11:30:36-05:30", datetime(2026, 11, 23, 17, 0, 36, tzinfo=UTC)),
        ("2026-11-23 11:30:36 UTC", datetime(2026, 11, 23, 11, 30, 36, tzinfo=UTC)),
        ("2026-11-23T11:30:36", None),
        ("2026-11-23T11:30:36.\u0663Z", None),
        ("2026-11-23 11:30:36 CET", None),
        ("2026-02-30T11:30:36Z", None),
        ("2026-11-23T24:30:36Z", None),
        ("2026-11-23T11:30:36+99:00", None),
        ("0001-01-01T00:00:00Z", None),
        ("1999-12-31T23:59:59Z", None),
        ("2000-01-01T00:00:00Z", datetime(2000, 1, 1, tzinfo=UTC)),
        ("2099-12-31T23:59:59Z", datetime(2099, 12, 31, 23, 59, 59, tzinfo=UTC)),
        ("2100-01-01T00:00:00Z", None),
        ("9999-12-31T23:59:59-12:00", None),
        ("now", None),
    ],
)
def test_a_time_is_utc_or_unknown(said: str, taken_at: datetime | None) -> None:
    assert hockeypuck(now=said).taken_at == taken_at


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("keys.example.test:11370", peer("keys.example.test")),
        ("keys.example.test 11370", peer("keys.example.test")),
        ("192.0.2.1:1", peer("192.0.2.1", 1)),
        ("192.0.2.1:65535", peer("192.0.2.1", 65535)),
        ("192.0.2.1:65536", peer("192.0.2.1", None)),
        ("192.0.2.1:0", peer("192.0.2.1", None)),
        ("192.0.2.1:-1", peer("192.0.2.1", None)),
        ("192.0.2.1:", peer("192.0.2.1", None)),
        ("192.0.2.1", peer("192.0.2.1", None)),
        ("[2001:db8::1]:11370", peer("2001:db8::1")),
        ("[2001:db8::1]", peer("2001:db8::1", None)),
        ("2001:db8::1 11370", peer("2001:db8::1")),
        ("2001:db8::1", peer("2001:db8::1", None)),
        (":11370", None),
        ("p****0", None),
        ("fe80::1%eth0 11370", None),
        ("keys.example.test/pks 11370", None),
        ("", None),
    ],
)
def test_a_peer_is_a_host_with_or_without_its_recon_port(address: str, expected: Peer | None) -> None:
    said = hockeypuck(peers=[{"Name": "name.example.test", "reconAddr": address}])
    assert said.peers == (() if expected is None else (expected,))
    assert said.rejected_peers == (expected is None)


def test_a_json_peer_without_recon_address_is_taken_from_its_http_address_without_port() -> None:
    said = hockeypuck(peers=[{"reconAddr": "p****0", "httpAddr": "keys.example.test:11371"}])
    assert said.peers == (peer("keys.example.test", None),)


def test_peers_beyond_the_limit_are_counted_and_not_kept() -> None:
    rows = b"".join(b"<tr><td>p%d.example.test 11370</td></tr>\n" % number for number in range(5))
    said = sks(rows, max_peers=3)
    assert said.peers == (peer("p0.example.test"), peer("p1.example.test"), peer("p2.example.test"))
    assert said.rejected_peers == 2
    assert sks(rows, max_peers=5).rejected_peers == 0
    assert (sks(rows, max_peers=0).peers, sks(rows, max_peers=0).rejected_peers) == ((), 5)


def test_json_and_html_peers_of_hockeypuck_are_limited_too() -> None:
    for name in ("v2.2.4-stats.http", "v2.2.4-stats_mr.http"):
        said = parse_stats(captured(f"hockeypuck/{name}"), max_peers=1)
        assert ([each.host for each in said.peers], said.rejected_peers) == ([parse_host("127.0.0.11")], 1)


@pytest.mark.parametrize(
    ("told", "path"),
    [
        ("/", "/"),
        ("/pks/lookup?op=stats", "/pks/lookup?op=stats"),
        ("/" + "x" * (MAX_TEXT - 1), "/" + "x" * (MAX_TEXT - 1)),
        ("", None),
        ("pks/stats", None),
        ("http://127.0.0.1/", None),
        ("/pks/stats HTTP/1.1\r\nHost: a", None),
        ("/\0", None),
        ("/\N{SNOWMAN}", None),
        (None, None),
        (7, None),
    ],
)
def test_a_peers_stats_path_is_believed_where_it_is_a_short_path_in_printable_ascii(
    told: object, path: str | None
) -> None:
    said = hockeypuck(peers=[{"reconAddr": "a.test:11370", "statsPath": told}])
    assert said.peers == (Peer(parse_host("a.test"), 11370, path),)


def test_a_hockeypuck_row_that_is_cut_off_in_its_recon_address_is_malformed() -> None:
    page = (WRITTEN / "hockeypuck-2.4.html").read_bytes()
    said = parse_stats(page[: page.index(b"example.test:11370")], max_peers=100)
    assert (said.peers, said.rejected_peers) == ((), 1)


def test_settings_are_looked_for_in_a_table_of_their_size_only() -> None:
    rows = b"<tr><td>Debug level:</td><td>3</td></tr>\n" * 1000
    page = b"<h2>Settings</h2><table>%s<tr><td>Version:</td><td>1.1.6</td></tr></table>"
    assert parse_stats(page % rows[:4000], max_peers=100).version == "1.1.6"
    with pytest.raises(ParseError):
        parse_stats(page % rows, max_peers=100)


def test_mailsync_addresses_are_folded_limited_and_look_like_mail() -> None:
    rows = b"".join(b"<tr><td>%s</td></tr>\n" % text for text in (b"a@x.test", b"a@x.test", b"none", b"b@x.test"))
    mailsync = b"<h2>Outgoing Mailsync Peers</h2><table>" + rows + b"</table>"
    assert sks(rest=mailsync).mailsync == ("a@x.test", "b@x.test")
    assert sks(rest=mailsync, max_peers=3).mailsync == ("a@x.test",)


def test_text_becomes_one_bounded_line_that_utf_8_can_encode() -> None:
    said = hockeypuck(contact=" a\r\n\tb\u2028c ", nodename="n" * 10_000, hostname="\ud800\x1b[2J")
    assert said.contact == "a b c"
    assert said.nodename == "n" * MAX_TEXT
    assert said.hostname == "?\x1b[2J"
    assert hockeypuck(contact="n" * (MAX_TEXT - 1) + " cut").contact == "n" * (MAX_TEXT - 1)


HOSTILE = {
    "rows only": (b"", b"<tr><td>"),
    "settings without end": (b"<h2>Settings</h2>", b"<tr><td>"),
    "endless setting": (b"<h2>Settings</h2><tr><td>Version:</td><td>", b"1"),
    "empty peers": (SKS_HEAD, b"<tr><td>"),
    "bad peers": (SKS_HEAD, b"<tr><td>a<b 1\n"),
    "endless peer": (SKS_HEAD + b"<tr><td>", b"a."),
    "open tags in cells": (
        b"<h2>Settings</h2><tr><th>Version</th><td>1</td></table><h3>Gossip Peers</h3>",
        b"<tr><td></td><td>" + b"<" * 1000 + b"</td><td></td>",
    ),
    "titles": (b"", b"<title>"),
    "headings": (b"", b">Settings</h2></table>"),
    "open tags": (b"", b"<"),
    "no UTF-8": (b"", b"\xff"),
    "blanks": (b"", b" "),
    "braces": (b"", b"{"),
    "digits": (SKS_HEAD + b"</table>Total number of keys:", b"9"),
    "JSON peers": (b'{"version":"1","peers":[1', b",{}"),
}


@pytest.mark.parametrize(("start", "repeated"), HOSTILE.values(), ids=HOSTILE.keys())
def test_the_work_for_a_hostile_page_grows_with_its_size_only(
    start: bytes, repeated: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Backtracking over 10 MB takes hours: the deadline, in CPU time, is far above what a slow machine needs."""
    body = start + repeated * (10_000_000 // len(repeated))
    hosts: list[str] = []

    def counted(text: str) -> Host:
        hosts.append(text)
        return parse_host(text)

    monkeypatch.setattr(stats, "parse_host", counted)
    started = time.process_time()
    with contextlib.suppress(ParseError):
        assert len(parse_stats(body, max_peers=500).peers) <= 500
    assert time.process_time() - started < 20
    assert len(hosts) <= 1000


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, None),
        ("", None),
        (" \t", None),
        ("sks_www/1.1.6+", "sks_www/1.1.6+"),
        ("1.1 name\r\n (Hockey stick)", "1.1 name (Hockey stick)"),
        ("a\x1b[2J\x7f\u202eb", "a\ufffd[2J\ufffd\ufffdb"),
        ("x" * 300, "x" * MAX_TEXT),
    ],
)
def test_a_header_becomes_one_printable_line(value: str | None, text: str | None) -> None:
    assert header_text(value) == text


@pytest.mark.parametrize(
    ("text", "port"),
    [("1", 1), ("65535", 65535), ("0", None), ("65536", None), ("000080", None), ("\u0661", None), ("", None)],
)
def test_a_port_is_a_number_from_1_to_65535(text: str, port: int | None) -> None:
    assert parse_port(text) == port
