"""The table of verdict changes: who came and who went. The store's transactions and errors are its caller's."""

from __future__ import annotations

import ipaddress
import sqlite3
from collections.abc import Iterable
from datetime import datetime

import dns.name

from poolmgr.hosts import host_text, name_text, parse_host
from poolmgr.judge.changes import VerdictChange
from poolmgr.model import State
from poolmgr.report.movement import reasons_from_json, reasons_to_json
from poolmgr.store.crawls import utc

_COLUMNS = "at, pool, keyserver, address, state, reasons"
_LAST = "id IN (SELECT max(id) FROM change GROUP BY pool, address)"


def insert(database: sqlite3.Connection, changes: Iterable[VerdictChange]) -> None:
    """Append `changes`."""
    database.executemany(
        f"INSERT INTO change ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)",  # noqa: S608 - a constant
        [
            (
                utc(change.at),
                name_text(change.pool),
                host_text(change.keyserver),
                str(change.address),
                change.state,
                reasons_to_json(change.reasons),
            )
            for change in changes
        ],
    )


def forget(database: sqlite3.Connection, before: datetime) -> None:
    """Delete the changes that are older than `before`, but for the last of every address that is in."""
    database.execute(
        f"DELETE FROM change WHERE at < ?1 AND NOT (state != ?2 AND {_LAST})",  # noqa: S608 - a constant
        (utc(before), State.OUT),
    )


def since(database: sqlite3.Connection, moment: datetime) -> tuple[VerdictChange, ...]:
    """Return the changes from `moment` on, the oldest first."""
    query = f"SELECT {_COLUMNS} FROM change WHERE at >= ? ORDER BY id"  # noqa: S608 - a constant
    return tuple(map(_change, database.execute(query, (utc(moment),))))


def last(database: sqlite3.Connection) -> tuple[VerdictChange, ...]:
    """Return the last change of every pool and address."""
    query = f"SELECT {_COLUMNS} FROM change WHERE {_LAST} ORDER BY id"  # noqa: S608 - a constant
    return tuple(map(_change, database.execute(query)))


def _change(row: tuple[str, str, str, str, str, str]) -> VerdictChange:
    at, pool, keyserver, address, state, reasons = row
    return VerdictChange(
        at=datetime.fromisoformat(at),
        pool=dns.name.from_text(pool),
        keyserver=parse_host(keyserver),
        address=ipaddress.ip_address(address),
        state=State(state),
        reasons=reasons_from_json(reasons),
    )
