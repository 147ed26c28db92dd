"""Keyservers that lie under TLS, and in TLS itself: an exchange with one ends in time, and takes in what it may."""

from __future__ import annotations

import contextlib
import itertools
import socket
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import timedelta

import pytest

from poolmgr.crawl.probe import Exchange
from poolmgr.crawl.transport import MAX_HEAD
from poolmgr.model import Outcome, Probe, Service
from tests.conftest import Need
from tests.lab.authority import Authority, Identity
from tests.lab.mesh import DRIP, Fault, Mesh
from tests.lab.pages import CANARY, armoured
from tests.lab.process import PATIENCE
from tests.lab.secure import LOCALHOST, NAME, Talker, ask, raw_server, renegotiating_server, secure_server

KIBIBYTE = 1024
MEBIBYTE = 1024 * KIBIBYTE
LIMIT = 0.5
LATE = 0.2
"""Seconds after its deadline by which an exchange has ended."""

EXCHANGE = Exchange(deadline=timedelta(seconds=LIMIT), max_bytes=256 * KIBIBYTE)
PATIENT = replace(EXCHANGE, deadline=timedelta(seconds=PATIENCE / 2))
"""For floods, so that it is not the deadline that ends them."""

TAKEN = MAX_HEAD + 2 * EXCHANGE.max_bytes
"""Bytes that an exchange takes in at most."""
BUFFERS = 8 * MEBIBYTE
"""What the kernel may hold of a connection beside that."""
MEMORY_BOUND = 2 * MEBIBYTE
"""What an exchange may have of the process's memory at a time: its body, in pieces and joined, and room."""
TURN = 0.2
"""Seconds of CPU that an exchange may have before others of the crawl, all in one thread, have theirs."""

