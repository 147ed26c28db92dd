"""The crawls in the database: each as forms and numbers, whole again, or as far as a replay needs them.

The forms of a day belong to that day alone, so that it can be thinned or forgotten without a look at any other.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import sqlite3
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from poolmgr.model import Family, Keyserver, Snapshot
from poolmgr.report import snapshot as snapshot_json
from poolmgr.store.forms import (
    counts_of,
    from_form,
    to_form,
    to_numbers,
    totals_of,
    with_all,
    with_counts,
    with_totals,
)

_REMEMBERED_FORMS = 8192
"""Forms read once in a replay: the largest take 100 MiB."""

Row = tuple[str, str, bytes, bytes | None]
"""A crawl's columns. Without numbers it is whole in its snapshot: an older poolmgr wrote it."""


def insert(database: sqlite3.Connection, snapshot: Snapshot) -> int:
    """Store `snapshot` and return its key."""
    day = snapshot.finished.astimezone(UTC).date().isoformat()
    forms = []
    counts: list[int | None] = []
    rest: list[int | None] = []
    slow = {}
    for place, keyserver in enumerate(snapshot.keyservers):
        totals = totals_of(keyserver)
        if totals is not None:
            slow[place] = totals
        forms.append(_form(database, day, to_form(keyserver).encode()))
        counted, others = to_numbers(keyserver)
        counts += counted
        rest += others
    document = {
        "forms": forms,
        "counts": counts,
        "slow": slow,
        "cut_short": snapshot.cut_short,
        "blind": dict(snapshot.blind),
    }
    blind = " ".join(sorted(snapshot.blind))
    return _inserted(
        database,
        "INSERT INTO crawl (started, finished, blind, snapshot, numbers) VALUES (?, ?, ?, ?, ?)",
        (utc(snapshot.started), utc(snapshot.finished), blind, packed(document), packed(rest)),
    )


def check_point(database: sqlite3.Connection, key: int, past: bytes) -> None:
    """Keep what the crawl `key` was judged by where it is the only one of its day."""
    database.execute(
        "INSERT INTO checkpoint (crawl, history) SELECT max(id), ?2 FROM crawl "
        "WHERE substr(finished, 1, 10) = (SELECT substr(finished, 1, 10) FROM crawl WHERE id = ?1) HAVING count(*) = 1",
        (key, past),
    )


def drop_checkpoints(database: sqlite3.Connection, after: datetime) -> None:
    """Forget what the crawls that ended after that were judged by."""
    database.execute("DELETE FROM checkpoint WHERE crawl IN (SELECT id FROM crawl WHERE finished > ?)", (utc(after),))


def start(database: sqlite3.Connection, since: datetime) -> tuple[int, bytes | None] | None:
    """Return the crawl from which a replay from `since` on begins, and what it was judged by; None without crawls."""
    found: tuple[int, bytes | None] | None = database.execute(
        "SELECT id, checkpoint.history FROM crawl JOIN checkpoint ON crawl = id WHERE finished <= ? "
        "ORDER BY finished DESC, id DESC LIMIT 1",
        (utc(since),),
    ).fetchone()
    if found is None:
        found = database.execute(
            "SELECT id, checkpoint.history FROM crawl LEFT JOIN checkpoint ON crawl = id ORDER BY finished, id LIMIT 1"
        ).fetchone()
    return found


def newest(database: sqlite3.Connection, seeing: Family | None) -> Snapshot | None:
    """Return the newest crawl, or the newest that was not blind for `seeing`; None where there is none."""
    with one_moment(database):
        row = database.execute(
            "SELECT started, finished, snapshot, numbers FROM crawl WHERE ?1 IS NULL OR instr(blind, ?1) = 0 "
            "ORDER BY finished DESC, id DESC LIMIT 1",
            (seeing,),
        ).fetchone()
        return None if row is None else _whole(database, row)


def last(database: sqlite3.Connection, limit: int) -> tuple[Snapshot, ...]:
    """Return the newest crawls, `limit` at most, whole, the oldest first."""
    with one_moment(database):
        rows = database.execute(
            "SELECT started, finished, snapshot, numbers FROM crawl ORDER BY finished DESC, id DESC LIMIT ?", (limit,)
        ).fetchall()
        return tuple(_whole(database, row) for row in reversed(rows))


def every(database: sqlite3.Connection, since: datetime) -> Iterator[Snapshot]:
    """Yield the crawls that ended at `since` or later, whole, the oldest first."""
    with one_moment(database):
        rows = database.execute(
            "SELECT started, finished, snapshot, numbers FROM crawl WHERE finished >= ? ORDER BY finished, id",
            (utc(since),),
        )
        for row in rows:
            yield _whole(database, row)


def whole(database: sqlite3.Connection, key: int) -> Iterator[Snapshot]:
    """Yield the crawl `key` and all that followed, the oldest first, whole."""
    with one_moment(database):
        for row in _rows_from(database, key):
            yield _whole(database, row)


def judged(database: sqlite3.Connection, key: int) -> Iterator[Snapshot]:
    """Yield the crawl `key` and all that followed, the oldest first, as far as judging looks at them.

    What is the same in two of them is one object.
    """
    with one_moment(database):
        yield from _judged(database, key)


