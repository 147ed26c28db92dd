"""What keyservers of each kind answer, rendered by us: stats pages, keys and indexes."""

from __future__ import annotations

import enum
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

_KEYS = Path(__file__).resolve().parent.parent / "data" / "keys"

CANARY = "0297C0F70AC3EBBFEC01E0B399B4FAE8C2D2B8D0"
"""The fingerprint of the key that lab keyservers hold: signed so long ago that who has it need not be fresh."""

COUNTED = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
"""When lab keyservers counted their keys: lately, since an old count is not believed."""

OTHER = "B5578E9F7E4DE512A2A5F46375F7327738108628"
"""The fingerprint of another key."""


def armoured(fingerprint: str) -> str:
    """Return a real key of tests/data/keys."""
    return (_KEYS / f"{fingerprint}.asc").read_text(encoding="ascii")


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a stats page says. `keys` is None before the first count.

    `peers` are hosts. `recon_ports` has those of them that gossip elsewhere than at 11370, and `stats_paths` where the
    stats page of some is; only Hockeypuck's JSON tells that.
    """

    hostname: str
    version: str
    keys: int | None
    peers: Sequence[str]
    taken_at: str = f"{COUNTED:%Y-%m-%d %H:%M:%S}"
    recon_ports: Mapping[str, int] = field(default_factory=dict)
    stats_paths: Mapping[str, str] = field(default_factory=dict)

    def recon(self, peer: str) -> int:
        """Return the recon port of `peer`."""
        return self.recon_ports.get(peer, 11370)


def sks(facts: Facts) -> str:
    """Return the page of SKS 1.1.4 to 1.1.6+."""
    count = "" if facts.keys is None else f"<h2>Statistics</h2><p>Total number of keys: {facts.keys}</p>\n"
    title = "Stats not calculated yet" if facts.keys is None else f"Taken at {facts.taken_at} UTC"
    peers = "".join(f"<tr><td>{peer} {facts.recon(peer)}</td></tr>\n" for peer in facts.peers)
    return f"""<?xml version="1.0" encoding="utf-8"?>
<html xmlns="http://www.w3.org/1999/xhtml">
<head><title>SKS OpenPGP Keyserver statistics&nbsp;|&nbsp;{title}</title></head>
<body><h1>SKS OpenPGP Keyserver statistics<br />{title}</h1><h2>Settings</h2>
     <table summary="Keyserver Settings">
     <tr><td>Hostname:</td><td>{facts.hostname}</td></tr>
     <tr><td>Nodename:</td><td>{facts.hostname}</td></tr>
     <tr><td>Version:</td><td>{facts.version}</td></tr>
     <tr><td>Server contact:</td><td>0x1455854896B25036</td></tr>
     <tr><td>HTTP port:</td><td>11371</td></tr>
     <tr><td>Recon port:</td><td>11370</td></tr>
     <tr><td>Debug level:</td><td>3</td></tr>
</table>
<table summary="Keyserver Peers" width="100%">
<tr valign="top"><td>
<h2>Gossip Peers</h2>
<table summary="Gossip Peers">
{peers}</table>
</td><td>
<h2>Outgoing Mailsync Peers</h2>
<table summary="Mailsync Peers">
</table>
</td></tr></table>
{count}</body></html>
"""


def old_sks(facts: Facts) -> str:
    """Return the page of SKS 1.0 to 1.1.1: no closing tags, no summaries."""
    peers = "".join(f"<tr><td>{peer} 11370\n" for peer in facts.peers)
    count = "" if facts.keys is None else f"<h2>Statistics</h2><p>Total number of keys: {facts.keys}</p>\n"
    return f"""<html><head><title>SKS OpenPGP Keyserver statistics</title></head>
