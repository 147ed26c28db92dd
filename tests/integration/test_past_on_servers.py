"""What is rolled back and told of real name servers: named that is updated, and nsd with a zone file."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

import dns.message
import dns.name
import dns.query
import dns.update
import pytest

from poolmgr.publish.tsig import KeyFile, load_key
from tests.conftest import Need
from tests.lab.clock import Clock
from tests.lab.crawls import Lab
from tests.lab.named import KEY_NAME, Named
from tests.lab.nsd import Nsd
from tests.lab.process import unused_port, wait_until
from tests.lab.scripted import Scripted, forward, framed, is_update
from tests.lab.site import Site, update_target, zonefile_target

NAMES = [f"ks{number}.test" for number in range(4)]
ORIGIN = "keys.test."
POOL = f"pool.{ORIGIN}"
SRV = f"_pgpkey-http._tcp.{POOL}"
LOCALHOST = IPv4Address("127.0.0.1")

Server = Named | Nsd


@dataclass
class World:
    """A mesh of four keyservers, and poolmgr with its pool at an updated named and at an nsd with a file."""

    lab: Lab
    site: Site
    clock: Clock
    named: Named
    nsd: Nsd

    @property
    def labels(self) -> tuple[str, str]:
        return f"primary {self.named.address} port {self.named.port}", f"zone file {self.nsd.zone_file}"

    def run(self, *words: str, code: int = 0) -> str:
        """Run poolmgr a quarter of an hour later, and return what it said."""
        self.clock.move(timedelta(minutes=15))
        done = self.site.call(*words)
        assert done.returncode == code, done.stderr
        return done.stdout

    def addresses(self, count: int) -> set[str]:
        return {str(keyserver.address) for keyserver in self.lab.mesh.keyservers[-count:]}

    def leads_to(self, target: str) -> list[str]:
        """Return the addresses of an own name, outside the zone, or of a label in it."""
        return self.lab.nameserver.records.get(target.rstrip(".")) or sorted(answers(self.named, target, "A"))

    def await_served(self, expected: set[str], rdtype: str = "A", name: str = POOL) -> None:
        """Return when both servers answer so; nsd's old processes answer for some milliseconds after a reload."""
        assert answers(self.named, name, rdtype) == expected
        wait_until(lambda: answers(self.nsd, name, rdtype) == expected, f"nsd has {expected}")


def ask(server: Server, name: str, rdtype: str) -> dns.message.Message:
    return dns.query.tcp(dns.message.make_query(name, rdtype), str(server.address), port=server.port, timeout=5)


def answers(server: Server, name: str, rdtype: str) -> set[str]:
    try:
        return {rdata.to_text() for rrset in ask(server, name, rdtype).answer for rdata in rrset}
    except (OSError, EOFError):
        return set()


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lab: Lab) -> tuple[Site, Clock]:
    """Four good keyservers, not published yet."""
    clock = Clock(datetime(2026, 11, 23, 4, 10, 30, tzinfo=UTC))
    clock.use(monkeypatch)
    for name in NAMES:
        lab.add(name, peers=NAMES)
    site = lab.site(tmp_path, *NAMES, retries=0, deadline="5s")
    site.config["policy"] = {"flap_wait": "0s", "min_cohort": 1, "fall": 1, "drop": 1}
    site.pool |= {"min_members": 0, "max_removed": "50%", "families": ["ipv4"]}
    return site, clock


@pytest.fixture
def world(tmp_path: Path, need: Need, lab: Lab, site: tuple[Site, Clock]) -> Iterator[World]:
    need("named", "nsd", "nsd-checkzone")
    with Named(tmp_path / "named", ORIGIN) as named, Nsd(tmp_path / "nsd", ORIGIN) as nsd:
        site[0].config["publish"] = [
            update_target(named.address, named.port, named.key_file),
            zonefile_target(nsd.zone_file, nsd.address, nsd.port, nsd.reload_command, check=["nsd-checkzone"]),
        ]
        yield World(lab, *site, named, nsd)


