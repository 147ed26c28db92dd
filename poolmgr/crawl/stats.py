"""op=stats pages to Stats: SKS HTML, Hockeypuck JSON and Hockeypuck's stock HTML.

The dialect is told by the body, never by the content type, which is wrong as often as not. In HTML, tables are found by
their headings and only those that are wanted are read: the histograms, most of a page, are never looked at.
"""

from __future__ import annotations

import codecs
import functools
import html
import itertools
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime

from poolmgr.errors import ParseError
from poolmgr.hosts import MAX_TEXT, HostName, parse_host
from poolmgr.model import Peer, Stats

_MAX_COUNT = 2**63 - 1
"""The highest key count believed: the largest integer that SQLite stores."""

_YEARS = range(2000, 2100)
"""The years in which keys are counted: SKS is of 2002, and Go writes "never" as the year 1."""

_MAX_CELL = 4 * MAX_TEXT
"""Bytes looked at of one table cell: MAX_TEXT characters of any script in UTF-8."""

_MAX_SETTINGS = 16_384
"""Bytes looked at of a settings table: it has about ten short rows."""

_MAX_DEPTH = 2000
"""Levels of JSON that a worker's stack bears. A page with fewer brackets, as all real ones, need not be looked at."""

_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+"?', re.DOTALL)
_STEPS = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_NO_BRACKETS = bytes(set(range(256)) - _STEPS.keys())

_REMEMBERED_PEERS = 16_384
"""Peers read once: in a mesh each is on twenty pages. As their cells are cut to _MAX_CELL, they take 20 MiB at most."""

_JSON_COUNTS = ("total", "Total", "numkeys")

_SKS_SETTING = re.compile(rb"<tr><td>([A-Za-z ]{1,32}):(?:</td>)?<td>(.*?)(?:</td>|$)", re.MULTILINE)
_HOCKEYPUCK_SETTING = re.compile(rb"<tr><th>([A-Za-z ]{1,32}):?</th><td>(.*?)</td>")
_VALUE = re.compile(rb"(?:</th><td>)?([^<\n]{0,64})")
_TITLE = re.compile(rb"<title>([^<]{1,64})", re.IGNORECASE)
_TAG = re.compile(r"<[^<>]*>")
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:\.\d{1,9})?(Z| UTC|[+-]\d\d:\d\d)", re.ASCII)
_PATH = re.compile(rf"/[!-~]{{0,{MAX_TEXT - 1}}}")
_MAIL = re.compile(r"[^\s@]+@[^\s@]+")


def parse_stats(body: bytes, *, max_peers: int) -> Stats:
    """Return what the op=stats page `body` says.

    The first `max_peers` of its peers are looked at, and as many of its mailsync addresses. Peers that are masked,
    malformed or beyond that are counted in `rejected_peers`; peers with the same host are one. A recon port that is no
    port is unknown, and the peer kept.

    Raises ParseError for any bytes that are no keyserver's stats page.
    """
    page = body.removeprefix(codecs.BOM_UTF8).lstrip()
    if page.startswith(b"{"):
        return _parse_hockeypuck_json(page, max_peers)
    said = _parse_sks(page, max_peers) or _parse_hockeypuck_html(page, max_peers)
    if said is None:
        raise ParseError(f"not a keyserver's stats page: {_described(page)}")
    return said


def header_text(value: str | None) -> str | None:
    """Return an HTTP header's value as one printable line of at most MAX_TEXT characters, None where it says nothing.

    Each character that cannot be printed becomes U+FFFD.
    """
    line = _line(value or "") or ""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in line) or None


def parse_port(text: str) -> int | None:
    """Return the TCP port (1 to 65535) that `text` says in decimal digits, None for anything else."""
    is_number = text.isascii() and text.isdigit() and len(text) <= 5
    return int(text) if is_number and 0 < int(text) < 65536 else None


def _described(page: bytes) -> str:
    """Return what people may know the page by."""
    if (title := _TITLE.search(page)) is not None:
        return f"its title is {_html_cell(title[1])!a}"
    return f"it starts with {_cell(page[:64])!a}" if page else "it is empty"


def _parse_sks(page: bytes, max_peers: int) -> Stats | None:
    """SKS and GnuKS. Nothing is HTML-escaped; the closing tags came with 1.1.2."""
    return _parse_html(page, max_peers, software="SKS", setting=_SKS_SETTING, cell=_cell, peer=_sks_row)


def _sks_row(row: bytes) -> Peer | None:
    """Return the peer of a row of one cell."""
    return _sks_peer(_first_cell(row)[:_MAX_CELL])


@functools.lru_cache(maxsize=_REMEMBERED_PEERS)
def _sks_peer(cell: bytes) -> Peer | None:
    return _peer(_cell(cell))


def _parse_hockeypuck_html(page: bytes, max_peers: int) -> Stats | None:
    """Hockeypuck's stock templates: 1.0 (no gossip peers, but mailsync) to 2.4."""
    return _parse_html(
        page, max_peers, software="Hockeypuck", setting=_HOCKEYPUCK_SETTING, cell=_html_cell, peer=_hockeypuck_row
    )


