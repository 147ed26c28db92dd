from __future__ import annotations

import ipaddress
import os
import sqlite3
import zlib
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from poolmgr.errors import StoreError
from poolmgr.model import Family
from poolmgr.report.snapshot import to_json
from poolmgr.store.database import FILE, MIGRATIONS, Publication, open_store, read_store
from tests.build import NOW, POOL, mesh, snapshot

KEEP = timedelta(days=90)


def publication(serial: int, target: str = "zone file a") -> Publication:
    members = {(POOL, Family.IPV4): (ipaddress.ip_address("198.51.100.1"),), (POOL, Family.IPV6): ()}
    return Publication(NOW, target, serial, members)


def test_a_new_store_has_nothing(tmp_path: Path) -> None:
    assert read_store(tmp_path) is None
    with open_store(tmp_path / "state") as store:
        assert store.load_crawl() is None
        assert store.load_publications() == ()


def test_the_newest_crawl_comes_back_as_it_was(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        store.save_crawl(snapshot(mesh(2)), keep=KEEP)
        store.save_crawl(snapshot(mesh(3)), keep=KEEP)
    reader = read_store(tmp_path)
    assert reader is not None
    with reader:
        assert reader.load_crawl() == snapshot(mesh(3))


def test_the_newest_crawl_that_saw_a_family_comes_back_too(tmp_path: Path) -> None:
    seeing, blind = snapshot(mesh(2)), replace(snapshot(mesh(3)), blind={Family.IPV6: "no way out"})
    with open_store(tmp_path) as store:
        store.save_crawl(blind, keep=KEEP)
        assert store.load_crawl(seeing=Family.IPV6) is None
        store.save_crawl(seeing, keep=KEEP)
        store.save_crawl(blind, keep=KEEP)
        assert store.load_crawl(seeing=Family.IPV6) == seeing
        assert store.load_crawl(seeing=Family.IPV4) == store.load_crawl() == blind


def test_a_store_of_the_first_version_is_brought_to_todays(tmp_path: Path) -> None:
    database = sqlite3.connect(tmp_path / FILE)
    database.executescript(f"{MIGRATIONS[0]}; PRAGMA user_version = 1;")
    text = to_json(snapshot(mesh(1))).encode()
    with database:
        row = (NOW.isoformat(), NOW.isoformat(), zlib.compress(text))
        database.execute("INSERT INTO crawl (started, finished, snapshot) VALUES (?, ?, ?)", row)
    database.close()
    with open_store(tmp_path) as store:
        assert store.load_crawl(seeing=Family.IPV4) == snapshot(mesh(1))


def test_crawls_are_forgotten_after_their_time(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        for age in (timedelta(days=91), KEEP, timedelta()):
            one = snapshot(mesh(1))
            store.save_crawl(replace(one, started=one.started - age, finished=one.finished - age), keep=KEEP)
    with closing(sqlite3.connect(tmp_path / FILE)) as database:
        assert database.execute("SELECT count(*) FROM crawl").fetchone() == (2,)


def test_the_newest_publication_of_each_target_the_newest_of_all_last(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        for one in (publication(1), publication(5, "primary b"), publication(2)):
            store.save_publication(one)
        assert store.load_publications() == (publication(5, "primary b"), publication(2))


def test_publications_of_a_target_are_bounded(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        database = sqlite3.connect(tmp_path / FILE)
        with database:
            rows = [(NOW.isoformat(), "zone file a", serial, "[]") for serial in range(1200)]
            database.executemany("INSERT INTO publication (at, target, serial, members) VALUES (?, ?, ?, ?)", rows)
        store.save_publication(publication(1200))
        counted = database.execute("SELECT count(*), min(serial), max(serial) FROM publication").fetchone()
        database.close()
    assert counted == (1000, 201, 1200)


def test_a_reader_sees_a_crawl_whole_or_not_at_all(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        store.save_crawl(snapshot(mesh(1)), keep=KEEP)
        reader = read_store(tmp_path)
        assert reader is not None
        with reader:
            store.save_crawl(snapshot(mesh(4)), keep=KEEP)
            assert reader.load_crawl() == snapshot(mesh(4))


def test_a_store_of_a_newer_poolmgr_is_refused_and_left_alone(tmp_path: Path) -> None:
    open_store(tmp_path).__exit__(None, None, None)
    database = sqlite3.connect(tmp_path / FILE)
    database.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    database.close()
    for opening in (open_store, read_store):
        with pytest.raises(StoreError, match=rf"schema version {len(MIGRATIONS) + 1}.*newer"):
            opening(tmp_path)


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"not a database, " * 100)
    with pytest.raises(StoreError, match=rf"cannot open {tmp_path / FILE}"):
        open_store(tmp_path)


def test_a_damaged_crawl_is_an_error_of_the_store(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        store.save_crawl(snapshot(mesh(1)), keep=KEEP)
        database = sqlite3.connect(tmp_path / FILE)
        with database:
            database.execute("UPDATE crawl SET snapshot = x'00'")
        database.close()
        with pytest.raises(StoreError, match="cannot read the newest crawl"):
            store.load_crawl()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StoreError, match="cannot open"):
        open_store(tmp_path)


def test_a_full_disk_is_a_clear_error_and_what_was_stored_stays(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        store.save_crawl(snapshot(mesh(1)), keep=KEEP)
        pages = store._database.execute("PRAGMA page_count").fetchone()[0]
        store._database.execute(f"PRAGMA max_page_count = {pages}")
        big = [replace(one, problem=os.urandom(20_000).hex()) for one in mesh(10)]
        with pytest.raises(StoreError, match=r"cannot store a crawl in .*full"):
            store.save_crawl(snapshot(big), keep=KEEP)
        assert store.load_crawl() == snapshot(mesh(1))
