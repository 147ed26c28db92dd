"""A transport adapter for requests that goes to one pinned address and ends in time, whatever the other side does.

requests and urllib3 bound each read; a server that drips a byte a second never ends under them. Here every wait of the
exchange, from connect to the last byte, gets the time that is left of one deadline. The adapter is used without a
Session: no redirect is followed, no cookie kept, and no proxy, .netrc or other environment looked at, because no code
that could do so takes part.
"""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, TypeVar, cast

import requests
from requests.adapters import BaseAdapter
from requests.structures import CaseInsensitiveDict

from poolmgr.crawl.certificate import broken, certificate_of, misnamed
from poolmgr.crawl.line import Line, open_socket
from poolmgr.crawl.tasks import now
from poolmgr.model import Certificate, Endpoint, Outcome

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

MAX_HEAD = 64 * 1024
"""Bytes of status line and headers: nginx and Apache send far less, http.client would take a hundred times that."""

MAX_HANDSHAKE = 256 * 1024
"""Bytes of TLS besides what is inside: the longest chain that OpenSSL takes has 100 KiB."""

SHOWN_HEAD = 1024
"""Bytes of an answer that are kept for people to look at: a status line, its headers, the start of a body."""

_PIECE = 16 * 1024
"""Bytes that TLS is fed at a time: a full record."""

_MAX_QUOTE = 100
"""Characters of a peer's own words in the sentence of a failure."""


Result = TypeVar("Result")


class ExchangeFailed(Exception):
    """An exchange ended without a whole answer. The text says how, for people.

    It is no RequestException, because those are OSErrors, which mean that the network failed.
    """

    def __init__(self, outcome: Outcome, detail: str) -> None:
        super().__init__(detail)
        self.outcome = outcome


class Watch:
    """The time that one exchange has, counted from the making of this, and when it got how far.

    `head` is the beginning of what was received, SHOWN_HEAD bytes or a few more.
    """

    def __init__(self, deadline: timedelta) -> None:
        self.deadline = deadline
        self._started = now()
        self.end = self._started + deadline.total_seconds()
        self.connect: timedelta | None = None
        self.first_byte: timedelta | None = None
        self.head = b""

    @property
    def elapsed(self) -> timedelta:
        """The time since the start."""
        return timedelta(seconds=now() - self._started)

    def missed(self) -> ExchangeFailed:
        """Return the failure of an exchange whose time is up."""
        limit = f"{self.deadline.total_seconds():g} s"
        if self.connect is None:
            return ExchangeFailed(Outcome.CONNECT_TIMEOUT, f"no connection within {limit}")
        if self.first_byte is None:
            return ExchangeFailed(Outcome.FIRST_BYTE_TIMEOUT, f"connected, but no answer within {limit}")
        return ExchangeFailed(Outcome.TIMEOUT, f"the answer did not end within {limit}")


class _Line(Line):
    """A line whose every wait ends with its watch, and that takes in no more bytes than it was allowed.

    The allowance is what bounds http.client: it reads any number of interim responses and trailers, and a chunk of
    length -1 to the end of the connection.
    """

    def arm(self, watch: Watch) -> None:
        """Bound every wait from now on by `watch`, and what is taken in by what a head may have."""
        self.until(watch.end)
        self._watch = watch
        self.allow(MAX_HEAD, ExchangeFailed(Outcome.NOT_HTTP, f"more than {MAX_HEAD} bytes of headers"))

    def allow(self, octets: int, over: ExchangeFailed) -> None:
        """Take in `octets` from now on, and raise `over` when more come."""
        self._allowance = octets
        self._over = over

    def recv_into(self, buffer: WriteableBuffer, nbytes: int | None = None, flags: int = 0) -> int:
        """Put into `buffer` what has come, and return how much: at least a byte; none at the end."""
        count = self._take(buffer, nbytes, flags)
        if self._watch.first_byte is None and count:
            self._watch.first_byte = self._watch.elapsed
        if len(self._watch.head) < SHOWN_HEAD:
            self._watch.head += bytes(memoryview(buffer)[: min(count, SHOWN_HEAD)])
        self._allowance -= count
        if self._allowance < 0:
            raise self._over
        return count

    def _take(self, buffer: WriteableBuffer, nbytes: int | None, flags: int) -> int:
        return super().recv_into(buffer, nbytes, flags)


