"""The crawler's own outage is not the keyservers'."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from poolmgr.crawl.blindness import SelfCheck
from poolmgr.crawl.resolve import Nameservers, Resolver
from poolmgr.crawl.selfcheck import check_up
from poolmgr.errors import PoolmgrError
from poolmgr.hosts import IPAddress
from poolmgr.model import Family
from tests.build import named
from tests.lab.crawls import Lab
from tests.lab.mesh import LabKeyserver
from tests.lab.nameserver import NameFault
from tests.lab.process import unused_address, unused_port
from tests.lab.site import Site

NAMES = [f"ks{number}.test" for number in range(4)]


class Target:
    """A listener that is up until it is closed."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))

    @property
    def at(self) -> str:
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def target() -> Iterator[Target]:
    listener = Target()
    yield listener
    listener.close()


@pytest.fixture
def site(tmp_path: Path, lab: Lab) -> Site:
    """Four good keyservers, published. Every crawl that was not blind counts, and one bad one puts out."""
    for name in NAMES:
        lab.add(name, peers=NAMES)
    site = lab.site(tmp_path, *NAMES, self_check={})
    site.config["policy"] = {"fall": 1, "drop": 1, "flap_wait": "0s", "min_seen": "0%"}
    site.pool["min_members"] = 0
    site.pool["max_removed"] = "100%"
    assert site.poolmgr("run").returncode == 0
    return site


def published(site: Site) -> set[str]:
    lines = (site.folder / "keys.test.zone").read_text().splitlines()
    return {line.split()[-1] for line in lines if line.startswith("pool")}


def addresses(keyservers: list[LabKeyserver]) -> set[str]:
    return {str(keyserver.address) for keyserver in keyservers}


def stop_all(lab: Lab) -> None:
    for keyserver in lab.mesh.keyservers:
        lab.mesh.stop(keyserver)


def test_a_check_up_tells_what_is_up_from_what_is_not(lab: Lab, target: Target) -> None:
    lab.nameserver.records["up.test"] = ["192.0.2.1"]
    address = unused_address()
    up: tuple[IPAddress, int] = (address.__class__("127.0.0.1"), int(target.at.partition(":")[2]))
    down: tuple[IPAddress, int] = (address, unused_port(address))
    resolve = Resolver(Nameservers(servers=(lab.nameserver.server,))).addresses
    checks = {
        name: check_up(
            SelfCheck(targets={Family.IPV4: (up, down)}, name=named(name)),
            resolve,
            moment="now",
            stop=threading.Event(),
        )
        for name in ("up.test", "down.test")
    }
    assert checks["up.test"].failures == {down: "connection refused"}
    assert checks["up.test"].name_problem is None
    assert checks["down.test"].name_problem == "no such name (NXDOMAIN)"


def test_a_check_up_is_stopped_at_once(lab: Lab) -> None:
    lab.nameserver.faults["up.test"] = NameFault.SILENT
    stop = threading.Event()
    stop.set()
    check = SelfCheck(name=named("up.test"))
    with pytest.raises(PoolmgrError, match="stopped at the self-check before the crawl"):
        check_up(
            check,
            Resolver(Nameservers(servers=(lab.nameserver.server,))).addresses,
            moment="before the crawl",
            stop=stop,
        )


def test_a_blind_round_changes_nothing_and_says_so(site: Site, lab: Lab, target: Target) -> None:
    site.config["crawl"]["self_check"] = {"ipv4": [target.at]}
    everybody = addresses(lab.mesh.keyservers)
    assert site.poolmgr("run").returncode == 0
    stop_all(lab)
    target.close()
    held = site.poolmgr("run")
    assert held.returncode == 3
    assert (
        "poolmgr: blind for ipv4, what was measured there proves nothing: before the crawl 1 of 1 targets"
        in held.stderr
    )
    assert "pool.keys.test A is left as it is: the crawl was blind for ipv4: " in held.stderr
    assert "the 4 published stay" in held.stderr
    assert published(site) == everybody
    assert site.poolmgr("plan").returncode == 3
    title = site.poolmgr("report").stdout.splitlines()[0]
    assert title.endswith("4 members (4 A, 0 AAAA), 0 eligible, 0 out; the crawl was blind for ipv4")
    report = json.loads(site.poolmgr("report", "--format", "json").stdout)
    assert "targets of crawl.self_check.ipv4 were out of reach" in report["crawl"]["blind"]["ipv4"]
    # No force makes it see.
    assert site.poolmgr("run", "--force").returncode == 0
    assert published(site) == everybody


def test_keyservers_that_are_down_while_the_targets_are_up_are_judged_as_ever(
    site: Site, lab: Lab, target: Target
) -> None:
    site.config["crawl"]["self_check"] = {"ipv4": [target.at]}
    site.pool["min_members"] = 1
    stop_all(lab)
    held = site.poolmgr("run")
    assert held.returncode == 3
    assert "would have 0 of at least 1 members (min_members)" in held.stderr
    assert "blind" not in held.stderr
    site.pool["min_members"] = 0
    assert site.poolmgr("run").returncode == 0
    assert published(site) == set()


def test_without_targets_all_that_fail_at_once_are_a_blind_round_however_long_it_lasts(site: Site, lab: Lab) -> None:
    everybody = addresses(lab.mesh.keyservers)
    stop_all(lab)
    for _round in range(2):
        held = site.poolmgr("run")
        assert held.returncode == 3
        assert "4 of the 4 ipv4 addresses that gave their stats in the crawl of" in held.stderr
        assert published(site) == everybody
    for keyserver in lab.mesh.keyservers[:3]:
        lab.mesh.start(keyserver)
    seeing = site.poolmgr("run")
    assert (seeing.returncode, seeing.stderr) == (0, "")
    assert published(site) == addresses(lab.mesh.keyservers[:3])


def test_nameservers_that_fail_for_all_names_make_both_families_blind(site: Site, lab: Lab) -> None:
    everybody = addresses(lab.mesh.keyservers)
    lab.nameserver.faults.update(dict.fromkeys(NAMES, NameFault.SERVFAIL))
    held = site.poolmgr("run")
    assert held.returncode == 3
    assert held.stderr.count("4 of the 4 names that had addresses in the crawl of") == 3
    assert published(site) == everybody


def test_a_known_name_that_is_not_found_makes_both_families_blind(site: Site) -> None:
    site.config["crawl"]["self_check"] = {"name": "up.test"}
    seen = site.poolmgr("crawl")
    assert seen.returncode == 0
    for family in Family:
        assert (
            f"blind for {family}, what was measured there proves nothing: before the crawl DNS gave no" in seen.stderr
        )
    assert "before the crawl DNS gave no address for up.test" in seen.stderr
