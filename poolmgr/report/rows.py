"""Snapshot and verdicts to one line per pool and address, and those to JSON and CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from poolmgr.hosts import host_text
from poolmgr.judge.freshness import Cohort, Reference, Window, reference_for
from poolmgr.model import Ask, Keyserver, KeyserverAddress, Outcome, Reason, Service, Snapshot, State, Verdict
from poolmgr.report.escape import csv_cell

FORMAT = "poolmgr-report"
VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One address before one pool, as every report shows it.

    `services` has the outcome of the lookup of each service under the pool's Host header, in the order asked.
    `difference` is the key count minus the reference of the cohort that judged it; None where either is unknown.
    """

    pool: str
    keyserver: str
    aliases: tuple[str, ...]
    address: str | None
    services: Mapping[Service, Outcome]
    software: str | None
    version: str | None
    keys: int | None
    difference: int | None
    state: State
    reasons: tuple[Reason, ...]
    warnings: tuple[Reason, ...]


def rows(
    snapshot: Snapshot,
    verdicts: Iterable[Verdict],
    references: Mapping[Cohort, Reference],
    window: Window,
    hosts: Mapping[str, str],
) -> tuple[Row, ...]:
    """Return a row for each of `verdicts`, in their order. `hosts` has the Host header of each pool, both as text."""
    found = {
        (keyserver.name, address.address): (keyserver, address)
        for keyserver in snapshot.keyservers
        for address in keyserver.addresses
    }
    names = {keyserver.name: keyserver for keyserver in snapshot.keyservers}
    result = []
    for verdict in verdicts:
        keyserver: Keyserver = names[verdict.keyserver]
        address = None
        if verdict.address is not None:
            keyserver, address = found[verdict.keyserver, verdict.address]
        stats = address.stats if address is not None else None
        reference = reference_for(stats, references, window) if stats is not None else None
        keys = stats.keys if stats is not None else None
        pool = verdict.pool.to_text(omit_final_dot=True)
        result.append(
            Row(
                pool=pool,
                keyserver=host_text(keyserver.name),
                aliases=tuple(host_text(alias) for alias in keyserver.aliases),
                address=None if verdict.address is None else str(verdict.address),
                services=_services(address, hosts[pool]),
                software=stats.software if stats is not None else None,
                version=stats.version if stats is not None else None,
                keys=keys,
                difference=keys - reference.keys if keys is not None and reference is not None else None,
                state=verdict.state,
                reasons=verdict.reasons,
                warnings=verdict.warnings,
            )
        )
    return tuple(result)


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
                "services": dict(row.services),
                "software": row.software,
                "version": row.version,
                "keys": row.keys,
                "difference": row.difference,
                "state": row.state,
                "reasons": _documents(row.reasons),
                "warnings": _documents(row.warnings),
            }
        )
    document = {
        "format": FORMAT,
        "version": VERSION,
        "crawl": {
            "started": snapshot.started.isoformat(),
            "finished": snapshot.finished.isoformat(),
            "cut_short": list(snapshot.cut_short),
            "blind": dict(snapshot.blind),
        },
        "pools": [{"name": name, "addresses": addresses} for name, addresses in pools.items()],
    }
    return json.dumps(document, indent=2) + "\n"


def _documents(reasons: Iterable[Reason]) -> list[Mapping[str, str]]:
    return [
        {"code": reason.code, "measured": reason.measured, "limit": reason.limit, "sentence": reason.sentence}
        for reason in reasons
    ]


def to_csv(report: Iterable[Row]) -> str:
    """Return `report` as CSV (RFC 4180) with a header line. Text is escaped so that no cell is taken for a formula."""
    output = io.StringIO()
    writer = csv.writer(output, lineterminator="\r\n")
    services = tuple(Service)
    facts = ("software", "version", "keys", "difference")
    writer.writerow(
        ("pool", "keyserver", "aliases", "address", *services, *facts, "state", "codes", "reasons", "warnings")
    )
    for row in report:
        writer.writerow(
            (
                *map(csv_cell, (row.pool, row.keyserver, " ".join(row.aliases), row.address or "")),
                *(row.services.get(service, "") for service in services),
                csv_cell(row.software or ""),
                csv_cell(row.version or ""),
                row.keys,
                row.difference,
                row.state,
                " ".join(reason.code for reason in row.reasons),
                csv_cell("; ".join(reason.sentence for reason in row.reasons)),
                csv_cell("; ".join(warning.sentence for warning in row.warnings)),
            )
        )
    return output.getvalue()
