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
from functools import partial

from poolmgr.errors import ParseError
from poolmgr.hosts import Host, IPAddress, host_text
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
from poolmgr.report import reading
from poolmgr.report.reading import Json, field, maybe

FORMAT = "poolmgr-snapshot"
VERSION = 1

MAX_OCTETS = 32 * 1024 * 1024
"""Of one crawl that is read: 2,000 keyservers at two addresses, with a hundred peers each, take 28 MiB."""

_COUNT, _PORT, _STATUS = reading.whole(0, 2**63 - 1), reading.whole(0, 65_535), reading.whole(0, 999)
_TRIES = reading.whole(1, 1000)
_ASK, _FAMILY = reading.one_of(Ask), reading.one_of(Family)
_OUTCOME, _SERVICE = reading.one_of(Outcome), reading.one_of(Service)
_HOSTS, _TEXTS = reading.list_of(reading.host), reading.list_of(reading.text)


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
    """Return the Snapshot that `to_json` wrote. Raises ParseError, which names the field, for anything else.

    Fields of other names are passed over. Whatever is returned can be judged: times lie between 1970 and 3000, numbers
    are in their ranges, and no two keyservers have one name or one address.
    """
    try:
        _refuse_more(len(text))
        document = reading.parse_json(text)
        field(document, "format", reading.exactly(FORMAT))
        field(document, "version", reading.exactly(VERSION))
        started = field(document, "started", reading.measured)
        of_crawl = partial(keyserver_from_document, started=started)
        keyservers = field(document, "keyservers", reading.list_of(of_crawl))
        _refuse_twins(keyservers)
        return Snapshot(
            started=started,
            finished=field(document, "finished", reading.measured),
            cut_short=field(document, "cut_short", reading.list_of(reading.sentence)),
            blind=maybe(document, "blind", _blind) or {},
            keyservers=keyservers,
        )
    except ParseError as error:
        raise ParseError(f"not a {FORMAT} of version {VERSION}: {error}") from error


def _refuse_more(size: int) -> None:
    if size > MAX_OCTETS:
        raise ParseError(f"it is longer than {MAX_OCTETS} octets")


def _blind(document: object) -> Mapping[Family, str]:
    told = reading.mapping(document)
    return {_FAMILY(family): field(told, family, reading.sentence) for family in told}


def _refuse_twins(keyservers: tuple[Keyserver, ...]) -> None:
    """Raise ParseError where two of `keyservers` have one name, or an address is listed twice."""
    names: set[Host] = set()
    addresses: set[IPAddress] = set()
    for number, keyserver in enumerate(keyservers):
        if keyserver.name in names:
            raise ParseError(f"keyservers[{number}].name: {keyserver.name} is the name of another one too")
        names.add(keyserver.name)
        for found in keyserver.addresses:
            if found.address in addresses:
                raise ParseError(f"keyservers[{number}].addresses: {found.address} is listed twice")
            addresses.add(found.address)


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
            "canonical": keyserver.is_canonical,
            "addresses": [_address(address) for address in keyserver.addresses],
        }
    )


def keyserver_from_document(document: object, started: datetime) -> Keyserver:
    """Return the keyserver that `document` is, of a crawl begun at `started`. Raises ParseError for what is none."""
    told = reading.mapping(document)
    return Keyserver(
        name=field(told, "name", reading.host),
        aliases=maybe(told, "aliases", _HOSTS) or (),
        depth=maybe(told, "depth", _COUNT),
        listed=maybe(told, "listed", reading.measured) or started,
        peers=maybe(told, "peers", _HOSTS) or (),
        problem=maybe(told, "problem", reading.text),
        is_canonical=maybe(told, "canonical", reading.boolean),
        addresses=maybe(told, "addresses", reading.list_of(_to_address)) or (),
    )


def _address(address: KeyserverAddress) -> Json:
    return _filled(
        {
            "address": str(address.address),
            "stats": None if address.stats is None else _stats(address.stats),
            "probes": [_probe(probe) for probe in address.probes],
            "spread": address.spread or None,
            "country": address.country,
        }
    )


def _to_address(document: object) -> KeyserverAddress:
    told = reading.mapping(document)
    found = field(told, "address", reading.address)
    return KeyserverAddress(
        found,
        maybe(told, "stats", _to_stats),
        maybe(told, "probes", reading.list_of(partial(_to_probe, found))) or (),
        maybe(told, "spread", _COUNT) or 0,
        maybe(told, "country", reading.country),
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


def _to_stats(document: object) -> Stats:
    told = reading.mapping(document)
    return Stats(
        software=field(told, "software", reading.text),
        version=maybe(told, "version", reading.text),
        hostname=maybe(told, "hostname", reading.text),
        nodename=maybe(told, "nodename", reading.text),
        contact=maybe(told, "contact", reading.text),
        keys=maybe(told, "keys", _COUNT),
        taken_at=maybe(told, "taken_at", reading.measured),
        peers=maybe(told, "peers", reading.list_of(_to_peer)) or (),
        rejected_peers=field(told, "rejected_peers", _COUNT),
        mailsync=maybe(told, "mailsync", _TEXTS) or (),
    )


def _peer(peer: Peer) -> Json:
    return _filled({"host": host_text(peer.host), "recon_port": peer.recon_port, "stats_path": peer.stats_path})


def _to_peer(document: object) -> Peer:
    told = reading.mapping(document)
    return Peer(
        field(told, "host", reading.host), maybe(told, "recon_port", _PORT), maybe(told, "stats_path", reading.text)
    )


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
            "version": None if probe.version is None else probe.version.isoformat(),
            "attempts": probe.attempts,
        }
    )


def _to_probe(at: IPAddress, document: object) -> Probe:
    told = reading.mapping(document)
    return Probe(
        ask=field(told, "ask", _ASK),
        endpoint=Endpoint(field(told, "service", _SERVICE), at, field(told, "port", _PORT)),
        host=field(told, "host", reading.text),
        outcome=field(told, "outcome", _OUTCOME),
        detail=maybe(told, "detail", reading.text) or "",
        status=maybe(told, "status", _STATUS),
        started=field(told, "started", reading.measured),
        connect=maybe(told, "connect", reading.seconds),
        first_byte=maybe(told, "first_byte", reading.seconds),
        total=maybe(told, "total", reading.seconds),
        server=maybe(told, "server", reading.text),
        via=maybe(told, "via", reading.text),
        certificate=maybe(told, "certificate", _to_certificate),
        attempts=maybe(told, "attempts", _TRIES) or 1,
        version=maybe(told, "version", reading.measured),
    )


def _certificate(certificate: Certificate) -> Json:
    return {"issuer": certificate.issuer, "not_after": certificate.not_after.isoformat()}


def _to_certificate(document: object) -> Certificate:
    told = reading.mapping(document)
    return Certificate(field(told, "issuer", reading.text), field(told, "not_after", reading.moment))


def _seconds(duration: timedelta | None) -> float | None:
    return None if duration is None else round(duration.total_seconds(), 6)


def _filled(document: Json) -> Json:
    return {name: value for name, value in document.items() if value is not None and value != []}
