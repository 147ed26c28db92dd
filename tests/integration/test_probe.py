from __future__ import annotations

import errno
import ipaddress
import resource
import socket
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from poolmgr.crawl.place import Target
from poolmgr.crawl.probe import Canary, Exchange, Lookup, Search, probe, questions
from poolmgr.crawl.trust import load_trust
from poolmgr.errors import PoolmgrError
from poolmgr.hosts import IPAddress, parse_host
from poolmgr.model import Ask, Endpoint, Outcome, Probe, Service, Stats
from tests.lab.mesh import About, Fault, LabKeyserver, Mesh
from tests.lab.pages import CANARY, OTHER, Facts, sks

STARTED = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
EXCHANGE = Exchange(deadline=timedelta(seconds=0.5), max_bytes=256 * 1024, user_agent="poolmgr/0 (+test)")
LIMIT = 0.5
LOOKUP = Canary(CANARY)
TRUST = load_trust(None)


@pytest.fixture(scope="module")
def mesh() -> Iterator[Mesh]:
    with Mesh() as running:
        yield running


def ask(
    address: IPAddress,
    port: int,
    *,
    service: Service = Service.HKP,
    what: Ask = Ask.STATS,
    lookup: Lookup = LOOKUP,
    exchange: Exchange = EXCHANGE,
) -> tuple[Probe, Stats | None]:
    """Make one probe under the name of keys.test."""
    target = Target(what, Endpoint(service, address, port), parse_host("keys.test"))
    return probe(target, questions(lookup, max_peers=10)[what], exchange=exchange, trust=TRUST, clock=lambda: STARTED)


def ask_stats(mesh: Mesh, keyserver: LabKeyserver) -> Probe:
    """Ask `keyserver` for its stats page."""
    return ask(keyserver.address, mesh.ports[Service.HKP])[0]


@pytest.mark.parametrize(
    ("fault", "outcome", "detail"),
    [
        (Fault.REFUSE, Outcome.REFUSED, "connection refused"),
        (Fault.SILENT, Outcome.FIRST_BYTE_TIMEOUT, "connected, but no answer within 0.5 s"),
        (Fault.CLOSE, Outcome.RESET, "closed without an answer"),
        (Fault.RESET, Outcome.RESET, "connection reset"),
        (Fault.DRIP_HEADERS, Outcome.TIMEOUT, "the answer did not end within 0.5 s"),
        (Fault.DRIP_BODY, Outcome.TIMEOUT, "the answer did not end within 0.5 s"),
        (Fault.ENDLESS_HEADERS, Outcome.NOT_HTTP, "more than 65536 bytes of headers"),
        (Fault.HUGE, Outcome.TOO_BIG, "the body has more than 262144 bytes (crawl.max_bytes)"),
        (Fault.TRUNCATED, Outcome.TRUNCATED, "the body ended 994 bytes before its length"),
        (Fault.SHORT_CHUNK, Outcome.TRUNCATED, "the body ended before its chunks did"),
        (Fault.NEGATIVE_CHUNK, Outcome.TOO_BIG, "the body has more than 262144 bytes (crawl.max_bytes)"),
        (Fault.WORSE_CHUNK, Outcome.NOT_HTTP, "not HTTP (ValueError: 'read length must be non-negative or -1')"),
        (Fault.NOT_HTTP, Outcome.NOT_HTTP, r"not HTTP (BadStatusLine: 'SSH-2.0-OpenSSH_9.2\r\n')"),
        (Fault.REDIRECT, Outcome.REDIRECT, r"302 to 'http://127.0.0.1:9/pks/\x1b[31m'"),
        (Fault.NOT_FOUND, Outcome.HTTP_STATUS, "404: not found"),
        (Fault.ERROR, Outcome.HTTP_STATUS, "status 500"),
        (Fault.DEFAULT_PAGE, Outcome.NOT_KEYSERVER, "not a keyserver's stats page: its title is 'Welcome to nginx!'"),
        (Fault.GZIP, Outcome.NOT_HTTP, "compressed ('gzip') though only identity was accepted"),
    ],
)
def test_every_misbehaviour_has_its_own_outcome(mesh: Mesh, fault: Fault, outcome: Outcome, detail: str) -> None:
    result = ask_stats(mesh, mesh.add("bad.test", faults={Service.HKP: fault}))
    assert (result.outcome, result.detail) == (outcome, detail)
    assert not result.is_good


def test_every_misbehaviour_of_the_lab_is_tried() -> None:
    marks: list[pytest.Mark] = test_every_misbehaviour_has_its_own_outcome.pytestmark  # type: ignore[attr-defined]
    assert {case[0] for case in marks[0].args[1]} == set(Fault)


@pytest.mark.parametrize("fault", [Fault.SILENT, Fault.DRIP_HEADERS, Fault.DRIP_BODY])
def test_the_deadline_bounds_the_whole_exchange(mesh: Mesh, fault: Fault) -> None:
    total = ask_stats(mesh, mesh.add("slow.test", faults={Service.HKP: fault})).total
    assert total is not None
    assert LIMIT <= total.total_seconds() < 10 * LIMIT


