"""A name server on loopback that answers what a test tells it to, also what no real one would."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from ipaddress import IPv4Address
from types import TracebackType
from typing import IO, Self

Answer = Callable[[bytes], Iterable[bytes]]
"""Takes the wire form of a request; what it yields is sent piece by piece, then the connection is closed."""


def is_update(wire: bytes) -> bool:
    """Return whether the message is an UPDATE (RFC 2136 section 2.2)."""
    return wire[2] >> 3 & 0xF == 5


def framed(wire: bytes) -> bytes:
    """Return the message as TCP carries it (RFC 1035 section 4.2.2)."""
    return len(wire).to_bytes(2) + wire


def forward(wire: bytes, address: IPv4Address, port: int) -> bytes:
    """Return what a real name server answers."""
    with socket.create_connection((str(address), port), timeout=10) as connection:
        connection.sendall(framed(wire))
        return read_message(connection)


def read_message(connection: socket.socket) -> bytes:
    """Return one message without its length."""
    with connection.makefile("rb") as stream:
        return stream.read(int.from_bytes(stream.read(2)))


class Scripted:
    """Serves `answer` over TCP. A context manager; `requests` are those that came in so far."""

    def __init__(self, answer: Answer) -> None:
        self.address = IPv4Address("127.0.0.1")
        self.requests: list[bytes] = []
        self._answer = answer
        self._listener = socket.create_server((str(self.address), 0))
        self.port = int(self._listener.getsockname()[1])
        self._thread = threading.Thread(target=self._serve)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            # The other side may be gone before the last piece: that is what some tests are about.
            with connection, contextlib.suppress(ConnectionError):
                self._converse(connection)

    def _converse(self, connection: socket.socket) -> None:
        wire = read_message(connection)
        self.requests.append(wire)
        for piece in self._answer(wire):
            connection.sendall(piece)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()


class Conversing(Scripted):
    """Serves `talk` over TCP: it takes the requests of a connection as they come, and what it yields is sent.

    The connection is closed at its end. `connections` is how many there were so far.
    """

    def __init__(self, talk: Callable[[Iterator[bytes]], Iterable[bytes]]) -> None:
        super().__init__(lambda _: ())
        self.connections = 0
        self._talk = talk

    def _converse(self, connection: socket.socket) -> None:
        self.connections += 1
        with connection.makefile("rb") as stream:
            for piece in self._talk(self._incoming(stream)):
                connection.sendall(piece)

    def _incoming(self, stream: IO[bytes]) -> Iterator[bytes]:
        while head := stream.read(2):
            self.requests.append(stream.read(int.from_bytes(head)))
            yield self.requests[-1]
