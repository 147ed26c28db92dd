"""A folder with a config of poolmgr's for servers on loopback, and poolmgr's commands run there."""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from poolmgr.cli import main
from tests.lab.named import first_zone

POOLMGR = (sys.executable, "-m", "poolmgr.cli")
"""The command, run by this Python."""


def zonefile_target(path: Path, server: object, port: int, reload: Iterable[str], **more: object) -> dict[str, Any]:
    """Return the config of a zone file that the name server at `server` serves."""
    verify = {"server": f"{server}:{port}", "timeout": "10s"}
    return {"type": "zonefile", "file": str(path), "reload": list(reload), "verify": verify, **more}


def update_target(server: object, port: int, key_file: Path, **more: object) -> dict[str, Any]:
    """Return the config of a primary that takes updates signed with the key in `key_file`."""
    return {"type": "rfc2136", "server": f"{server}:{port}", "key": {"file": str(key_file)}, "timeout": "5s", **more}


class Site:
    """A config.yaml in `folder`, for the zone `origin` with one pool, `pool.ORIGIN`.

    `config` may be changed at any time; what is in it when a command is run counts.
    `crawl` has at least the seeds and the canary.
    """

    def __init__(
        self, folder: Path, origin: str, crawl: Mapping[str, Any], publish: Iterable[Mapping[str, Any]]
    ) -> None:
        self.folder = folder
        self.path = folder / "config.yaml"
        skeleton = folder / "skeleton.zone"
        skeleton.write_text(first_zone(origin))
        self.pool: dict[str, Any] = {"name": f"pool.{origin}"}
        self.config: dict[str, Any] = {
            "state": {"folder": "state"},
            "crawl": {"allow_networks": ["127.0.0.0/8"], "deadline": "5s", **crawl},
            "policy": {},
            "pools": [self.pool],
            "zone": {"origin": origin, "skeleton": skeleton.name},
            "publish": list(publish),
        }

    def command(self, *words: str) -> list[str]:
        """Return the command line of poolmgr with `words`, to be run in `folder`, for the config as it is now."""
        self.path.write_text(yaml.safe_dump(self.config, sort_keys=False))
        return [*POOLMGR, "-c", self.path.name, *words]

    def poolmgr(self, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run poolmgr with `words` and return how it ended and what it said."""
        return subprocess.run(
            self.command(*words),
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            env={"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", **environ},
            check=False,
        )

    def call(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Do the same in this process, in a tenth of the time: where it matters what is said, and not that it ends."""
        command = self.command(*words)
        said, complained = io.StringIO(), io.StringIO()
        with (
            contextlib.chdir(self.folder),
            contextlib.redirect_stdout(said),
            contextlib.redirect_stderr(complained),
        ):
            try:
                main.main(command[len(POOLMGR) :], prog_name="poolmgr")
            except SystemExit as ended:
                code = ended.code if isinstance(ended.code, int) else 0
        return subprocess.CompletedProcess(command, code, said.getvalue(), complained.getvalue())