HANDSHAKE = "connected, but the TLS handshake did not end within 0.5 s"
NO_ANSWER = "connected, but no answer within 0.5 s"
NO_END = "the answer did not end within 0.5 s"
TOO_MUCH = "the body has more than 262144 bytes (crawl.max_bytes)"
TOO_MANY = "more than 65536 bytes of headers"
BROKEN = "TLS is broken ("

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
KEY = armoured(CANARY).encode()
HALF = KEY[: len(KEY) // 2]
NOT_FOUND = b"HTTP/1.1 404 Not Found\r\n\r\n"

# Where a detail is empty or short here, TLS says it in words of its own, which differ by its version.
OUTCOMES = {
    Fault.REFUSE: (Outcome.REFUSED, "connection refused"),
    Fault.SILENT: (Outcome.FIRST_BYTE_TIMEOUT, NO_ANSWER),
    Fault.CLOSE: (Outcome.RESET, "closed without an answer"),
    Fault.RESET: (Outcome.RESET, ""),
    Fault.DRIP_HEADERS: (Outcome.TIMEOUT, NO_END),
    Fault.DRIP_BODY: (Outcome.TIMEOUT, NO_END),
    Fault.ENDLESS_HEADERS: (Outcome.NOT_HTTP, TOO_MANY),
    Fault.HUGE: (Outcome.TOO_BIG, TOO_MUCH),
    Fault.TRUNCATED: (Outcome.TRUNCATED, "the body ended 994 bytes before its length"),
    Fault.SHORT_CHUNK: (Outcome.TRUNCATED, "the body ended before its chunks did"),
    Fault.NEGATIVE_CHUNK: (Outcome.TOO_BIG, TOO_MUCH),
    Fault.WORSE_CHUNK: (Outcome.NOT_HTTP, "not HTTP (ValueError: 'read length must be non-negative or -1')"),
    Fault.NOT_HTTP: (Outcome.NOT_HTTP, r"not HTTP (BadStatusLine: 'SSH-2.0-OpenSSH_9.2\r\n')"),
    Fault.REDIRECT: (Outcome.REDIRECT, r"302 to 'http://127.0.0.1:9/pks/\x1b[31m'"),
    Fault.NOT_FOUND: (Outcome.NO_KEY, "404: not found"),
    Fault.ERROR: (Outcome.HTTP_STATUS, "status 500"),
    Fault.DEFAULT_PAGE: (Outcome.NO_KEY, "no public key block in the answer"),
    Fault.GZIP: (Outcome.NOT_HTTP, "compressed ('gzip') though only identity was accepted"),
}


@pytest.fixture(scope="module")
def authority(need: Need, tmp_path_factory: pytest.TempPathFactory) -> Authority:
    need("openssl")
    return Authority(tmp_path_factory.mktemp("authority") / "lab")


@pytest.fixture(scope="module")
def identity(authority: Authority) -> Identity:
    return authority.identity(NAME)


@pytest.fixture(scope="module")
def mesh() -> Iterator[Mesh]:
    with Mesh() as running:
        yield running


def assert_in_time(result: Probe, limit: float = LIMIT) -> None:
    assert result.total is not None
    assert result.total.total_seconds() <= limit + LATE


# HTTP that lies, under good TLS


@pytest.mark.parametrize("fault", Fault)
def test_every_misbehaviour_has_its_outcome_under_tls_too(
    mesh: Mesh, authority: Authority, identity: Identity, fault: Fault
) -> None:
    keyserver = mesh.add(NAME, identity=identity, faults={Service.HKPS: fault})
    result = ask(mesh.ports[Service.HKPS], authority, exchange=EXCHANGE, address=keyserver.address)
    outcome, detail = OUTCOMES[fault]
    assert result.outcome is outcome
    assert result.detail.startswith(detail)
    assert (result.certificate is None) == (fault is Fault.REFUSE)
    assert_in_time(result)


@pytest.mark.parametrize(
    ("says", "outcome", "detail"),
    [
        ([CHUNKED, b"400000000000000000\r\n", KEY], Outcome.TRUNCATED, "the body ended before its chunks did"),
        ([CHUNKED, b"10\r\n", KEY], Outcome.TRUNCATED, "the body ended before its chunks did"),
        ([OK, b"Content-Length: %d\r\n\r\n" % 2**70, KEY], Outcome.TRUNCATED, "the body ended"),
        ([OK, b"Content-Length: 100\r\n\r\n", KEY], Outcome.NO_KEY, ""),
        ([OK, b"Content-Length: -5\r\n\r\n", HALF], Outcome.NO_KEY, ""),
        ([OK, b"\r\n", b"x" * EXCHANGE.max_bytes], Outcome.NO_KEY, ""),
        ([OK, b"\r\n", b"x" * EXCHANGE.max_bytes, b"x"], Outcome.TOO_BIG, TOO_MUCH),
        ([OK, b"Content-Encoding: gzip\r\n\r\n", zlib.compress(KEY)], Outcome.NOT_HTTP, "compressed ('gzip')"),
    ],
    ids=[
        "a chunk of 2^70 that ends at once",
        "a chunk longer than its length",
        "a length of 2^70",
        "a length that is too short",
        "a length below zero",
        "as much as is allowed",
        "a byte more than is allowed",
        "a compressed key",
    ],
)
def test_lengths_that_lie_are_told_under_tls_too(
    mesh: Mesh, authority: Authority, identity: Identity, says: list[bytes], outcome: Outcome, detail: str
) -> None:
    keyserver = mesh.add(NAME, identity=identity, says=lambda: says)
    result = ask(mesh.ports[Service.HKPS], authority, exchange=EXCHANGE, address=keyserver.address)
    assert result.outcome is outcome
    assert result.detail.startswith(detail)
    assert_in_time(result)


def gzip_bomb() -> bytes:
    """Return a body of 64 KiB that unpacks to 64 MiB."""
    pack = zlib.compressobj(wbits=31)
    return b"".join((*(pack.compress(b" " * MEBIBYTE) for _ in range(64)), pack.flush()))


BOMB = gzip_bomb()


@pytest.mark.parametrize(
    ("first", "again", "outcome", "detail"),
    [
        (b"", b"HTTP/1.1 100 Continue\r\nX: y\r\n\r\n" * 500, Outcome.NOT_HTTP, TOO_MANY),
        (OK, b"Via: " + b"x" * 1000 + b"\r\n", Outcome.NOT_HTTP, TOO_MANY),
        (CHUNKED, b"0" * 10_000, Outcome.NOT_HTTP, "not HTTP (LineTooLong: "),
        (CHUNKED + b"0\r\n", b"X-Trailer: y\r\n" * 1000, Outcome.TOO_BIG, TOO_MUCH),
        (CHUNKED + b"400000000000000000\r\n", b"x" * 10_000, Outcome.TOO_BIG, TOO_MUCH),
        (CHUNKED + b"-1\r\n", b"x" * 10_000, Outcome.TOO_BIG, TOO_MUCH),
        (CHUNKED, b"1\r\nx\r\n" * 1000, Outcome.TOO_BIG, TOO_MUCH),
        (OK + b"Content-Length: 50000000\r\n\r\n", b"x" * 10_000, Outcome.TOO_BIG, TOO_MUCH),
        (OK + b"\r\n" + HALF, b"x" * 64 + b"\n", Outcome.TOO_BIG, TOO_MUCH),
        (OK + b"Content-Encoding: gzip\r\n\r\n", BOMB, Outcome.NOT_HTTP, "compressed ('gzip')"),
        (OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n", BOMB, Outcome.TOO_BIG, TOO_MUCH),
    ],
    ids=[
        "interim responses without end",
        "headers without end",
        "a chunk's length without end",
        "a trailer without end",
        "a chunk of 2^70 that never ends",
        "a chunk of -1",
        "chunks of one byte without end",
        "a page of 50 MB",
        "a key without end",
        "a gzip bomb",
        "a gzip bomb as a transfer coding",
    ],
)
def test_a_flood_under_tls_is_taken_in_no_further_than_is_allowed(
    authority: Authority, identity: Identity, first: bytes, again: bytes, outcome: Outcome, detail: str
) -> None:
    def floods(talker: Talker) -> None:
        talker.say(first or again)
        while True:
            talker.say(again)

    with secure_server(floods, identity.context()) as server, traced() as peak:
        result = ask(server.port, authority, exchange=PATIENT)
        most = peak()
    assert result.outcome is outcome
    assert result.detail.startswith(detail)
    assert server.sent < TAKEN + BUFFERS
    assert most < MEMORY_BOUND


def tickets(_: Talker) -> None:
    """Say nothing: what comes is the sessions to be resumed that the handshake ends with."""


def records_of_one_byte(talker: Talker) -> None:
    head = OK + b"\r\n"
    talker.say(head, *(b"x" for _ in range(TAKEN - len(head))))


@pytest.mark.parametrize("floods", [tickets, records_of_one_byte])
def test_a_flood_of_tiny_records_does_not_hold_up_the_other_exchanges(
    authority: Authority, identity: Identity, floods: Callable[[Talker], None]
) -> None:
    context = identity.context()
    if floods is tickets:
        context.num_tickets = 100_000
    turns: list[float] = []
    with secure_server(floods, context) as server:
        ask(server.port, authority, exchange=PATIENT, ran=turns.append)
    assert max(turns) < TURN


@contextlib.contextmanager
def traced() -> Iterator[Callable[[], int]]:
    """Yield what says how many bytes more than in the beginning Python has had at a time."""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        yield lambda: tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


# TLS that lies


def waits(line: socket.socket) -> None:
    """Listen to the client until it hangs up."""
    while line.recv(4096):
        pass


def drips(line: socket.socket, octets: Iterable[int]) -> None:
    for octet in octets:
        line.sendall(bytes((octet,)))
        time.sleep(DRIP)


Lie = Callable[[socket.socket, Identity], None]


def stalls_after_the_client_hello(line: socket.socket, _: Identity) -> None:
    waits(line)


def stalls_in_its_flight(line: socket.socket, identity: Identity) -> None:
    flight = Talker(line, identity.context()).flight()
    line.sendall(flight[: len(flight) // 2])
    waits(line)


def drips_its_flight(line: socket.socket, identity: Identity) -> None:
    drips(line, Talker(line, identity.context()).flight())


def floods_with_one_message(line: socket.socket, _: Identity) -> None:
    """Send a ServerHello of 16 MiB, in as many records as that takes."""
    line.recv(4096)
    line.sendall(b"\x16\x03\x03\x40\x00\x02\xff\xff\xff" + bytes(16380))
    while True:
        line.sendall(b"\x16\x03\x03\x40\x00" + bytes(16384))


def floods_with_nothing(line: socket.socket, identity: Identity) -> None:
    """Send the change of ciphers that TLS 1.3 ignores, again and again."""
    talker = Talker(line, identity.context())
    hello = talker.flight()
    line.sendall(hello[: 5 + int.from_bytes(hello[3:5])])
    while True:
        line.sendall(b"\x14\x03\x03\x00\x01\x01" * 1000)


def speaks_plain_http(line: socket.socket, _: Identity) -> None:
    line.recv(4096)
    line.sendall(OK + b"Content-Length: %d\r\n\r\n" % len(KEY) + KEY)
    waits(line)


def speaks_plain_http_without_end(line: socket.socket, _: Identity) -> None:
    while True:
        line.sendall(OK * 1000)


@pytest.mark.parametrize(
    ("lies", "outcome", "detail"),
    [
        (stalls_after_the_client_hello, Outcome.FIRST_BYTE_TIMEOUT, HANDSHAKE),
        (stalls_in_its_flight, Outcome.FIRST_BYTE_TIMEOUT, HANDSHAKE),
        (drips_its_flight, Outcome.FIRST_BYTE_TIMEOUT, HANDSHAKE),
        (floods_with_one_message, Outcome.BAD_TLS, BROKEN),
        (floods_with_nothing, Outcome.BAD_TLS, BROKEN),
        (speaks_plain_http, Outcome.BAD_TLS, "the answer is not TLS"),
        (speaks_plain_http_without_end, Outcome.BAD_TLS, "the answer is not TLS"),
    ],
)
def test_a_handshake_that_lies_is_told_and_bounded(
    authority: Authority, identity: Identity, lies: Lie, outcome: Outcome, detail: str
) -> None:
    with raw_server(lambda line: lies(line, identity)) as server:
        result = ask(server.port, authority, exchange=EXCHANGE)
    assert result.outcome is outcome
    assert result.detail.startswith(detail)
    assert result.certificate is None
    assert_in_time(result)


def test_a_port_that_takes_no_connection_is_a_connect_timeout_under_tls_too(authority: Authority) -> None:
    with socket.create_server((str(LOCALHOST), 0), backlog=0) as listener, contextlib.ExitStack() as filling:
        for _ in range(8):
            line = filling.enter_context(socket.socket())
            line.setblocking(False)
            line.connect_ex(listener.getsockname())
        result = ask(listener.getsockname()[1], authority, exchange=EXCHANGE)
    assert (result.outcome, result.detail) == (Outcome.CONNECT_TIMEOUT, "no connection within 0.5 s")
    assert_in_time(result)


def garbage(talker: Talker) -> None:
    talker.line.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    waits(talker.line)


def garbage_after_a_head(talker: Talker) -> None:
    talker.say(OK + b"\r\n" + HALF)
    talker.line.sendall(bytes(range(256)) * 100)
    waits(talker.line)


def forged_record(talker: Talker) -> None:
    talker.line.sendall(b"\x17\x03\x03\x01\x00" + bytes(256))
    waits(talker.line)


def drips_a_record(talker: Talker) -> None:
    drips(talker.line, itertools.chain(b"\x17\x03\x03\x40\x00", itertools.repeat(0)))


def stalls_in_a_record(talker: Talker) -> None:
    talker.say(OK + b"\r\n" + HALF)
    talker.line.sendall(b"\x17\x03\x03\x40\x00" + bytes(8192))
    waits(talker.line)


def says(*pieces: bytes) -> Callable[[Talker], None]:
    return lambda talker: talker.say(*pieces)


def leaves_in_a_record(talker: Talker) -> None:
    talker.say(OK + b"Content-Length: %d\r\n\r\n" % len(KEY) + HALF)
    talker.line.sendall(b"\x17\x03\x03\x40\x00" + bytes(8192))


@pytest.mark.parametrize(
    ("lies", "outcome", "detail"),
    [
        (garbage, Outcome.BAD_TLS, ""),
        (garbage_after_a_head, Outcome.BAD_TLS, ""),
        (forged_record, Outcome.BAD_TLS, ""),
        (drips_a_record, Outcome.FIRST_BYTE_TIMEOUT, NO_ANSWER),
        (stalls_in_a_record, Outcome.TIMEOUT, NO_END),
        (leaves_in_a_record, Outcome.TRUNCATED, "the body ended"),
        (says(), Outcome.RESET, "closed without an answer"),
        (says(OK + b"Content-Length: %d\r\n\r\n" % len(KEY), HALF), Outcome.TRUNCATED, "the body ended"),
        (says(CHUNKED, b"%x\r\n" % len(KEY), HALF), Outcome.TRUNCATED, "the body ended before its chunks did"),
        (says(OK + b"\r\n", HALF), Outcome.NO_KEY, ""),
    ],
    ids=[
        "plain HTTP after the handshake",
        "garbage after a good head",
        "a record under no key",
        "a record, a byte at a time",
        "a record that stalls",
        "a record that is cut off",
        "no answer and no goodbye",
        "half a body and no goodbye",
        "half a chunk and no goodbye",
        "half a body of no length and no goodbye",
    ],
)
def test_tls_that_lies_after_the_handshake_is_told_and_bounded(
    authority: Authority, identity: Identity, lies: Callable[[Talker], None], outcome: Outcome, detail: str
) -> None:
    with secure_server(lies, identity.context()) as server:
        result = ask(server.port, authority, exchange=EXCHANGE)
    assert result.outcome is outcome
    assert result.detail.startswith(detail)
    assert result.certificate is not None
    assert_in_time(result)


@pytest.mark.parametrize(
    ("answer", "outcome", "detail"),
    [(NOT_FOUND, Outcome.NO_KEY, "404: not found"), (b"", Outcome.FIRST_BYTE_TIMEOUT, NO_ANSWER)],
    ids=["and then answers", "and then is silent"],
)
def test_one_that_asks_for_a_second_handshake_is_borne(
    authority: Authority, identity: Identity, answer: bytes, outcome: Outcome, detail: str
) -> None:
    with renegotiating_server(identity, answer) as server:
        result = ask(server.port, authority, exchange=EXCHANGE)
    assert (result.outcome, result.detail) == (outcome, detail)
    assert_in_time(result)


def with_chain_of(identity: Identity, octets: int) -> Identity:
    """Return `identity` with its issuer's certificate behind it as often as makes a chain of more than `octets`."""
    end = "-----END CERTIFICATE-----\n"
    own, issuer, _ = identity.chain.read_text(encoding="ascii").split(end)
    chain = identity.chain.with_name(f"{octets}.pem")
    # PEM takes four characters for three octets.
    chain.write_text(own + end + (issuer + end) * (octets * 4 // 3 // len(issuer) + 10), encoding="ascii")
    return replace(identity, chain=chain)


@pytest.mark.parametrize(
    ("octets", "outcome", "detail"),
    [
        (30_000, Outcome.OK, ""),
        (110_000, Outcome.BAD_TLS, BROKEN),
        (1_000_000, Outcome.BAD_TLS, BROKEN),
    ],
)
def test_a_long_chain_is_read_as_far_as_openssl_reads_one(
    mesh: Mesh, authority: Authority, identity: Identity, octets: int, outcome: Outcome, detail: str
) -> None:
    keyserver = mesh.add(NAME, identity=with_chain_of(identity, octets))
    result = ask(mesh.ports[Service.HKPS], authority, exchange=EXCHANGE, address=keyserver.address)
    assert result.outcome is outcome
    assert result.detail.startswith(detail)
    assert_in_time(result)


def test_a_certificate_for_a_thousand_names_is_one_for_each(mesh: Mesh, authority: Authority) -> None:
    names = [f"n{number}.{'x' * 40}.test" for number in range(1000)]
    for identity, outcome, detail in (
        (authority.identity(*names, NAME), Outcome.OK, ""),
        (
            authority.identity(*names),
            Outcome.BAD_TLS,
            f"certificate: it is for {names[0]!r}, {names[1]!r}, {names[2]!r} and 997 more, not for {NAME}",
        ),
    ):
        keyserver = mesh.add(NAME, identity=identity)
        result = ask(mesh.ports[Service.HKPS], authority, exchange=EXCHANGE, address=keyserver.address)
        assert (result.outcome, result.detail) == (outcome, detail)
        assert_in_time(result)
