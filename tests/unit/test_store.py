from __future__ import annotations

import ipaddress
import os
import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import dns.rdatatype
import pytest

from poolmgr.errors import StoreError
from poolmgr.judge.history import History, judge_next
from poolmgr.judge.policy import Policy
from poolmgr.model import Family, Snapshot
from poolmgr.report.snapshot import to_json
from poolmgr.store.database import FILE, MIGRATIONS, open_store, read_store
from poolmgr.store.publications import Publication
from tests.build import NOW, POOL, mesh, pool, snapshot

KEEP = timedelta(days=90)
HOUR = timedelta(hours=1)
A, AAAA = (POOL, dns.rdatatype.A), (POOL, dns.rdatatype.AAAA)


def publication(serial: int, target: str = "zone file a") -> Publication:
    members = {(POOL, Family.IPV4): (ipaddress.ip_address("198.51.100.1"),), (POOL, Family.IPV6): ()}
    return Publication(NOW, NOW - timedelta(hours=1), target, serial, members)


def test_a_new_store_has_nothing(tmp_path: Path) -> None:
    assert read_store(tmp_path) is None
    with open_store(tmp_path / "state") as store:
        assert store.load_crawl() is None
        assert store.load_publications() == ()


def test_the_newest_crawl_comes_back_as_it_was(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        store.save_crawl(snapshot(mesh(2)), History(), keep=KEEP)
        store.save_crawl(snapshot(mesh(3)), History(), keep=KEEP)
    reader = read_store(tmp_path)
    assert reader is not None
    with reader:
        assert reader.load_crawl() == snapshot(mesh(3))


def test_the_newest_crawl_that_saw_a_family_comes_back_too(tmp_path: Path) -> None:
    seeing, blind = snapshot(mesh(2)), replace(snapshot(mesh(3)), blind={Family.IPV6: "no way out"})
    with open_store(tmp_path) as store:
        store.save_crawl(blind, History(), keep=KEEP)
        assert store.load_crawl(seeing=Family.IPV6) is None
        store.save_crawl(seeing, History(), keep=KEEP)
        store.save_crawl(blind, History(), keep=KEEP)
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


def test_a_crawl_stored_before_there_were_histories_is_the_first_of_one(tmp_path: Path) -> None:
    database = sqlite3.connect(tmp_path / FILE)
    database.executescript(f"{MIGRATIONS[0]}; {MIGRATIONS[1]}; PRAGMA user_version = 2;")
    blob = zlib.compress(to_json(snapshot(mesh(2))).encode())
    with database:
        row = (NOW.isoformat(), NOW.isoformat(), "", blob)
        database.execute("INSERT INTO crawl (started, finished, blind, snapshot) VALUES (?, ?, ?, ?)", row)
    database.close()
    with open_store(tmp_path) as store:
        assert (store.load_crawl(), store.load_history()) == (snapshot(mesh(2)), History())


def histories(count: int) -> Iterator[tuple[Snapshot, History]]:
    """Yield crawls, five minutes apart, each with the history that it is judged by."""
    history = History()
    for number in range(count):
        one = snapshot(mesh(2))
        later = number * timedelta(minutes=5)
        crawl = replace(one, started=one.started + later, finished=one.finished + later)
        yield crawl, history
        history = judge_next(history, crawl, Policy(), [pool()]).history


def test_the_history_that_the_newest_crawl_was_judged_by_comes_back(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        assert store.load_history() == History()
        for crawl, history in histories(4):
            store.save_crawl(crawl, history, keep=KEEP)
            assert (store.load_crawl(), store.load_history()) == (crawl, history)


def test_only_the_newest_crawl_keeps_its_history(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        for crawl, history in histories(4):
            store.save_crawl(crawl, history, keep=KEEP)
    with closing(sqlite3.connect(tmp_path / FILE)) as database:
        kept = database.execute("SELECT history IS NOT NULL FROM crawl ORDER BY finished").fetchall()
    assert kept == [(0,), (0,), (0,), (1,)]


def test_a_damaged_history_is_an_error_of_the_store(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        store.save_crawl(snapshot(mesh(1)), History(), keep=KEEP)
        with closing(sqlite3.connect(tmp_path / FILE)) as database, database:
            database.execute("UPDATE crawl SET history = ?", (zlib.compress(b"{}"),))
        with pytest.raises(StoreError, match="cannot read the history"):
            store.load_history()


def test_crawls_are_forgotten_after_their_time(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        for age in (timedelta(days=91), KEEP, timedelta()):
            one = snapshot(mesh(1))
            store.save_crawl(replace(one, started=one.started - age, finished=one.finished - age), History(), keep=KEEP)
    with closing(sqlite3.connect(tmp_path / FILE)) as database:
        assert database.execute("SELECT count(*) FROM crawl").fetchone() == (2,)


def test_the_newest_publication_of_each_target_the_newest_of_all_last(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        for one in (publication(1), publication(5, "primary b"), publication(2)):
            store.save_publication(one, {})
        assert store.load_publications() == (publication(5, "primary b"), publication(2))


def test_what_was_published_before_a_crawl_is_what_an_earlier_one_chose(tmp_path: Path) -> None:
    def of(chosen: int, published: int) -> Publication:
        return replace(publication(published), at=NOW + published * HOUR, chosen=NOW + chosen * HOUR)

    with open_store(tmp_path) as store:
        for one in (of(1, 2), of(5, 6), of(5, 8)):
            store.save_publication(one, {})
        found = [store.load_publication(NOW + hours * HOUR) for hours in (1, 2, 5, 6)]
    assert found == [None, of(1, 2), of(1, 2), of(5, 8)], "members stay those of their crawl when published again"


def test_what_is_held_comes_back_and_is_forgotten_with_what_takes_its_place(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        assert store.load_holds() == {}
        store.save_holds("zone file a", {A: NOW, AAAA: NOW - HOUR})
        store.save_holds("primary b", {A: NOW - HOUR})
        assert store.load_holds() == {"zone file a": {A: NOW, AAAA: NOW - HOUR}, "primary b": {A: NOW - HOUR}}
        store.save_publication(publication(1), {A: NOW})
        assert store.load_holds() == {"zone file a": {A: NOW}, "primary b": {A: NOW - HOUR}}
        store.save_holds("primary b", {})
        assert store.load_holds() == {"zone file a": {A: NOW}}


def test_a_publication_is_stored_with_what_it_held_or_not_at_all(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        store.save_publication(publication(1), {A: NOW})
        with closing(sqlite3.connect(tmp_path / FILE)) as database, database:
            database.execute(
                "CREATE TRIGGER full BEFORE INSERT ON hold BEGIN SELECT raise(ABORT, 'no room for holds'); END"
            )
        with pytest.raises(StoreError, match=r"cannot store a publication in .*: no room for holds"):
            store.save_publication(publication(2), {A: NOW, AAAA: NOW})
        with pytest.raises(StoreError, match=r"cannot store what is held in .*: no room for holds"):
            store.save_holds("zone file a", {AAAA: NOW})
        assert store.load_publications() == (publication(1),)
        assert store.load_holds() == {"zone file a": {A: NOW}}


def test_publications_of_a_target_are_bounded(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        database = sqlite3.connect(tmp_path / FILE)
        with database:
            rows = [(NOW.isoformat(), "zone file a", serial, "[]") for serial in range(1200)]
            database.executemany("INSERT INTO publication (at, target, serial, members) VALUES (?, ?, ?, ?)", rows)
        store.save_publication(publication(1200), {})
        counted = database.execute("SELECT count(*), min(serial), max(serial) FROM publication").fetchone()
        database.close()
    assert counted == (1000, 201, 1200)


def test_a_reader_sees_a_crawl_whole_or_not_at_all(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        store.save_crawl(snapshot(mesh(1)), History(), keep=KEEP)
        reader = read_store(tmp_path)
        assert reader is not None
        with reader:
            store.save_crawl(snapshot(mesh(4)), History(), keep=KEEP)
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
        store.save_crawl(snapshot(mesh(1)), History(), keep=KEEP)
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
        store.save_crawl(snapshot(mesh(1)), History(), keep=KEEP)
        pages = store._database.execute("PRAGMA page_count").fetchone()[0]
        store._database.execute(f"PRAGMA max_page_count = {pages}")
        big = [replace(one, problem=os.urandom(20_000).hex()) for one in mesh(10)]
        with pytest.raises(StoreError, match=r"cannot store a crawl in .*full"):
            store.save_crawl(snapshot(big), History(), keep=KEEP)
        assert store.load_crawl() == snapshot(mesh(1))
