"""All that was measured of a few keyservers, for people, programs and the log."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from poolmgr.hosts import host_text, name_text
from poolmgr.model import Ask, Keyserver, KeyserverAddress, Probe, Snapshot, Stats, Verdict
from poolmgr.report import snapshot as snapshot_json
from poolmgr.report.escape import printable
from poolmgr.report.movement import reason_documents

FORMAT = "poolmgr-probe"
VERSION = 1


def line(keyserver: Keyserver) -> str:
    """Return one line on `keyserver`: how each probe of each address ended. It is for a log, and printable."""
    addresses = "; ".join(
        f"{address.address} {', '.join(map(_brief, address.probes)) or 'not asked'}" for address in keyserver.addresses
    )
    return printable(f"{host_text(keyserver.name)}: {addresses or keyserver.problem or 'no address'}")


def fields(keyserver: Keyserver) -> Mapping[str, Any]:
    """Return what `line` says as plain values."""
    return {
        "keyserver": host_text(keyserver.name),
        "depth": keyserver.depth,
        "problem": keyserver.problem,
        "probes": [
            {
                "ask": probe.ask,
                "endpoint": str(probe.endpoint),
                "host": probe.host,
                "outcome": probe.outcome,
                "seconds": None if probe.total is None else round(probe.total.total_seconds(), 3),
            }
            for address in keyserver.addresses
            for probe in address.probes
        ],
    }


def _brief(probe: Probe) -> str:
    return (
        f"stats {probe.outcome}"
        if probe.ask is Ask.STATS
        else f"{probe.endpoint.service} as {probe.host} {probe.outcome}"
    )


def to_text(snapshot: Snapshot, verdicts: Iterable[Verdict], heads: Iterable[tuple[Probe, bytes]]) -> Iterator[str]:
    """Yield lines on every keyserver of `snapshot`: its addresses, each probe, what it said of itself, its verdicts.

    `heads` has probes that failed, each with the first bytes of the answer; they are shown at the end.
    """
    verdicts = tuple(verdicts)
    for keyserver in snapshot.keyservers:
        names = [host_text(keyserver.name), *(f"alias {host_text(alias)}" for alias in keyserver.aliases)]
        yield printable(", ".join(names))
        addresses = ", ".join(str(address.address) for address in keyserver.addresses)
        yield printable(f"  DNS: {addresses or keyserver.problem or 'no address'}")
        for address in keyserver.addresses:
            yield f"  {address.address}" + (f" in {address.country}" if address.country is not None else "")
            yield from (f"    {printable(text)}" for text in _about(address))
        for verdict in verdicts:
            if verdict.keyserver == keyserver.name:
                yield from (f"  {printable(text)}" for text in _judged(verdict))
    yield from (f"cut short: {bound}" for bound in snapshot.cut_short)
    for probe, head in heads:
        yield f"received from {probe.endpoint} as {printable(probe.host)} ({probe.ask}, {probe.outcome}):"
        yield from _shown(head)


def _about(address: KeyserverAddress) -> Iterator[str]:
    for probe in address.probes:
        what = f"{probe.ask} on {probe.endpoint.service} port {probe.endpoint.port} as {probe.host}"
        ending = f"{probe.outcome} ({probe.detail})" if probe.detail else probe.outcome
        facts = [*_timing(probe), *_reply(probe)]
        yield f"{what}: {ending}" + (f"; {', '.join(facts)}" if facts else "")
    if address.stats is not None:
        yield f"says of itself: {', '.join(_said(address.stats))}"


def _timing(probe: Probe) -> Iterator[str]:
    for label, duration in (("connect", probe.connect), ("first byte", probe.first_byte), ("total", probe.total)):
        if duration is not None:
            yield f"{label} {duration / timedelta(milliseconds=1):.0f} ms"
    if probe.attempts > 1:
        yield f"{probe.attempts} attempts"


def _reply(probe: Probe) -> Iterator[str]:
    for label, value in (("status", probe.status), ("server", probe.server), ("via", probe.via)):
        if value is not None:
            yield f"{label} {value}"
    if probe.certificate is not None:
        yield f"certificate by {probe.certificate.issuer} until {_time(probe.certificate.not_after)}"
    if probe.version is not None:
        yield f"key of {_time(probe.version)}"


def _said(stats: Stats) -> Iterator[str]:
    yield f"{stats.software} {stats.version or 'of unknown version'}"
    yield "key count unknown" if stats.keys is None else f"{stats.keys} keys"
    if stats.taken_at is not None:
        yield f"counted {_time(stats.taken_at)}"
    for label, value in (("hostname", stats.hostname), ("nodename", stats.nodename), ("contact", stats.contact)):
        if value is not None:
            yield f"{label} {value}"
    yield f"{len(stats.peers)} peers"


def _judged(verdict: Verdict) -> Iterator[str]:
    yield f"{name_text(verdict.pool)} {verdict.address or 'no address'}: {verdict.state}"
    yield from (f"  {reason.sentence}" for reason in verdict.reasons)
    yield from (f"  warning: {warning.sentence}" for warning in verdict.warnings)


def _shown(head: bytes) -> Iterator[str]:
    """Yield the lines of `head`, every byte that is not printable ASCII as an escape."""
    for text in head.decode("latin-1").removesuffix("\n").split("\n"):
        shown = text.removesuffix("\r").encode("unicode_escape").decode("ascii")
        yield f"  | {shown}"


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def to_json(
    snapshot: Snapshot, verdicts: Iterable[Verdict], heads: Iterable[tuple[Probe, bytes]], *, is_reachable: bool
) -> str:
    """Return the same as a JSON document in ASCII: the snapshot in its own format, verdicts, and heads as Latin-1."""
    document = {
        "format": FORMAT,
        "version": VERSION,
        "reachable": is_reachable,
        "snapshot": json.loads(snapshot_json.to_json(snapshot)),
        "verdicts": [
            {
                "pool": name_text(verdict.pool),
                "keyserver": host_text(verdict.keyserver),
                "address": None if verdict.address is None else str(verdict.address),
                "state": verdict.state,
                "reasons": reason_documents(verdict.reasons),
                "warnings": reason_documents(verdict.warnings),
            }
            for verdict in verdicts
        ],
        "heads": [
            {"ask": probe.ask, "endpoint": str(probe.endpoint), "host": probe.host, "head": head.decode("latin-1")}
            for probe, head in heads
        ],
    }
    return json.dumps(document, indent=2) + "\n"
