"""The whole path on real servers: SKS keyservers in, BIND by update and NSD by zone file out."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import dns.flags
import dns.message
import dns.query
import dns.rdatatype
import pytest

from tests.conftest import Need
from tests.lab.named import Named
from tests.lab.nameserver import Nameserver
from tests.lab.nsd import Nsd
from tests.lab.process import wait_until
from tests.lab.site import Site, update_target, zonefile_target
from tests.lab.sks import Sks, unused_sks_address

ORIGIN = "keys.example.test."
POOL = "pool.keys.example.test"


@dataclass
class World:
    keyservers: list[Sks]
    named: Named
    nsd: Nsd
    site: Site

    def answers(self, rdtype: str = "A", name: str = POOL) -> tuple[set[str], set[str]]:
        """Return what named and nsd answer."""
        return tuple(ask(server, name, rdtype) for server in (self.named, self.nsd))  # type: ignore[return-value]

    def serials(self) -> tuple[int, int]:
        return tuple(int(next(iter(ask(server, ORIGIN, "SOA"))).split()[2]) for server in (self.named, self.nsd))  # type: ignore[return-value]


def ask(server: Named | Nsd, name: str, rdtype: str) -> set[str]:
    query = dns.message.make_query(name, rdtype)
    reply = dns.query.tcp(query, str(server.address), port=server.port, timeout=5)
    assert reply.flags & dns.flags.AA
    return {rdata.to_text() for rrset in reply.answer for rdata in rrset}


def fingerprint(keyserver: Sks) -> str:
    """Return that of a key that all of them have."""
    _, index = keyserver.get("/pks/lookup?op=index&options=mr&search=user0")
    return index.decode().split("pub:")[1].split(":")[0]


@pytest.fixture
def world(tmp_path: Path, need: Need, sks_keys: tuple[bytes, ...]) -> Iterator[World]:
    """Three keyservers with all keys and one that lags behind; named and nsd with the pool's zone, still empty."""
    need("sks", "named", "nsd", "nsd-checkzone", "named-checkzone")
    with ExitStack() as running:
        nameserver = running.enter_context(Nameserver())
        names = [f"sks{number}.mesh.test" for number in range(1, 5)]
        keyservers = []
        for name in names:
            keys = sks_keys if name != names[-1] else sks_keys[:3]
            others = [other for other in names if other != name]
            folder = tmp_path / name.partition(".")[0]
            keyserver = running.enter_context(Sks(folder, unused_sks_address(), name, keys, peers=others))
            keyservers.append(keyserver)
            nameserver.records[name] = [keyserver.address]
        named = running.enter_context(Named(tmp_path / "named", ORIGIN))
        nsd = running.enter_context(Nsd(tmp_path / "nsd", ORIGIN))
        address, port = nameserver.server
        crawl = {"seeds": names[:1], "canary": fingerprint(keyservers[0]), "nameservers": [f"{address}:{port}"]}
        checks = ["named-checkzone", "nsd-checkzone"]
        site = Site(
            tmp_path,
            ORIGIN,
            crawl,
            [
                update_target(named.address, named.port, named.key_file),
                zonefile_target(nsd.zone_file, nsd.address, nsd.port, nsd.reload_command, check=checks),
            ],
        )
        site.config["policy"] = {"max_keys_behind": 1, "max_keys_ahead": 1, "fall": 1, "drop": 1}
        yield World(keyservers, named, nsd, site)


