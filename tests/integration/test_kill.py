"""A run that is killed leaves the old or the new zone file, and nothing that is in the next run's way."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import islice
from pathlib import Path

import pytest

from tests.conftest import Need
from tests.lab.killing import Killing, killing_of_file, killing_of_nsd, kills
from tests.lab.process import wait_until

KILLS = 10
"""Of each kind of target."""


@pytest.mark.parametrize("make", [killing_of_file, killing_of_nsd])
def test_a_run_killed_at_any_moment_leaves_the_old_or_the_new_zone_and_the_next_one_succeeds(
    tmp_path: Path, need: Need, make: Callable[[Path], AbstractContextManager[Killing]]
) -> None:
    need("named-checkzone", "nsd", "nsd-checkzone")
    with make(tmp_path) as killing:
        assert len(list(islice(kills(killing, random.Random(2136)), KILLS))) == KILLS


@contextmanager
def stuck_program(path: Path, reached: Path) -> Iterator[None]:
    """Make a program at `path` that makes the file `reached` and then does not end before the block does."""
    gate = path.with_suffix(".gate")
    os.mkfifo(gate)
    path.write_text(f"#!/bin/sh\nexec <'{gate}'\n: >'{reached}'\nread line\n")
    path.chmod(0o755)
    held_open = os.open(gate, os.O_RDWR)
    try:
        yield
    finally:
        os.close(held_open)


def kill_once(killing: Killing, reached: Path) -> None:
    """Kill a run once `reached` is there. What it has started lives on."""
    process = killing.start()
    try:
        wait_until(reached.exists, "the stuck program runs")
    finally:
        process.kill()
        process.wait()


def test_a_run_killed_while_the_new_file_is_checked_leaves_the_old_one_and_the_next_run_cleans_up(
    tmp_path: Path, need: Need, monkeypatch: pytest.MonkeyPatch
) -> None:
    need("named-checkzone")
    folder, reached = tmp_path / "bin", tmp_path / "reached"
    folder.mkdir()
    with killing_of_file(tmp_path) as killing, stuck_program(folder / "named-checkzone", reached):
        old = killing.zone_file.read_bytes()
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
        kill_once(killing, reached)
        assert killing.zone_file.read_bytes() == old
        assert len(killing.temporary_files()) == 1
        killing.recover()


def test_a_run_killed_before_the_reload_has_ended_leaves_the_new_file_and_the_next_run_has_it_served(
    tmp_path: Path, need: Need
) -> None:
    need("nsd", "nsd-checkzone")
    program, reached = tmp_path / "reload", tmp_path / "reached"
    with killing_of_nsd(tmp_path) as killing, stuck_program(program, reached):
        old = killing.zone_file.read_bytes()
        (target,) = killing.site.config["publish"]
        reload, target["reload"] = target["reload"], [str(program)]
        kill_once(killing, reached)
        new = killing.zone_file.read_bytes()
        assert new != old
        target["reload"] = reload
        assert f"name server {target['verify']['server'].replace(':', ' port ')} has zone" in killing.recover()
