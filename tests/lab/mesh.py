"""A mesh of HTTP keyservers on loopback, of any size and any manners, in one thread.

    with Mesh() as mesh:
        a = mesh.add("a.mesh.test", peers=["b.mesh.test"])
        b = mesh.add("b.mesh.test", peers=["a.mesh.test"], dialect=Dialect.HOCKEYPUCK_JSON, keys=990)
        c = mesh.add("c.mesh.test", faults={Service.HTTP: Fault.REFUSE})
        nameserver.records.update(mesh.records())
        crawl(..., ports=mesh.ports, bounds=Bounds(allow_networks=mesh.networks))
        b.keys = 1000     # what a keyserver says may be changed while it runs
        mesh.stop(c)      # nobody listens there any more

Each keyserver has a loopback address of its own; all have the same three ports, and listen for hkps where
they have an identity. The addresses lie in a block that is chosen at random, and addresses whose ports are taken are
passed over: meshes do not collide.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import gzip
import ipaddress
import itertools
import random
import socket
import struct
import threading
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self, TypedDict, Unpack
from urllib.parse import parse_qs, urlsplit

from poolmgr.hosts import IPAddress, IPNetwork
from poolmgr.model import Service
from tests.lab.authority import Identity
from tests.lab.pages import CANARY, DEFAULT_PAGE, STATS_PAGES, Dialect, Facts, armoured, index

DRIP = 0.02
"""Seconds between two bytes of one that drips."""
HUGE = 64 * 1024 * 1024
"""Bytes of a body that no reader should want whole."""


class Fault(enum.Enum):
    """A misbehaviour. The value says what the client meets. REFUSE holds from the start; `Mesh.stop` does it later."""

    REFUSE = "nobody listens"
    SILENT = "the connection is accepted, and nothing is ever said"
    CLOSE = "closed without an answer"
    RESET = "reset without an answer"
    DRIP_HEADERS = "headers, a byte at a time, for ever"
    DRIP_BODY = "a body, a byte at a time, for ever"
    ENDLESS_HEADERS = "headers as fast as they are read, for ever"
    HUGE = "a body of 64 MiB"
    TRUNCATED = "a body shorter than its Content-Length"
    SHORT_CHUNK = "a chunk shorter than its length says"
    NEGATIVE_CHUNK = "a chunk of length -1 and then a flood"
    WORSE_CHUNK = "a chunk of length -5"
    NOT_HTTP = "the greeting of another protocol"
    REDIRECT = "a redirect to a loopback address"
    NOT_FOUND = "404"
    ERROR = "500"
    DEFAULT_PAGE = "200 with a web server's default page"
    GZIP = "4 MiB in 4 KiB of gzip"


@dataclass(frozen=True, slots=True)
class Request:
    """A request that a keyserver got: at which service, for which path and query, under which Host header."""

    service: Service
    path: str
    host: str
    user_agent: str


@dataclass(slots=True, kw_only=True, eq=False)
class LabKeyserver:
    """One keyserver at one address; its fields may be changed while it runs.

    `answers_for` are the names (lower case, no port) that it answers for, None for all: under any other Host it shows a
    web server's default page. `latency` is in seconds, before each answer. `keyring` are the fingerprints that it holds
    of those that the lab has, and `lends` the key that it hands out for whichever it was asked for. `failures` is how
    many requests it resets before it answers. Its stats page is at the path `stats_path` and nowhere else, where it has
    one. A cluster has `nodes`, each with its key count and peers, that show their page in turn. `recon_ports` and
    `stats_paths` are what it says of some of its peers. `says` yields what it sends instead of any answer: raw bytes,
    piece by piece; then it hangs up. `identity` is what it shows on hkps.
    """

    address: IPAddress
    hostname: str
    peers: list[str] = field(default_factory=list)
    dialect: Dialect = Dialect.SKS
    version: str | None = None
    keys: int | None = 1000
    latency: float = 0.0
    answers_for: frozenset[str] | None = None
    keyring: frozenset[str] = frozenset({CANARY})
    lends: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    faults: Mapping[Service, Fault] = field(default_factory=dict)
    failures: int = 0
    stats_path: str | None = None
    nodes: Sequence[tuple[int | None, list[str]]] = ()
    recon_ports: Mapping[str, int] = field(default_factory=dict)
    stats_paths: Mapping[str, str] = field(default_factory=dict)
    says: Callable[[], Iterable[bytes]] | None = None
    identity: Identity | None = None
    requests: list[Request] = field(default_factory=list)


class About(TypedDict, total=False):
    """The fields of a LabKeyserver that may be given when it is added."""

    peers: list[str]
    dialect: Dialect
    version: str | None
    keys: int | None
    latency: float
    answers_for: frozenset[str] | None
    keyring: frozenset[str]
    lends: str | None
    headers: Mapping[str, str]
    faults: Mapping[Service, Fault]
    failures: int
    stats_path: str | None
    nodes: Sequence[tuple[int | None, list[str]]]
    recon_ports: Mapping[str, int]
    stats_paths: Mapping[str, str]
    says: Callable[[], Iterable[bytes]] | None
    identity: Identity | None


class Mesh:
    """The mesh. `connections` counts those accepted, `most_in_flight` the most requests that were open at a time."""

    def __init__(self) -> None:
        self._addresses = _block()
        self.ports: dict[Service, int] = _free_ports(next(self._addresses))
        self.keyservers: list[LabKeyserver] = []
        self.connections: dict[IPAddress, int] = defaultdict(int)
        self.in_flight = 0
        self.most_in_flight = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="mesh", daemon=True)
        self._servers: dict[IPAddress, list[asyncio.Server]] = {}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._run(self._shut())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def networks(self) -> tuple[IPNetwork, ...]:
        """The keyservers' addresses, one network each: what a crawl of this mesh must be allowed."""
        return tuple(ipaddress.ip_network(each.address) for each in self.keyservers)

    def records(self) -> dict[str, list[str]]:
        """Return the addresses of every hostname, as a Nameserver wants them."""
        records: dict[str, list[str]] = defaultdict(list)
        for keyserver in self.keyservers:
            records[keyserver.hostname].append(str(keyserver.address))
        return dict(records)

    def add(self, hostname: str, *, address: IPAddress | None = None, **about: Unpack[About]) -> LabKeyserver:
        """Start a keyserver that calls itself `hostname`.

        Without `address` it gets the next one that is free.
        """
        if address is None:
            address, listeners = self._next_free()
        else:
            listeners = self._listen(address)
        keyserver = LabKeyserver(address=address, hostname=hostname, **about)
        self.keyservers.append(keyserver)
        self._run(self._serve(keyserver, listeners))
        return keyserver

    def stop(self, keyserver: LabKeyserver) -> None:
        """Let nobody listen at the keyserver's address."""
        self._run(self._close(keyserver.address))

    def start(self, keyserver: LabKeyserver) -> None:
        """Let a keyserver that was stopped listen again."""
        self._run(self._serve(keyserver, self._listen(keyserver.address)))

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=30)

    def _next_free(self) -> tuple[IPAddress, dict[Service, socket.socket]]:
        for address in self._addresses:
            with contextlib.suppress(OSError):
                return address, self._listen(address)
        raise OSError("no loopback address is left")

    def _listen(self, address: IPAddress) -> dict[Service, socket.socket]:
        with contextlib.ExitStack() as opened:
            listeners = {}
            for service, port in self.ports.items():
                listeners[service] = opened.enter_context(_listener(address, port))
            opened.pop_all()
        return listeners

    async def _serve(self, keyserver: LabKeyserver, listeners: Mapping[Service, socket.socket]) -> None:
        servers = self._servers.setdefault(keyserver.address, [])
        for service, listener in listeners.items():
            tls = keyserver.identity.context() if keyserver.identity and service is Service.HKPS else None
            if keyserver.faults.get(service) is Fault.REFUSE or (service is Service.HKPS and tls is None):
                listener.close()
            else:
                servers.append(await asyncio.start_server(self._client(keyserver, service), sock=listener, ssl=tls))

    async def _close(self, address: IPAddress) -> None:
        for server in self._servers.pop(address, []):
            server.close()

    async def _shut(self) -> None:
        for address in list(self._servers):
            await self._close(address)
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)

    def _client(
        self, keyserver: LabKeyserver, service: Service
    ) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.connections[keyserver.address] += 1
            try:
                with self._counted():
                    await _converse(keyserver, service, reader, writer)
            except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.CancelledError):
                # Cancelled when the mesh shuts down: asyncio.streams of 3.11 would log a task that ends so.
                writer.transport.abort()
            writer.close()

        return talk

    @contextlib.contextmanager
    def _counted(self) -> Iterator[None]:
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            yield
        finally:
            self.in_flight -= 1


