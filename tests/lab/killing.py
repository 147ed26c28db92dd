"""Runs of poolmgr that are killed while they change a zone file, and what must hold after each.

    with killing_of_nsd(folder) as killing:
        kill = killing.kill(Stage.RELOAD, seconds=0.01)
        kill.stage, kill.is_new

Run as a program it kills 200 runs and prints what they were at. A broken promise is an AssertionError.
"""

from __future__ import annotations

import contextlib
import enum
import random
import re
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import cycle, islice, pairwise
from pathlib import Path
from typing import Any

from poolmgr.publish.zonefile import previous_path
from tests.lab.mesh import Mesh
from tests.lab.nameserver import Nameserver
from tests.lab.nsd import Nsd
from tests.lab.process import PATIENCE, run, wait_until
from tests.lab.site import Site, mesh_site, zonefile_target

ORIGIN = "keys.example.test."
KEYSERVERS = 5
LATENCY = 0.02
"""Seconds before each answer of a keyserver, so that a crawl takes long enough to be met."""

KILLS = 200

_CRAWL_AND_SERIAL = re.compile(rb"^; written by .*$|(?<= hostmaster )\d+", re.MULTILINE)
"""What two zone files with the same records differ in."""
_SERIAL = re.compile(rb" hostmaster (\d+)")


class Stage(enum.IntEnum):
    """How far a run has come, and by what that can be seen from outside."""

    START = 1  # nothing
    CRAWL = 2  # a connection to a keyserver
    PLAN = 3  # the stored crawl
    CHECK = 4  # the temporary file
    KEEP = 5  # the old zone file beside the new one
    RELOAD = 6  # the new zone file
    END = 7  # the stored publication


@dataclass(frozen=True, slots=True)
class Kill:
    """The stage that a kill met, and whether it left the new zone or the old one."""

    stage: Stage
    is_new: bool


@dataclass(frozen=True, slots=True)
class _Traces:
    """What runs have left so far."""

    connections: int
    crawls: int
    publications: int
    zone: bytes
    kept: bytes


