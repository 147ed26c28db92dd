"""The table of publications: what each target was made to serve. Transactions and errors are the caller's."""

from __future__ import annotations

import ipaddress
import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

import dns.name

from poolmgr.errors import StoreError
from poolmgr.hosts import IPAddress, name_text
from poolmgr.judge.selection import Members
from poolmgr.model import Family
from poolmgr.store.crawls import utc

KEPT = 1000
"""Publications of each target that are kept."""

PAST_PUBLICATIONS = 1000
"""How many of them, of whatever target, `rollback` looks back."""


@dataclass(frozen=True, slots=True)
class Publication:
    """What a target was made to serve: its label, the SOA serial, and the members of each pool and family.

    `chosen` is the end of the crawl by which these members were chosen: before `at`, or long before it where they were
    published anew.
    """

    at: datetime
    chosen: datetime
    target: str
    serial: int
    members: Members
    id: int | None = field(default=None, compare=False)
    """What the store calls it, None before it is stored."""


@dataclass(frozen=True, slots=True)
class PastState:
    """A state that was published: the one `back` changes of the members ago, or what the store calls `id`."""

    back: int = 1
    id: int | None = None

    def find(self, publications: Sequence[Publication]) -> Publication:
        """Return which of `publications`, the newest first, it is. Raises StoreError where it is none of them."""
        states = distinct(publications)
        if self.id is not None:
            states = tuple(each for each in publications if each.id == self.id)
            asked = f"publication p{self.id}"
        else:
            states = states[self.back :]
            asked = f"a state {self.back} back"
        if not states:
            raise StoreError(f"{asked} is not stored: `poolmgr rollback --list` shows what is")
        return states[0]


def distinct(publications: Sequence[Publication]) -> tuple[Publication, ...]:
    """Return those of `publications`, the newest first, that changed the members; the first stands for what is now."""
    found: list[Publication] = []
    for publication in publications:
        if found and found[-1].members == publication.members:
            # What counts is when these members were first published.
            found[-1] = publication
        else:
            found.append(publication)
    return tuple(found)


def insert(database: sqlite3.Connection, publication: Publication) -> None:
    """Store `publication`, and forget all but the last KEPT of its target."""
    members = [
        [name_text(pool), family, [str(address) for address in addresses]]
        for (pool, family), addresses in publication.members.items()
    ]
    times = (utc(publication.at), utc(publication.chosen))
    database.execute(
        "INSERT INTO publication (at, chosen, target, serial, members) VALUES (?, ?, ?, ?, ?)",
        (*times, publication.target, publication.serial, json.dumps(members)),
    )
    database.execute(
        "DELETE FROM publication WHERE target = ?1 AND id <= "
        "(SELECT id FROM publication WHERE target = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)",
        (publication.target, KEPT),
    )


def last(database: sqlite3.Connection, limit: int) -> tuple[Publication, ...]:
    """Return the newest publications, `limit` at most, of whatever target, the newest first."""
    query = "SELECT id, at, chosen, target, serial, members FROM publication ORDER BY id DESC LIMIT ?"
    return _found(database, query, limit)


def newest(database: sqlite3.Connection) -> tuple[Publication, ...]:
    """Return the newest publication of each target, the newest of all last."""
    query = (
        "SELECT id, at, chosen, target, serial, members FROM publication "
        "WHERE id IN (SELECT max(id) FROM publication GROUP BY target) ORDER BY id"
    )
    return _found(database, query)


def chosen_before(database: sqlite3.Connection, then: datetime) -> Publication | None:
    """Return the newest publication of members chosen before `then`, whatever its target; None without any."""
    query = "SELECT id, at, chosen, target, serial, members FROM publication WHERE chosen < ? ORDER BY id DESC LIMIT 1"
    return next(iter(_found(database, query, utc(then))), None)


def _found(database: sqlite3.Connection, query: str, *values: str | int) -> tuple[Publication, ...]:
    return tuple(_publication(row) for row in database.execute(query, values).fetchall())


def _publication(row: tuple[int, str, str, str, int, str]) -> Publication:
    key, at, chosen, target, serial, text = row
    members: dict[tuple[dns.name.Name, Family], tuple[IPAddress, ...]] = {}
    for pool, family, addresses in json.loads(text):
        members[dns.name.from_text(pool), Family(family)] = tuple(ipaddress.ip_address(each) for each in addresses)
    return Publication(datetime.fromisoformat(at), datetime.fromisoformat(chosen), target, serial, members, key)
