"""Keyservers that lie in what they are called and what they tell: none of it gets out unescaped."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Unpack

import dns.name
import dns.rdatatype
import pytest

from poolmgr.hosts import MAX_TEXT
from poolmgr.model import ReasonCode
from poolmgr.zone.desired import from_text
from tests.lab.crawls import Lab, by_name, only_address, verdicts
from tests.lab.hostile import GOOD_NAMES, LIAR, SEED, answering, assert_unharmed
from tests.lab.mesh import About, LabKeyserver
from tests.lab.pages import CANARY, Dialect, Facts, hockeypuck_json, sks
from tests.lab.site import Site

ORIGIN = "keys.test."

TEXTS = {
    "long": "evil" + "a" * 296,
    "newline": "evil\n$ORIGIN evil.test.\n@ 300 IN A 192.0.2.1",
    "return": "evil\rexcluded by the operator",
    "nul": "evil\0.test",
    "escape": "evil\x1b]0;owned\x07\x1b[2J\x9b31m",
    "directive": "$ORIGIN evil.test.",
    "record": 'evil 300 IN A 192.0.2.1 ; "',
    "script": "<script>alert('evil')</script>",
    "formula": '=cmd("evil")',
    "other formulas": "@evil()",
    "more formulas": "+evil()",
    "rtl": "\u202emoc.live\u2066evil",
    "invisible": "evil\u200b\u2028\ufeff\U000e0041",
    "markup": "[bold red]evil[/bold red] :skull: %s {0}",
    "surrogate": "evil\ud800",
}
"""What a keyserver may say where its name, version, software or address is expected."""

NOT_NAMES = [
    *(text for text in TEXTS.values() if text != TEXTS["surrogate"]),
    f"{'evil.' * 50}test",
    f"{'e' * 64}.test",
    "evil..test",
    "*.evil.test",
    "evil.test/pks",
    "evil@evil.test",
    "\u202eevil.test",
    "localhost",
    "evil.localhost",
    "evil.local",
    "evil",
    "127.1",
    "0x7f000001",
    "2130706433",
    "fe80::1%lo",
]


def liar_page(text: str) -> bytes:
    """Return a Hockeypuck page that says `text` wherever it may say one."""
    page = json.loads(hockeypuck_json(Facts(hostname=text, version=text, keys=1000, peers=[text, "evil.test"])))
    lies = {"software": text, "nodename": text, "contact": text, "mailsync_peers": [f"{text}@{text}"]}
    return json.dumps(page | lies).encode()


def add_liars(lab: Lab) -> list[str]:
    """Add liars that say each text in each place, and return their names."""
    names = []

    def add(name: str, **about: Unpack[About]) -> None:
        names.append(name)
        lab.add(name, **about)

    for number, text in enumerate(TEXTS.values()):
        raw = text.encode("utf-8", "surrogatepass")
        line = raw.replace(b"\n", b"\x0b")
        facts = Facts(hostname=text, version=text, keys=1000, peers=[text])
        add(f"page{number}.test", **answering(b"200 OK\r\nServer: " + line + b"\r\nVia: " + line, liar_page(text)))
        add(f"sks{number}.test", **answering(b"200 OK", sks(facts).encode("utf-8", "surrogatepass")))
        add(f"title{number}.test", **answering(b"200 OK", b"<title>" + raw.replace(b"<", b"&lt;") + b"</title>"))
        add(f"start{number}.test", **answering(b"200 OK", raw))
        add(f"moved{number}.test", **answering(b"302 " + line + b"\r\nLocation: " + line))
        add(f"coding{number}.test", **answering(b"200 OK\r\nContent-Encoding: " + line))
        add(f"status{number}.test", **answering(b"599 " + line))
        add(f"greeting{number}.test", **answering(line))
    return names


@pytest.mark.parametrize("dialect", [Dialect.SKS, Dialect.OLD_SKS, Dialect.HOCKEYPUCK_JSON, Dialect.HOCKEYPUCK_HTML])
def test_no_peer_that_is_no_host_name_is_asked_for(good: Lab, dialect: Dialect) -> None:
    good.add(LIAR, dialect=dialect, keys=None, peers=[*NOT_NAMES, "b\u00fccher.test"])
    snapshot = good.crawl(SEED)
    asked = {name for name, _ in good.nameserver.asked}
    assert asked == {*GOOD_NAMES, LIAR, "xn--bcher-kva.test"}
    assert by_name(snapshot).keys() == asked
    assert_unharmed(snapshot)


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
def test_a_keyserver_that_lies_about_its_name_has_the_one_it_was_found_by(good: Lab, text: str) -> None:
    good.add(LIAR, **answering(b"200 OK", liar_page(text)))
    snapshot = good.crawl(SEED)
    assert {name for name in by_name(snapshot) if name != "evil.test"} == {*GOOD_NAMES, LIAR}
    stats = only_address(by_name(snapshot)[LIAR]).stats
    assert stats is not None
    assert stats.version
    assert len(stats.version) <= MAX_TEXT
    assert len(stats.version.splitlines()) == 1
    assert stats.version.encode(errors="ignore").decode() == stats.version
    assert ReasonCode.SOFTWARE in verdicts(snapshot)[LIAR]
    assert_unharmed(snapshot)


def test_whatever_a_keyserver_says_is_escaped_where_it_enters_a_detail(good: Lab) -> None:
    good.mesh.keyservers[0].peers += add_liars(good)
    snapshot = good.crawl(SEED)
    details = {probe.detail for each in snapshot.keyservers for at in each.addresses for probe in at.probes}
    assert len(details) > 4 * len(TEXTS)
    assert not [detail for detail in details if not (detail.isascii() and detail.isprintable())]
    assert_unharmed(snapshot)


def site(lab: Lab, folder: Path) -> Site:
    """Return a site for the mesh of `lab` as it is now, that keeps the zone file keys.zone in `folder`."""
    address, port = lab.nameserver.server
    crawl = {
        "seeds": [SEED],
        "canary": CANARY,
        "nameservers": [f"{address}:{port}"],
        "allow_networks": [str(network) for network in lab.mesh.networks],
        "ports": {service.value: number for service, number in lab.mesh.ports.items()},
    }
    return Site(folder, ORIGIN, crawl, [{"type": "zonefile", "file": str(folder / "keys.zone")}])


def said(site: Site, *words: str, code: int = 0, **environ: str) -> str:
    """Return all that a command printed, which must have ended with `code`."""
    done = site.poolmgr(*words, **environ)
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


def assert_harmless(text: str) -> None:
    """No character of `text` makes a terminal do more than show it."""
    assert {char for char in text if not char.isprintable()} <= {"\n"}


def test_nothing_that_a_keyserver_says_gets_out_unescaped(good: Lab, tmp_path: Path) -> None:
    turncoat = good.add("turncoat.test")
    good.nameserver.records["evil.test"] = ["$origin.evil.test"]
    liars = add_liars(good)
    good.mesh.keyservers[0].peers += [*liars, turncoat.hostname, "evil.test", "b\u00fccher.test"]
    here = site(good, tmp_path)
    assert_harmless(said(here, "run"))
    assert_harmless_zone(tmp_path / "keys.zone", [*good.mesh.keyservers[:3], turncoat])
    turncoat.says = answering(b"200 OK", liar_page(TEXTS["escape"]))["says"]
    assert_harmless(said(here, "-v", "crawl"))

    plan = said(here, "plan")
    assert_harmless(plan)
    assert r"; turncoat.test: evil\x1b]0;owned\x07\x1b[2J\x9b31m is not admitted" in plan
    assert_harmless(said(here, "plan", "--format", "json"))
    assert_harmless_report(here)
    assert_harmless_csv(said(here, "report", "--format", "csv"))


def assert_harmless_report(here: Site) -> None:
    """The report shows what liars said, escaped, as plain text, as a table on a terminal, and as JSON."""
    plain = said(here, "report")
    assert_harmless(plain)
    assert r"evil\x1b]0;owned\x07" in plain
    assert all(line.startswith(("STATE", "member ", "out ", "pool.keys.test")) for line in plain.splitlines())

    table = said(here, "report", FORCE_COLOR="1", COLUMNS="200")
    assert "[bold red]evil[/bold red] :skull:" in table
    assert "\x1b[1;31m" not in table, "only the liar asks for bold and red"
    assert_harmless(re.sub(r"\x1b\[[0-9;]*m", "", table))

    document = said(here, "report", "--format", "json")
    assert document.isascii()
    assert_harmless(document)
    assert TEXTS["escape"] in {address["software"] for address in json.loads(document)["pools"][0]["addresses"]}


@pytest.mark.parametrize("form", ["text", "json"])
def test_nothing_of_an_answer_that_is_shown_raw_gets_out_unescaped(good: Lab, tmp_path: Path, form: str) -> None:
    said_at_once = "\n".join(TEXTS.values()).encode("utf-8", "surrogatepass")
    good.add("page.test", **answering(b"200 OK\r\nVia: \x1b[2J", liar_page(TEXTS["escape"])))
    good.add("raw.test", **answering(b"200 \x1b[2J\r\nServer: \x9b31m", said_at_once))
    here = site(good, tmp_path)
    for name in ("page.test", "raw.test"):
        shown = said(here, "probe", name, "--debug", "--format", form, code=1)
        assert_harmless(shown)
        assert "evil" in shown


def test_nothing_that_a_keyserver_says_gets_into_the_log_or_a_snapshot_unescaped(good: Lab, tmp_path: Path) -> None:
    good.mesh.keyservers[0].peers += add_liars(good)
    shown = said(site(good, tmp_path), "-v", "--log-format", "json", "crawl", "--output", "-")
    assert shown.isascii()
    assert_harmless(shown)
    documents = [json.loads(line) for line in shown.splitlines() if line.startswith("{")]
    assert {document.get("format") for document in documents} >= {None, "poolmgr-snapshot"}


def assert_harmless_zone(path: Path, members: Iterable[LabKeyserver]) -> None:
    """The zone has the addresses of `members`, and not a word of the liars."""
    text = path.read_text(encoding="ascii")
    assert "evil" not in text
    assert text.count("$ORIGIN") == 1
    origin = dns.name.from_text(ORIGIN)
    records = from_text(text, origin, path.name)
    (rrset,) = (each for each in records.values() if each.owner == dns.name.from_text("pool", origin))
    assert rrset.rdtype == dns.rdatatype.A
    assert {rdata.to_text() for rdata in rrset.rdatas} == {str(member.address) for member in members}


def assert_harmless_csv(text: str) -> None:
    """No cell is a formula, and every row is one line."""
    assert_harmless(text.replace("\r\n", "\n"))
    lines = list(csv.reader(io.StringIO(text)))
    assert len(lines) == len(text.splitlines())
    cells = {cell for line in lines for cell in line}
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@")) and not cell.lstrip("-").isdigit()]
    assert '\'=cmd("evil")' in cells
