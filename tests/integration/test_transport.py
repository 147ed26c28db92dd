"""Exchanges over TLS: with good and bad certificates, and with servers that never get as far."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from poolmgr.crawl.place import Target
from poolmgr.crawl.probe import Canary, Exchange, probe, questions
from poolmgr.crawl.trust import load_trust
from poolmgr.errors import PoolmgrError
from poolmgr.hosts import IPAddress, parse_host
from poolmgr.model import Ask, Endpoint, Outcome, Probe, Service
from tests.conftest import Need
from tests.lab.authority import Authority, Identity
from tests.lab.mesh import Fault, Mesh
from tests.lab.pages import CANARY

LIMIT = 0.5
EXCHANGE = Exchange(deadline=timedelta(seconds=LIMIT), max_bytes=256 * 1024)
LOCALHOST = ipaddress.ip_address("127.0.0.1")
NAME = "keys.pool.test"


@pytest.fixture(scope="module")
def authority(need: Need, tmp_path_factory: pytest.TempPathFactory) -> Authority:
    need("openssl")
    return Authority(tmp_path_factory.mktemp("authority") / "lab")


@pytest.fixture(scope="module")
def good(authority: Authority) -> Identity:
    return authority.identity(NAME, "own.pool.test")


@pytest.fixture(scope="module")
def mesh() -> Iterator[Mesh]:
    with Mesh() as running:
        yield running


def ask(address: IPAddress, port: int, authority: Authority | None, *, name: str = NAME) -> Probe:
    """Look the canary up by hkps, trusting `authority`, or the system's roots without one."""
    target = Target(Ask.LOOKUP, Endpoint(Service.HKPS, address, port), parse_host(name))
    question = questions(Canary(CANARY), max_peers=10)[Ask.LOOKUP]
    now = datetime(2026, 11, 23, tzinfo=UTC)
    trust = load_trust(authority.ca_file if authority is not None else None)
    result, _ = probe(target, question, exchange=EXCHANGE, trust=trust, clock=lambda: now)
    return result


