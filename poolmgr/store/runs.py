"""The tables of runs: when, by which crawl, and how each target fared. Transactions and errors are the caller's."""

from __future__ import annotations

import enum
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from poolmgr.store.crawls import utc

KEPT = 1000
"""Runs that are kept: ten days of one every quarter of an hour."""


class Fate(enum.StrEnum):
    """How a target fared in a run."""

    PUBLISHED = "published"
    UNCHANGED = "unchanged"
    HELD = "held"
    FAILED = "failed"


class Command(enum.StrEnum):
    """What made the run."""

    RUN = "run"
    PUBLISH = "publish"
    ROLLBACK = "rollback"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one target fared: `sentence` is what was held or failed, `serial` what was seen after a publication."""

    target: str
    fate: Fate
    sentence: str = ""
    serial: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run that ended at `at` with that exit code. `crawled` is the end of the crawl that it published by.

    `error` is what stopped it before any target; `crawled` is None where there was no crawl.
    """

    at: datetime
    command: Command
    exit_code: int
    crawled: datetime | None = None
    error: str = ""
    outcomes: tuple[Outcome, ...] = ()


def insert(database: sqlite3.Connection, run: Run) -> None:
    """Store `run`, and forget all but the last KEPT and those in which a target was last as its crawl wants it."""
    crawled = None if run.crawled is None else utc(run.crawled)
    key = database.execute(
        "INSERT INTO run (at, command, exit_code, crawled, error) VALUES (?, ?, ?, ?, ?)",
        (utc(run.at), run.command.value, run.exit_code, crawled, run.error),
    ).lastrowid
    database.executemany(
        "INSERT INTO outcome (run, target, fate, sentence, serial) VALUES (?, ?, ?, ?, ?)",
        [(key, each.target, each.fate.value, each.sentence, each.serial) for each in run.outcomes],
    )
    database.execute(
        "DELETE FROM run WHERE id <= (SELECT id FROM run ORDER BY id DESC LIMIT 1 OFFSET ?) "
        "AND id NOT IN (SELECT max(run) FROM outcome WHERE fate IN ('published', 'unchanged') GROUP BY target)",
        (KEPT,),
    )
    database.execute("DELETE FROM outcome WHERE run NOT IN (SELECT id FROM run)")


def last(database: sqlite3.Connection) -> Run | None:
    """Return the newest run, None where there is none."""
    row = database.execute(
        "SELECT id, at, command, exit_code, crawled, error FROM run ORDER BY id DESC LIMIT 1"
    ).fetchone()
    if row is None:
        return None
    key, at, command, exit_code, crawled, error = row
    outcomes = database.execute(
        "SELECT target, fate, sentence, serial FROM outcome WHERE run = ? ORDER BY rowid", (key,)
    ).fetchall()
    return Run(
        at=datetime.fromisoformat(at),
        command=Command(command),
        exit_code=exit_code,
        crawled=None if crawled is None else datetime.fromisoformat(crawled),
        error=error,
        outcomes=tuple(Outcome(target, Fate(fate), sentence, serial) for target, fate, sentence, serial in outcomes),
    )


def confirmed(database: sqlite3.Connection) -> Mapping[str, datetime]:
    """Return, by target, the end of the newest crawl by which it was published or found to be as it should be."""
    rows = database.execute(
        "SELECT target, max(crawled) FROM outcome JOIN run ON run.id = outcome.run "
        "WHERE fate IN ('published', 'unchanged') AND command != 'rollback' AND crawled IS NOT NULL GROUP BY target"
    )
    return {target: datetime.fromisoformat(crawled) for target, crawled in rows}
