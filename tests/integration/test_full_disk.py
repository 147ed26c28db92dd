"""A disk that is full, for real: what was good stays, the error says so, and with room again all goes on."""

from __future__ import annotations

import contextlib
import itertools
import re
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from poolmgr.store.database import FILE
from tests.conftest import Need
from tests.lab.crawls import Lab
from tests.lab.disk import BLOCK, NoSmallDisk, SmallDisk
from tests.lab.mesh import LabKeyserver
from tests.lab.site import Site

NAMES = [f"ks{number}.test" for number in range(5)]


@dataclass
class World:
    """A site whose folder `state` is the small `disk`, and the keyserver that comes and goes."""

    lab: Lab
    site: Site
    disk: SmallDisk
    last: LabKeyserver

    @property
    def zone(self) -> str:
        return (self.site.folder / "keys.test.zone").read_text()

    def poolmgr(self, *words: str) -> tuple[int, str, str]:
        done = self.disk.run(*self.site.command(*words), folder=self.site.folder)
        return done.returncode, done.stdout, done.stderr

    def succeed(self, *words: str) -> str:
        code, output, errors = self.poolmgr(*words)
        assert (code, errors) == (0, "")
        return output

    def is_sound(self) -> bool:
        with contextlib.closing(sqlite3.connect(self.disk.path / FILE)) as database:
            return database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@pytest.fixture
def world(tmp_path: Path, lab: Lab, need: Need) -> Iterator[World]:
    need("unshare", "nsenter", "mount")
    for name in NAMES:
        lab.add(name, peers=NAMES)
    site = lab.site(tmp_path, *NAMES, retries=0)
    # Every crawl is to change the zone.
    site.config["policy"] = {"rise": 1, "fall": 1, "drop": 1, "flap_wait": "0s"}
    state = tmp_path / "state"
    state.mkdir()
    try:
        with SmallDisk(state, octets=250 * BLOCK) as disk:
            yield World(lab, site, disk, lab.mesh.keyservers[-1])
    except NoSmallDisk as error:
        pytest.skip(f"no small disk can be mounted here: {error}")


@pytest.mark.parametrize("command", ["crawl", "run"])
def test_where_no_crawl_can_be_stored_the_last_one_and_the_zone_stay(world: World, command: str) -> None:
    world.succeed("run")
    zone, report = world.zone, world.succeed("report", "--format", "json")
    world.lab.mesh.stop(world.last)
    world.disk.fill(free=0)
    code, output, errors = world.poolmgr(command)
    assert (code, output) == (1, "")
    database = world.site.folder / "state" / FILE
    full = "its disk is full (database or disk is full): make room, what was stored before is kept"
    assert errors == f"poolmgr: cannot store a crawl in {database}: {full}\n"
    assert world.zone == zone
    assert world.succeed("report", "--format", "json") == report
    world.disk.empty()
    world.succeed("run")
    assert str(world.last.address) in zone
    assert str(world.last.address) not in world.zone
    assert world.is_sound()


def test_wherever_a_run_meets_a_full_disk_the_next_one_puts_it_right(world: World) -> None:
    world.succeed("run")
    told = set()
    for number in itertools.count():
        is_there = number % 2 == 1
        (world.lab.mesh.start if is_there else world.lab.mesh.stop)(world.last)
        before = world.zone
        world.disk.fill(free=4 * number * BLOCK)
        code, _, errors = world.poolmgr("run")
        stored = re.fullmatch(r"poolmgr: (?:.*: )?cannot (.*) /.*: its disk is full \(.*\): make room, .*\n", errors)
        assert stored is not None or (code, errors) == (0, "")
        if stored is not None:
            assert code == 1
            told.add(stored[1])
            assert stored[1] not in {"open", "store a crawl in"} or world.zone == before
        world.disk.empty()
        world.succeed("run")
        assert (str(world.last.address) in world.zone) is is_there
        assert world.is_sound()
        if stored is None:
            break
    assert told >= {"open", "store a crawl in"}


def test_a_state_folder_without_any_room_is_told(world: World) -> None:
    world.disk.fill(free=0)
    code, output, errors = world.poolmgr("run")
    assert (code, output) == (1, "")
    database = world.site.folder / "state" / FILE
    assert errors.startswith(f"poolmgr: cannot open {database}: its disk is full (")
    assert not (world.site.folder / "keys.test.zone").exists()
    world.disk.empty()
    world.succeed("run")


def test_an_export_that_finds_no_room_leaves_the_old_file(world: World) -> None:
    world.succeed("run")
    exported = world.disk.path / "crawls.jsonl"
    world.succeed("export", "-o", "state/crawls.jsonl")
    before = exported.read_bytes()
    assert len(before) > BLOCK
    files = sorted(world.disk.path.iterdir())
    world.succeed("crawl")
    world.disk.fill(free=10 * BLOCK)
    code, output, errors = world.poolmgr("export", "-o", "state/crawls.jsonl")
    world.disk.empty()
    assert (code, output) == (1, "")
    assert errors == "poolmgr: cannot write state/crawls.jsonl: No space left on device\n"
    assert exported.read_bytes() == before
    assert sorted(world.disk.path.iterdir()) == files
    assert world.succeed("export", "-o", "state/crawls.jsonl") == ""
    assert exported.read_bytes().count(b"\n") == 2


def test_a_zone_file_on_a_full_disk_stays_and_so_does_the_one_before_it(world: World) -> None:
    world.site.config["state"]["folder"] = "store"
    world.site.config["publish"][0]["file"] = "state/keys.zone"
    file = world.disk.path / "keys.zone"
    kept = world.disk.path / "keys.zone.prev"
    world.succeed("run")
    world.lab.mesh.stop(world.last)
    world.succeed("run")
    world.lab.mesh.start(world.last)
    before = {path: path.read_bytes() for path in (file, kept)}
    assert (str(world.last.address).encode() in before[file], len(before[file]) < BLOCK) == (False, True)
    # No room for the new file, then none for the old one beside it.
    for free in (0, BLOCK):
        world.disk.fill(free=free)
        code, _, errors = world.poolmgr("run")
        assert code == 1
        assert (
            f"cannot read or replace zone file {world.site.folder}/state/keys.zone: No space left on device" in errors
        )
        assert {path: path.read_bytes() for path in world.disk.path.glob("*zone*")} == before
        world.disk.empty()
    world.disk.fill(free=2 * BLOCK)
    world.succeed("run")
    assert str(world.last.address).encode() in file.read_bytes()
    assert kept.read_bytes() == before[file]
