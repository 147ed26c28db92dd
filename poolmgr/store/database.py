"""The SQLite database: crawls and publications, one transaction each."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from poolmgr.errors import ParseError, StoreError
from poolmgr.judge.changes import VerdictChange
from poolmgr.judge.history import History
from poolmgr.model import Family, Snapshot
from poolmgr.report import history as history_json
from poolmgr.store import changes as change_table
from poolmgr.store import crawls, publications
from poolmgr.store import holds as hold_table
from poolmgr.store import runs as run_table
from poolmgr.store.publications import Publication
from poolmgr.store.runs import Run
from poolmgr.zone.plan import Holds

FILE = "poolmgr.sqlite"
BUSY_SECONDS = 10.0

_NO_ROOM = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE})
"""How SQLite says that the disk is full: the second, an I/O error by its text, where it is about its shared memory."""

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
    """
    ALTER TABLE crawl ADD COLUMN history BLOB;
    """,
    """
    CREATE TABLE change (
        id INTEGER PRIMARY KEY,
        at TEXT NOT NULL,
        pool TEXT NOT NULL,
        keyserver TEXT NOT NULL,
        address TEXT NOT NULL,
        state TEXT NOT NULL,
        reasons TEXT NOT NULL
    ) STRICT;
    CREATE INDEX change_at ON change (at);
    CREATE INDEX change_address ON change (pool, address, id);
    """,
    """
    ALTER TABLE crawl ADD COLUMN numbers BLOB;
    CREATE TABLE form (
        id INTEGER PRIMARY KEY,
        day TEXT NOT NULL,
        digest BLOB NOT NULL,
        text BLOB NOT NULL,
        UNIQUE (day, digest)
    ) STRICT;
    CREATE TABLE checkpoint (
        crawl INTEGER PRIMARY KEY,
        history BLOB NOT NULL
    ) STRICT;
    """,
    """
    CREATE TABLE hold (
        target TEXT NOT NULL,
        owner TEXT NOT NULL,
        type TEXT NOT NULL,
        since TEXT NOT NULL,
        PRIMARY KEY (target, owner, type)
    ) STRICT;
    """,
    """
    ALTER TABLE publication ADD COLUMN chosen TEXT NOT NULL DEFAULT '';
    UPDATE publication SET chosen = at;
    """,
    """
    CREATE TABLE run (
        id INTEGER PRIMARY KEY,
        at TEXT NOT NULL,
        command TEXT NOT NULL,
        exit_code INTEGER NOT NULL,
        crawled TEXT,
        error TEXT NOT NULL
    ) STRICT;
    CREATE TABLE outcome (
        run INTEGER NOT NULL,
        target TEXT NOT NULL,
        fate TEXT NOT NULL,
        sentence TEXT NOT NULL,
        serial INTEGER,
        PRIMARY KEY (run, target)
    ) STRICT;
    """,
)
"""The schema's steps: entry N leads from version N to N + 1 (`PRAGMA user_version`). Old entries never change."""

