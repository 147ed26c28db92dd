"""A file replaced whole or not at all: written beside, forced to the disk, renamed."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from poolmgr.errors import PoolmgrError, PublishError

NEW_MODE = 0o644
"""Mode of a file that was not there: name servers run as another user and must read it."""


@dataclass(frozen=True, slots=True)
class Access:
    """The mode and the owner of a file."""

    mode: int
    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class FileState:
    """What a file holds, and its mode and owner."""

    content: bytes
    access: Access


def file_state(path: Path) -> FileState | None:
    """Return what stands at `path`, None where nothing does. Raises OSError where it cannot be read."""
    try:
        with path.open("rb") as file:
            return FileState(file.read(), _access(os.fstat(file.fileno())))
    except FileNotFoundError:
        return None


def save(chunks: Iterable[bytes], path: Path) -> None:
    """Write `chunks`, as they come, to a file that takes the place of the one at `path` when all are there.

    A symbolic link stays, and its file is replaced; what is no file, such as a pipe, is written to. Raises PoolmgrError
    where that fails, and what `chunks` raise: then the old file stands.
    """
    try:
        if path.exists() and not path.is_file():
            with path.open("wb") as file:
                file.writelines(chunks)
            return
        target = Path(os.path.realpath(path))
        like = _access(target.stat()) if target.exists() else None
        with staged(target, chunks, like) as temporary:
            put(temporary, target)
    except OSError as error:
        raise PoolmgrError(f"cannot write {path}: {error.strerror}") from error


@contextlib.contextmanager
def staged(path: Path, chunks: Iterable[bytes], like: Access | None) -> Iterator[Path]:
    """Yield a temporary file beside `path` that holds all `chunks`, on the disk, with mode and owner as in `like`.

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
            file.writelines(chunks)
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
    with staged(path, [state.content], state.access) as temporary:
        put(temporary, path)


def _access(status: os.stat_result) -> Access:
    return Access(stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid)


def _keep_owner(descriptor: int, like: Access, path: Path) -> None:
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