class Killing:
    """A site that keeps `zone_file`, whose runs are killed while the last keyserver of `mesh` comes or goes.

    `lengths` has the seconds that each stage of an undisturbed run takes, once there was a rehearsal.
    """

    def __init__(self, site: Site, mesh: Mesh, zone_file: Path) -> None:
        self.site = site
        self.zone_file = zone_file
        self.lengths: Mapping[Stage, float] = {}
        self._mesh = mesh
        self._is_there = True
        self._zones: dict[bool, bytes] = {}

    def rehearse(self) -> None:
        """Publish the zone with and without the last keyserver, to know both and how long a run takes."""
        self.recover()
        before = self._traces()
        process = self.start()
        entered = [self._wait_for(stage, process, before) for stage in Stage]
        process.wait(PATIENCE)
        entered.append(time.monotonic())
        self.recover()
        self.lengths = {stage: end - begin for stage, (begin, end) in zip(Stage, pairwise(entered), strict=True)}

    def kill(self, stage: Stage, seconds: float) -> Kill:
        """Kill a run `seconds` after it came to `stage`, see what it left, and have the next run put things right."""
        before = self._traces()
        process = self.start()
        try:
            self._wait_for(stage, process, before)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(seconds)
        finally:
            process.kill()
            ended = process.wait()
        assert ended in {0, -signal.SIGKILL}, f"a run failed by itself with {ended}"
        kill = self._look(before)
        self.recover()
        return kill

    def start(self) -> subprocess.Popen[bytes]:
        """Let the last keyserver come or go, and start a run, which has that to publish."""
        keyserver = self._mesh.keyservers[-1]
        (self._mesh.stop if self._is_there else self._mesh.start)(keyserver)
        self._is_there = not self._is_there
        return subprocess.Popen(
            self.site.command("run"),
            cwd=self.site.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def recover(self) -> str:
        """Run poolmgr to its end, and make sure that nothing of the runs before it is in its way, or stays.

        Return what it said.
        """
        done = self.site.poolmgr("run")
        assert (done.returncode, done.stderr) == (0, ""), done
        zone = self.zone_file.read_bytes()
        self._zones.setdefault(self._is_there, _CRAWL_AND_SERIAL.sub(b"", zone))
        assert self._is_wanted(zone), f"not the new zone: {zone!r}"
        assert not self.temporary_files()
        return done.stdout

    def temporary_files(self) -> list[Path]:
        """Return the files beside the zone file that are to take its place."""
        return list(self.zone_file.parent.glob(f".{self.zone_file.name}.*"))

    def _look(self, before: _Traces) -> Kill:
        """Return how far a run came that was killed, and make sure that it left the old or the new zone, and whole."""
        run("named-checkzone", "-i", "local", ORIGIN, self.zone_file)
        with self._store() as database:
            assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        zone = self.zone_file.read_bytes()
        is_new = zone != before.zone
        if is_new:
            assert self._is_wanted(zone), f"neither the old nor the new zone: {zone!r}"
            assert _serial(zone) > _serial(before.zone)
        assert self._kept() in {before.kept, before.zone}, f"not a zone that was served: {self._kept()!r}"
        return Kill(self._stage(before), is_new)

    def _wait_for(self, stage: Stage, process: subprocess.Popen[bytes], before: _Traces) -> float:
        """Return when a run came to `stage`, or ended before that could be seen."""
        wait_until(lambda: process.poll() is not None or self._stage(before) >= stage, f"stage {stage.name} of a run")
        return time.monotonic()

    def _stage(self, before: _Traces) -> Stage:
        now = self._traces()
        signs = {
            Stage.CRAWL: now.connections > before.connections,
            Stage.PLAN: now.crawls > before.crawls,
            Stage.CHECK: bool(self.temporary_files()),
            Stage.KEEP: now.kept != before.kept,
            Stage.RELOAD: now.zone != before.zone,
            Stage.END: now.publications > before.publications,
        }
        return max((stage for stage, is_seen in signs.items() if is_seen), default=Stage.START)

    def _traces(self) -> _Traces:
        with self._store() as database:
            counts = "SELECT (SELECT count(*) FROM crawl), (SELECT count(*) FROM publication)"
            crawls, publications = database.execute(counts).fetchone()
        connections = sum(self._mesh.connections.values())
        return _Traces(connections, crawls, publications, self.zone_file.read_bytes(), self._kept())

    def _kept(self) -> bytes:
        """Return the file that the last one took the place of, nothing where there is none."""
        kept = previous_path(self.zone_file)
        return kept.read_bytes() if kept.exists() else b""

    def _store(self) -> contextlib.closing[sqlite3.Connection]:
        return contextlib.closing(sqlite3.connect(self.site.folder / "state" / "poolmgr.sqlite"))

    def _is_wanted(self, zone: bytes) -> bool:
        return _CRAWL_AND_SERIAL.sub(b"", zone) == self._zones[self._is_there]


def add_keyservers(mesh: Mesh, *, latency: float = 0.0) -> None:
    """Add KEYSERVERS keyservers that serve and are gossip peers of each other: ks1.mesh.test and so on."""
    names = [f"ks{number}.mesh.test" for number in range(1, KEYSERVERS + 1)]
    for name in names:
        mesh.add(name, peers=names, latency=latency)


@contextlib.contextmanager
def killing_of_file(folder: Path) -> Iterator[Killing]:
    """Yield a rehearsed Killing of a zone file that nobody serves."""
    zone_file = folder / "pool.zone"
    with _killing(folder, {"type": "zonefile", "file": str(zone_file), "check": ["named-checkzone"]}) as killing:
        yield killing


@contextlib.contextmanager
def killing_of_nsd(folder: Path) -> Iterator[Killing]:
    """Yield a rehearsed Killing of a zone file that nsd serves: a run waits until nsd has the new serial."""
    with Nsd(folder / "nsd", ORIGIN) as nsd:
        target = zonefile_target(nsd.zone_file, nsd.address, nsd.port, nsd.reload_command, check=["nsd-checkzone"])
        with _killing(folder, target) as killing:
            yield killing


@contextlib.contextmanager
def _killing(folder: Path, target: Mapping[str, Any]) -> Iterator[Killing]:
    with Mesh() as mesh, Nameserver() as nameserver:
        add_keyservers(mesh, latency=LATENCY)
        site = mesh_site(folder, ORIGIN, mesh, nameserver, [target])
        # Every crawl is to change the zone.
        site.config["policy"] = {"rise": 1, "fall": 1, "drop": 1, "flap_wait": "0s"}
        killing = Killing(site, mesh, Path(target["file"]))
        killing.rehearse()
        yield killing


def kills(killing: Killing, rng: random.Random) -> Iterator[Kill]:
    """Yield kills for ever: at a moment of the first stage, of the next, and so on, and then from the first again."""
    for stage in cycle(Stage):
        yield killing.kill(stage, rng.uniform(0, killing.lengths[stage]))


def _serial(zone: bytes) -> int:
    found = _SERIAL.search(zone)
    assert found is not None
    return int(found[1])


def main() -> None:
    """Kill KILLS runs, half of them with nsd to be waited for, and print what they were at."""
    seen: Counter[Kill] = Counter()
    for make in (killing_of_file, killing_of_nsd):
        with tempfile.TemporaryDirectory(prefix="poolmgr-kill-") as folder, make(Path(folder)) as killing:
            seen.update(islice(kills(killing, random.Random(1)), KILLS // 2))
    write = sys.stdout.write
    write(f"{'killed in stage':20}{'old zone left':>15}{'new zone left':>15}\n")
    for stage in Stage:
        write(f"{stage.name.lower():20}{seen[Kill(stage, False)]:15}{seen[Kill(stage, True)]:15}\n")
    write(f"{seen.total()} runs killed: each left the old or the new zone, whole, and nothing in the next run's way\n")


if __name__ == "__main__":
    main()
