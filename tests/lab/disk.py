"""A disk that is really full: a file system in memory, seen by the commands that are run on it and by nobody else.

with SmallDisk(folder, octets=1_000_000) as disk:
    disk.run("poolmgr", "export", "-o", "crawls.jsonl")
    disk.path / "crawls.jsonl"
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.lab.process import PATIENCE

_MOUNT = 'mount -t tmpfs -o size="$1" tmpfs "$2" && echo mounted && exec sleep infinity'
_IN_FOLDER = 'cd "$0" && exec "$@"'

BLOCK = 4096
"""What a file on it is made of."""


class NoSmallDisk(Exception):
    """This machine does not let its users mount anything, not even for themselves."""


class SmallDisk:
    """A file system of `octets` mounted on the empty folder `folder`, in a mount namespace of its own.

    `path` is where others find what is on it.
    """

    def __init__(self, folder: Path, *, octets: int) -> None:
        self._folder = folder
        words = ("unshare", "--map-root-user", "--mount", "sh", "-c", _MOUNT, "sh", str(octets), str(folder))
        self._holder = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.path = Path(f"/proc/{self._holder.pid}/root{folder}")

    def __enter__(self) -> Self:
        assert self._holder.stdout is not None
        if self._holder.stdout.readline() != "mounted\n":
            _, errors = self._holder.communicate(timeout=PATIENCE)
            raise NoSmallDisk(errors.strip())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._holder.kill()
        self._holder.communicate(timeout=PATIENCE)

    def run(self, *command: str, folder: Path) -> subprocess.CompletedProcess[str]:
        """Run `command` in `folder` where the disk is mounted, and return how it ended and what it said."""
        enter = ("nsenter", f"--target={self._holder.pid}", "--user", "--mount", "--preserve-credentials")
        return subprocess.run(
            [*enter, "sh", "-c", _IN_FOLDER, str(folder), *command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    def fill(self, *, free: int) -> None:
        """Fill it up but for `free` octets, with a file that `empty` removes."""
        with contextlib.suppress(OSError), self._ballast.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(BLOCK))
        with self._ballast.open("rb+") as file:
            file.truncate(self._ballast.stat().st_size // BLOCK * BLOCK - free)

    def empty(self) -> None:
        """Make the room again that `fill` took."""
        self._ballast.unlink()

    @contextlib.contextmanager
    def read_only(self) -> Iterator[None]:
        """Let nobody write to it while the block runs."""
        self._remount("ro")
        try:
            yield
        finally:
            self._remount("rw")

    def _remount(self, option: str) -> None:
        done = self.run("mount", "-o", f"remount,{option}", str(self._folder), folder=Path("/"))
        assert done.returncode == 0, done

    @property
    def _ballast(self) -> Path:
        return self.path / "ballast"
