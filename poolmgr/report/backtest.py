"""How pools fared under today's policy and under another, side by side: a table, JSON, CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from poolmgr.hosts import name_text
from poolmgr.judge.backtest import Fate

FORMAT = "poolmgr-backtest"
VERSION = 1

Fates = Mapping[str, Iterable[Fate]]
"""How the pools fared, by the name of the policy."""

_COLUMNS = ("pool", "policy", "days", "members", "joins_per_day", "leaves_per_day", "failing")


def to_json(fates: Fates, since: datetime) -> str:
    """Return `fates` as a JSON document; `since` is from when on crawls were looked at."""
    document = {"format": FORMAT, "version": VERSION, "since": since.isoformat(), "pools": _rows(fates)}
    return json.dumps(document, indent=2) + "\n"


def to_csv(fates: Fates) -> str:
    """Return `fates` as CSV (RFC 4180) with a header line."""
    output = io.StringIO()
    writer = csv.DictWriter(output, _COLUMNS, lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(_rows(fates))
    return output.getvalue()


def to_text(fates: Fates) -> str:
    """Return `fates` as a table with a line for each pool and policy."""
    head = ("pool", "policy", "days", "members", "joins a day", "leaves a day", "down or stale")
    lines = [head, *(_cells(row) for row in _rows(fates))]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "".join(f"{_aligned(line, widths)}\n" for line in lines)


def _rows(fates: Fates) -> list[dict[str, Any]]:
    """Return a row for each pool and policy, those of one pool together."""
    rows = [_row(fate, policy) for policy, of_policy in fates.items() for fate in of_policy]
    pools = list(dict.fromkeys(row["pool"] for row in rows))
    return sorted(rows, key=lambda row: pools.index(row["pool"]))


def _row(fate: Fate, policy: str) -> dict[str, Any]:
    return {
        "pool": name_text(fate.pool),
        "policy": policy,
        "days": round(fate.days, 3),
        "members": round(fate.members, 3),
        "joins_per_day": round(fate.joins / fate.days, 3) if fate.days else None,
        "leaves_per_day": round(fate.leaves / fate.days, 3) if fate.days else None,
        "failing": None if fate.failing is None else round(fate.failing, 6),
    }


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    moves = ("-" if row[name] is None else f"{row[name]:.1f}" for name in ("joins_per_day", "leaves_per_day"))
    failing = "-" if row["failing"] is None else f"{row['failing']:.2%}"
    return (row["pool"], row["policy"], f"{row['days']:.1f}", f"{row['members']:.1f}", *moves, failing)


def _aligned(line: tuple[str, ...], widths: list[int]) -> str:
    """Return words to the left and numbers to the right of their columns."""
    words = [cell.ljust(width) for cell, width in zip(line[:2], widths[:2], strict=True)]
    numbers = [cell.rjust(width) for cell, width in zip(line[2:], widths[2:], strict=True)]
    return "  ".join(words + numbers)
