"""Servers that speak TLS, or something like it, to one client, and a client that asks one of them as a crawl does.

    with secure_server(talk, identity.context()) as server:
        ask(server.port, authority, exchange=Exchange())
    server.sent

A `Mesh` has keyservers with good TLS. These are for what it cannot do: to lie in TLS itself, to leave without its
goodbye, and to count what they could send.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import IO

from poolmgr.crawl.place import Target
from poolmgr.crawl.probe import Canary, Exchange, probe, questions
from poolmgr.crawl.tasks import Tasks
from poolmgr.crawl.trust import load_trust
from poolmgr.hosts import IPAddress, parse_host
from poolmgr.model import Ask, Endpoint, Probe, Service
from tests.lab.authority import Authority, Identity
from tests.lab.pages import CANARY
from tests.lab.process import PATIENCE, LabError, find_program, unused_port

LOCALHOST = ipaddress.ip_address("127.0.0.1")
NAME = "keys.pool.test"
"""The name that `ask` asks for."""

_RECORD = 16 * 1024


class Talker:
    """One side of TLS over a socket, with every octet of it in hand: `secure` is the TLS, `line` the socket.

    `sent` counts what went into `line` by `flush`.
    """

    def __init__(self, line: socket.socket, context: ssl.SSLContext) -> None:
        self.line = line
        self.sent = 0
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.secure = context.wrap_bio(self._incoming, self._outgoing, server_side=True)

    def flight(self) -> bytes:
        """Return the first octets of the handshake that are the server's, once the client has said its own."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self._take_in()
            self.secure.do_handshake()
        return self._outgoing.read()

    def shake_hands(self) -> None:
        """Make the handshake."""
        while True:
            try:
                self.secure.do_handshake()
            except ssl.SSLWantReadError:
                self.flush()
                self._take_in()
            else:
                self.flush()
                return

    def hear(self) -> None:
        """Wait for the head of a request."""
        heard = b""
        while b"\r\n\r\n" not in heard:
            try:
                heard += self.secure.read(_RECORD)
            except ssl.SSLWantReadError:
                self._take_in()

    def say(self, *pieces: bytes) -> None:
        """Send each of `pieces` in a record of its own, or in several where it is longer than one may be."""
        for piece in pieces:
            self.secure.write(piece)
        self.flush()

    def flush(self) -> None:
        """Send what TLS has to send."""
        while octets := self._outgoing.read(_RECORD):
            self.line.sendall(octets)
            self.sent += len(octets)

    def _take_in(self) -> None:
        octets = self.line.recv(_RECORD)
        if not octets:
            raise ConnectionResetError("the client has gone")
        self._incoming.write(octets)


@dataclass(slots=True)
class Server:
    """Where a server is, and how many octets the client let it send."""

    port: int
    sent: int = 0


@contextlib.contextmanager
def raw_server(
    talk: Callable[[socket.socket], object], *, address: IPAddress = LOCALHOST, port: int = 0
) -> Iterator[Server]:
    """Let `talk` have one connection, as it is; when it returns, the connection is closed. Port 0 is any."""
    with socket.create_server((str(address), port)) as listener:
        listener.settimeout(PATIENCE)

        def serve() -> None:
            # The other side hangs up when it has had enough.
            with contextlib.suppress(OSError):
                connection, _ = listener.accept()
                with connection:
                    connection.settimeout(PATIENCE)
                    talk(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield Server(listener.getsockname()[1])
        finally:
            thread.join()


@contextlib.contextmanager
def secure_server(talk: Callable[[Talker], object], context: ssl.SSLContext) -> Iterator[Server]:
    """Let `talk` answer one request under TLS. When it returns, the connection is closed without TLS's goodbye.

    What the server has sent is known when the block has ended.
    """
    talkers: list[Talker] = []

    def serve(connection: socket.socket) -> None:
        talker = Talker(connection, context)
        talkers.append(talker)
        talker.shake_hands()
        talker.hear()
        talk(talker)

    with raw_server(serve) as server:
        yield server
    server.sent = sum(talker.sent for talker in talkers)


def ask(
    port: int,
    authority: Authority,
    *,
    exchange: Exchange,
    address: IPAddress = LOCALHOST,
    ran: Callable[[float], object] = lambda _seconds: None,
) -> Probe:
    """Look the canary up by hkps under NAME, as a call among the tasks of a crawl.

    `ran` is told the CPU time, in seconds, of each turn that the exchange had.
    """
    target = Target(Ask.LOOKUP, Endpoint(Service.HKPS, address, port), parse_host(NAME))
    question = questions(Canary(CANARY), max_peers=10)[Ask.LOOKUP]
    trust = load_trust(authority.ca_file)
    started = datetime(2026, 11, 23, tzinfo=UTC)
    results: list[Probe] = []

    def call() -> None:
        results.append(probe(target, question, exchange=exchange, trust=trust, clock=lambda: started)[0])

    end = time.monotonic() + PATIENCE
    with Tasks() as tasks:
        tasks.start(call, rank=1)
        while len(tasks):
            if time.monotonic() > end:
                raise LabError(f"the exchange did not end within {PATIENCE:g} s")
            before = time.thread_time()
            tasks.run(0.1)
            ran(time.thread_time() - before)
    (result,) = results
    return result


@contextlib.contextmanager
def renegotiating_server(identity: Identity, answer: bytes) -> Iterator[Server]:
    """Ask the client for a second handshake once it has asked for something, and then give it `answer`, if any.

    This is openssl's own server with TLS 1.2, which does to its client what one types: that is its `r`.
    """
    port = unused_port(LOCALHOST)
    words = ["-tls1_2", "-accept", f"{LOCALHOST}:{port}", "-cert", str(identity.chain), "-key", str(identity.key)]
    with subprocess.Popen(
        [find_program("openssl") or "openssl", "s_server", *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        bufsize=0,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        said, typed = process.stdout, process.stdin

        def serve() -> None:
            if _read_until(said, b"Connection: close"):
                typed.write(b"r\n")
            if _read_until(said, b"SSL_do_handshake -> 1"):
                typed.write(answer)
            _read_until(said, b"the end")

        thread = threading.Thread(target=serve)
        try:
            if not _read_until(said, b"ACCEPT"):
                raise LabError("openssl s_server does not serve")
            thread.start()
            yield Server(port)
        finally:
            process.kill()
            thread.join()


def _read_until(said: IO[bytes], words: bytes) -> bool:
    """Read lines up to one with `words`; return whether there is one."""
    return any(words in line for line in said)
