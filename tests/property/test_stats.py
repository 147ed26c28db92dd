from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from poolmgr.crawl.stats import header_text, parse_stats
from poolmgr.errors import ParseError
from poolmgr.hosts import MAX_TEXT
from poolmgr.model import Stats

DATA = Path(__file__).parent.parent / "data" / "stats"
CAPTURES = [path.read_bytes().partition(b"\r\n\r\n")[2] for path in sorted(DATA.glob("*/*stats*.http"))]
WRITTEN = [path.read_bytes() for path in sorted((DATA / "written").iterdir())]
MAX_PEERS = 4

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
TEXT_NAMES = ["now", "timestamp", "version", "hostname", "nodename", "contact", "server_contact", "software"]
NAMES = st.sampled_from([*TEXT_NAMES, "Total", "total", "numkeys", "mailsync_peers"])
PEERS = JSON | st.lists(
    st.dictionaries(st.sampled_from(["Name", "name", "reconAddr", "httpAddr", "masked"]), JSON | st.text("a1.:[] *"))
)


@st.composite
def mutated_pages(draw: st.DrawFn) -> bytes:
    """A real page, cut, with pieces put in from other pages or from nowhere."""
    page = draw(st.sampled_from(CAPTURES + WRITTEN))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(page)))
        stop = draw(st.integers(start, min(len(page), start + 40)))
        other = draw(st.sampled_from(CAPTURES + WRITTEN))
        piece = draw(st.binary(max_size=20) | st.just(other[start:stop]) | st.just(other[start:]))
        page = page[:start] + piece + page[stop:]
    return page


def assert_is_bounded(said: Stats) -> None:
    texts = [said.software, said.version, said.hostname, said.nodename, said.contact, *said.mailsync]
    for text in filter(None, texts):
        assert len(text) <= MAX_TEXT
        assert text == " ".join(text.split())
        assert text.encode()
    assert said.keys is None or 0 <= said.keys < 2**63
    assert said.taken_at is None or said.taken_at.utcoffset() == timedelta(0)
    assert len(said.peers) <= MAX_PEERS
    assert len({peer.host for peer in said.peers}) == len(said.peers)
    assert all(peer.recon_port is None or 0 < peer.recon_port < 65536 for peer in said.peers)
    assert len(said.mailsync) <= MAX_PEERS


def assert_is_stats_or_refused(body: bytes) -> None:
    refusal = ""
    try:
        assert_is_bounded(parse_stats(body, max_peers=MAX_PEERS))
    except ParseError as error:
        refusal = str(error)
    assert refusal.isascii()
    assert len(refusal) < 1000


@given(st.binary() | st.text().map(str.encode))
def test_any_bytes_are_stats_or_refused(body: bytes) -> None:
    assert_is_stats_or_refused(body)


@given(mutated_pages())
def test_any_damaged_real_page_is_stats_or_refused(body: bytes) -> None:
    assert_is_stats_or_refused(body)


@given(st.dictionaries(NAMES, JSON), PEERS)
def test_json_of_the_right_names_and_any_values_is_stats(facts: dict[str, object], peers: object) -> None:
    body = json.dumps({"version": "2.2", **facts, "peers": peers}).encode()
    assert_is_bounded(parse_stats(body, max_peers=MAX_PEERS))


@given(
    keys=st.integers(0, 2**63 - 1),
    taken_at=st.integers(0, 10**9).map(lambda seconds: datetime(2000, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)),
    ports=st.lists(st.integers(1, 65535), max_size=8),
)
def test_what_is_said_in_html_and_json_is_what_is_read(keys: int, taken_at: datetime, ports: list[int]) -> None:
    rows = "".join(f"<tr><td>k{port}.example.test {port}</td></tr>\n" for port in ports)
    html = (
        f"<h1>SKS OpenPGP Keyserver statistics<br />Taken at {taken_at:%Y-%m-%d %H:%M:%S} UTC</h1><h2>Settings</h2>"
        f"<table><tr><td>Version:</td><td>1.1.6</td></tr></table><h2>Gossip Peers</h2><table>{rows}</table>"
        f"<p>Total number of keys: {keys}</p>"
    )
    peers = [{"reconAddr": f"k{port}.example.test:{port}"} for port in ports]
    facts = {"version": "1.1.6", "software": "SKS", "now": taken_at.isoformat(), "total": keys, "peers": peers}
    said = parse_stats(html.encode(), max_peers=8)
    assert said == parse_stats(json.dumps(facts).encode(), max_peers=8)
    assert (said.keys, said.taken_at) == (keys, taken_at)
    assert [peer.recon_port for peer in said.peers] == list(dict.fromkeys(ports))
    assert said.rejected_peers == 0


@given(st.none() | st.text())
def test_a_header_is_one_bounded_printable_line(value: str | None) -> None:
    text = header_text(value)
    assert text is None or (0 < len(text) <= MAX_TEXT and text.isprintable())
