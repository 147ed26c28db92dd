"""The SQLite database: crawls and publications, one transaction each."""

from __future__ import annotations

import ipaddress
import json
import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

import dns.name

from poolmgr.errors import ParseError, StoreError
from poolmgr.hosts import IPAddress
from poolmgr.judge.selection import Members
from poolmgr.model import Family, Snapshot
from poolmgr.report import snapshot as snapshot_json

FILE = "poolmgr.sqlite"
BUSY_SECONDS = 10.0

MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE crawl (
        id INTEGER PRIMARY KEY,
        started TEXT NOT NULL,
        finished TEXT NOT NULL,
        snapshot BLOB NOT NULL
    ) STRICT;
    CREATE INDEX crawl_finished ON crawl (finished);
    CREATE TABLE publication (
        id INTEGER PRIMARY KEY,
        at TEXT NOT NULL,
        target TEXT NOT NULL,
        serial INTEGER NOT NULL,
        members TEXT NOT NULL
    ) STRICT;
    CREATE INDEX publication_target ON publication (target, id);
    """,
    """
    ALTER TABLE crawl ADD COLUMN blind TEXT NOT NULL DEFAULT '';
    """,
)
"""The schema's steps: entry N leads from version N to N + 1 (`PRAGMA user_version`). Old entries never change."""


@dataclass(frozen=True, slots=True)
class Publication:
    """What a target was made to serve: its label, the SOA serial, and the members of each pool and family."""

    at: datetime
    target: str
    serial: int
    members: Members


class Store:
    """An open store, a context manager. Every verb raises StoreError when SQLite, the disk or the data fail."""

    def __init__(self, database: sqlite3.Connection, path: Path) -> None:
        self._database = database
        self._path = path

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._database.close()

    def save_crawl(self, snapshot: Snapshot, *, keep: timedelta) -> None:
        """Store `snapshot` and forget the crawls that ended more than `keep` before it."""
        blob = zlib.compress(snapshot_json.to_json(snapshot).encode())
        blind = " ".join(sorted(snapshot.blind))
        with _explained("store a crawl in", self._path), self._database:
            self._database.execute(
                "INSERT INTO crawl (started, finished, blind, snapshot) VALUES (?, ?, ?, ?)",
                (_utc(snapshot.started), _utc(snapshot.finished), blind, blob),
            )
            self._database.execute("DELETE FROM crawl WHERE finished < ?", (_utc(snapshot.finished - keep),))

    def load_crawl(self, *, seeing: Family | None = None) -> Snapshot | None:
        """Return the newest crawl, or the newest that was not blind for `seeing`; None where there is none."""
        with _explained("read the newest crawl in", self._path):
            row = self._database.execute(
                "SELECT snapshot FROM crawl WHERE ?1 IS NULL OR instr(blind, ?1) = 0 ORDER BY id DESC LIMIT 1",
                (seeing,),
            ).fetchone()
            return None if row is None else snapshot_json.from_json(zlib.decompress(row[0]))

    def save_publication(self, publication: Publication) -> None:
        """Store what was published, and forget all but the last thousand of that target."""
        members = [
            [pool.to_text(omit_final_dot=True), family, [str(address) for address in addresses]]
            for (pool, family), addresses in publication.members.items()
        ]
        with _explained("store a publication in", self._path), self._database:
            self._database.execute(
                "INSERT INTO publication (at, target, serial, members) VALUES (?, ?, ?, ?)",
                (_utc(publication.at), publication.target, publication.serial, json.dumps(members)),
            )
            self._database.execute(
                "DELETE FROM publication WHERE target = ?1 AND id <= "
                "(SELECT id FROM publication WHERE target = ?1 ORDER BY id DESC LIMIT 1 OFFSET 1000)",
                (publication.target,),
            )

    def load_publications(self) -> tuple[Publication, ...]:
        """Return the newest publication of each target, the newest of all last."""
        with _explained("read the publications in", self._path):
            rows = self._database.execute(
                "SELECT at, target, serial, members FROM publication "
                "WHERE id IN (SELECT max(id) FROM publication GROUP BY target) ORDER BY id"
            ).fetchall()
            return tuple(_publication(row) for row in rows)


def open_store(folder: Path) -> Store:
    """Return the store in `folder` for writing, made or brought to today's schema where needed."""
    path = folder / FILE
    with _explained("open", path):
        folder.mkdir(exist_ok=True)
        database = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level="IMMEDIATE")
        with _closed_on_error(database):
            database.execute("PRAGMA journal_mode = WAL")
            # A publication that is forgotten in a power cut could let a serial go backwards.
            database.execute("PRAGMA synchronous = FULL")
            _migrate(database, path)
    return Store(database, path)


def read_store(folder: Path) -> Store | None:
    """Return the store in `folder` for reading, None where there is none yet."""
    path = folder / FILE
    if not path.exists():
        return None
    with _explained("open", path):
        database = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", timeout=BUSY_SECONDS, uri=True)
        with _closed_on_error(database):
            version = _version(database)
            if version != len(MIGRATIONS):
                raise StoreError(
                    f"{path} has schema version {version}, this poolmgr reads {len(MIGRATIONS)}: run `poolmgr crawl` "
                    "once to bring an older one up to date, or install the newer poolmgr that wrote it"
                )
    return Store(database, path)


def _migrate(database: sqlite3.Connection, path: Path) -> None:
    version = _version(database)
    if version > len(MIGRATIONS):
        raise StoreError(
            f"{path} has schema version {version}, this poolmgr knows {len(MIGRATIONS)}: install a newer one"
        )
    for step, script in enumerate(MIGRATIONS[version:], start=version + 1):
        database.executescript(f"BEGIN IMMEDIATE; {script}; PRAGMA user_version = {step}; COMMIT;")


def _version(database: sqlite3.Connection) -> int:
    return int(database.execute("PRAGMA user_version").fetchone()[0])


def _publication(row: tuple[str, str, int, str]) -> Publication:
    members: dict[tuple[dns.name.Name, Family], tuple[IPAddress, ...]] = {}
    for pool, family, addresses in json.loads(row[3]):
        members[dns.name.from_text(pool), Family(family)] = tuple(ipaddress.ip_address(text) for text in addresses)
    return Publication(datetime.fromisoformat(row[0]), row[1], row[2], members)


def _utc(moment: datetime) -> str:
    """Return `moment` so that text order is time order."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


@contextmanager
def _closed_on_error(database: sqlite3.Connection) -> Iterator[None]:
    try:
        yield
    except BaseException:
        database.close()
        raise


@contextmanager
def _explained(verb: str, path: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError, zlib.error, ValueError, ParseError) as error:
        raise StoreError(f"cannot {verb} {path}: {error}") from error