def test_run_publishes_the_good_keeps_still_holds_and_lets_go(world: World) -> None:
    healthy = {keyserver.address for keyserver in world.keyservers[:3]}

    # The members are served by both, and nothing else has changed.
    first = world.site.poolmgr("run")
    assert (first.returncode, first.stderr) == (0, "")
    assert world.answers() == (healthy, healthy)
    assert world.answers("AAAA") == (set(), set())
    assert world.answers(name=f"ns1.{ORIGIN}") == ({"127.0.0.1"}, {"127.0.0.1"})
    for keyserver in world.keyservers[:3]:
        assert f"+ {POOL}. 300 IN A {keyserver.address}  ; {keyserver.hostname}: member" in first.stdout

    # The one that lags is out, with its reason.
    report = json.loads(world.site.poolmgr("report", "--excluded", "--format", "json").stdout)
    (late,) = report["pools"][0]["addresses"]
    assert late["keyserver"] == world.keyservers[3].hostname
    (reason,) = late["reasons"]
    assert (reason["code"], reason["measured"], reason["limit"]) == ("behind", "3", "5")

    # A second run sends nothing, writes nothing, says nothing.
    serials, updates = world.serials(), world.named.log().count("updating zone")
    written = world.nsd.zone_file.stat()
    second = world.site.poolmgr("run")
    assert (second.returncode, second.stdout, second.stderr) == (0, "", "")
    assert world.serials() == serials
    assert world.named.log().count("updating zone") == updates > 0
    assert world.nsd.zone_file.stat().st_mtime_ns == written.st_mtime_ns
    plan = world.site.poolmgr("plan", "--check")
    assert plan.returncode == 0
    assert plan.stdout.count("nothing to change") == 2

    # Two die: with the floor of three the last good records stay, and plan says so beforehand.
    for keyserver in world.keyservers[1:3]:
        keyserver.stop()
    world.site.config["policy"]["min_cohort"] = 1
    world.site.pool["max_removed"] = "100%"
    held = world.site.poolmgr("run")
    assert held.returncode == 3
    sentence = f"{POOL} A would have 1 of at least 3 members (min_members): the 3 published stay"
    assert held.stderr.count(sentence) == 2
    assert world.answers() == (healthy, healthy)
    assert world.serials() == serials
    assert world.site.poolmgr("plan").returncode == 3

    # Without the floor they leave, from both.
    world.site.pool["min_members"] = 0
    last = world.site.poolmgr("run")
    assert (last.returncode, last.stderr) == (0, "")
    assert world.answers() == ({world.keyservers[0].address},) * 2
    assert "no stats page: refused (connection refused)" in last.stdout
    assert all(after > before for before, after in zip(serials, world.serials(), strict=True))


def test_max_removed_holds_and_force_overrides_it_once(world: World) -> None:
    world.site.pool["min_members"] = 0
    assert world.site.poolmgr("run").returncode == 0
    for keyserver in world.keyservers[:2]:
        keyserver.stop()
    world.site.config["crawl"]["seeds"] = [keyserver.hostname for keyserver in world.keyservers]
    world.site.config["policy"]["min_cohort"] = 1
    held = world.site.poolmgr("run")
    assert held.returncode == 3
    assert "would lose 2 of 3 members, at most 1 may go at once (max_removed 50%)" in held.stderr
    forced = world.site.poolmgr("run", "--force")
    assert (forced.returncode, forced.stderr) == (0, "")
    assert world.answers() == ({world.keyservers[2].address},) * 2


def test_one_target_that_fails_does_not_stop_the_other(world: World) -> None:
    world.named.stop()
    failed = world.site.poolmgr("run")
    assert failed.returncode == 1
    assert f"{world.named.address}" in failed.stderr
    assert ask(world.nsd, POOL, "A") == {keyserver.address for keyserver in world.keyservers[:3]}
    world.named.start()
    assert world.site.poolmgr("run").returncode == 0
    assert world.answers() == ({keyserver.address for keyserver in world.keyservers[:3]},) * 2


def wait_for_nsd(world: World, addresses: set[str]) -> None:
    """nsd-control returns before the file is read, and what nsd served before answers, or resets, for a moment more."""

    def is_served() -> bool:
        with contextlib.suppress(ConnectionError, EOFError):
            return ask(world.nsd, POOL, "A") == addresses
        return False

    wait_until(is_served, f"nsd serves {len(addresses)} addresses")


def test_a_file_that_nobody_serves_is_published_again(world: World) -> None:
    """As after a run that was killed between the rename and the reload."""
    world.site.config["publish"] = world.site.config["publish"][1:]
    served = world.nsd.zone_file.read_bytes()
    assert world.site.poolmgr("run").returncode == 0
    written = world.nsd.zone_file.read_bytes()
    world.nsd.zone_file.write_bytes(served)
    world.nsd.control("reload", ORIGIN)
    wait_for_nsd(world, set())
    world.nsd.zone_file.write_bytes(written)
    again = world.site.poolmgr("run")
    assert (again.returncode, again.stderr) == (0, "")
    wait_for_nsd(world, {keyserver.address for keyserver in world.keyservers[:3]})
