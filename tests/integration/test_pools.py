"""Each kind of pool in docs/pools.md, as it stands there, over a crawl of a mesh on loopback."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from poolmgr.config.document import parse_document
from poolmgr.model import Service
from tests.conftest import Need
from tests.lab.authority import Authority
from tests.lab.geoip import write_geoip
from tests.lab.mesh import Fault, LabKeyserver, Mesh
from tests.lab.nameserver import Nameserver
from tests.lab.pages import Dialect
from tests.lab.site import Site, crawl_config

PAGE = Path(__file__).parents[2] / "docs" / "pools.md"
EXAMPLES = dict(re.findall(r"^## (.+?)\n(?:(?!^## ).)*?```yaml\n(.*?)```", PAGE.read_text(), re.MULTILINE | re.DOTALL))
LOCALHOST6 = "::1"

SKS = {"sks", "proxied", "dual", "slow"}
HOCKEYPUCK = {"hp22", "hp22too", "hp21"}
ALL = SKS | HOCKEYPUCK
EXPECTED: Mapping[str, Mapping[str, set[str]]] = {
    "Main": {"pool": ALL | {LOCALHOST6}},
    "IPv4 only": {"ipv4": ALL},
    "IPv6 only": {"ipv6": {LOCALHOST6}},
    "Port 80": {"p80": ALL - {"hp21"} | {LOCALHOST6}},
    "TLS": {"hkps": {"hp22"}},
    "High availability": {"ha": {"proxied"}},
    "Newest software": {"subset": ALL - {"hp21"} | {LOCALHOST6}},
    "Regions": {
        "eu": {"proxied", "hp21"},
        "na": {"sks", "hp22"},
        "oc": set(),
        "sa": {"hp22too"},
        "as": {"dual", LOCALHOST6},
        "af": {"slow"},
    },
    "Countries": {"de": {"sks", "hp21"}, "near": {"sks", "proxied", "hp21", "dual", LOCALHOST6}},
    "Software and version": {"hockeypuck": {"hp22", "hp22too"}},
    "Fast and fresh": {"fast": ALL - {"slow"} | {LOCALHOST6}},
    "AAAA beside A": {"dual": ALL | {LOCALHOST6}},
    "Own networks": {"campus": {"sks"}},
    "Opt-in": {"friends": {"sks", "hp22"}},
}
"""The addresses in each pool, by what the test calls them; LOCALHOST6 is the second one of `dual`."""

COUNTRIES = {"sks": "DE", "proxied": "FR", "hp22": "US", "hp22too": "BR", "hp21": "DE", "dual": "TR", "slow": "ZA"}


class World:
    """The mesh, and a site that crawls it."""

    def __init__(self, folder: Path, running: ExitStack) -> None:
        self.authority = Authority(folder / "authority")
        self.mesh = running.enter_context(Mesh())
        identity = self.authority.identity("hkps.keys.example.org")
        old, new = {"version": "2.1.0"}, {"version": "2.2.4"}
        hockeypuck = {"dialect": Dialect.HOCKEYPUCK_JSON}
        add = self.mesh.add
        self.of: dict[str, LabKeyserver] = {
            "sks": add("keyserver.example.org"),
            "proxied": add("proxied.mesh.test", headers={"Server": "nginx", "Via": "1.1 proxied.mesh.test"}),
            "dual": add("dual.mesh.test"),
            "slow": add("slow.mesh.test"),
            "hp22": add("keys.example.net", identity=identity, **hockeypuck, **new),  # type: ignore[arg-type]
            "hp22too": add("hp22too.mesh.test", **hockeypuck, **new),  # type: ignore[arg-type]
            "hp21": add("hp21.mesh.test", faults={Service.HTTP: Fault.REFUSE}, **hockeypuck, **old),  # type: ignore[arg-type]
            LOCALHOST6: add("dual.mesh.test", address=ipaddress.IPv6Address(LOCALHOST6)),
        }
        self.of["sks"].peers = [each.hostname for each in self.mesh.keyservers]
        nameserver = running.enter_context(Nameserver())
        nameserver.records.update(self.mesh.records())
        self.folder = folder
        self.crawl = {
            **crawl_config(self.mesh, nameserver),
            "ca_file": str(self.authority.ca_file),
            "allow_networks": ["127.0.0.0/8", LOCALHOST6],
        }

    def site(self, example: str) -> Site:
        """Return a site whose config has the pools of `example`; its file and its network are those of this mesh."""
        text = example.replace("192.0.2.0/24", f"{self.of['sks'].address}/32")
        said: dict[str, Any] = parse_document(text.encode(), "example").value  # type: ignore[assignment]
        crawl = {**self.crawl, **said.get("crawl", {})}
        if "geo" in crawl:
            where = {f"{self.of[name].address}/32": country for name, country in COUNTRIES.items()}
            crawl["geo"] = str(write_geoip(self.folder / "geo.mmdb", {**where, f"{LOCALHOST6}/128": "TR"}))
        site = Site(self.folder, "keys.example.org.", crawl, [])
        site.config["pools"] = said["pools"]
        return site

    def members(self, site: Site) -> dict[str, set[str]]:
        """Crawl, and return who is in each pool."""
        done = site.call("crawl")
        assert (done.returncode, done.stderr) == (0, "")
        names = {str(each.address): name for name, each in self.of.items()}
        document = json.loads(site.call("report", "--format", "json").stdout)
        return {
            pool["name"].partition(".")[0]: {
                names[each["address"]] for each in pool["addresses"] if each["state"] != "out"
            }
            for pool in document["pools"]
        }


@pytest.fixture
def world(tmp_path: Path, need: Need) -> Iterator[World]:
    need("openssl")
    with ExitStack() as running:
        yield World(tmp_path, running)


@pytest.mark.parametrize("kind", EXPECTED)
def test_an_example_has_the_members_that_its_kind_is_for(world: World, kind: str) -> None:
    if kind == "Fast and fresh":
        world.of["slow"].latency = 2.5
    assert world.members(world.site(EXAMPLES[kind])) == EXPECTED[kind]


def test_the_page_has_an_example_of_each_kind_and_no_other() -> None:
    assert list(EXAMPLES) == list(EXPECTED)


def test_all_kinds_go_together(world: World) -> None:
    site = world.site(EXAMPLES["Regions"])
    site.config["crawl"]["politeness"] = {"per_crawl": 500, "in_flight": 20}
    said = [yaml.safe_load(text) for text in EXAMPLES.values()]
    network = f"{world.of['sks'].address}/32"
    site.config["pools"] = [pool for each in said for pool in each["pools"]]
    for pool in site.config["pools"]:
        pool.update({"networks": [network]} if "networks" in pool else {})
    expected = {name: members for kind in EXPECTED.values() for name, members in kind.items()}
    # One crawl has one word for each country: who is moved by hand for Regions is not in Germany for Countries.
    moved = {name: expected[name] - {"sks"} for name in ("de", "near")}
    assert world.members(site) == {**expected, **moved, "fast": ALL | {LOCALHOST6}}


def test_the_country_is_stored_and_a_later_file_changes_nothing(world: World) -> None:
    site = world.site(EXAMPLES["Regions"])
    assert world.members(site) == EXPECTED["Regions"]
    write_geoip(world.folder / "geo.mmdb", {"127.0.0.0/8": "JP"})
    document = json.loads(site.call("report", "--format", "json").stdout)
    told = {each["address"]: each["country"] for each in document["pools"][0]["addresses"]}
    assert told[str(world.of["proxied"].address)] == "fr"
    plain = site.call("report").stdout
    assert "COUNTRY" in plain.splitlines()[1]
    assert re.search(r"in fr \(eu\), the pool is for na", plain)
    explained = site.call("explain", "proxied.mesh.test").stdout
    assert re.search(r"ok +country +its address is in fr \(eu\), the pool is for eu", explained)
    assert re.search(r"FAIL +country +its address is in fr \(eu\), the pool is for sa", explained)


def test_an_aaaa_is_there_only_where_a_lookup_succeeded_over_ipv6(world: World) -> None:
    site = world.site(EXAMPLES["Main"])
    six = world.of[LOCALHOST6]
    six.keyring = frozenset()
    assert LOCALHOST6 not in world.members(site)["pool"]
    document = json.loads(site.call("report", "--format", "json").stdout)
    (out,) = (each for each in document["pools"][0]["addresses"] if each["address"] == LOCALHOST6)
    assert [reason["code"] for reason in out["reasons"]] == ["service"]
    assert out["keyserver"] == "dual.mesh.test"


def test_a_report_without_countries_has_no_column_of_them(world: World) -> None:
    site = world.site(EXAMPLES["Main"])
    world.members(site)
    assert "COUNTRY" not in site.call("report").stdout


@pytest.mark.parametrize("command", ["check-config", "crawl"])
def test_a_file_that_cannot_be_used_stops_check_config_and_crawl_alike(world: World, command: str) -> None:
    site = world.site(EXAMPLES["Regions"])
    (world.folder / "geo.mmdb").write_bytes(b"no database")
    done = site.call(command)
    assert done.returncode == (2 if command == "check-config" else 1)
    assert f"crawl.geo: {world.folder}/geo.mmdb is no MaxMind DB file" in done.stderr
    (world.folder / "geo.mmdb").unlink()
    assert "No such file or directory" in site.call(command).stderr
