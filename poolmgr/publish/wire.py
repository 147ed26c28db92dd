"""Messages to a name server and its replies: over TCP (RFC 7766), or over TLS (RFC 7858)."""

from __future__ import annotations

import contextlib
import socket
import ssl
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from poolmgr.errors import PublishError
from poolmgr.hosts import IPAddress

_FIRST_PAUSE = timedelta(milliseconds=20)
_LONGEST_PAUSE = timedelta(milliseconds=500)
_CHUNK = 65_536


class Unreachable(PublishError):
    """No connection came about: nothing was sent."""


class NoReply(PublishError):
    """The message was sent, but no reply came: the server may or may not have acted on it."""


class Closed(NoReply):
    """The server closed the connection, which some do after each reply, before the whole reply had come."""


@dataclass(frozen=True, slots=True)
class Identity:
    """How a name server proves itself: `name` (or its address) must be in its certificate, which `context` trusts."""

    context: ssl.SSLContext
    name: str


@dataclass(frozen=True, slots=True)
class Server:
    """A name server, asked over TLS where it has an `identity`. `timeout` bounds one exchange, connect included."""

    address: IPAddress
    port: int
    timeout: timedelta
    identity: Identity | None = None

    def __str__(self) -> str:
        """Return how errors name it."""
        return f"name server {self.address} port {self.port}"


def load_tls(ca_file: Path | None) -> ssl.SSLContext:
    """Return what certificates of name servers are verified by: the roots in `ca_file` (PEM), else the system's.

    Raises PublishError where the file holds no certificate.
    """
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except ssl.SSLError as error:
        raise PublishError(f"tls.ca_file: {ca_file} holds no certificate: give one or more in PEM form") from error
    except OSError as error:
        raise PublishError(f"tls.ca_file: cannot read {ca_file}: {error.strerror}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["dot"])
    return context


def attempts(timeout: timedelta) -> Iterator[timedelta]:
    """Yield the time that is left, at once and again after growing pauses, until `timeout` is over."""
    deadline = time.monotonic() + timeout.total_seconds()
    pause = _FIRST_PAUSE.total_seconds()
    while (left := deadline - time.monotonic()) > 0:
        yield timedelta(seconds=left)
        time.sleep(max(0.0, min(pause, deadline - time.monotonic())))
        pause = min(2 * pause, _LONGEST_PAUSE.total_seconds())


class Connection:
    """An open connection to `server`, for one exchange after the other. The first is to end by `deadline`."""

    def __init__(self, server: Server, connection: socket.socket, deadline: float) -> None:
        self._server = server
        self._socket = connection
        self._first_deadline: float | None = deadline
        self._received = bytearray()

    def exchange(self, wires: Sequence[bytes]) -> Iterator[bytes]:
        """Send the messages without waiting in between, and yield as many replies, in whatever order they come.

        All of it takes `Server.timeout` at most. Raises NoReply where a reply does not come, Closed where that is
        since the server closed the connection.
        """
        deadline = self._first_deadline or time.monotonic() + self._server.timeout.total_seconds()
        self._first_deadline = None
        try:
            self._socket.settimeout(_left(deadline))
            self._socket.sendall(b"".join(len(wire).to_bytes(2) + wire for wire in wires))
            for _ in wires:
                yield self._take(int.from_bytes(self._take(2, deadline)), deadline)
        except TimeoutError as error:
            seconds = self._server.timeout.total_seconds()
            raise NoReply(
                f"{self._server} gave no whole reply within {seconds:g} s: see its log and its load"
            ) from error
        except (OSError, EOFError) as error:
            raise Closed(f"{self._server} closed the connection without a whole reply: see its log") from error

    def _take(self, count: int, deadline: float) -> bytes:
        """Return the next `count` octets. The deadline bounds them together, however slowly they drip."""
        while len(self._received) < count:
            self._socket.settimeout(_left(deadline))
            if sys.platform == "linux":
                # Some servers hold each reply back until the one before is acknowledged, which takes 40 ms without.
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
            chunk = self._socket.recv(_CHUNK)
            if not chunk:
                raise EOFError
            self._received += chunk
        taken = bytes(self._received[:count])
        del self._received[:count]
        return taken


def send(wire: bytes, server: Server) -> bytes:
    """Send one message and return the reply. Raises Unreachable where it was not sent, NoReply where none came."""
    with connect(server) as connection:
        (reply,) = connection.exchange([wire])
        return reply


@contextlib.contextmanager
def connect(server: Server) -> Iterator[Connection]:
    """Yield a connection that messages can be sent over, and close it. Raises Unreachable where there is none."""
    deadline = time.monotonic() + server.timeout.total_seconds()
    over = "TCP" if server.identity is None else "TLS"
    try:
        plain = socket.create_connection((str(server.address), server.port), server.timeout.total_seconds())
    except OSError as error:
        raise Unreachable(
            f"{server} cannot be reached ({error.strerror or 'timed out'}), nothing was sent: is it running, and does "
            f"it listen there with {over}?"
        ) from error
    with plain:
        if server.identity is None:
            yield Connection(server, plain, deadline)
            return
        try:
            plain.settimeout(_left(deadline))
            secure = server.identity.context.wrap_socket(plain, server_hostname=server.identity.name)
        except ssl.SSLCertVerificationError as error:
            raise Unreachable(
                f"{server} shows a certificate that does not count for {server.identity.name} "
                f"({error.verify_message}), nothing was sent: mend tls.name or tls.ca_file, or the certificate there"
            ) from error
        except OSError as error:
            raise Unreachable(
                f"{server} does not speak TLS ({error.strerror or 'timed out'}), nothing was sent: is that its "
                "port for TLS?"
            ) from error
        with secure:
            yield Connection(server, secure, deadline)


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