def _hockeypuck_row(row: bytes) -> Peer | None:
    """Return the peer of a row of name, HTTP address, recon address and, since 2.1, its status."""
    cells = row.split(b"</td>", 3)
    return _first_peer(_html_cell(cells[2]), _html_cell(cells[1])) if len(cells) > 3 else None


def _parse_hockeypuck_json(page: bytes, max_peers: int) -> Stats:
    """Hockeypuck 1.0 to 2.4: the same facts under changing names."""
    facts = _json_facts(page)
    entries = _json_list(facts, "peers")
    mailsync = _json_list(facts, "mailsync_peers")[:max_peers]
    peers, rejected = _fold(_json_peer(entry) for entry in entries[:max_peers])
    return Stats(
        software=_json_text(facts, "software") or "Hockeypuck",
        version=_json_text(facts, "version"),
        hostname=_json_text(facts, "hostname"),
        nodename=_json_text(facts, "nodename"),
        contact=_json_text(facts, "contact", "server_contact"),
        keys=_json_count(facts, *_JSON_COUNTS),
        taken_at=_time(_json_text(facts, "now", "timestamp")),
        peers=peers,
        rejected_peers=rejected + len(entries[max_peers:]),
        mailsync=_mail_addresses(_line(entry) for entry in mailsync if isinstance(entry, str)),
    )


def _json_facts(page: bytes) -> Mapping[str, object]:
    """Return the fields of the JSON object that the page is, if they are those of a stats page."""
    if _is_deep(page):
        raise ParseError("not a keyserver's stats page: its JSON is nested too deeply")
    try:
        facts = json.loads(page.decode("utf-8", "replace"), object_pairs_hook=_unrepeated)
    except RecursionError as error:
        raise ParseError("not a keyserver's stats page: its JSON is nested too deeply") from error
    except ValueError as error:
        raise ParseError("not a keyserver's stats page: it starts like JSON and is none") from error
    if "version" not in facts or facts.keys().isdisjoint(("peers", *_JSON_COUNTS)):
        raise ParseError("not a keyserver's stats page: JSON without a version, or with neither peers nor a key count")
    return facts  # type: ignore[no-any-return]  # the page starts with {: nothing else comes out


def _is_deep(page: bytes) -> bool:
    """Return whether JSON is nested more than _MAX_DEPTH levels deep, without following it down.

    json's parser follows it, in C: until Python 3.12 for a thousand levels, since 3.13 for more than a worker's stack
    bears, which ends the process.
    """
    if page.count(b"[") + page.count(b"{") <= _MAX_DEPTH:
        return False
    brackets = _STRING.sub(b"", page).translate(None, _NO_BRACKETS)
    return any(depth > _MAX_DEPTH for depth in itertools.accumulate(map(_STEPS.__getitem__, brackets)))


