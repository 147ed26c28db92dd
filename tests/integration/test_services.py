"""Real keyservers as a pool's clients see them: bare, behind a real nginx, and under TLS."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from poolmgr.hosts import IPAddress
from poolmgr.model import Service
from tests.conftest import Need
from tests.lab.authority import Authority
from tests.lab.nameserver import Nameserver
from tests.lab.nginx import Nginx
from tests.lab.process import unused_address, unused_port
from tests.lab.site import Site
from tests.lab.sks import RECON_PORT, Sks

ORIGIN = "keys.example.test."
POOL = "pool.keys.example.test"
NAMES = ("both.mesh.test", "own.mesh.test", "secure.mesh.test")
WELCOME = "<html><head><title>Welcome to ng"
"""What is quoted of the page that nginx shows under names that it does not know."""
LOCALHOST6 = ipaddress.IPv6Address("::1")


class World:
    """Real keyservers with one hkp port, each on an address of its own, and what stands in front of them."""

    def __init__(self, folder: Path, running: ExitStack, keys: tuple[bytes, ...]) -> None:
        self.ports = unused_ports()
        self.addresses: dict[str, IPAddress] = {}
        self._folder = folder
        self._running = running
        self._keys = keys
        self._authority = Authority(folder / "authority")
        self._nameserver = running.enter_context(Nameserver())
        server, port = self._nameserver.server
        crawl = {
            "seeds": [NAMES[0]],
            "search": "user0",
            "nameservers": [f"{server}:{port}"],
            "ports": {service.value: number for service, number in self.ports.items()},
            "ca_file": str(self._authority.ca_file),
            "allow_networks": ["127.0.0.0/8", "::1"],
        }
        self.site = Site(folder, ORIGIN, crawl, [])
        self.site.pool["services"] = list(map(str, Service))

    def add(self, name: str) -> None:
        """Start a keyserver that is a peer of all others."""
        address = unused_address(*self.ports.values(), RECON_PORT)
        self.addresses[name] = address
        self._nameserver.records[name] = [str(address)]
        peers = [each for each in NAMES if each != name]
        hkp = self.ports[Service.HKP]
        self._running.enter_context(
            Sks(self._folder / name, str(address), name, self._keys, port=hkp, peers=peers),
        )

    def front(
        self, name: str, *services: Service, names: tuple[str, ...], days: int = 90, is_on_ipv6: bool = False
    ) -> None:
        """Start an nginx in front of a keyserver, for `services`, under `names`, and on ::1 for every service."""
        address = self.addresses[name]
        listens: dict[IPAddress, dict[Service, int]] = {address: {each: self.ports[each] for each in services}}
        if is_on_ipv6:
            listens[LOCALHOST6] = self.ports
            self._nameserver.records[name].append(str(LOCALHOST6))
        identity = self._authority.identity(*names, days=(-1, days))
        backend = f"{address}:{self.ports[Service.HKP]}"
        nginx = Nginx(self._folder / f"nginx-{name}", backend, names, listens, identity=identity)
        self._running.enter_context(nginx)

    def report(self) -> dict[tuple[str, str], dict[str, Any]]:
        """Return what the report says of each keyserver at each address."""
        document = json.loads(self.site.poolmgr("report", "--format", "json").stdout)
        return {(each["keyserver"], each["address"]): each for each in document["pools"][0]["addresses"]}


def unused_ports() -> dict[Service, int]:
    """Return a port for each service that nobody has on ::1."""
    ports: set[int] = set()
    while len(ports) < len(Service):
        ports.add(unused_port(LOCALHOST6))
    return dict(zip(Service, ports, strict=True))


def sentences(reported: dict[str, Any]) -> list[str]:
    """Return why a keyserver is out, in words."""
    return [reason["sentence"] for reason in reported["reasons"]]


@pytest.fixture
def world(tmp_path: Path, need: Need, sks_keys: tuple[bytes, ...]) -> Iterator[World]:
    """Three keyservers: nginx shows `both` under both names, `own` under its own, and `secure` over TLS."""
    need("sks", "nginx", "openssl")
    with ExitStack() as running:
        world = World(tmp_path, running, sks_keys)
        for name in NAMES:
            world.add(name)
        both, own, secure = NAMES
        world.front(both, Service.HTTP, names=(both, POOL))
        world.front(own, Service.HTTP, Service.HKPS, names=(own,))
        world.front(secure, Service.HKPS, names=(secure, POOL), days=10, is_on_ipv6=True)
        yield world


def test_each_is_told_apart_on_each_port_and_family(world: World) -> None:
    crawl = world.site.poolmgr("crawl")
    assert (crawl.returncode, crawl.stderr) == (0, "")
    report = world.report()
    both, own, secure = ((name, str(world.addresses[name])) for name in NAMES)
    secure6 = (NAMES[2], str(LOCALHOST6))
    assert {place: each["services"] for place, each in report.items()} == {
        both: {"hkp": "ok", "http": "ok", "hkps": "refused"},
        own: {"hkp": "ok", "http": "no-key", "hkps": "bad-tls"},
        secure: {"hkp": "ok", "http": "refused", "hkps": "ok"},
        secure6: {"hkp": "ok", "http": "ok", "hkps": "ok"},
    }
    assert {place for place, each in report.items() if each["state"] == "member"} == {secure6}
    http, hkps = world.ports[Service.HTTP], world.ports[Service.HKPS]
    assert sentences(report[both]) == [f"hkps on port {hkps} as {POOL}: refused (connection refused)"]
    only = f"answers under its own name {own[0]} only, as {POOL}:"
    assert sentences(report[own]) == [
        f"hkps on port {hkps} {only} bad-tls (certificate: it is for '{own[0]}', not for {POOL})",
        f"http on port {http} {only} no-key (not a machine-readable index: it starts with {WELCOME!a})",
    ]

    # A certificate that ends soon is a warning at both addresses, and a reason at neither.
    for place in (secure, secure6):
        (warning,) = report[place]["warnings"]
        assert (warning["code"], warning["limit"]) == ("certificate", "more than 14 days")
        assert warning["sentence"].startswith(f"its certificate for {POOL} ends in 9 days, on ")
    assert sentences(report[secure]) == [f"http on port {http} as {POOL}: refused (connection refused)"]
    assert report[both]["warnings"] == []


def test_roots_that_cannot_be_read_stop_check_config_and_crawl_alike(tmp_path: Path) -> None:
    site = Site(tmp_path, ORIGIN, {"seeds": ["ks.mesh.test"], "search": "user0", "ca_file": "absent.pem"}, [])
    sentence = f"crawl.ca_file: cannot read {tmp_path}/absent.pem: No such file or directory"
    for command, code in (("check-config", 2), ("crawl", 1)):
        done = site.poolmgr(command)
        assert done.returncode == code
        assert sentence in done.stderr