def _judged(database: sqlite3.Connection, key: int) -> Iterator[Snapshot]:
    parsed = lru_cache(_REMEMBERED_FORMS)(from_form)
    known: dict[int, Keyserver] = {}
    sizes: dict[int, int] = {}
    last: dict[int, tuple[list[int | None], Keyserver]] = {}
    today = ""
    for row in _rows_from(database, key):
        started, finished, blob, numbers = row
        if numbers is None:
            yield _whole(database, row)
            continue
        if finished[:10] != today:
            today, last = finished[:10], {}
            known = {key: parsed(zlib.decompress(text)) for key, text in _forms_of(database, today)}
            sizes = {key: counts_of(form) for key, form in known.items()}
        document = unpacked(blob)
        slow = document.get("slow")
        if slow is None:  # it is not known who was: an older poolmgr wrote it
            yield _whole(database, row)
            continue
        counts, start, keyservers = document["counts"], 0, []
        for form in document["forms"]:
            end = start + sizes[form]
            before, keyserver = last.get(form, (None, known[form]))
            if before != counts[start:end]:
                keyserver = with_counts(known[form], counts[start:end])
                last[form] = counts[start:end], keyserver
            keyservers.append(keyserver)
            start = end
        for place, totals in slow.items():
            keyservers[int(place)] = with_totals(keyservers[int(place)], totals)
        yield _snapshot(started, finished, document, keyservers)


def _rows_from(database: sqlite3.Connection, key: int) -> Iterator[Row]:
    return database.execute(
        "SELECT started, finished, snapshot, numbers FROM crawl "
        "WHERE (finished, id) >= (SELECT finished, id FROM crawl WHERE id = ?) ORDER BY finished, id",
        (key,),
    )


def forget(database: sqlite3.Connection, now: datetime, *, keep: timedelta, keep_thinned: timedelta) -> None:
    """Delete the crawls that are more than `keep` old: the first of each day only when it is `keep_thinned` old too."""
    old = database.execute(
        "WITH aged AS (SELECT id, finished, substr(finished, 1, 10) AS day FROM crawl WHERE finished < :whole), "
        "first AS (SELECT id, min(finished) FROM aged GROUP BY day) "
        "SELECT id, day FROM aged WHERE finished < :thinned OR id NOT IN (SELECT id FROM first)",
        {"whole": utc(now - keep), "thinned": utc(now - max(keep, keep_thinned))},
    ).fetchall()
    database.executemany("DELETE FROM crawl WHERE id = ?", [(key,) for key, _ in old])
    database.executemany("DELETE FROM checkpoint WHERE crawl = ?", [(key,) for key, _ in old])
    for day in sorted({day for _, day in old}):
        _sweep(database, day)


def _sweep(database: sqlite3.Connection, day: str) -> None:
    """Delete the forms of `day` that none of its crawls has any more."""
    left = database.execute(
        "SELECT snapshot FROM crawl WHERE substr(finished, 1, 10) = ? AND numbers IS NOT NULL", (day,)
    ).fetchall()
    used = {form for (blob,) in left for form in unpacked(blob)["forms"]}
    unused = [(key,) for key, _ in _forms_of(database, day) if key not in used]
    database.executemany("DELETE FROM form WHERE id = ?", unused)


def _form(database: sqlite3.Connection, day: str, text: bytes) -> int:
    """Return the key of a form of that day, stored now where it was not."""
    digest = hashlib.sha256(text).digest()
    found = database.execute("SELECT id FROM form WHERE day = ? AND digest = ?", (day, digest)).fetchone()
    if found is not None:
        return int(found[0])
    row = (day, digest, zlib.compress(text))
    return _inserted(database, "INSERT INTO form (day, digest, text) VALUES (?, ?, ?)", row)


def _forms_of(database: sqlite3.Connection, day: str) -> list[tuple[int, bytes]]:
    return database.execute("SELECT id, text FROM form WHERE day = ?", (day,)).fetchall()


def _whole(database: sqlite3.Connection, row: Row) -> Snapshot:
    started, finished, blob, numbers = row
    if numbers is None:
        return snapshot_json.from_json(zlib.decompress(blob))
    document = unpacked(blob)
    counts, rest = iter(document["counts"]), iter(unpacked(numbers))
    keyservers = []
    for key in document["forms"]:
        (text,) = database.execute("SELECT text FROM form WHERE id = ?", (key,)).fetchone()
        form = from_form(zlib.decompress(text))
        keyservers.append(with_all(form, list(itertools.islice(counts, counts_of(form))), rest))
    return _snapshot(started, finished, document, keyservers)


def _snapshot(started: str, finished: str, document: Any, keyservers: Iterable[Keyserver]) -> Snapshot:  # noqa: ANN401 -- it is JSON
    return Snapshot(
        started=datetime.fromisoformat(started),
        finished=datetime.fromisoformat(finished),
        keyservers=tuple(keyservers),
        cut_short=tuple(document["cut_short"]),
        blind={Family(family): sentence for family, sentence in document["blind"].items()},
    )


@contextmanager
def one_moment(database: sqlite3.Connection) -> Iterator[None]:
    """Let everything that is read in the block be of one moment, whatever is written meanwhile."""
    if database.in_transaction:
        yield
        return
    database.execute("BEGIN")
    try:
        yield
    finally:
        database.rollback()


def packed(document: object) -> bytes:
    """Return `document` as compressed JSON."""
    return zlib.compress(json.dumps(document, separators=(",", ":")).encode())


def unpacked(blob: bytes) -> Any:  # noqa: ANN401 -- it is JSON
    """Return what `packed` was given."""
    return json.loads(zlib.decompress(blob))


def utc(moment: datetime) -> str:
    """Return `moment` so that text order is time order."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def _inserted(database: sqlite3.Connection, statement: str, row: tuple[object, ...]) -> int:
    key = database.execute(statement, row).lastrowid
    assert key is not None, "a row was inserted"
    return key
