"""Snapshot and verdicts to one line per pool and address, and those to JSON and CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from poolmgr.hosts import host_text, name_text
from poolmgr.judge.freshness import Cohort, Reference, Window, count_of, reference_for
from poolmgr.model import Ask, KeyserverAddress, Outcome, Reason, Service, Snapshot, State, Verdict
from poolmgr.report.escape import csv_cell
from poolmgr.report.movement import reason_documents

FORMAT = "poolmgr-report"
VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One address before one pool, as every report shows it.

    `services` has the outcome of the lookup of each service under the pool's Host header, in the order asked.
    `difference` is the key count minus the reference of the cohort that judged it; None where either is unknown. `lag`
    is by how much time that count is behind that cohort's frontier, below 0 where it is ahead; None where the frontier
    is not known for long enough. `country` is the address's, in lower case, None where unknown. `since` and `progress`
    are the verdict's; `stood` is how long `since` is before the end of the crawl.
    """

    pool: str
    keyserver: str
    aliases: tuple[str, ...]
    address: str | None
    country: str | None
    services: Mapping[Service, Outcome]
    software: str | None
    version: str | None
    keys: int | None
    difference: int | None
    lag: timedelta | None
    state: State
    since: datetime | None
    stood: timedelta | None
    progress: tuple[int, int] | None
    reasons: tuple[Reason, ...]
    warnings: tuple[Reason, ...]

    @property
    def standing(self) -> str:
        """The state, or what it is on its way to: "joining 1/2" for one that is out, "leaving 1/2" for another."""
        return standing_text(self.state, self.progress)


def standing_text(state: State, progress: tuple[int, int] | None) -> str:
    """Return the state of a verdict as people read it, with its progress towards the other side."""
    if progress is None:
        return str(state)
    return f"{'joining' if state is State.OUT else 'leaving'} {progress[0]}/{progress[1]}"


def rows(
    snapshot: Snapshot,
    verdicts: Iterable[Verdict],
    references: Mapping[Cohort, Reference],
    window: Window,
    hosts: Mapping[str, str],
) -> tuple[Row, ...]:
    """Return a row for each of `verdicts`, in their order. `hosts` has the Host header of each pool, both as text."""
    found = {
        (keyserver.name, address.address): address
        for keyserver in snapshot.keyservers
        for address in keyserver.addresses
    }
    names = {keyserver.name: keyserver for keyserver in snapshot.keyservers}
    result = []
    for verdict in verdicts:
        # Neither is there where the crawl did not meet an address that a pool's fallback has.
        keyserver = names.get(verdict.keyserver)
        address = None if verdict.address is None else found.get((verdict.keyserver, verdict.address))
        stats = address.stats if address is not None else None
        reference = reference_for(stats, references, window) if stats is not None else None
        keys = stats.keys if stats is not None else None
        pool = name_text(verdict.pool)
        result.append(
            Row(
                pool=pool,
                keyserver=host_text(verdict.keyserver),
                aliases=() if keyserver is None else tuple(host_text(alias) for alias in keyserver.aliases),
                address=None if verdict.address is None else str(verdict.address),
                country=None if address is None else address.country,
                services=_services(address, hosts[pool]),
                software=stats.software if stats is not None else None,
                version=stats.version if stats is not None else None,
                keys=keys,
                difference=keys - reference.keys if keys is not None and reference is not None else None,
                lag=None if address is None or reference is None else _lag(address, reference, window),
                state=verdict.state,
                since=verdict.since,
                stood=None if verdict.since is None else snapshot.finished - verdict.since,
                progress=verdict.progress,
                reasons=verdict.reasons,
                warnings=verdict.warnings,
            )
        )
    return tuple(result)


def _lag(address: KeyserverAddress, reference: Reference, window: Window) -> timedelta | None:
    count = count_of(address)
    lag = None if count is None else reference.lag(count, window)
    return None if lag is None else lag.time


def _services(address: KeyserverAddress | None, host: str) -> Mapping[Service, Outcome]:
    if address is None:
        return {}
    return {
        probe.endpoint.service: probe.outcome
        for probe in address.probes
        if probe.ask is Ask.LOOKUP and probe.host == host
    }


def to_json(snapshot: Snapshot, report: Iterable[Row]) -> str:
    """Return `report` as a JSON document in ASCII: a list of rows per pool, and the crawl they rest on."""
    pools: dict[str, list[Mapping[str, Any]]] = {}
    for row in report:
        pools.setdefault(row.pool, []).append(
            {
                "keyserver": row.keyserver,
                "aliases": list(row.aliases),
                "address": row.address,
                "country": row.country,
                "services": dict(row.services),
                "software": row.software,
                "version": row.version,
                "keys": row.keys,
                "difference": row.difference,
                "lag": _seconds(row.lag),
                "state": row.state,
                "since": None if row.since is None else row.since.isoformat(),
                "progress": progress_document(row.progress),
                "reasons": reason_documents(row.reasons),
                "warnings": reason_documents(row.warnings),
            }
        )
    document = {
        "format": FORMAT,
        "version": VERSION,
        "crawl": crawl_document(snapshot),
        "pools": [{"name": name, "addresses": addresses} for name, addresses in pools.items()],
    }
    return json.dumps(document, indent=2) + "\n"


def _seconds(time: timedelta | None) -> int | None:
    return None if time is None else round(time.total_seconds())


def crawl_document(snapshot: Snapshot) -> Mapping[str, Any]:
    """Return the crawl that a report rests on as reports in JSON have it."""
    return {
        "started": snapshot.started.isoformat(),
        "finished": snapshot.finished.isoformat(),
        "cut_short": list(snapshot.cut_short),
        "blind": dict(snapshot.blind),
    }


def progress_document(progress: tuple[int, int] | None) -> Mapping[str, int] | None:
    """Return the progress of a verdict as reports in JSON have it."""
    return None if progress is None else {"crawls": progress[0], "of": progress[1]}


def to_csv(report: Iterable[Row]) -> str:
    """Return `report` as CSV (RFC 4180) with a header line. Text is escaped so that no cell is taken for a formula."""
    output = io.StringIO()
    writer = csv.writer(output, lineterminator="\r\n")
    services = tuple(Service)
    facts = ("software", "version", "keys", "difference", "lag")
    writer.writerow(
        (
            "pool",
            "keyserver",
            "aliases",
            "address",
            "country",
            *services,
            *facts,
            "state",
            "since",
            "progress",
            "codes",
            "reasons",
            "warnings",
        )
    )
    for row in report:
        writer.writerow(
            (
                *map(csv_cell, (row.pool, row.keyserver, " ".join(row.aliases), row.address or "", row.country or "")),
                *(row.services.get(service, "") for service in services),
                csv_cell(row.software or ""),
                csv_cell(row.version or ""),
                row.keys,
                row.difference,
                _seconds(row.lag),
                row.state,
                "" if row.since is None else row.since.isoformat(),
                "" if row.progress is None else f"{row.progress[0]}/{row.progress[1]}",
                " ".join(reason.code for reason in row.reasons),
                csv_cell("; ".join(reason.sentence for reason in row.reasons)),
                csv_cell("; ".join(warning.sentence for warning in row.warnings)),
            )
        )
    return output.getvalue()
