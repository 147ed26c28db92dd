"""A Snapshot as versioned JSON, and back.

The format is an object with ``format`` "poolmgr-snapshot", ``version`` 1, and the fields of `model.Snapshot` and the
values in it under their own names. Names and addresses are text, times are ISO 8601 with an offset, durations are
seconds, an endpoint is spread over its probe (``service``, ``port``; the address is the enclosing one), and a field
that is None or empty is left out. A keyserver without ``listed`` was listed when the crawl started.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from poolmgr.errors import ParseError
from poolmgr.hosts import Host, IPAddress, host_text, parse_host
from poolmgr.model import (
    Ask,
    Certificate,
    Endpoint,
    Family,
    Keyserver,
    KeyserverAddress,
    Outcome,
    Peer,
    Probe,
    Service,
    Snapshot,
    Stats,
)

FORMAT = "poolmgr-snapshot"
VERSION = 1

Json = Mapping[str, Any]


def to_json(snapshot: Snapshot) -> str:
    """Return `snapshot` as one line of JSON in ASCII."""
    document = {
        "format": FORMAT,
        "version": VERSION,
        "started": snapshot.started.isoformat(),
        "finished": snapshot.finished.isoformat(),
        "cut_short": list(snapshot.cut_short),
        "blind": dict(snapshot.blind),
        "keyservers": [keyserver_to_document(keyserver) for keyserver in snapshot.keyservers],
    }
    return json.dumps(document, separators=(",", ":"))


def from_json(text: str | bytes) -> Snapshot:
    """Return the Snapshot that `to_json` wrote. Raises ParseError for anything else."""
    try:
        document = json.loads(text)
        if document["format"] != FORMAT or document["version"] != VERSION:
            raise ParseError(f"not a {FORMAT} of version {VERSION}")
        started = _aware(document["started"])
        return Snapshot(
            started=started,
            finished=_aware(document["finished"]),
            cut_short=tuple(document["cut_short"]),
            blind={Family(family): sentence for family, sentence in document.get("blind", {}).items()},
            keyservers=tuple(keyserver_from_document(keyserver, started) for keyserver in document["keyservers"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise ParseError(f"not a {FORMAT} of version {VERSION}: {type(error).__name__}: {error}") from error


def keyserver_to_document(keyserver: Keyserver) -> Json:
    """Return one keyserver of the format."""
    return _filled(
        {
            "name": host_text(keyserver.name),
            "aliases": [host_text(alias) for alias in keyserver.aliases],
            "depth": keyserver.depth,
            "listed": keyserver.listed.isoformat(),
            "peers": [host_text(peer) for peer in keyserver.peers],
            "problem": keyserver.problem,
            "addresses": [_address(address) for address in keyserver.addresses],
        }
    )


def keyserver_from_document(document: Json, started: datetime) -> Keyserver:
    """Return the keyserver that `document` is, of a crawl begun at `started`. Raises what `from_json` catches."""
    return Keyserver(
        name=parse_host(document["name"]),
        aliases=tuple(parse_host(alias) for alias in document.get("aliases", ())),
        depth=document.get("depth"),
        listed=_to_time(document.get("listed")) or started,
        peers=tuple(parse_host(peer) for peer in document.get("peers", ())),
        problem=document.get("problem"),
        addresses=tuple(_to_address(address) for address in document.get("addresses", ())),
    )


def _address(address: KeyserverAddress) -> Json:
    return _filled(
        {
            "address": str(address.address),
            "stats": None if address.stats is None else _stats(address.stats),
            "probes": [_probe(probe) for probe in address.probes],
            "spread": address.spread or None,
        }
    )


def _to_address(document: Json) -> KeyserverAddress:
    address = _literal(document["address"])
    stats = document.get("stats")
    return KeyserverAddress(
        address,
        None if stats is None else _to_stats(stats),
        tuple(_to_probe(address, probe) for probe in document.get("probes", ())),
        document.get("spread", 0),
    )


def _stats(stats: Stats) -> Json:
    return _filled(
        {
            "software": stats.software,
            "version": stats.version,
            "hostname": stats.hostname,
            "nodename": stats.nodename,
            "contact": stats.contact,
            "keys": stats.keys,
            "taken_at": None if stats.taken_at is None else stats.taken_at.isoformat(),
            "peers": [_peer(peer) for peer in stats.peers],
            "rejected_peers": stats.rejected_peers,
            "mailsync": list(stats.mailsync),
        }
    )


def _to_stats(document: Json) -> Stats:
    return Stats(
        software=document["software"],
        version=document.get("version"),
        hostname=document.get("hostname"),
        nodename=document.get("nodename"),
        contact=document.get("contact"),
        keys=document.get("keys"),
        taken_at=_to_time(document.get("taken_at")),
        peers=tuple(_to_peer(peer) for peer in document.get("peers", ())),
        rejected_peers=document["rejected_peers"],
        mailsync=tuple(document.get("mailsync", ())),
    )


def _peer(peer: Peer) -> Json:
    return _filled({"host": host_text(peer.host), "recon_port": peer.recon_port, "stats_path": peer.stats_path})


def _to_peer(document: Json) -> Peer:
    return Peer(parse_host(document["host"]), document.get("recon_port"), document.get("stats_path"))


def _probe(probe: Probe) -> Json:
    return _filled(
        {
            "ask": probe.ask,
            "service": probe.endpoint.service,
            "port": probe.endpoint.port,
            "host": probe.host,
            "outcome": probe.outcome,
            "detail": probe.detail or None,
            "status": probe.status,
            "started": probe.started.isoformat(),
            "connect": _seconds(probe.connect),
            "first_byte": _seconds(probe.first_byte),
            "total": _seconds(probe.total),
            "server": probe.server,
            "via": probe.via,
            "certificate": None if probe.certificate is None else _certificate(probe.certificate),
            "attempts": probe.attempts,
        }
    )


def _to_probe(address: IPAddress, document: Json) -> Probe:
    return Probe(
        ask=Ask(document["ask"]),
        endpoint=Endpoint(Service(document["service"]), address, document["port"]),
        host=document["host"],
        outcome=Outcome(document["outcome"]),
        detail=document.get("detail", ""),
        status=document.get("status"),
        started=_aware(document["started"]),
        connect=_to_duration(document.get("connect")),
        first_byte=_to_duration(document.get("first_byte")),
        total=_to_duration(document.get("total")),
        server=document.get("server"),
        via=document.get("via"),
        certificate=_to_certificate(document.get("certificate")),
        attempts=document.get("attempts", 1),
    )


def _certificate(certificate: Certificate) -> Json:
    return {"issuer": certificate.issuer, "not_after": certificate.not_after.isoformat()}


def _to_certificate(document: Json | None) -> Certificate | None:
    if document is None:
        return None
    return Certificate(document["issuer"], _aware(document["not_after"]))


def _literal(text: str) -> IPAddress:
    host: Host = parse_host(text)
    if not isinstance(host, IPAddress):
        raise ParseError(f"{text!a} is not an address")
    return host


def _to_time(text: str | None) -> datetime | None:
    return None if text is None else _aware(text)


def _seconds(duration: timedelta | None) -> float | None:
    return None if duration is None else round(duration.total_seconds(), 6)


def _to_duration(seconds: float | None) -> timedelta | None:
    return None if seconds is None else timedelta(seconds=seconds)


def _filled(document: Json) -> Json:
    return {name: value for name, value in document.items() if value is not None and value != []}


def _aware(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ParseError(f"{text!a} is a time without an offset")
    return time
