"""A keyserver in two parts: its form, which most crawls find as the last one did, and the numbers, which always change.

A form is a keyserver without counts and times, as JSON. What was counted, and when, is apart from the rest of the
numbers: it is all that judging needs beside the form.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from poolmgr.errors import ParseError
from poolmgr.judge.quality import LEAST_LATENCY
from poolmgr.model import Ask, Keyserver, KeyserverAddress, Probe, Stats
from poolmgr.report.snapshot import keyserver_from_document, keyserver_to_document

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
"""The time of everything in a form."""

Numbers = list[int | None]
"""Counts as they are, durations in microseconds, and times in microseconds from the EPOCH."""

_MICROSECOND = timedelta(microseconds=1)
_STATS = Ask.STATS


def to_form(keyserver: Keyserver) -> str:
    """Return the form of `keyserver`: the same text for all that differ in numbers alone."""
    bare = replace(keyserver, listed=EPOCH, addresses=tuple(map(_bare, keyserver.addresses)))
    return json.dumps(keyserver_to_document(bare), separators=(",", ":"))


def from_form(text: str | bytes) -> Keyserver:
    """Return the keyserver that a form holds, with nothing counted, and every time the EPOCH."""
    return keyserver_from_document(json.loads(text), EPOCH)


def to_numbers(keyserver: Keyserver) -> tuple[Numbers, Numbers]:
    """Return what the form of `keyserver` leaves out: the counts, three for each stats page, and all the rest."""
    counts: Numbers = []
    rest: Numbers = [_since(keyserver.listed)]
    for address in keyserver.addresses:
        if address.stats is not None:
            counts += (address.stats.keys, _since(address.stats.taken_at), _asked(address))
        rest.append(address.spread)
        for probe in address.probes:
            rest.append(_since(probe.started))
            rest += (None if time is None else time // _MICROSECOND for time in _durations(probe))
    return counts, rest


def totals_of(keyserver: Keyserver) -> Numbers | None:
    """Return how long each probe of `keyserver` took, None where no lookup was so slow that judging looks at it."""
    probes = [probe for address in keyserver.addresses for probe in address.probes]
    if all(probe.ask is not Ask.LOOKUP or (probe.total or LEAST_LATENCY) <= LEAST_LATENCY for probe in probes):
        return None
    return [None if probe.total is None else probe.total // _MICROSECOND for probe in probes]


def with_totals(keyserver: Keyserver, totals: Iterable[int | None]) -> Keyserver:
    """Return `keyserver` with what `totals_of` told."""
    left = iter(totals)
    return replace(
        keyserver,
        addresses=tuple(
            replace(address, probes=tuple(replace(probe, total=_duration(next(left))) for probe in address.probes))
            for address in keyserver.addresses
        ),
    )


def counts_of(form: Keyserver) -> int:
    """Return how many numbers the counts of `form` are."""
    return 3 * len([address for address in form.addresses if address.stats is not None])


def with_counts(form: Keyserver, counts: Iterable[int | None]) -> Keyserver:
    """Return the keyserver of `form` as far as judging looks at it.

    Latencies and spread are left out, and all times but those of the counts and of asking for them. The latencies of
    who was slow are in `totals_of`.
    """
    numbers = iter(counts)
    # Not dataclasses.replace, here and below: a replay makes millions of these, and it takes longer.
    return Keyserver(
        name=form.name,
        aliases=form.aliases,
        depth=form.depth,
        listed=form.listed,
        addresses=tuple([_counted(address, numbers) for address in form.addresses]),
        peers=form.peers,
        problem=form.problem,
    )


def with_all(form: Keyserver, counts: Iterable[int | None], rest: Iterator[int | None]) -> Keyserver:
    """Return the keyserver that `form` and both kinds of its numbers were made of; takes its own of `rest`."""
    listed = _at(next(rest))
    counted = with_counts(form, counts)
    return replace(counted, listed=listed, addresses=tuple(_timed(each, rest) for each in counted.addresses))


def _bare(address: KeyserverAddress) -> KeyserverAddress:
    stats = None if address.stats is None else replace(address.stats, keys=None, taken_at=None)
    probes = (replace(probe, started=EPOCH, connect=None, first_byte=None, total=None) for probe in address.probes)
    return KeyserverAddress(address.address, stats, tuple(probes), country=address.country)


def _asked(address: KeyserverAddress) -> int | None:
    """Return when the page was asked for: what it tells of its count is believed only for a day before that."""
    return next((_since(probe.started) for probe in address.probes if probe.ask is Ask.STATS), None)


def _counted(address: KeyserverAddress, counts: Iterator[int | None]) -> KeyserverAddress:
    if address.stats is None:
        return address
    keys, taken_at, asked = next(counts), next(counts), next(counts)
    probes = address.probes
    if asked is not None:
        started = _at(asked)
        probes = tuple([_asked_at(started, probe) if probe.ask is _STATS else probe for probe in address.probes])
    told = None if taken_at is None else _at(taken_at)
    counted = _with_count(address.stats, keys, told)
    return KeyserverAddress(address.address, counted, probes, country=address.country)


def _with_count(stats: Stats, keys: int | None, taken_at: datetime | None) -> Stats:
    return Stats(
        software=stats.software,
        version=stats.version,
        hostname=stats.hostname,
        nodename=stats.nodename,
        contact=stats.contact,
        keys=keys,
        taken_at=taken_at,
        peers=stats.peers,
        rejected_peers=stats.rejected_peers,
        mailsync=stats.mailsync,
    )


def _asked_at(started: datetime, form: Probe) -> Probe:
    return Probe(
        ask=form.ask,
        endpoint=form.endpoint,
        host=form.host,
        outcome=form.outcome,
        detail=form.detail,
        status=form.status,
        started=started,
        server=form.server,
        via=form.via,
        certificate=form.certificate,
        version=form.version,
        attempts=form.attempts,
    )


def _timed(address: KeyserverAddress, rest: Iterator[int | None]) -> KeyserverAddress:
    spread = next(rest) or 0
    probes = tuple(
        replace(
            probe,
            started=_at(next(rest)),
            connect=_duration(next(rest)),
            first_byte=_duration(next(rest)),
            total=_duration(next(rest)),
        )
        for probe in address.probes
    )
    return replace(address, probes=probes, spread=spread)


def _durations(probe: Probe) -> tuple[timedelta | None, ...]:
    return (probe.connect, probe.first_byte, probe.total)


def _duration(microseconds: int | None) -> timedelta | None:
    return None if microseconds is None else microseconds * _MICROSECOND


def _since(time: datetime | None) -> int | None:
    return None if time is None else (time - EPOCH) // _MICROSECOND


def _at(microseconds: int | None) -> datetime:
    if microseconds is None:
        raise ParseError("a time is missing")
    return EPOCH + timedelta(microseconds=microseconds)