def test_a_body_of_exactly_max_bytes_is_read_and_one_byte_more_is_too_big(mesh: Mesh) -> None:
    keyserver = mesh.add("keys.test")
    size = len(sks(Facts(hostname="keys.test", version="1.1.6", keys=1000, peers=[])).encode())
    for max_bytes, outcome in ((size, Outcome.OK), (size - 1, Outcome.TOO_BIG)):
        exchange = replace(EXCHANGE, max_bytes=max_bytes)
        assert ask(keyserver.address, mesh.ports[Service.HKP], exchange=exchange)[0].outcome is outcome


def test_a_good_page_comes_with_its_times_and_headers(mesh: Mesh) -> None:
    about: About = {"keys": 5, "latency": 0.05, "headers": {"Via": "1.1 proxy.test"}}
    result, stats = ask(mesh.add("keys.test", **about).address, mesh.ports[Service.HKP])
    assert (result.outcome, result.status, result.host, result.started) == (Outcome.OK, 200, "keys.test", STARTED)
    assert (result.server, result.via) == ("sks_www/1.1.6", "1.1 proxy.test")
    assert stats is not None
    assert stats.keys == 5
    assert result.connect is not None
    assert result.first_byte is not None
    assert result.total is not None
    assert timedelta(0) < result.connect < timedelta(seconds=0.05) + result.connect <= result.first_byte <= result.total


def test_the_request_names_the_host_with_its_port_and_ourselves(mesh: Mesh) -> None:
    keyserver = mesh.add("keys.test")
    ask(keyserver.address, mesh.ports[Service.HKP])
    (request,) = keyserver.requests
    assert request.path == "/pks/lookup?op=stats&options=mr"
    assert request.host == f"keys.test:{mesh.ports[Service.HKP]}"
    assert request.user_agent == "poolmgr/0 (+test)"


def test_a_bad_answer_keeps_what_its_head_said(mesh: Mesh) -> None:
    result = ask_stats(mesh, mesh.add("bad.test", faults={Service.HKP: Fault.DRIP_BODY}))
    assert (result.status, result.server) == (200, "lab")
    assert result.first_byte is not None


@pytest.mark.parametrize(
    ("about", "lookup", "outcome"),
    [
        ({}, Canary(CANARY), Outcome.OK),
        ({"lends": OTHER}, Canary(CANARY), Outcome.WRONG_KEY),
        ({"keyring": frozenset()}, Canary(CANARY), Outcome.NO_KEY),
        ({"answers_for": frozenset({"own.test"})}, Canary(CANARY), Outcome.NO_KEY),
        ({"answers_for": frozenset({"keys.test"})}, Canary(CANARY), Outcome.OK),
        ({}, Search("lab"), Outcome.OK),
        ({"keyring": frozenset()}, Search("lab"), Outcome.NO_KEY),
        ({"faults": {Service.HTTP: Fault.ERROR}}, Canary(CANARY), Outcome.HTTP_STATUS),
    ],
)
def test_a_lookup_is_good_only_with_the_key(mesh: Mesh, about: About, lookup: Lookup, outcome: Outcome) -> None:
    keyserver = mesh.add("keys.test", **about)
    result, stats = ask(
        keyserver.address, mesh.ports[Service.HTTP], service=Service.HTTP, what=Ask.LOOKUP, lookup=lookup
    )
    assert (result.outcome, stats) == (outcome, None)


def test_an_ipv6_address_is_reached(mesh: Mesh) -> None:
    keyserver = mesh.add("six.test", address=ipaddress.ip_address("::1"))
    assert ask_stats(mesh, keyserver).outcome is Outcome.OK


def test_a_port_that_takes_no_connection_is_a_connect_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        fill = [socket.socket() for _ in range(8)]
        for each in fill:
            each.setblocking(False)
            each.connect_ex(listener.getsockname())
        result, _ = ask(ipaddress.ip_address("127.0.0.1"), listener.getsockname()[1])
        for each in fill:
            each.close()
    assert (result.outcome, result.detail) == (Outcome.CONNECT_TIMEOUT, "no connection within 0.5 s")
    assert result.connect is None


def test_an_address_without_a_way_to_it_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(_socket: socket.socket, _address: object) -> None:
        raise OSError(errno.EHOSTUNREACH, "No route to host")

    monkeypatch.setattr(socket.socket, "connect", connect)
    result, _ = ask(ipaddress.ip_address("9.0.0.1"), 11371)
    assert (result.outcome, result.detail) == (Outcome.UNREACHABLE, "No route to host")


def test_our_own_lack_of_sockets_is_nobodys_failure() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        with pytest.raises(PoolmgrError, match=r"lower crawl\.workers or raise ulimit -n"):
            ask(ipaddress.ip_address("127.0.0.1"), 9)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_proxies_of_the_environment_are_not_used(mesh: Mesh, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert ask_stats(mesh, mesh.add("keys.test")).outcome is Outcome.OK
