"""The table of holds: since when which RRsets are held. The store's transactions and errors are its caller's."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime

import dns.name
import dns.rdatatype

from poolmgr.hosts import name_text
from poolmgr.store.crawls import utc
from poolmgr.zone.plan import Holds
from poolmgr.zone.records import RRsetKey


def replace(database: sqlite3.Connection, target: str, holds: Holds) -> None:
    """Let the RRsets of `target` in `holds` be held, and no others."""
    database.execute("DELETE FROM hold WHERE target = ?", (target,))
    database.executemany(
        "INSERT INTO hold (target, owner, type, since) VALUES (?, ?, ?, ?)",
        [
            (target, name_text(owner), dns.rdatatype.to_text(rdtype), utc(since))
            for (owner, rdtype), since in holds.items()
        ],
    )


def every(database: sqlite3.Connection) -> Mapping[str, Holds]:
    """Return what is held, by target."""
    found: dict[str, dict[RRsetKey, datetime]] = defaultdict(dict)
    for target, owner, rdtype, since in database.execute("SELECT target, owner, type, since FROM hold"):
        key = (dns.name.from_text(owner), dns.rdatatype.from_text(rdtype))
        found[target][key] = datetime.fromisoformat(since)
    return found
