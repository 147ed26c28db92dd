"""What befalls a whole run, as cases of the matrix: killed, no room, nothing writable, the clock, another run.

Each is a site of its own with three keyservers, one of which comes or goes before what goes wrong. After it the server
loads its zone and serves the old records or the new, and the next run publishes the new ones.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock

from poolmgr import pipeline
from poolmgr.zone.desired import from_text
from poolmgr.zone.serial import is_newer
from tests.build import ORIGIN
from tests.lab import stepping
from tests.lab.cells import FILES, PUBLISHED, REFUSED, UPDATES, Case, Cell, Outcome, answers, answers_of
from tests.lab.disk import BLOCK, SmallDisk
from tests.lab.mesh import Mesh
from tests.lab.nameserver import Nameserver
from tests.lab.nsd import Nsd
from tests.lab.pdns import Pdns
from tests.lab.process import PATIENCE, run, wait_until
from tests.lab.scripted import Scripted, forward, framed, is_update
from tests.lab.site import POOLMGR, Site, mesh_site, update_target, zonefile_target

NAMES = [f"ks{number}.mesh.test" for number in range(3)]
YEAR = timedelta(days=365)
ROOM = 250 * BLOCK

CHECK = ("named-checkzone",)
DISK = (*CHECK, "mount", "nsenter", "unshare")

WHOLE = "old or new"
"""Killed on the way: what is served is what it was, or what it is to be."""

Served = dict[str, frozenset[str]]


@dataclass
class World:
    """A server that serves what `site` has published; with `turn`, other records are to be published."""

    cell: Cell
    mesh: Mesh
    nameserver: Nameserver
    site: Site = field(init=False)

    def __post_init__(self) -> None:
        self.site = self.another("site")
        self.settle()

    def another(self, name: str) -> Site:
        """Return a site with state of its own that keeps the same zone."""
        folder = self.cell.folder / name
        folder.mkdir()
        site = mesh_site(folder, ORIGIN.to_text(), self.mesh, self.nameserver, [self.target()])
        site.config["policy"] = {"rise": 1, "fall": 1, "flap_wait": "0s"}
        site.pool |= {"min_members": 0, "max_removed": "100%"}
        return site

    def target(self, at: Scripted | None = None) -> dict[str, Any]:
        """Return the config of this server as a target, or of one that stands before it."""
        server = self.cell.server
        where, patience = at or server, f"{PATIENCE:g}s"
        if self.cell.setup.by_update:
            assert not isinstance(server, Nsd)
            return update_target(where.address, where.port, server.key_file) | {"timeout": patience}
        assert not isinstance(server, Pdns)
        target = zonefile_target(server.zone_file, where.address, where.port, server.reload_command)
        target["verify"]["timeout"] = patience
        return target

    def turn(self) -> tuple[Served, Served]:
        """Let the last keyserver go, or come back, and return what is served by now and what is to be."""
        old = self.wanted(self.site)
        self.site.pool["exclude"] = [] if self.site.pool.get("exclude") else [NAMES[-1]]
        return old, self.wanted(self.site)

    def wanted(self, site: Site) -> Served:
        """Return what is served once a run of `site` has published."""
        out = site.pool.get("exclude", ())
        there = (keyserver for keyserver in self.mesh.keyservers if keyserver.hostname not in out)
        return answers("".join(f"pool A {keyserver.address}\n" for keyserver in there))

    def settle(self, site: Site | None = None) -> None:
        """Run to the end, and make sure that this is served now, with a newer serial, and after a restart."""
        settled, before = site or self.site, self.cell.serial()
        done = settled.call("run")
        assert (done.returncode, done.stderr) == (0, ""), done
        self.await_served(self.wanted(settled))
        self.cell.server.restart()
        assert self.cell.served() == self.wanted(settled)
        assert is_newer(self.cell.serial(), before)

    def await_served(self, wanted: Served) -> None:
        """Return when that is served: while NSD reloads, its old and its new process answer in turn."""
        wait_until(lambda: self.cell.served() == wanted, f"{self.cell.setup.name} serves {wanted}")

    def loads(self, *either: Served) -> Served:
        """Make sure that the server serves one of these, and could load one again; return which one that is."""
        assert self.cell.served() in either
        server = self.cell.server
        if self.cell.setup.by_update:
            server.restart()
            stands = self.cell.served()
        else:
            # No restart: the next run is to find a server that was not told of a new file.
            assert not isinstance(server, Pdns)
            run("named-checkzone", "-i", "local", ORIGIN.to_text(), server.zone_file)
            stands = answers_of(from_text(server.zone_file.read_text(), ORIGIN, "the zone file"))
        assert stands in either
        return stands

    def fails_on(self, disk: SmallDisk) -> Outcome:
        """Let a run fail for what `disk` is by now, and make sure that nothing has changed."""
        old, serial = self.cell.served(), self.cell.serial()
        done = disk.run(*self.site.command("run"), folder=self.site.folder)
        assert (done.returncode, done.stdout) == (1, ""), done
        assert self.loads(old) == old
        self.cell.server.restart()
        assert (self.cell.served(), self.cell.serial()) == (old, serial)
        return self.cell.told(done.stderr.removeprefix("poolmgr: "), REFUSED)


@contextlib.contextmanager
def _world(cell: Cell) -> Iterator[World]:
    cell.serve("")
    with Mesh() as mesh, Nameserver() as nameserver:
        for name in NAMES:
            mesh.add(name, peers=NAMES)
        yield World(cell, mesh, nameserver)


def killed_at_each_step(cell: Cell) -> Outcome:
    with _world(cell) as world:
        seen = []
        for step in itertools.count(1):
            old, new = world.turn()
            words = world.site.command("publish")[len(POOLMGR) :]
            done = subprocess.run(
                [sys.executable, "-P", stepping.__file__, str(step), *words],
                cwd=world.site.folder,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=PATIENCE,
                check=False,
            )
            if done.returncode == 0:
                break
            assert (done.returncode, done.stderr) == (-signal.SIGKILL, "")
            seen.append(world.loads(old, new) == new)
            _publish_again(world, new)
        world.await_served(world.wanted(world.site))
        # Killed early it left the old ones, and from some step on the new ones.
        assert seen == sorted(seen)
        assert set(seen) == {False, True}
    return Outcome(
        WHOLE, "killed early it leaves the old ones, from some step on the new; the next run publishes these"
    )


def _publish_again(world: World, new: Served) -> None:
    done = world.site.call("publish")
    assert (done.returncode, done.stderr) == (0, ""), done
    world.await_served(new)


def killed_before_the_answer(cell: Cell) -> Outcome:
    with _world(cell) as world:
        old, new = world.turn()
        pids: list[int] = []

        def kill(wire: bytes) -> Iterable[bytes]:
            reply = forward(wire, cell.server.address, cell.server.port)
            if not is_update(wire):
                return [framed(reply)]
            os.kill(pids[0], signal.SIGKILL)
            return []

        with Scripted(kill) as relay:
            world.site.config["publish"] = [world.target(relay)]
            with world.site.started("publish") as process:
                pids.append(process.pid)
                assert process.wait(PATIENCE) == -signal.SIGKILL
        world.site.config["publish"] = [world.target()]
        assert world.loads(old, new) == new
        serial = cell.serial()
        _publish_again(world, new)
        assert cell.serial() == serial
        world.turn()
        world.settle()
    return Outcome(WHOLE, "the new ones are served, and the next run finds nothing to change")


def full_state(cell: Cell) -> Outcome:
    return _broken(cell, _state_on_disk, _full)


def read_only_state(cell: Cell) -> Outcome:
    return _broken(cell, _state_on_disk, SmallDisk.read_only)


def full_zone_folder(cell: Cell) -> Outcome:
    return _broken(cell, _zone_on_disk, _full)


def read_only_zone_folder(cell: Cell) -> Outcome:
    return _broken(cell, _zone_on_disk, SmallDisk.read_only)


def _broken(
    cell: Cell,
    placed: Callable[[World], contextlib.AbstractContextManager[SmallDisk]],
    breaking: Callable[[SmallDisk], contextlib.AbstractContextManager[None]],
) -> Outcome:
    """Let a run fail on a disk while that is broken, and the next one succeed."""
    with _world(cell) as world, placed(world) as disk:
        world.turn()
        with breaking(disk):
            seen = world.fails_on(disk)
        _run_on(disk, world)
    return seen


@contextlib.contextmanager
def _full(disk: SmallDisk) -> Iterator[None]:
    disk.fill(free=0)
    yield
    disk.empty()


@contextlib.contextmanager
def _state_on_disk(world: World) -> Iterator[SmallDisk]:
    """Keep the state on a small disk, after a first run there."""
    folder = world.site.folder / "small"
    folder.mkdir()
    world.site.config["state"] = {"folder": folder.name}
    with SmallDisk(folder, octets=ROOM) as disk:
        _run_on(disk, world)
        yield disk


@contextlib.contextmanager
def _zone_on_disk(world: World) -> Iterator[SmallDisk]:
    """Keep the zone file on a small disk, where the server finds it by a symbolic link, after a first run there."""
    server = world.cell.server
    assert not isinstance(server, Pdns)
    folder = world.cell.folder / "small"
    folder.mkdir()
    with SmallDisk(folder, octets=ROOM) as disk:
        (disk.path / server.zone_file.name).write_bytes(server.zone_file.read_bytes())
        server.zone_file.unlink()
        server.zone_file.symlink_to(disk.path / server.zone_file.name)
        (target,) = world.site.config["publish"]
        target["file"] = str(folder / server.zone_file.name)
        _run_on(disk, world)
        yield disk


def _run_on(disk: SmallDisk, world: World) -> None:
    done = disk.run(*world.site.command("run"), folder=world.site.folder)
    assert (done.returncode, done.stderr) == (0, ""), done
    world.cell.server.restart()
    assert world.cell.served() == world.wanted(world.site)


def _a_year_ago() -> datetime:
    return datetime.now(UTC) - YEAR


def a_year_back(cell: Cell) -> Outcome:
    with _world(cell) as world:
        if not cell.setup.by_update:
            # The serial of today, which that of a year ago is to follow.
            world.site.config["zone"]["serial"] = "date"
            world.turn()
            world.settle()
        world.turn()
        before = cell.serial()
        with mock.patch.object(pipeline, "now", _a_year_ago):
            world.settle()
        assert cell.serial() == before + 1
        world.turn()
        world.settle()
    return Outcome(PUBLISHED, "the serial is one more")


def second_run(cell: Cell) -> Outcome:
    with _world(cell) as world:
        _, new = world.turn()
        with _held(world, lambda number, _: number == 1):
            late = world.site.call("run")
        assert (late.returncode, late.stdout) == (4, "")
        world.site.config["publish"] = [world.target()]
        world.await_served(new)
        world.turn()
        world.settle()
    return cell.told(f"the first run; the second exits 4: {late.stderr.removeprefix('poolmgr: ')}", PUBLISHED)


def second_host(cell: Cell) -> Outcome:
    with _world(cell) as world:
        _, new = world.turn()
        other = world.another("other")
        other.pool["exclude"] = [NAMES[0]]

        def is_planned(number: int, wire: bytes) -> bool:
            """Return whether the plan was made: the update comes, or the serial is asked for once more."""
            return is_update(wire) if cell.setup.by_update else number == 2

        with _held(world, is_planned) as relay:
            world.settle(other)
        if cell.setup.by_update:
            assert sum(map(is_update, relay.requests)) == 2
        else:
            # Twice for the first plan and for the second one each, and then until it is there.
            assert len(relay.requests) > 4
        world.site.config["publish"] = [world.target()]
        world.await_served(new)
        world.turn()
        world.settle()
    return Outcome(PUBLISHED, "the first run's plan is refused, since the pool has changed, and it plans again")


@contextlib.contextmanager
def _held(world: World, is_moment: Callable[[int, bytes], bool]) -> Iterator[Scripted]:
    """Hold a run up until the block ends, and then make sure that it succeeds. Yield what its requests go through.

    It is held up when a request comes of which `is_moment` is true: its number, counted from 1, and its wire form.
    """
    is_there, go_on = threading.Event(), threading.Event()
    server = world.cell.server

    def hold(wire: bytes) -> Iterable[bytes]:
        if not is_there.is_set() and is_moment(len(relay.requests), wire):
            is_there.set()
            go_on.wait(PATIENCE)
        return [framed(forward(wire, server.address, server.port))]

    with Scripted(hold) as relay:
        world.site.config["publish"] = [world.target(relay)]
        with world.site.started("run") as process:
            try:
                assert is_there.wait(PATIENCE)
                yield relay
            finally:
                go_on.set()
            _, errors = process.communicate(timeout=PATIENCE)
            assert (process.returncode, errors) == (0, "")


CALAMITIES = (
    Case("kill", "poolmgr is killed (SIGKILL), before each of its steps in turn", killed_at_each_step, programs=CHECK),
    Case("kill-sent", "poolmgr is killed after its update, before the answer", killed_before_the_answer, UPDATES),
    Case("full-state", "The disk of the state folder is full", full_state, programs=DISK),
    Case("full-zone", "The disk of the zone file is full", full_zone_folder, FILES, DISK),
    Case("read-only-state", "The state folder is read-only", read_only_state, programs=DISK),
    Case("read-only-zone", "The zone file's folder is read-only", read_only_zone_folder, FILES, DISK),
    Case("year-back", "The clock here is set back a year, and the server's too", a_year_back),
    Case("two-runs", "Another run comes while one is at work", second_run),
    Case("two-hosts", "Another host changes the same pool in the middle of a run", second_host),
)
