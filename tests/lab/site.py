"""A folder with a config of poolmgr's for servers on loopback, and poolmgr's commands run there."""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from poolmgr.cli import main
from tests.lab.mesh import Mesh
from tests.lab.named import first_zone
from tests.lab.nameserver import Nameserver
from tests.lab.pages import CANARY

POOLMGR = (sys.executable, "-m", "poolmgr.cli")
"""The command, run by this Python."""


def zonefile_target(path: Path, server: object, port: int, reload: Iterable[str], **more: object) -> dict[str, Any]:
    """Return the config of a zone file that the name server at `server` serves."""
    verify = {"server": f"{server}:{port}", "timeout": "10s"}
    return {"type": "zonefile", "file": str(path), "reload": list(reload), "verify": verify, **more}


def update_target(server: object, port: int, key_file: Path, **more: object) -> dict[str, Any]:
    """Return the config of a primary that takes updates signed with the key in `key_file`."""
    return {"type": "rfc2136", "server": f"{server}:{port}", "key": {"file": str(key_file)}, "timeout": "5s", **more}


def crawl_config(mesh: Mesh, nameserver: Nameserver, *seeds: str) -> dict[str, Any]:
    """Return the config of a crawl of `mesh`, whose names `nameserver` has, from `seeds`: its first keyserver else."""
    address, port = nameserver.server
    return {
        "seeds": list(seeds or [mesh.keyservers[0].hostname]),
        "canary": CANARY,
        "nameservers": [f"{address}:{port}"],
        "ports": {service.value: number for service, number in mesh.ports.items()},
    }


def mesh_site(
    folder: Path, origin: str, mesh: Mesh, nameserver: Nameserver, targets: Iterable[Mapping[str, Any]]
) -> Site:
    """Return the site of a pool that crawls from the first keyserver of `mesh`; `nameserver` gets the names of all."""
    nameserver.records.update(mesh.records())
    return Site(folder, origin, crawl_config(mesh, nameserver), targets)


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

    @contextlib.contextmanager
    def started(self, *words: str) -> Iterator[subprocess.Popen[str]]:
        """Start poolmgr with `words`, and kill it in the end where it has not ended by itself."""
        with subprocess.Popen(
            # A job that a shell runs in the background ignores this signal, and so do those that it starts.
            ["env", "--default-signal=INT", *self.command(*words)],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                yield process
            finally:
                process.kill()

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