def _block() -> Iterator[IPAddress]:
    """Yield addresses of 127/8 from a random place on, away from 127.0/16 where everybody else is."""
    first = int(ipaddress.IPv4Address("127.1.0.0")) + random.randrange(250 * 256) * 256
    for number in itertools.count(first + 1):
        if number >= int(ipaddress.IPv4Address("127.255.255.0")):
            return
        if number % 256 not in {0, 255}:
            yield ipaddress.IPv4Address(number)


def _free_ports(address: IPAddress) -> dict[Service, int]:
    with contextlib.ExitStack() as opened:
        listeners = [opened.enter_context(_listener(address, 0)) for _ in Service]
        return {service: each.getsockname()[1] for service, each in zip(Service, listeners, strict=True)}


def _listener(address: IPAddress, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET if address.version == 4 else socket.AF_INET6)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((str(address), port))
        listener.listen(128)
    except OSError:
        listener.close()
        raise
    return listener


async def _converse(
    keyserver: LabKeyserver, service: Service, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
    request = Request(service, head[0].split(" ")[1], fields.get("host", ""), fields.get("user-agent", ""))
    keyserver.requests.append(request)
    await asyncio.sleep(keyserver.latency)
    fault = keyserver.faults.get(service)
    if keyserver.failures > 0:
        keyserver.failures -= 1
        fault = Fault.RESET
    if keyserver.says is not None:
        for piece in keyserver.says():
            writer.write(piece)
            await writer.drain()
    elif fault is None:
        writer.write(_reply(*_answer(keyserver, request), keyserver.headers))
        await writer.drain()
    else:
        await _MISBEHAVE[fault](reader, writer)


def _answer(keyserver: LabKeyserver, request: Request) -> tuple[str, str, str]:
    """Return status, Server header and body."""
    version = keyserver.version or keyserver.dialect.value
    server = f"{keyserver.dialect.server}/{version}"
    name = request.host.lower().rpartition(":")[0] or request.host.lower()
    if keyserver.answers_for is not None and name not in keyserver.answers_for:
        return "200 OK", "nginx", DEFAULT_PAGE
    query = parse_qs(urlsplit(request.path).query)
    operation, search = (query.get(key, [""])[0] for key in ("op", "search"))
    held = sorted(keyserver.keyring)
    if request.path == keyserver.stats_path or (operation == "stats" and keyserver.stats_path is None):
        return "200 OK", server, STATS_PAGES[keyserver.dialect](_facts(keyserver, version))
    if operation == "get" and keyserver.lends is not None:
        return "200 OK", server, armoured(keyserver.lends)
    if operation == "get" and search.removeprefix("0x") in held:
        return "200 OK", server, armoured(search.removeprefix("0x"))
    if operation == "index" and held:
        return "200 OK", server, index(held)
    return "404 Not found", server, "No results found: No keys found"


def _facts(keyserver: LabKeyserver, version: str) -> Facts:
    keys, peers = keyserver.keys, keyserver.peers
    if keyserver.nodes:
        hits = sum("stats" in request.path for request in keyserver.requests)
        keys, peers = keyserver.nodes[(hits - 1) % len(keyserver.nodes)]
    return Facts(
        hostname=keyserver.hostname,
        version=version,
        keys=keys,
        peers=peers,
        recon_ports=keyserver.recon_ports,
        stats_paths=keyserver.stats_paths,
    )


def _reply(status: str, server: str, body: str, headers: Mapping[str, str]) -> bytes:
    content = body.encode()
    fields = {"Server": server, "Content-Length": str(len(content)), **headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.0 {status}\r\n{head}\r\n".encode("latin-1") + content


def _says(answer: bytes) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    async def say(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()

    return say


def _repeats(
    first: bytes, again: bytes, *, times: int | None = None, every: float = 0.0
) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    async def repeat(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(first)
        for _turn in itertools.count() if times is None else range(times):
            writer.write(again)
            await writer.drain()
            await asyncio.sleep(every)

    return repeat


async def _is_silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read()


async def _resets(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    linger = struct.pack("ii", 1, 0)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.transport.abort()


_MEBIBYTE = b"x" * 1024 * 1024
_OK = b"HTTP/1.1 200 OK\r\nServer: lab\r\n"
_CHUNKED = _OK + b"Transfer-Encoding: chunked\r\n\r\n"
_BOMB = gzip.compress(b"\0" * 4 * 1024 * 1024)
_MISBEHAVE = {
    Fault.SILENT: _is_silent,
    Fault.CLOSE: _says(b""),
    Fault.RESET: _resets,
    Fault.DRIP_HEADERS: _repeats(_OK + b"X-Drip: ", b"x", every=DRIP),
    Fault.DRIP_BODY: _repeats(_OK + b"\r\n", b"x", every=DRIP),
    Fault.ENDLESS_HEADERS: _repeats(_OK, b"X: " + b"x" * 1000 + b"\r\n"),
    Fault.HUGE: _repeats(_OK + b"\r\n", _MEBIBYTE, times=HUGE // len(_MEBIBYTE)),
    Fault.TRUNCATED: _says(_OK + b"Content-Length: 1000\r\n\r\n<html>"),
    Fault.SHORT_CHUNK: _says(_CHUNKED + b"1000\r\n<html>"),
    Fault.NEGATIVE_CHUNK: _repeats(_CHUNKED + b"-1\r\n", _MEBIBYTE, times=HUGE // len(_MEBIBYTE)),
    Fault.WORSE_CHUNK: _says(_CHUNKED + b"-5\r\nhello\r\n"),
    Fault.NOT_HTTP: _says(b"SSH-2.0-OpenSSH_9.2\r\n"),
    Fault.REDIRECT: _says(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/pks/\x1b[31m\r\n\r\n"),
    Fault.NOT_FOUND: _says(b"HTTP/1.1 404 Not Found\r\n\r\n"),
    Fault.ERROR: _says(b"HTTP/1.1 500 Internal Server Error\r\n\r\n"),
    Fault.DEFAULT_PAGE: _says(_reply("200 OK", "nginx", DEFAULT_PAGE, {})),
    Fault.GZIP: _says(_OK + b"Content-Encoding: gzip\r\n\r\n" + _BOMB),
}