class _SecureLine(_Line):
    """The same under TLS: time and bytes count for what is inside.

    OpenSSL is fed piece by piece: from a socket it would read on, past any deadline, for as long as records come that
    hold nothing for us. What they take is bounded too.
    """

    def allow(self, octets: int, over: ExchangeFailed) -> None:
        """Take in `octets` from now on, in records of at most as many octets more, and raise `over` when more come."""
        super().allow(octets, over)
        self._sealed = MAX_HANDSHAKE + 2 * octets

    def shake_hands(self, secure: Secure) -> Certificate:
        """Make the TLS handshake, in the time that is left, and return the certificate, which is for `secure.name`."""
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = secure.trust.wrap_bio(self._incoming, self._outgoing, server_hostname=secure.name)
        try:
            self._sealing(self._tls.do_handshake)
        except TimeoutError as error:
            limit = f"{self._watch.deadline.total_seconds():g} s"
            sentence = f"connected, but the TLS handshake did not end within {limit}"
            raise ExchangeFailed(Outcome.FIRST_BYTE_TIMEOUT, sentence) from error
        try:
            shown = self._tls.getpeercert() or {}
        except UnicodeDecodeError as error:
            raise ExchangeFailed(Outcome.BAD_TLS, "certificate: its names are not text") from error
        problem = misnamed(shown, secure.name)
        if problem is not None:
            raise ExchangeFailed(Outcome.BAD_TLS, problem)
        return certificate_of(shown)

    def sendall(self, data: ReadableBuffer, flags: int = 0) -> None:
        """Send all of `data`."""
        del flags
        self._sealing(partial(self._tls.write, data))

    def _take(self, buffer: WriteableBuffer, nbytes: int | None, flags: int) -> int:
        del flags
        with memoryview(buffer) as view:
            try:
                return self._sealing(lambda: cast("int", self._tls.read(nbytes or view.nbytes, view)))
            except ssl.SSLEOFError:
                # Many leave without TLS's goodbye. Whether all was said, HTTP and the canary tell.
                return 0

    def _sealing(self, attempt: Callable[[], Result]) -> Result:
        """Return what `attempt` gives as soon as TLS lets it; what it has to say goes out first."""
        while True:
            try:
                result = attempt()
            except ssl.SSLWantReadError:
                self._send_sealed()
            except ssl.SSLError:
                # The other side is told why; what it makes of that is its affair.
                with suppress(OSError):
                    self._send_sealed()
                raise
            else:
                self._send_sealed()
                return result
            piece = self.recv(_PIECE)
            self._sealed -= len(piece)
            if self._sealed < 0:
                raise self._over
            if piece:
                self._incoming.write(piece)
            else:
                self._incoming.write_eof()

    def _send_sealed(self) -> None:
        if self._outgoing.pending:
            super().sendall(self._outgoing.read())


@dataclass(frozen=True, slots=True)
class Secure:
    """Ask over TLS: the certificate must be for the DNS name `name`, which is sent as server name, and be trusted."""

    name: str
    trust: ssl.SSLContext


class PinnedAdapter(BaseAdapter):
    """Sends a request to `endpoint`, whatever its URL says, over a connection of its own.

    It is TLS where `secure` says so, and then `certificate` is there once it was verified. A body of more than
    `max_bytes`, after transfer decoding, is not read to its end; content codings are left as they are.
    """

    def __init__(self, endpoint: Endpoint, watch: Watch, max_bytes: int, secure: Secure | None) -> None:
        super().__init__()
        self._endpoint = endpoint
        self._watch = watch
        self._max_bytes = max_bytes
        self._secure = secure
        self.certificate: Certificate | None = None

    def send(self, request: requests.PreparedRequest, *_: object, **__: object) -> requests.Response:
        """Return the response as soon as its headers are there; reading its body may fail as this may.

        The options that requests passes to an adapter mean nothing here: the watch has the time, `secure` says what is
        verified, and nothing is proxied.

        Raises ExchangeFailed for all that the other side or the network does, and PoolmgrError when this process may
        not open another socket.
        """
        address, port = self._endpoint.address, self._endpoint.port
        with _failures(self._watch):
            line = open_socket(_Line if self._secure is None else _SecureLine, address.version, socket.SOCK_STREAM)
            try:
                line.arm(self._watch)
                line.reach(address, port)
                self._watch.connect = self._watch.elapsed
                if isinstance(line, _SecureLine):
                    assert self._secure is not None, "it is what makes a line secure"
                    self.certificate = line.shake_hands(self._secure)
                reply = _reply(line, request)
            except BaseException:
                line.close()
                raise
        line.allow(MAX_HEAD + 2 * self._max_bytes, _too_big(self._max_bytes))
        return _response(request, reply, _Body(reply, line, self._watch, self._max_bytes))

    def close(self) -> None:
        """Nothing stays open between exchanges."""


