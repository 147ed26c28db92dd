from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from poolmgr.errors import PoolmgrError, PublishError
from poolmgr.publish.replace import Access, file_state, put, restore, save, staged


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "example.zone"


@pytest.fixture(autouse=True)
def _strict_umask() -> Iterator[None]:
    before = os.umask(0o077)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def access_of(path: Path) -> Access:
    state = file_state(path)
    assert state is not None
    return state.access


def test_a_new_file_can_be_read_by_everybody_whatever_the_umask(path: Path) -> None:
    with staged(path, [b"new"], None) as temporary:
        assert temporary.parent == path.parent
        assert not path.exists()
        put(temporary, path)
    assert path.read_bytes() == b"new"
    assert mode(path) == 0o644
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("kept", [0o640, 0o600, 0o664])
def test_the_mode_of_the_old_file_is_kept(path: Path, kept: int) -> None:
    path.write_bytes(b"old")
    path.chmod(kept)
    with staged(path, [b"new"], access_of(path)) as temporary:
        put(temporary, path)
    assert (path.read_bytes(), mode(path)) == (b"new", kept)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_the_owner_of_the_old_file_is_kept(path: Path) -> None:
    path.write_bytes(b"old")
    os.chown(path, 4711, 4712)
    with staged(path, [b"new"], access_of(path)) as temporary:
        put(temporary, path)
    assert (path.stat().st_uid, path.stat().st_gid) == (4711, 4712)


def test_an_owner_that_cannot_be_kept_is_refused_before_anything_changes(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "fchown", refuse)
    path.write_bytes(b"old")
    like = Access(0o644, os.geteuid() + 1, os.getegid())
    with (
        pytest.raises(PublishError, match="run as its owner or as root, or chown the file"),
        staged(path, [b"new"], like),
    ):
        pytest.fail("nothing is to be staged")
    assert path.read_bytes() == b"old"
    assert list(path.parent.iterdir()) == [path]


def test_an_error_leaves_the_old_file_and_no_temporary_one(path: Path) -> None:
    path.write_bytes(b"old")
    with pytest.raises(PublishError), staged(path, [b"new"], access_of(path)):
        raise PublishError("the checker refused it")
    assert path.read_bytes() == b"old"
    assert list(path.parent.iterdir()) == [path]


def test_what_a_killed_run_left_is_removed_and_nothing_else(path: Path) -> None:
    leftover = path.parent / ".example.zone.poolmgr-abc"
    others = [
        path.parent / name for name in (".other.zone.poolmgr-abc", "example.zone.poolmgr-abc", ".example.zone.swp")
    ]
    for file in (leftover, *others):
        file.touch()
    with staged(path, [b"new"], None):
        assert not leftover.exists()
    assert sorted(path.parent.iterdir()) == sorted(others)


def test_restoring_brings_back_content_and_mode_in_a_younger_file(path: Path) -> None:
    path.write_bytes(b"old")
    path.chmod(0o640)
    os.utime(path, (1, 1))
    before = file_state(path)
    path.write_bytes(b"new")
    restore(path, before)
    assert (path.read_bytes(), mode(path)) == (b"old", 0o640)
    assert path.stat().st_mtime > 1


def test_restoring_no_file_removes_the_new_one(path: Path) -> None:
    assert file_state(path) is None
    path.write_bytes(b"new")
    restore(path, None)
    assert not path.exists()


def test_what_is_saved_is_there_when_all_of_it_is(path: Path) -> None:
    path.write_bytes(b"old")
    path.chmod(0o640)

    def chunks() -> Iterator[bytes]:
        yield b"one"
        assert path.read_bytes() == b"old"
        yield b"two"

    save(chunks(), path)
    assert (path.read_bytes(), mode(path)) == (b"onetwo", 0o640)
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("before", [b"old", None])
def test_what_ends_with_an_error_is_not_saved(path: Path, before: bytes | None) -> None:
    if before is not None:
        path.write_bytes(before)

    def chunks() -> Iterator[bytes]:
        yield bytes(1_000_000)
        raise PublishError("there is no more")

    with pytest.raises(PublishError, match="there is no more"):
        save(chunks(), path)
    assert [file.read_bytes() for file in path.parent.iterdir()] == ([] if before is None else [before])


def test_what_is_saved_through_a_link_goes_to_its_file(path: Path) -> None:
    target = path.parent / "target"
    target.write_bytes(b"old")
    path.symlink_to(target)
    save([b"new"], path)
    assert (path.is_symlink(), target.read_bytes()) == (True, b"new")
    assert sorted(path.parent.iterdir()) == [path, target]


def test_what_is_no_file_is_written_to_and_not_replaced(path: Path) -> None:
    os.mkfifo(path)
    reader = os.open(path, os.O_RDWR)
    save([b"one", b"two"], path)
    assert path.is_fifo()
    assert os.read(reader, 100) == b"onetwo"
    os.close(reader)


def test_where_nothing_can_be_saved_is_told(path: Path) -> None:
    with pytest.raises(PoolmgrError, match=r"cannot write .*nowhere/file: No such file or directory"):
        save([b"new"], path / "nowhere" / "file")
    with pytest.raises(PoolmgrError, match=r"cannot write .*: Is a directory"):
        save([b"new"], path.parent)
