"""Who came and who went: as text, CSV and JSON for reports, and the reasons as JSON for the store."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime

from poolmgr.errors import ParseError
from poolmgr.hosts import host_text, name_text
from poolmgr.judge.changes import VerdictChange
from poolmgr.model import Outcome, Reason, ReasonCode, State
from poolmgr.report.escape import csv_cell, printable

FORMAT = "poolmgr-changes"
VERSION = 1


def to_text(changes: Sequence[VerdictChange], since: datetime) -> Iterator[str]:
    """Yield a summary of `changes`, all those from `since` on, then a line for each: when, who, where and why."""
    came = sum(change.state is not State.OUT for change in changes)
    yield f"since {moment(since)}: {came} came, {len(changes) - came} went"
    for change in changes:
        sign, verb = ("-", "went") if change.state is State.OUT else ("+", "came")
        why = "; ".join(printable(reason.sentence) for reason in change.reasons)
        who = printable(f"{host_text(change.keyserver)} {change.address}")
        yield f"{moment(change.at)}  {sign} {who} {verb}, {name_text(change.pool)}" + (f": {why}" if why else "")


def to_json(changes: Iterable[VerdictChange], since: datetime) -> str:
    """Return the same as a JSON document in ASCII."""
    document = {
        "format": FORMAT,
        "version": VERSION,
        "since": since.isoformat(),
        "changes": [
            {
                "at": change.at.isoformat(),
                "pool": name_text(change.pool),
                "keyserver": host_text(change.keyserver),
                "address": str(change.address),
                "state": change.state,
                "reasons": reason_documents(change.reasons),
            }
            for change in changes
        ],
    }
    return json.dumps(document, indent=2) + "\n"


def to_csv(changes: Iterable[VerdictChange]) -> str:
    """Return the same as CSV (RFC 4180) with a header line. Text is escaped so that no cell is taken for a formula."""
    output = io.StringIO()
    writer = csv.writer(output, lineterminator="\r\n")
    writer.writerow(("at", "pool", "keyserver", "address", "state", "codes", "reasons"))
    for change in changes:
        writer.writerow(
            (
                change.at.isoformat(),
                *map(
                    csv_cell,
                    (name_text(change.pool), host_text(change.keyserver), str(change.address)),
                ),
                change.state,
                " ".join(reason.code for reason in change.reasons),
                csv_cell("; ".join(reason.sentence for reason in change.reasons)),
            )
        )
    return output.getvalue()


def moment(time: datetime) -> str:
    """Return `time` as people read it: UTC, whole seconds."""
    return f"{time.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def reason_documents(reasons: Iterable[Reason]) -> list[Mapping[str, str]]:
    """Return `reasons` as reports in JSON have them."""
    return [
        {"code": reason.code, "measured": reason.measured, "limit": reason.limit, "sentence": reason.sentence}
        for reason in reasons
    ]


def reasons_to_json(reasons: Iterable[Reason]) -> str:
    """Return `reasons` as one line of JSON, an array for each."""
    return json.dumps(
        [[reason.code, reason.measured, reason.limit, reason.sentence, reason.outcome] for reason in reasons]
    )


def reasons_from_json(text: str) -> tuple[Reason, ...]:
    """Return the reasons that `reasons_to_json` wrote. Raises ParseError for anything else."""
    try:
        return tuple(
            Reason(ReasonCode(code), measured, limit, sentence, None if outcome is None else Outcome(outcome))
            for code, measured, limit, sentence, outcome in json.loads(text)
        )
    except (ValueError, TypeError, RecursionError) as error:
        raise ParseError(f"not the reasons of a change: {error}") from error
