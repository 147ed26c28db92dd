"""One bounded exchange with one pinned address."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import quote

from poolmgr.crawl.armour import count_index, find_key
from poolmgr.crawl.place import Target
from poolmgr.crawl.stats import header_text, parse_stats
from poolmgr.errors import ParseError
from poolmgr.hosts import Host, host_text
from poolmgr.model import Ask, Outcome, Probe, Service, Stats

if TYPE_CHECKING:
    import requests

_MAX_LOCATION = 200
"""Characters of a redirect's target that are quoted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """What one exchange may cost.

    `deadline` bounds the whole exchange, from connect to the last byte; `max_bytes` the body after transfer decoding.
    """

    deadline: timedelta = timedelta(seconds=10)
    max_bytes: int = 1024 * 1024
    user_agent: str = "poolmgr"


@dataclass(frozen=True, slots=True)
class Canary:
    """Look a key up by `fingerprint` (upper-case hex, 40 or 64 digits): the answer must hold that key, and dates it."""

    fingerprint: str


@dataclass(frozen=True, slots=True)
class Search:
    """Look the index up for `text`: the answer must list at least one key."""

    text: str


Lookup = Canary | Search
"""What a client's lookup asks for."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What an answer turned out to be: `stats` where it is a good stats page, `version` that of the canary key."""

    outcome: Outcome
    detail: str = ""
    stats: Stats | None = None
    version: datetime | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """One row of the table of probes: what is asked, how the body of a 200 is read, and what a 404 means.

    `read` is given the body and when it was asked for.
    """

    path: str
    read: Callable[[bytes, datetime], Reading]
    absent: Outcome


def questions(lookup: Lookup, *, max_peers: int) -> Mapping[Ask, Question]:
    """Return the table of probes: the stats page with at most `max_peers` peers, and `lookup`."""
    stats = Question("/pks/lookup?op=stats&options=mr", partial(_read_stats, max_peers), Outcome.HTTP_STATUS)
    return {Ask.STATS: stats, Ask.LOOKUP: _lookup_question(lookup)}


def _lookup_question(lookup: Lookup) -> Question:
    if isinstance(lookup, Canary):
        path = f"/pks/lookup?op=get&options=mr&search=0x{lookup.fingerprint}"
        return Question(path, partial(_read_key, lookup.fingerprint), Outcome.NO_KEY)
    path = f"/pks/lookup?op=index&options=mr&search={quote(lookup.text, safe='')}"
    return Question(path, _read_index, Outcome.NO_KEY)


def probe(
    target: Target,
    question: Question,
    *,
    exchange: Exchange,
    trust: ssl.SSLContext,
    clock: Callable[[], datetime],
    exchanged: Callable[[Probe, bytes], None] = lambda _probe, _head: None,
) -> tuple[Probe, Stats | None]:
    """Ask `target` the `question` and return what happened, with its stats page when there is a good one.

    HKPS is asked over TLS, by a DNS name only: `trust` (see `load_trust`) verifies the certificate's chain. `exchanged`
    is called with what happened and the first bytes that were received.

    Whatever the other side does is an Outcome within the deadline, never an exception. Raises PoolmgrError when this
    process may not open another socket.
    """
    # These cost a tenth of the start of a command that makes no crawl.
    from poolmgr.crawl.transport import ExchangeFailed, PinnedAdapter, Secure, Watch

    started = clock()
    watch = Watch(exchange.deadline)
    secure = Secure(host_text(target.host), trust) if target.endpoint.service is Service.HKPS else None
    adapter = PinnedAdapter(target.endpoint, watch, exchange.max_bytes, secure)
    status = server = via = None
    body = b""
    try:
        with adapter.send(_request(target, question, exchange)) as response:
            status = response.status_code
            server = header_text(response.headers.get("Server"))
            via = header_text(response.headers.get("Via"))
            failure = _failure(response, question)
            if failure is None:
                body = response.content
    except ExchangeFailed as error:
        failure = Reading(error.outcome, str(error))
    total = watch.elapsed
    reading = question.read(body, started) if failure is None else failure
    result = Probe(
        ask=target.ask,
        endpoint=target.endpoint,
        host=host_text(target.host),
        outcome=reading.outcome,
        detail=reading.detail,
        status=status,
        started=started,
        connect=watch.connect,
        first_byte=watch.first_byte,
        total=total,
        server=server,
        via=via,
        certificate=adapter.certificate,
        version=reading.version,
    )
    exchanged(result, watch.head)
    return result, reading.stats


def host_header(host: Host, port: int) -> str:
    """Return the Host header that GnuPG's dirmngr sends: with the port, unless it is that of http or https."""
    text = host_text(host)
    bracketed = f"[{text}]" if ":" in text else text
    return bracketed if port in {80, 443} else f"{bracketed}:{port}"


def _request(target: Target, question: Question, exchange: Exchange) -> requests.PreparedRequest:
    from requests import PreparedRequest

    endpoint = target.endpoint
    address = f"[{endpoint.address}]" if endpoint.address.version == 6 else str(endpoint.address)
    headers = {
        "Host": host_header(target.host, endpoint.port),
        "User-Agent": exchange.user_agent,
        "Accept-Encoding": "identity",
        "Connection": "close",
    }
    scheme = "https" if endpoint.service is Service.HKPS else "http"
    path = target.path or question.path
    # What there is no need for, such as cookies, is left unprepared.
    request = PreparedRequest()
    request.prepare_method("GET")
    request.prepare_url(f"{scheme}://{address}:{endpoint.port}{path}", None)
    request.prepare_headers(headers)
    return request


def _failure(response: requests.Response, question: Question) -> Reading | None:
    """Return why the head alone makes the answer bad, or None when its body is worth reading."""
    status = response.status_code
    location = response.headers.get("Location")
    if 300 <= status < 400 and location is not None:
        return Reading(Outcome.REDIRECT, f"{status} to {location[:_MAX_LOCATION]!a}")
    if status == 404:
        return Reading(question.absent, "404: not found")
    if status != 200:
        return Reading(Outcome.HTTP_STATUS, f"status {status}")
    coding = response.headers.get("Content-Encoding", "identity")
    if coding.strip().lower() != "identity":
        return Reading(Outcome.NOT_HTTP, f"compressed ({coding[:20]!a}) though only identity was accepted")
    return None


def _read_stats(max_peers: int, body: bytes, _asked: datetime) -> Reading:
    try:
        return Reading(Outcome.OK, stats=parse_stats(body, max_peers=max_peers))
    except ParseError as error:
        return Reading(Outcome.NOT_KEYSERVER, str(error))


def _read_key(fingerprint: str, body: bytes, asked: datetime) -> Reading:
    try:
        held = find_key(body, fingerprint, asked)
    except ParseError as error:
        return Reading(Outcome.NO_KEY, str(error))
    if held is None:
        return Reading(Outcome.WRONG_KEY, f"another key than {fingerprint}")
    return Reading(Outcome.OK, version=held.version)


def _read_index(body: bytes, _asked: datetime) -> Reading:
    try:
        count = count_index(body)
    except ParseError as error:
        return Reading(Outcome.NO_KEY, str(error))
    return Reading(Outcome.OK) if count else Reading(Outcome.NO_KEY, "the index lists no key")
