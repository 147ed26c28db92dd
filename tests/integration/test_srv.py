"""SRV records, the labels that they lead to, and TXT, at a primary that is updated and in a zone file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dns.flags
import dns.message
import dns.query
import pytest

from poolmgr.model import Service
from tests.conftest import Need
from tests.lab.crawls import Lab
from tests.lab.named import Named
from tests.lab.nsd import Nsd
from tests.lab.site import Site, mesh_site, update_target, zonefile_target

ORIGIN = "keys.example.test."
POOL = f"pool.{ORIGIN}"
SRV = f"_pgpkey-http._tcp.{POOL}"
NAMES = [f"ks{number}.mesh.test" for number in range(4)]


@dataclass
class World:
    lab: Lab
    site: Site
    named: Named
    nsd: Nsd

    def answers(self, name: str, rdtype: str) -> set[str]:
        """Return what both name servers answer, which is the same."""
        first, second = (
            {rdata.to_text() for rrset in ask(server, name, rdtype).answer for rdata in rrset}
            for server in (self.named, self.nsd)
        )
        assert first == second
        return first

    def serials(self) -> list[int]:
        return [ask(server, ORIGIN, "SOA").answer[0][0].serial for server in (self.named, self.nsd)]

    def targets(self) -> set[str]:
        """Return the targets of the SRV records, each of which has the address of the pool that it is for."""
        return {text.split()[3] for text in self.answers(SRV, "SRV")}

    def label(self, number: int) -> str:
        """Return the label of the address of that keyserver."""
        return f"{self.lab.mesh.keyservers[number].address.packed.hex()}.hosts.{POOL}"

    def run(self) -> None:
        done = self.site.poolmgr("run")
        assert done.returncode == 0, done.stderr


def ask(server: Named | Nsd, name: str, rdtype: str) -> dns.message.Message:
    query = dns.message.make_query(name, rdtype)
    reply = dns.query.tcp(query, str(server.address), port=server.port, timeout=5)
    assert reply.flags & dns.flags.AA
    return reply


@pytest.fixture
def world(tmp_path: Path, need: Need, lab: Lab) -> Iterator[World]:
    """Four keyservers, of which the name of the first is an alias; named is updated, and nsd has a zone file."""
    need("named", "nsd", "nsd-checkzone", "named-checkzone")
    for name in NAMES:
        lab.add(name, peers=NAMES, keys=5_000)
    with Named(tmp_path / "named", ORIGIN) as named, Nsd(tmp_path / "nsd", ORIGIN) as nsd:
        checks = ["named-checkzone", "nsd-checkzone"]
        targets = [
            update_target(named.address, named.port, named.key_file),
            zonefile_target(nsd.zone_file, nsd.address, nsd.port, nsd.reload_command, check=checks),
        ]
        site = mesh_site(tmp_path, ORIGIN, lab.mesh, lab.nameserver, targets)
        site.config["crawl"] |= {"retries": 0, "seeds": NAMES}
        site.pool |= {"srv": ["pgpkey-http"], "txt": True, "min_members": {"ipv4": 1}}
        lab.nameserver.records["real.mesh.test"] = lab.nameserver.records[NAMES[0]]
        lab.nameserver.records[NAMES[0]] = ["real.mesh.test"]
        yield World(lab, site, named, nsd)


def test_targets_are_own_names_and_labels_which_go_with_their_members(world: World) -> None:
    first = world.lab.mesh.keyservers[0]
    world.run()
    assert world.targets() == {world.label(0), *(f"{name}." for name in NAMES[1:])}
    assert {text.split()[2] for text in world.answers(SRV, "SRV")} == {str(world.lab.mesh.ports[Service.HKP])}
    assert world.answers(world.label(0), "A") == {str(first.address)}
    (txt,) = world.answers(POOL, "TXT")
    assert " A=4 AAAA=0 state=ok asks=hkp " in txt

    # No change, no noise: two crawls later everything is as it was.
    serials = world.serials()
    world.run()
    assert world.serials() == serials

    # The name stops being an alias, and one with an own name becomes one.
    records = world.lab.nameserver.records
    records[NAMES[0]] = records["real.mesh.test"]
    records["other.mesh.test"] = records[NAMES[1]]
    records[NAMES[1]] = ["other.mesh.test"]
    world.run()
    assert world.targets() == {world.label(1), *(f"{name}." for name in NAMES if name != NAMES[1])}
    assert world.answers(world.label(0), "A") == set()

    # A member leaves: at first nothing changes, then it is tried last, then it is gone with its label.
    world.lab.mesh.stop(world.lab.mesh.keyservers[1])
    world.site.config["policy"] |= {"fast_fall": [], "fall": 2, "drop": 3}
    serials = world.serials()
    world.run()
    assert world.serials() == serials
    world.run()
    assert {text.split()[3]: text.split()[0] for text in world.answers(SRV, "SRV")}[world.label(1)] == "10"
    world.run()
    assert world.targets() == {f"{name}." for name in NAMES if name != NAMES[1]}
    assert world.answers(world.label(1), "A") == set()
    assert len(world.answers(POOL, "A")) == 3


def test_what_is_not_asked_for_any_more_is_removed_and_what_never_was_is_left_alone(world: World) -> None:
    world.run()
    label = world.label(0)
    world.site.pool |= {"srv": [], "txt": False}
    world.run()
    assert world.answers(SRV, "SRV") == world.answers(POOL, "TXT") == world.answers(label, "A") == set()
    del world.site.pool["srv"], world.site.pool["txt"]
    serials = world.serials()
    world.run()
    assert world.serials() == serials