def _reply(line: _Line, request: requests.PreparedRequest) -> http.client.HTTPResponse:
    fields = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    line.sendall(f"{request.method} {request.path_url} HTTP/1.1\r\n{fields}\r\n".encode("latin-1"))
    line.expect()
    reply = http.client.HTTPResponse(line, method=request.method)
    try:
        reply.begin()
    except BaseException:
        reply.close()
        raise
    return reply


def _response(request: requests.PreparedRequest, reply: http.client.HTTPResponse, body: _Body) -> requests.Response:
    response = requests.Response()
    response.request = request
    response.url = request.url or ""
    response.status_code = reply.status
    response.reason = reply.reason
    response.headers = _joined(reply.headers)
    response.raw = body
    return response


def _joined(fields: http.client.HTTPMessage) -> CaseInsensitiveDict[str]:
    """Return header fields by name, those that come more than once joined as RFC 9110 section 5.3 says."""
    headers: CaseInsensitiveDict[str] = CaseInsensitiveDict()
    for name, value in fields.items():
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


class _Body:
    """The body as requests reads it: whole and no longer than it may be, or ExchangeFailed."""

    def __init__(self, reply: http.client.HTTPResponse, line: socket.socket, watch: Watch, max_bytes: int) -> None:
        self._reply = reply
        self._line = line
        self._watch = watch
        self._max_bytes = max_bytes
        self._left = max_bytes

    def read(self, octets: int) -> bytes:
        """Return up to `octets` bytes, none at the end."""
        with _failures(self._watch):
            chunk = self._reply.read(octets)
        self._left -= len(chunk)
        if self._left < 0:
            raise _too_big(self._max_bytes)
        if not chunk and self._reply.length:
            raise ExchangeFailed(Outcome.TRUNCATED, f"the body ended {self._reply.length} bytes before its length")
        return chunk

    def close(self) -> None:
        """Close the connection."""
        self._reply.close()
        self._line.close()

    release_conn = close


def _too_big(max_bytes: int) -> ExchangeFailed:
    return ExchangeFailed(Outcome.TOO_BIG, f"the body has more than {max_bytes} bytes (crawl.max_bytes)")


@contextmanager
def _failures(watch: Watch) -> Iterator[None]:
    """Turn what sockets and http.client raise into ExchangeFailed."""
    try:
        yield
    except TimeoutError as error:
        raise watch.missed() from error
    except ConnectionRefusedError as error:
        raise ExchangeFailed(Outcome.REFUSED, "connection refused") from error
    except http.client.RemoteDisconnected as error:
        raise ExchangeFailed(Outcome.RESET, "closed without an answer") from error
    except ConnectionError as error:
        raise ExchangeFailed(Outcome.RESET, "connection reset") from error
    except ssl.SSLError as error:
        raise ExchangeFailed(Outcome.BAD_TLS, broken(error)) from error
    except OSError as error:
        raise ExchangeFailed(Outcome.UNREACHABLE, error.strerror or "unreachable") from error
    except http.client.IncompleteRead as error:
        raise ExchangeFailed(Outcome.TRUNCATED, "the body ended before its chunks did") from error
    except (http.client.HTTPException, ValueError) as error:
        # http.client hands a chunk length below -1 to read(), which takes it for a programmer's mistake: ValueError
        detail = f"{type(error).__name__}: {str(error)[:_MAX_QUOTE]!a}"
        raise ExchangeFailed(Outcome.NOT_HTTP, f"not HTTP ({detail})") from error