Remember = Callable[[History, Iterable[Snapshot]], History]
"""Returns the history that comes of judging crawls, oldest first, from the one that the first of them is judged by."""


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

    def save_crawl(
        self,
        snapshot: Snapshot,
        history: History,
        *,
        keep: timedelta,
        keep_thinned: timedelta = timedelta(0),
        changes: Iterable[VerdictChange] = (),
    ) -> None:
        """Store `snapshot`, the newest crawl, which was judged by `history`, with the `changes` of its verdicts.

        Crawls and changes more than `keep` older than it are forgotten, but for the last changes of who is in, and the
        first crawl of each day, which stays for `keep_thinned`. Histories are kept of the newest crawl, and of the
        first of each day, from where a replay may start: the others follow from the crawls.
        """
        past = _packed_history(history)
        with _explained("store a crawl in", self._path), self._database:
            key = crawls.insert(self._database, snapshot)
            self._remember(key, past)
            crawls.check_point(self._database, key, past)
            crawls.forget(self._database, snapshot.finished, keep=keep, keep_thinned=keep_thinned)
            change_table.insert(self._database, changes)
            change_table.forget(self._database, snapshot.finished - keep)

    def import_crawls(self, snapshots: Iterable[Snapshot], remember: Remember, *, with_latencies: bool = False) -> int:
        """Store those of `snapshots` that are not there yet, all or none, and return how many that were.

        The history of the newest crawl stays as it is; where the newest is an imported one, `remember` makes it, of
        crawls as `replay` gives them.
        """
        with _explained("import crawls into", self._path), self._database:
            imported = [snapshot.finished for snapshot in snapshots if self._import(snapshot)]
            if not imported:
                return 0
            # From the oldest of them on, the crawls no longer make the histories that runs had.
            crawls.drop_checkpoints(self._database, min(imported))
            key, is_known = self._database.execute(
                "SELECT id, history IS NOT NULL FROM crawl ORDER BY finished DESC, id DESC LIMIT 1"
            ).fetchone()
            if not is_known:
                start, replayed = self._replay(min(imported), with_latencies=with_latencies)
                self._remember(key, _packed_history(remember(start, all_but_last(replayed))))
            return len(imported)

    def _import(self, snapshot: Snapshot) -> bool:
        times = (crawls.utc(snapshot.started), crawls.utc(snapshot.finished))
        known = self._database.execute("SELECT 1 FROM crawl WHERE started = ? AND finished = ?", times).fetchone()
        if known is None:
            crawls.insert(self._database, snapshot)
        return known is None

    def _remember(self, key: int, past: bytes) -> None:
        """Let the crawl `key`, the newest, be the one that has its history."""
        self._database.execute("UPDATE crawl SET history = NULL WHERE history IS NOT NULL")
        self._database.execute("UPDATE crawl SET history = ? WHERE id = ?", (past, key))

    def load_crawl(self, *, seeing: Family | None = None) -> Snapshot | None:
        """Return the newest crawl, or the newest that was not blind for `seeing`; None where there is none."""
        with _explained("read the newest crawl in", self._path):
            return crawls.newest(self._database, seeing)

    def load_crawls(self, limit: int) -> tuple[Snapshot, ...]:
        """Return the newest crawls, `limit` at most, the oldest first."""
        with _explained("read the newest crawls in", self._path):
            return crawls.last(self._database, limit)

    def load_crawls_since(self, since: datetime) -> Iterator[Snapshot]:
        """Yield the crawls that ended at `since` or later, the oldest first."""
        with _explained("read the crawls in", self._path):
            yield from crawls.every(self._database, since)

    def replay(self, since: datetime, *, with_latencies: bool = False) -> tuple[History, Iterator[Snapshot]]:
        """Return the crawls from `since` on, the oldest first, and the history that the first of them was judged by.

        They begin with the newest crawl up to `since` whose history is kept, or else with the oldest of all. They have
        what judging looks at and nothing else: the latencies of who was slow, and of all times those of the
        counts. Only `with_latencies`, which a pool may judge by too, they are whole; that takes longer.
        """
        with _explained("read the crawls in", self._path):
            start, replayed = self._replay(since, with_latencies=with_latencies)
        return start, self._explained_crawls(replayed)

    def _replay(self, since: datetime, *, with_latencies: bool) -> tuple[History, Iterator[Snapshot]]:
        found = crawls.start(self._database, since)
        if found is None:
            return History(), iter(())
        key, past = found
        judged = crawls.whole if with_latencies else crawls.judged
        return _to_history(past), judged(self._database, key)

    def _explained_crawls(self, replayed: Iterator[Snapshot]) -> Iterator[Snapshot]:
        with _explained("read the crawls in", self._path):
            yield from replayed

    def load_changes(self, since: datetime) -> tuple[VerdictChange, ...]:
        """Return the verdict changes from `since` on, the oldest first."""
        with _explained("read the changes in", self._path):
            return change_table.since(self._database, since)

    def load_last_changes(self) -> tuple[VerdictChange, ...]:
        """Return the last change of every pool and address: who is in, and who went."""
        with _explained("read the changes in", self._path):
            return change_table.last(self._database)

    def load_history(self) -> History:
        """Return the history that the newest crawl was judged by; an empty one where there is none."""
        with _explained("read the history in", self._path):
            row = self._database.execute("SELECT history FROM crawl ORDER BY finished DESC, id DESC LIMIT 1").fetchone()
            return _to_history(None if row is None else row[0])

    def save_holds(self, target: str, holds: Holds) -> None:
        """Store which RRsets of `target` are held and since when, in place of those before."""
        with _explained("store what is held in", self._path), self._database:
            hold_table.replace(self._database, target, holds)

    def load_holds(self) -> Mapping[str, Holds]:
        """Return which RRsets are held and since when, by target; one without any is not in it."""
        with _explained("read what is held in", self._path):
            return hold_table.every(self._database)

    def save_publication(self, publication: Publication, holds: Holds) -> None:
        """Store what was published and what was held, and forget all but the last thousand of that target."""
        with _explained("store a publication in", self._path), self._database:
            publications.insert(self._database, publication)
            hold_table.replace(self._database, publication.target, holds)

    def save_run(self, run: Run) -> None:
        """Store how a run ended, and forget the oldest."""
        with _explained("store a run in", self._path), self._database:
            run_table.insert(self._database, run)

    def load_run(self) -> Run | None:
        """Return the newest run, None where there is none."""
        with _explained("read the runs in", self._path):
            return run_table.last(self._database)

    def load_confirmed(self) -> Mapping[str, datetime]:
        """Return, by target, the end of the newest crawl by which it was last found or made as it should be."""
        with _explained("read the runs in", self._path):
            return run_table.confirmed(self._database)

    def load_past_publications(self, limit: int) -> tuple[Publication, ...]:
        """Return the newest publications, `limit` at most, of whatever target, the newest first."""
        with _explained("read the publications in", self._path):
            return publications.last(self._database, limit)

    def load_publications(self) -> tuple[Publication, ...]:
        """Return the newest publication of each target, the newest of all last."""
        with _explained("read the publications in", self._path):
            return publications.newest(self._database)

    def load_publication(self, before: datetime) -> Publication | None:
        """Return the newest publication of members chosen `before` then, whatever its target; None without any."""
        with _explained("read the publications in", self._path):
            return publications.chosen_before(self._database, before)


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


def _packed_history(history: History) -> bytes:
    return zlib.compress(history_json.to_json(history).encode())


def _to_history(past: bytes | None) -> History:
    return History() if past is None else history_json.from_json(zlib.decompress(past))


def all_but_last(snapshots: Iterable[Snapshot]) -> Iterator[Snapshot]:
    """Yield all of `snapshots` but the last."""
    return (earlier for earlier, _ in pairwise(snapshots))


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
        is_full = getattr(error, "sqlite_errorcode", None) in _NO_ROOM
        reason = f"its disk is full ({error}): make room, what was stored before is kept" if is_full else error
        raise StoreError(f"cannot {verb} {path}: {reason}") from error