def test_rollback_restores_the_members_on_each_server_and_srv_and_txt_go_with_them(world: World) -> None:
    world.site.pool |= {"srv": ["pgpkey-http"], "txt": True}

    def assert_whole(count: int) -> None:
        """Both servers have so many members, an SRV record of each, and a TXT that counts them."""
        world.await_served(world.addresses(count))
        targets = {text.split()[3] for text in answers(world.named, SRV, "SRV")}
        assert len(targets) == count
        assert {address for target in targets for address in world.leads_to(target)} == world.addresses(count)
        world.await_served(answers(world.named, SRV, "SRV"), "SRV", SRV)
        world.await_served(answers(world.named, POOL, "TXT"), "TXT")
        assert f" A={count} " in "".join(answers(world.named, POOL, "TXT"))

    world.run("run")
    assert_whole(4)
    for keyserver in world.lab.mesh.keyservers[:2]:
        world.lab.mesh.stop(keyserver)
    world.run("run")
    assert_whole(2)
    newest, before = world.run("rollback", "--list").splitlines()
    assert newest.endswith("pool.keys.test ipv4: 2  (published now)")
    assert before.endswith("pool.keys.test ipv4: 4")
    said = world.run("rollback")
    assert_whole(4)
    assert all(label in said for label in world.labels)
    assert world.run("rollback", "--to", "1") != "", "the state before is that of two members"
    assert_whole(2)
    world.run("rollback", "--to", "1")
    assert_whole(4)
    world.run("run")
    assert_whole(2)


def test_rollback_is_held_by_the_limits_of_every_target(world: World) -> None:
    world.run("run")
    world.lab.mesh.stop(world.lab.mesh.keyservers[0])
    world.lab.mesh.stop(world.lab.mesh.keyservers[1])
    world.run("run")
    world.site.pool["max_added"] = 1
    world.clock.move(timedelta(minutes=1))
    held = world.site.call("rollback")
    assert held.returncode == 3
    for label in world.labels:
        assert f"{label}: held: pool.keys.test A would gain 2 members beside 2" in held.stderr
    world.await_served(world.addresses(2))


def test_status_asks_the_servers_themselves(world: World) -> None:
    world.run("run")

    def told(code: int) -> str:
        done = world.site.call("status")
        assert done.returncode == code, done.stdout
        return done.stdout.splitlines()[0]

    assert told(0) == "POOLMGR OK: 2 targets as the last crawl wants them"
    updated, file = world.labels
    world.nsd.stop()
    assert told(2) == f"POOLMGR CRITICAL: {file} cannot be asked: {NO_SERIAL}"
    assert " written, none seen\n" in world.site.call("status").stdout
    world.named.stop()
    assert told(2).startswith(f"POOLMGR CRITICAL: {updated} cannot be asked: name server ")
    world.named.start()
    world.nsd.zone_file.unlink()
    assert " has no zone any more, and serial " in told(2)


NO_SERIAL = "no name server of verify gives its serial: see that it runs and has the zone"


@pytest.fixture
def followed(tmp_path: Path, need: Need, lab: Lab, site: tuple[Site, Clock]) -> Iterator[tuple[World, Named]]:
    """The same with a secondary of the named, which is not told of changes."""
    need("named", "nsd")
    port = unused_port(LOCALHOST)
    options = f"notify no; allow-transfer {{ any; }}; update-policy {{ grant {KEY_NAME} zonesub ANY; }};"
    transfer = f"masterfile-format text; primaries {{ {LOCALHOST} port {port}; }};"
    with (
        Named(tmp_path / "named", ORIGIN, zone_options=options, port=port) as named,
        Named(tmp_path / "second", ORIGIN, zone_options=transfer, role="secondary") as second,
        Nsd(tmp_path / "nsd", ORIGIN) as nsd,
    ):
        secondaries = {"secondaries": [f"{LOCALHOST}:{second.port}"], "secondaries_timeout": "1s"}
        site[0].config["publish"] = [update_target(named.address, port, named.key_file, **secondaries)]
        yield World(lab, *site, named, nsd), second