def _unrepeated(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Return the fields, None for each that is said twice: of two that differ, nobody knows which holds."""
    facts = dict(pairs)
    if len(facts) < len(pairs):
        times = Counter(name for name, _ in pairs)
        facts.update((name, None) for name in facts if times[name] > 1)
    return facts


def _json_text(facts: Mapping[str, object], *names: str) -> str | None:
    texts = (_line(value) for name in names if isinstance(value := facts.get(name), str))
    return next(filter(None, texts), None)


def _json_count(facts: Mapping[str, object], *names: str) -> int | None:
    """Return the first of the fields that is a count; true and false, integers to Python, are none."""
    counts = (value for name in names if isinstance(value := facts.get(name), int) and not isinstance(value, bool))
    return next((count for count in counts if 0 <= count <= _MAX_COUNT), None)


def _json_list(facts: Mapping[str, object], name: str) -> Sequence[object]:
    """Return the field, empty where it is no list: Go writes an empty list as null."""
    value = facts.get(name)
    return value if isinstance(value, list) else ()


def _json_peer(entry: object) -> Peer | None:
    if not isinstance(entry, dict) or entry.get("masked") is True:
        return None
    peer = _first_peer(_json_text(entry, "reconAddr"), _json_text(entry, "httpAddr"))
    path = _json_text(entry, "statsPath")
    if peer is None or path is None or not _PATH.fullmatch(path):
        return peer
    return Peer(peer.host, peer.recon_port, path)


def _parse_html(
    page: bytes,
    max_peers: int,
    *,
    software: str,
    setting: re.Pattern[bytes],
    cell: Callable[[bytes], str | None],
    peer: Callable[[bytes], Peer | None],
) -> Stats | None:
    """Return what the page says when it has a settings table of this dialect, else None.

    A dialect is how a setting is written, how a cell becomes text and a row a peer; `software` is its name where the
    page does not say it.
    """
    settings = _settings(page, setting, cell)
    if "version" not in settings:
        return None
    rows, over = _rows(page, b"Gossip Peers", max_peers)
    mailsync, _ = _rows(page, b"Outgoing Mailsync Peers", max_peers)
    peers, rejected = _fold(map(peer, rows))
    return Stats(
        software=settings.get("software") or software,
        version=settings["version"],
        hostname=settings.get("hostname"),
        nodename=settings.get("nodename"),
        contact=settings.get("server contact"),
        keys=_count(_value(page, b"Total number of keys:")),
        taken_at=_time(_value(page, b"Taken at ")),
        peers=peers,
        rejected_peers=rejected + over,
        mailsync=_mail_addresses(cell(_first_cell(row)) for row in mailsync),
    )


def _section(page: bytes, heading: bytes) -> bytes:
    """Return what stands between `heading` and the end of its table, empty where there is none."""
    start = page.find(b">" + heading + b"</h")
    end = page.find(b"</table", start) if start >= 0 else start
    return page[start : end if end >= 0 else len(page)] if start >= 0 else b""


def _settings(page: bytes, setting: re.Pattern[bytes], cell: Callable[[bytes], str | None]) -> Mapping[str, str | None]:
    """Return the settings by their labels in lower case. Hockeypuck 1 calls them "Server Status"."""
    section = _section(page, b"Settings") or _section(page, b"Server Status")
    found = setting.findall(section[:_MAX_SETTINGS])
    return {label.decode("ascii").lower(): cell(value) for label, value in found}


def _rows(page: bytes, heading: bytes, limit: int) -> tuple[Sequence[bytes], int]:
    """Return the first `limit` data rows under `heading`, without their first tags, and how many follow."""
    start = b"<tr><td>"
    rows = _section(page, heading).split(start, limit + 1)[1:]
    return rows[:limit], sum(1 + row.count(start) for row in rows[limit:])


def _first_cell(row: bytes) -> bytes:
    """Return what stands before the end of the row's first cell; without closing tags, that of the whole row."""
    return row.partition(b"</td>")[0]


def _value(page: bytes, words: bytes) -> str | None:
    """Return the text that follows `words`, up to the next tag or the end of the line."""
    start = page.find(words)
    value = _VALUE.match(page, start + len(words)) if start >= 0 else None
    return _cell(value[1]) if value is not None else None


def _cell(cell: bytes) -> str | None:
    return _line(cell[:_MAX_CELL].decode("utf-8", "replace"))


def _html_cell(cell: bytes) -> str | None:
    text = _TAG.sub("", cell[:_MAX_CELL].decode("utf-8", "replace"))
    return _line(html.unescape(text))


def _line(text: str) -> str | None:
    """Return `text` as one line that UTF-8 can encode, cut to MAX_TEXT characters; None where nothing is left."""
    line = " ".join(text[:_MAX_CELL].split())[:MAX_TEXT].rstrip()
    return line.encode("utf-8", "replace").decode() or None


def _count(text: str | None) -> int | None:
    if text is None or not (text.isascii() and text.isdigit() and len(text) <= len(str(_MAX_COUNT))):
        return None
    return count if (count := int(text)) <= _MAX_COUNT else None


def _time(text: str | None) -> datetime | None:
    """Return the moment in UTC, None where it is not said, without a zone that is known, or absurd."""
    said = _TIME.fullmatch(text or "")
    if said is None or int(said[1][:4]) not in _YEARS:
        return None
    zone = said[3] if said[3][0] in "+-" else "+00:00"
    try:
        return datetime.fromisoformat(f"{said[1]}T{said[2]}{zone}").astimezone(UTC)
    except ValueError:
        return None


def _first_peer(recon: str | None, http: str | None) -> Peer | None:
    """Return the peer at its recon address, else at its HTTP address, whose port says nothing of recon."""
    if (peer := _peer(recon)) is not None:
        return peer
    return Peer(peer.host) if (peer := _peer(http)) is not None else None


def _peer(text: str | None) -> Peer | None:
    """Return the peer at ``host port``, ``host:port``, ``[v6]:port`` or a host alone; None where there is no host."""
    host, blank, port = (text or "").partition(" ")
    if not blank and (host.count(":") == 1 or "]:" in host):
        host, _, port = host.rpartition(":")
    try:
        return Peer(parse_host(host), parse_port(port))
    except ParseError:
        return None


def _fold(peers: Iterable[Peer | None]) -> tuple[tuple[Peer, ...], int]:
    """Return one peer per host in the order they came, and how many were none."""
    found: dict[object, Peer] = {}
    rejected = 0
    for peer in peers:
        if peer is None:
            rejected += 1
        else:
            # IPv6Address hashes by its number modulo 2**61 - 1: a page could list thousands that are all alike.
            key = peer.host if isinstance(peer.host, HostName) else peer.host.packed
            found.setdefault(key, peer)
    return tuple(found.values()), rejected


def _mail_addresses(texts: Iterable[str | None]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text for text in texts if text is not None and _MAIL.fullmatch(text)))
