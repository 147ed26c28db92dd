"""A file replaced whole or not at all: written beside, forced to the disk, renamed."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from poolmgr.errors import PublishError

NEW_MODE = 0o644
"""Mode of a file that was not there: name servers run as another user and must read it."""


@dataclass(frozen=True, slots=True)
class FileState:
    """What a file holds, and its mode and owner."""

    content: bytes
    mode: int
    uid: int
    gid: int


def file_state(path: Path) -> FileState | None:
    """Return what stands at `path`, None where nothing does. Raises OSError where it cannot be read."""
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            return FileState(file.read(), stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid)
    except FileNotFoundError:
        return None


@contextlib.contextmanager
def staged(path: Path, content: bytes, like: FileState | None) -> Iterator[Path]:
    """Yield a temporary file beside `path` that holds `content`, on the disk, with mode and owner of `like`.

    It is gone at the end, unless `put` made it the file. What a killed run left behind is removed first. Raises OSError
    where the folder cannot be written, PublishError where the owner cannot be kept.
    """
    prefix = f".{path.name}.poolmgr-"
    for leftover in path.parent.iterdir():
        if leftover.name.startswith(prefix):
            leftover.unlink()
    descriptor, name = tempfile.mkstemp(prefix=prefix, dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            if like is not None:
                _keep_owner(descriptor, like, path)
            os.fchmod(descriptor, NEW_MODE if like is None else like.mode)
            os.fsync(descriptor)
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def put(temporary: Path, path: Path) -> None:
    """Make `temporary` the file at `path` in one step, and have the folder's entry on the disk."""
    temporary.replace(path)
    _sync_folder(path.parent)


def restore(path: Path, state: FileState | None) -> None:
    """Bring back what stood at `path`: `state`, or no file.

    The file is written anew, not the old one renamed back: BIND skips a reload where the file is no younger than what
    it loaded.
    """
    if state is None:
        path.unlink(missing_ok=True)
        _sync_folder(path.parent)
        return
    with staged(path, state.content, state) as temporary:
        put(temporary, path)


def _keep_owner(descriptor: int, like: FileState, path: Path) -> None:
    status = os.fstat(descriptor)
    if (status.st_uid, status.st_gid) == (like.uid, like.gid):
        return
    try:
        os.fchown(descriptor, like.uid, like.gid)
    except PermissionError as error:
        raise PublishError(
            f"{path} belongs to user {like.uid} and group {like.gid}, which user {os.geteuid()} cannot keep: run as "
            "its owner or as root, or chown the file"
        ) from error


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
