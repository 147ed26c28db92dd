"""The matrix of name servers: what was seen last is what is seen now, and the whole path runs on each of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Need
from tests.lab import matrix
from tests.lab.cells import SETUPS, Case, Cell, Setup, answers, opened
from tests.lab.crawls import Lab
from tests.lab.disk import NoSmallDisk
from tests.lab.matrix import CELLS
from tests.lab.nsd import Nsd
from tests.lab.pdns import Pdns
from tests.lab.site import Site, mesh_site, update_target, zonefile_target

RECORDED = matrix.recorded()["cells"]


@pytest.mark.parametrize(
    ("case", "setup"), CELLS, ids=[f"{case.name}-{setup.name.replace(' ', '-')}" for case, setup in CELLS]
)
def test_each_server_does_what_the_page_says(need: Need, case: Case, setup: Setup) -> None:
    need(*setup.programs, *case.programs)
    try:
        seen = matrix.see(case, setup)
    except NoSmallDisk as error:
        pytest.skip(f"no small disk can be mounted here: {error}")
    assert [seen.kind, seen.sentence] == RECORDED[case.name][setup.name], "where that is right: scripts/docs servers"


def test_the_page_has_no_cell_that_nobody_sees() -> None:
    assert {(case, setup) for case, seen in RECORDED.items() for setup in seen} == {
        (case.name, setup.name) for case, setup in CELLS
    }


@pytest.fixture(params=SETUPS, ids=[setup.name.replace(" ", "-") for setup in SETUPS])
def site(request: pytest.FixtureRequest, need: Need, lab: Lab, tmp_path: Path) -> Iterator[tuple[Cell, Site]]:
    """A server of each kind, and a site that publishes to it the keyservers of a mesh of three."""
    setup = request.param
    need(*setup.programs)
    names = [f"ks{number}.mesh.test" for number in range(3)]
    for name in names:
        lab.add(name, peers=[other for other in names if other != name])
    with opened(setup, tmp_path / "server") as cell:
        cell.serve("")
        server = cell.server
        if setup.by_update:
            assert not isinstance(server, Nsd)
            target = update_target(server.address, server.port, server.key_file)
        else:
            assert not isinstance(server, Pdns)
            target = zonefile_target(server.zone_file, server.address, server.port, server.reload_command)
        poolmgr = mesh_site(tmp_path, "example.org.", lab.mesh, lab.nameserver, [target])
        # Who does not answer goes at once.
        poolmgr.config["policy"] = {"fall": 1, "drop": 1}
        yield cell, poolmgr


def test_a_run_publishes_says_nothing_the_next_time_and_keeps_the_last_good(site: tuple[Cell, Site], lab: Lab) -> None:
    cell, poolmgr = site
    members = answers("".join(f"pool A {keyserver.address}\n" for keyserver in lab.mesh.keyservers))
    first = poolmgr.call("run")
    assert (first.returncode, first.stderr) == (0, "")
    assert cell.served() == members
    serial = cell.serial()

    second = poolmgr.call("run")
    assert (second.returncode, second.stdout, second.stderr) == (0, "", "")
    for keyserver in lab.mesh.keyservers:
        lab.mesh.stop(keyserver)
    held = poolmgr.call("run")
    assert held.returncode == 3
    assert (cell.served(), cell.serial()) == (members, serial)