@contextlib.contextmanager
def server(talk: Callable[[socket.socket], object]) -> Iterator[int]:
    """Let `talk` have one connection, and give its port."""
    with socket.create_server((str(LOCALHOST), 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            # The other side hangs up when it has had enough.
            with connection, contextlib.suppress(OSError):
                talk(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        thread.join()


def test_a_lookup_over_tls_names_the_host_and_keeps_the_certificate(
    mesh: Mesh, authority: Authority, good: Identity
) -> None:
    keyserver = mesh.add(NAME, identity=good, latency=0.05)
    result = ask(keyserver.address, mesh.ports[Service.HKPS], authority)
    assert (result.outcome, result.detail, result.status) == (Outcome.OK, "", 200)
    assert result.certificate is not None
    assert result.certificate.issuer == "poolmgr lab, Lab CA"
    left = result.certificate.not_after - datetime.now(UTC)
    assert timedelta(days=89) < left < timedelta(days=91)
    (request,) = keyserver.requests
    assert (request.service, request.host) == (Service.HKPS, f"{NAME}:{mesh.ports[Service.HKPS]}")
    assert result.connect is not None
    assert result.first_byte is not None
    assert result.total is not None
    # Connected is TCP's word; the first byte is that of the answer, not of the handshake.
    assert result.connect < timedelta(seconds=0.05) + result.connect <= result.first_byte <= result.total


def test_the_server_name_is_the_host(authority: Authority, good: Identity) -> None:
    named: list[str | None] = []
    context = good.context()
    context.sni_callback = lambda _socket, name, _context: named.append(name)

    def talk(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as secure:
            secure.recv(4096)

    with server(talk) as port:
        result = ask(LOCALHOST, port, authority, name="own.pool.test")
    assert named == ["own.pool.test"]
    assert (result.outcome, result.detail) == (Outcome.RESET, "closed without an answer")


@pytest.mark.parametrize(
    ("names", "days", "is_self_signed", "detail"),
    [
        ((NAME,), (-30, -1), False, "certificate: it has expired"),
        ((NAME,), (1, 30), False, "certificate: it is not valid yet"),
        ((NAME,), (-1, 90), True, "certificate: it is self-signed"),
        (("a.test", "b.test"), (-1, 90), False, f"certificate: it is for 'a.test', 'b.test', not for {NAME}"),
        ((), (-1, 90), False, f"certificate: it is for no DNS name, not for {NAME}"),
    ],
)
def test_a_bad_certificate_is_bad_tls_with_its_reason(
    mesh: Mesh, authority: Authority, names: tuple[str, ...], days: tuple[int, int], is_self_signed: bool, detail: str
) -> None:
    identity = authority.identity(*names, days=days, is_self_signed=is_self_signed)
    keyserver = mesh.add(NAME, identity=identity)
    result = ask(keyserver.address, mesh.ports[Service.HKPS], authority)
    assert (result.outcome, result.detail) == (Outcome.BAD_TLS, detail)
    assert result.certificate is None
    assert result.connect is not None
    # Nothing was asked of a server that is not who it should be.
    assert keyserver.requests == []


@pytest.mark.parametrize(
    ("name", "detail"),
    [
        (b"a.test\xff", "certificate: its names are not text"),
        (NAME.encode() + b"\0.a.test", rf"certificate: it is for '{NAME}\x00.a.test', not for {NAME}"),
    ],
)
def test_a_name_of_odd_bytes_is_bad_tls(mesh: Mesh, authority: Authority, name: bytes, detail: str) -> None:
    keyserver = mesh.add(NAME, identity=authority.identity_of_bytes(name))
    result = ask(keyserver.address, mesh.ports[Service.HKPS], authority)
    assert (result.outcome, result.detail) == (Outcome.BAD_TLS, detail)


def test_a_certificate_of_an_authority_that_is_not_trusted_is_bad_tls(
    mesh: Mesh, authority: Authority, good: Identity, tmp_path: Path
) -> None:
    foreign = Authority(tmp_path / "foreign").identity(NAME)
    for identity, trusted in ((foreign, authority), (good, None)):
        keyserver = mesh.add(NAME, identity=identity)
        result = ask(keyserver.address, mesh.ports[Service.HKPS], trusted)
        assert result.outcome is Outcome.BAD_TLS
        assert result.detail.startswith("certificate: its issuer is not known")


def old_protocol(context: ssl.SSLContext) -> None:
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.deprecated_call():
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1


def cipher_of_another_key(context: ssl.SSLContext) -> None:
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE-RSA-AES128-GCM-SHA256")


@pytest.mark.parametrize(
    ("weaken", "detail"),
    [
        (old_protocol, "no common protocol: TLS 1.2 or later is asked for"),
        (cipher_of_another_key, "no common cipher or protocol"),
    ],
)
def test_without_a_common_protocol_or_cipher_it_is_bad_tls(
    authority: Authority, good: Identity, weaken: Callable[[ssl.SSLContext], None], detail: str
) -> None:
    context = good.context()
    weaken(context)
    with server(lambda connection: context.wrap_socket(connection, server_side=True)) as port:
        result = ask(LOCALHOST, port, authority)
    assert (result.outcome, result.detail) == (Outcome.BAD_TLS, detail)


def hangs_up(connection: socket.socket) -> None:
    connection.recv(4096)
    connection.shutdown(socket.SHUT_WR)
    while connection.recv(4096):
        pass


@pytest.mark.parametrize(
    ("talk", "detail"),
    [
        (lambda connection: connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "the answer is not TLS"),
        (lambda connection: connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n"), "the answer is not TLS"),
        (hangs_up, "the connection was closed in the middle of TLS"),
        (
            lambda connection: connection.sendall(b"\x15\x03\x03\x00\x02\x02\x50"),
            "TLS is broken (TLSV1_ALERT_INTERNAL_ERROR)",
        ),
        (
            lambda connection: connection.sendall(b"\x15\x03\x03\x00\x02\x02\x70"),
            "the server has no certificate for that name",
        ),
    ],
)
def test_what_is_no_handshake_is_bad_tls(
    authority: Authority, talk: Callable[[socket.socket], object], detail: str
) -> None:
    def talk_and_listen(connection: socket.socket) -> None:
        talk(connection)
        while connection.recv(4096):
            pass

    with server(talk_and_listen) as port:
        result = ask(LOCALHOST, port, authority)
    assert (result.outcome, result.detail) == (Outcome.BAD_TLS, detail)


def test_a_connection_that_is_reset_instead_of_a_handshake_is_reset(authority: Authority) -> None:
    linger = struct.pack("ii", 1, 0)
    with server(lambda connection: connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)) as port:
        result = ask(LOCALHOST, port, authority)
    assert (result.outcome, result.detail) == (Outcome.RESET, "connection reset")


def is_silent(connection: socket.socket) -> None:
    while connection.recv(4096):
        pass


def drips(connection: socket.socket) -> None:
    connection.sendall(b"\x16\x03\x03\x40\x00")
    while True:
        connection.sendall(b"\x02")
        time.sleep(0.02)


@pytest.mark.parametrize("talk", [is_silent, drips])
def test_the_deadline_bounds_the_handshake(authority: Authority, talk: Callable[[socket.socket], None]) -> None:
    with server(talk) as port:
        result = ask(LOCALHOST, port, authority)
    sentence = "connected, but the TLS handshake did not end within 0.5 s"
    assert (result.outcome, result.detail) == (Outcome.FIRST_BYTE_TIMEOUT, sentence)
    assert result.total is not None
    assert LIMIT <= result.total.total_seconds() < 10 * LIMIT


@pytest.mark.parametrize(
    ("fault", "outcome", "detail"),
    [
        (Fault.SILENT, Outcome.FIRST_BYTE_TIMEOUT, "connected, but no answer within 0.5 s"),
        (Fault.CLOSE, Outcome.RESET, "closed without an answer"),
        (Fault.DRIP_HEADERS, Outcome.TIMEOUT, "the answer did not end within 0.5 s"),
        (Fault.DRIP_BODY, Outcome.TIMEOUT, "the answer did not end within 0.5 s"),
        (Fault.ENDLESS_HEADERS, Outcome.NOT_HTTP, "more than 65536 bytes of headers"),
        (Fault.HUGE, Outcome.TOO_BIG, "the body has more than 262144 bytes (crawl.max_bytes)"),
        (Fault.NEGATIVE_CHUNK, Outcome.TOO_BIG, "the body has more than 262144 bytes (crawl.max_bytes)"),
        (Fault.TRUNCATED, Outcome.TRUNCATED, "the body ended 994 bytes before its length"),
        (Fault.NOT_FOUND, Outcome.NO_KEY, "404: not found"),
    ],
)
def test_deadline_and_bounds_hold_under_tls(
    mesh: Mesh, authority: Authority, good: Identity, fault: Fault, outcome: Outcome, detail: str
) -> None:
    keyserver = mesh.add(NAME, identity=good, faults={Service.HKPS: fault})
    result = ask(keyserver.address, mesh.ports[Service.HKPS], authority)
    assert (result.outcome, result.detail) == (outcome, detail)
    assert result.certificate is not None


def test_a_file_without_certificates_is_refused_with_its_name(tmp_path: Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.touch()
    with pytest.raises(PoolmgrError, match=r"crawl\.ca_file: .*/empty\.pem holds no certificate: give"):
        load_trust(empty)
    with pytest.raises(PoolmgrError, match=r"crawl\.ca_file: cannot read .*/absent\.pem: No such file or directory"):
        load_trust(tmp_path / "absent.pem")
