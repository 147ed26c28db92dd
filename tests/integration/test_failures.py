"""What an operator is told when a name server does not take the update, as the command says it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import dns.message
import dns.query
import pytest
from click.testing import CliRunner

from poolmgr.cli import main
from tests.conftest import Need
from tests.lab.killing import ORIGIN, add_keyservers
from tests.lab.mesh import Mesh
from tests.lab.named import KEY_NAME, Named, write_key
from tests.lab.nameserver import Nameserver
from tests.lab.nsd import Nsd
from tests.lab.site import Site, mesh_site, update_target

POOL = f"pool.{ORIGIN}"

MakeSite = Callable[[Named | Nsd, Path], Site]
"""Takes a name server and a key file; returns the site that updates it."""


@dataclass(frozen=True, slots=True)
class Said:
    """How a command ended and what it said."""

    exit_code: int
    output: str
    errors: str


@pytest.fixture(scope="module")
def mesh() -> Iterator[Mesh]:
    with Mesh() as mesh:
        add_keyservers(mesh)
        yield mesh


@pytest.fixture
def make_site(tmp_path: Path, mesh: Mesh) -> Iterator[MakeSite]:
    with Nameserver() as nameserver:
        yield lambda server, key_file: mesh_site(
            tmp_path, ORIGIN, mesh, nameserver, [update_target(server.address, server.port, key_file)]
        )


def run(site: Site) -> Said:
    done = site.poolmgr("run")
    return Said(done.returncode, done.stdout, done.stderr)


def run_here(site: Site) -> Said:
    """Run the command in this process, where a test can change what it sees."""
    site.command()
    done = CliRunner().invoke(main, ["-c", str(site.path), "run"])
    return Said(done.exit_code, done.stdout, done.stderr)


def sentence(said: Said, server: Named | Nsd, key_file: Path) -> str:
    """Return the one sentence of a run that failed, once it is sure that there is nothing else, and no secret."""
    assert (said.exit_code, said.output) == (1, "")
    assert key_file.read_text().split('"')[3] not in said.errors
    (line,) = said.errors.splitlines()
    prefix = f"poolmgr: primary {server.address} port {server.port}: "
    assert line.startswith(prefix)
    return line.removeprefix(prefix).removeprefix(f"name server {server.address} port {server.port} ")


def published(server: Named | Nsd) -> tuple[list[str], list[str]]:
    """Return the zone's SOA and the pool's addresses, as the server answers."""

    def answer(name: str, rdtype: str) -> list[str]:
        reply = dns.query.tcp(dns.message.make_query(name, rdtype), str(server.address), port=server.port, timeout=5)
        return [rdata.to_text() for rrset in reply.answer for rdata in rrset]

    return answer(ORIGIN, "SOA"), answer(POOL, "A")


UNTOUCHED: tuple[list[str], list[str]] = ([f"ns1.{ORIGIN} hostmaster.{ORIGIN} 2026010101 900 600 86400 60"], [])
"""What is published at a server that has only had its first zone."""


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("no-such-key", r"knows no TSIG key no-such-key\. with hmac-sha256 .*: give it this key, or .* \(BADKEY\)"),
        (KEY_NAME, rf"has another secret for the TSIG key {KEY_NAME}\.: copy it from there again \(BADSIG\)"),
    ],
    ids=["name", "secret"],
)
def test_a_wrong_key(tmp_path: Path, need: Need, make_site: MakeSite, name: str, told: str) -> None:
    need("named")
    key_file = write_key(tmp_path / "mine.key", name)
    with Named(tmp_path / "named", ORIGIN) as named:
        assert re.fullmatch(told, sentence(run(make_site(named, key_file)), named, key_file))
        assert published(named) == UNTOUCHED


@pytest.mark.parametrize("offset", [3600, -3600])
def test_a_clock_that_is_off(
    tmp_path: Path, need: Need, make_site: MakeSite, monkeypatch: pytest.MonkeyPatch, offset: int
) -> None:
    need("named")
    with Named(tmp_path / "named", ORIGIN) as named:
        site, real = make_site(named, named.key_file), time.time
        with monkeypatch.context() as patch:
            patch.setattr(dns.message, "time", SimpleNamespace(time=lambda: real() + offset))
            said = run_here(site)
        assert re.fullmatch(
            r"says that it is [-\d]+ [:\d]+ UTC while it is [-\d]+ [:\d]+ UTC here: (3599|360\d) s apart, "
            r"300 s are allowed: set both clocks \(BADTIME\)",
            sentence(said, named, named.key_file),
        )
        assert published(named) == UNTOUCHED


def test_a_frozen_zone(tmp_path: Path, need: Need, make_site: MakeSite) -> None:
    need("named")
    with Named(tmp_path / "named", ORIGIN) as named:
        site = make_site(named, named.key_file)
        named.rndc("freeze", ORIGIN)
        told = sentence(run(site), named, named.key_file)
        assert told.startswith("refuses the update: the zone is frozen (rndc thaw, knotc zone-thaw), static or ")
        assert told.endswith(" (REFUSED)")
        assert published(named) == UNTOUCHED
        named.rndc("thaw", ORIGIN)
        assert run(site).exit_code == 0


def test_a_name_that_the_key_may_not_write(tmp_path: Path, need: Need, make_site: MakeSite) -> None:
    need("named")
    policy = f"update-policy {{ grant {KEY_NAME} name other.{ORIGIN} A; }};"
    with Named(tmp_path / "named", ORIGIN, zone_options=policy) as named:
        told = sentence(run(make_site(named, named.key_file)), named, named.key_file)
        assert told.endswith(f"or its update-policy does not let the key {KEY_NAME}. write {POOL} A (REFUSED)")
        assert published(named) == UNTOUCHED


def test_a_server_that_is_down(tmp_path: Path, need: Need, make_site: MakeSite) -> None:
    need("named")
    named = Named(tmp_path / "named", ORIGIN)
    told = sentence(run(make_site(named, named.key_file)), named, named.key_file)
    assert told == (
        "cannot be reached (Connection refused), nothing was sent: is it running, and does it listen there with TCP?"
    )


@pytest.mark.parametrize(
    ("name", "told"),
    [
        (KEY_NAME, "takes no dynamic updates, as NSD never does: publish to it by zone file (NOTIMP)"),
        ("another", "NSD takes no updates: publish to it by zone file (BADKEY)"),
    ],
    ids=["known key", "unknown key"],
)
def test_nsd_asked_for_an_update(tmp_path: Path, need: Need, make_site: MakeSite, name: str, told: str) -> None:
    need("nsd")
    key_file = write_key(tmp_path / "mine.key", name)
    secret = key_file.read_text().split('"')[3]
    with Nsd(tmp_path / "nsd", ORIGIN, key=(KEY_NAME, secret)) as nsd:
        assert sentence(run(make_site(nsd, key_file)), nsd, key_file).endswith(told)
        assert published(nsd) == UNTOUCHED