def test_status_says_which_secondary_is_behind(followed: tuple[World, Named]) -> None:
    world, second = followed
    world.run("run")
    (target,) = world.site.config["publish"]

    def told(code: int) -> tuple[str, dict[str, object]]:
        shown, document = world.site.call("status"), world.site.call("status", "--format", "json")
        assert (shown.returncode, document.returncode) == (code, code), shown.stdout
        return shown.stdout, json.loads(document.stdout)["targets"][0]

    where = f"secondary {LOCALHOST} port {second.port}"
    seen = {"address": str(LOCALHOST), "port": second.port, "problem": ""}
    first, now = ask(second, ORIGIN, "SOA").answer[0][0].serial, ask(world.named, ORIGIN, "SOA").answer[0][0].serial
    text, stored = told(1)
    assert f"POOLMGR WARNING: {where} of {world.labels[0]} is behind: it has serial {first}, not {now}\n" in text
    assert f"\n  {where}: {first} seen\n" in text
    assert stored["secondaries"] == [{**seen, "seen": first, "behind": True}]
    target["secondaries_required"] = True
    assert told(2)[0].startswith(f"POOLMGR CRITICAL: {where} ")
    second.rndc("retransfer", ORIGIN)
    wait_until(lambda: ask(second, ORIGIN, "SOA").answer[0][0].serial == now, "the secondary has it")
    text, stored = told(0)
    assert stored["secondaries"] == [{**seen, "seen": now, "behind": False}]
    second.stop()
    text, stored = told(2)
    assert f"{where} of {world.labels[0]} cannot be asked: name server " in text
    assert f"\n  {where}: none seen\n" in text


def somebody(named: Named, address: str) -> None:
    """Put `address` into the pool, beside what is there, as somebody with the same key."""
    key = load_key(KeyFile(named.key_file), {}).to_dnspython()
    update = dns.update.UpdateMessage(ORIGIN, keyring={key.name: key}, keyname=key.name, keyalgorithm=key.algorithm)
    update.add(POOL, 300, "A", address)
    dns.query.tcp(update, str(named.address), port=named.port, timeout=5)


@pytest.fixture
def overtaken(world: World) -> Iterator[Callable[[int], Scripted]]:
    """Puts a relay before named: somebody else is faster than so many updates of poolmgr."""
    world.site.pool["max_removed"] = "100%"
    opened: list[Scripted] = []

    def start(times: int) -> Scripted:
        left = list(range(times))

        def answer(wire: bytes) -> Iterable[bytes]:
            if is_update(wire) and left:
                somebody(world.named, f"192.0.2.{left.pop() + 1}")
            return [framed(forward(wire, world.named.address, world.named.port))]

        relay = Scripted(answer)
        relay.__enter__()
        opened.append(relay)
        world.site.config["publish"][0] |= update_target(relay.address, relay.port, world.named.key_file)
        return relay

    yield start
    for relay in opened:
        relay.__exit__(None, None, None)


def updates(relay: Scripted) -> int:
    return sum(map(is_update, relay.requests))


@pytest.mark.parametrize("times", [1, 2])
def test_a_zone_that_somebody_changes_meanwhile_is_planned_again(
    world: World, overtaken: Callable[[int], Scripted], times: int
) -> None:
    relay = overtaken(times)
    said = world.run("run")
    assert updates(relay) == times + 1
    world.await_served(world.addresses(4))
    assert said.count("+ pool.keys.test. 300 IN A 127.") == 8, "each target's plan is shown once, the one that was made"
    assert said.count("- pool.keys.test. 300 IN A 192.0.2.") == times


def test_it_is_planned_three_times_at_most_and_the_other_target_is_served(
    world: World, overtaken: Callable[[int], Scripted]
) -> None:
    relay = overtaken(9)
    world.clock.move(timedelta(minutes=15))
    done = world.site.call("run")
    assert done.returncode == 1
    assert updates(relay) == 3
    assert "plan again" in done.stderr
    assert f"primary {relay.address} port {relay.port}: " in done.stderr
    wait_until(lambda: answers(world.nsd, POOL, "A") == world.addresses(4), "nsd has the pool")
    assert len(answers(world.named, POOL, "A")) == 3, "nothing but what somebody else put there"