<body><h1>SKS OpenPGP Keyserver statistics<br>Taken at {facts.taken_at} UTC</h1>
<h2>Settings</h2>
<table>
<tr><td>Hostname:<td>{facts.hostname}
<tr><td>Version:<td>{facts.version}
<tr><td>HTTP port:<td>11371
<tr><td>Recon port:<td>11370
<tr><td>Debug level:<td>3
</table>
<table width="100%"><tr valign="top"><td>
<h2>Gossip Peers</h2>
<table>
{peers}</table>
<td>
<h2>Outgoing Mailsync Peers</h2>
<table>
</table>
</table>
{count}</body></html>
"""


def hockeypuck_json(facts: Facts) -> str:
    """Return the JSON of Hockeypuck 2.1.1 to 2.3."""
    page: dict[str, object] = {
        "now": facts.taken_at.replace(" ", "T") + "Z",
        "version": facts.version,
        "hostname": facts.hostname,
        "nodename": facts.hostname,
        "contact": "0x1455854896B25036",
        "httpAddr": ":11371",
        "queryConfig": {"selfSignedOnly": False, "keywordSearchDisabled": False},
        "reconAddr": ":11370",
        "software": "Hockeypuck",
        "peers": [
            {
                "Name": f"peer{number}",
                "httpAddr": _with_port(peer, 11371),
                "reconAddr": _with_port(peer, facts.recon(peer)),
                "statsPath": facts.stats_paths.get(peer, "/pks/lookup?op=stats"),
            }
            for number, peer in enumerate(facts.peers)
        ]
        or None,
        "Hourly": None,
        "Daily": None,
    }
    if facts.keys is not None:
        page["Total"] = facts.keys
    return json.dumps(page)


def hockeypuck_html(facts: Facts) -> str:
    """Return Hockeypuck's stock HTML page."""
    peers = "".join(
        f"<tr><td>peer{number}</td><td>{_with_port(peer, 11371)}</td><td>{_with_port(peer, 11370)}</td></tr>\n"
        for number, peer in enumerate(facts.peers)
    )
    count = "" if facts.keys is None else f"Total number of keys: {facts.keys}\n"
    return f"""<!DOCTYPE html>
<html xmlns="http://www.w3.org/1999/xhtml">
<head><title>Hockeypuck OpenPGP Keyserver Statistics</title></head>
<body><h1>Hockeypuck OpenPGP Keyserver Statistics</h1>
Taken at {facts.taken_at.replace(" ", "T")}Z
<h2 id="settings">Settings</h2>
<table>
<tr><th>Hostname</th><td>{facts.hostname}</td></tr>
<tr><th>Nodename</th><td>{facts.hostname}</td></tr>
<tr><th>Version</th><td>{facts.version}</td></tr>
<tr><th>Server Contact</th><td>0x1455854896B25036</td></tr>
<tr><th>HTTP</th><td>:11371</td></tr>
<tr><th>Recon</th><td>:11370</td></tr>
</table>
<h3 id="gossip-peers">Gossip Peers</h3>
<table><tr><th>Name</th><th>HTTP</th><th>Recon</th></tr>
{peers}</table>
<h2 id="statistics">Statistics</h2>
{count}</body></html>
"""


def _with_port(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Dialect(enum.Enum):
    """What kind of keyserver it is; the value is the version that it says by default."""

    SKS = "1.1.6"
    OLD_SKS = "1.1.1"
    HOCKEYPUCK_JSON = "2.2.4"
    HOCKEYPUCK_HTML = "2.1.0"

    @property
    def server(self) -> str:
        """What its Server header says before the version."""
        return "sks_www" if self in {Dialect.SKS, Dialect.OLD_SKS} else "Hockeypuck"


STATS_PAGES: Mapping[Dialect, Callable[[Facts], str]] = {
    Dialect.SKS: sks,
    Dialect.OLD_SKS: old_sks,
    Dialect.HOCKEYPUCK_JSON: hockeypuck_json,
    Dialect.HOCKEYPUCK_HTML: hockeypuck_html,
}

DEFAULT_PAGE = "<!DOCTYPE html><html><head><title>Welcome to nginx!</title></head><body><h1>It works</h1></body></html>"
"""What a web server says that nobody told about the keyserver behind it."""


def index(fingerprints: Sequence[str]) -> str:
    """Return a machine-readable index that lists `fingerprints`."""
    entries = "".join(f"pub:{each}:22:256:1795430157::\nuid:Lab key:1795430157::\n" for each in fingerprints)
    return f"info:1:{len(fingerprints)}\n{entries}"
