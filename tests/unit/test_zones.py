"""What zones/ ships is what the name servers take."""

from __future__ import annotations

import re
from pathlib import Path

import dns.name
import dns.rdatatype
import pytest

from poolmgr.zone.desired import from_text
from tests.conftest import Need
from tests.lab.named import write_key
from tests.lab.process import run

ZONES = Path(__file__).parents[2] / "zones"
SKELETON = ZONES / "keys.example.org.zone"
ORIGIN = dns.name.from_text("keys.example.org.")


def update_mode(snippet: str, mark: str) -> str:
    """Return what the snippet's last comment holds behind an empty line of it, without the comment's `mark`."""
    (commented,) = re.findall(rf"^{mark}\n((?:{mark}.*\n)+)\Z", snippet, re.MULTILINE)
    return re.sub(rf"^{mark} ?", "", commented, flags=re.MULTILINE)


def named_snippet(mode: str, key: Path) -> str:
    text = (ZONES / "named.conf.example").read_text()
    return text if mode == "file" else update_mode(text, "//").replace("/etc/bind/poolmgr.key", str(key))


def nsd_snippet(mode: str) -> str:
    text = (ZONES / "nsd.conf.example").read_text()
    return text if mode == "file" else update_mode(text, "#")


def test_the_skeleton_has_an_soa_and_name_servers_with_their_addresses() -> None:
    records = from_text(SKELETON.read_text(), ORIGIN, SKELETON.name)
    assert (ORIGIN, dns.rdatatype.SOA) in records
    for rdata in records[ORIGIN, dns.rdatatype.NS].rdatas:
        assert (dns.name.from_text(rdata.to_text(), ORIGIN), dns.rdatatype.A) in records


@pytest.mark.parametrize("program", ["named-checkzone", "nsd-checkzone"])
def test_the_skeleton_is_a_zone(need: Need, program: str) -> None:
    need(program)
    run(program, *(("-i", "local") if program == "named-checkzone" else ()), ORIGIN.to_text(), SKELETON)


@pytest.mark.parametrize("mode", ["file", "update"])
def test_named_takes_the_snippet(need: Need, tmp_path: Path, mode: str) -> None:
    need("named-checkconf")
    conf = tmp_path / "named.conf"
    conf.write_text(named_snippet(mode, write_key(tmp_path / "poolmgr.key", "poolmgr-key")))
    shown = run("named-checkconf", "-p", conf)
    assert shown.count("type primary;") == 1
    assert ("update-policy" in shown) is (mode == "update")


@pytest.mark.parametrize("mode", ["file", "update"])
def test_nsd_takes_the_snippet(need: Need, tmp_path: Path, mode: str) -> None:
    need("nsd-checkconf")
    conf = tmp_path / "nsd.conf"
    conf.write_text(nsd_snippet(mode))
    run("nsd-checkconf", conf)
    wanted, other = ("provide-xfr", "request-xfr") if mode == "file" else ("request-xfr", "provide-xfr")
    assert nsd_option(conf, wanted)
    assert not nsd_option(conf, other)


def nsd_option(conf: Path, option: str) -> str:
    """Return what nsd-checkconf prints of an option of the snippet's zone."""
    words = ("nsd-checkconf", "-z", "keys.example.org", "-o", option, conf)
    return run(*words).strip()


def test_the_update_key_of_the_snippet_may_write_the_pools_addresses_and_nothing_else(tmp_path: Path) -> None:
    grants = re.findall(r"grant (.*);", named_snippet("update", tmp_path))
    assert grants
    assert all(re.fullmatch(r"poolmgr-key name \S+\.keys\.example\.org\. A AAAA", grant) for grant in grants)
