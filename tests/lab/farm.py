"""A large mesh of keyservers in a process of its own, to measure a crawler with: speed, not manners.

    plan = plan_farm(2000, seed=1)
    with Farm(plan) as served:
        crawl(..., ports=dict.fromkeys(Service, served.port), nameservers=Nameservers(servers=(served.nameserver,)))
        ideal = plan.ideal(deadline, attempts=1, lookups=0)

Each keyserver has a loopback address and a name of its own; all share one port. The nameserver knows every name. What
each does is planned beforehand from a seed, so that the shortest time in which the mesh can be crawled is known.
"""

from __future__ import annotations

import asyncio
import bisect
import contextlib
import enum
import heapq
import ipaddress
import multiprocessing
import random
import resource
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from types import TracebackType

from poolmgr.hosts import IPNetwork
from tests.lab.pages import CANARY, Facts, armoured, sks

MEDIAN_LATENCY = 0.15
"""Seconds until a keyserver answers: the median of a lognormal distribution."""

LATENCY_SIGMA = 0.5
"""Its spread: one in a hundred takes over three times the median."""

PEERS = 20
PAGE_BYTES = 10 * 1024
DRIP_INTERVAL = 1.0
"""Seconds between two bytes of one that drips."""

_KEY = armoured(CANARY).encode()

START = 120
"""Seconds that a farm may take to start."""


class Manner(enum.Enum):
    """How a keyserver behaves."""

    GOOD = "answers after its latency"
    REFUSE = "nobody listens"
    SILENT = "the connection is accepted, and nothing is ever said"
    DRIP = "a body, a byte at a time, for ever"


SHARES = {Manner.REFUSE: 0.10, Manner.SILENT: 0.10, Manner.DRIP: 0.05}


@dataclass(frozen=True, slots=True)
class Planned:
    """One keyserver of a farm. `latency` is in seconds; `peers` are indexes into the plan."""

    address: ipaddress.IPv4Address
    manner: Manner
    latency: float
    peers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """What each keyserver of a farm does. The first is good, and the seed."""

    keyservers: tuple[Planned, ...]

    @property
    def good(self) -> frozenset[ipaddress.IPv4Address]:
        """The addresses of the keyservers that answer."""
        return frozenset(each.address for each in self.keyservers if each.manner is Manner.GOOD)

    def ideal(self, deadline: float, *, attempts: int, lookups: int) -> float:
        """Return the seconds that a crawl of the farm takes when nothing but the farm costs time.

        That is the longest chain of discovery: a keyserver is found when the first page that lists it is there, and is
        done when it has answered that question and `lookups` more, one after the other, or when it has let the
        `deadline`, in seconds, pass `attempts` times.
        """
        found = {0: 0.0}
        done = 0.0
        waiting = [(0.0, 0)]
        while waiting:
            at, index = heapq.heappop(waiting)
            if at > found[index]:
                continue
            keyserver = self.keyservers[index]
            if keyserver.manner is Manner.GOOD:
                told = at + keyserver.latency
                done = max(done, told + lookups * keyserver.latency)
                for peer in keyserver.peers:
                    if told < found.get(peer, float("inf")):
                        found[peer] = told
                        heapq.heappush(waiting, (told, peer))
            elif keyserver.manner is not Manner.REFUSE:
                done = max(done, at + attempts * deadline)
        return done


def plan_farm(
    size: int, *, seed: int, shares: Mapping[Manner, float] = SHARES, latency: float = MEDIAN_LATENCY
) -> Plan:
    """Plan a farm of `size` keyservers, each to be found from the first one.

    `shares` says how many are not good, and `latency` is the median of the seconds until one answers.
    """
    rng = random.Random(seed)
    first = int(ipaddress.IPv4Address("127.64.0.0")) + rng.randrange(100) * 65536
    weights = [1 - sum(shares.values()), *shares.values()]
    manners = [Manner.GOOD, *rng.choices([Manner.GOOD, *shares], weights, k=size - 1)]
    good = [index for index, manner in enumerate(manners) if manner is Manner.GOOD]
    peers = [set(rng.sample(range(size), min(PEERS, size))) for _ in manners]
    for index in range(1, size):
        parent = good[rng.randrange(bisect.bisect_left(good, index))]
        peers[parent].add(index)
    return Plan(
        tuple(
            Planned(
                address=ipaddress.IPv4Address(first + number // 250 * 256 + number % 250 + 1),
                manner=manner,
                latency=latency * rng.lognormvariate(0, LATENCY_SIGMA),
                peers=tuple(sorted(peers[number])),
            )
            for number, manner in enumerate(manners)
        )
    )


def name_of(index: int) -> str:
    """Return the hostname of a keyserver."""
    return f"keyserver{index}.farm.test"


@dataclass(frozen=True, slots=True)
class Served:
    """Where a farm is: the port that all keyservers share, and its nameserver."""

    port: int
    nameserver: tuple[ipaddress.IPv4Address, int]
    networks: tuple[IPNetwork, ...] = (ipaddress.IPv4Network("127.0.0.0/8"),)


class Farm:
    """A planned farm at work in another process, until the block is left."""

    def __init__(self, plan: Plan) -> None:
        context = multiprocessing.get_context("spawn")
        self._line, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(plan, theirs), daemon=True)

    def __enter__(self) -> Served:
        self._process.start()
        if not self._line.poll(START):
            raise TimeoutError(f"the farm did not start within {START} s")
        served: Served = self._line.recv()
        return served

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._process.terminate()
        self._process.join()
        self._line.close()


def raise_file_limit() -> None:
    """Let this process open as many files as it may."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _serve(plan: Plan, line: Connection) -> None:
    raise_file_limit()
    asyncio.run(_run(plan, line))


async def _run(plan: Plan, line: Connection) -> None:
    loop = asyncio.get_running_loop()
    listeners = _listeners(plan.keyservers)
    for index, listener in listeners.items():
        replies = _Replies(plan.keyservers[index], index, plan.keyservers)
        await loop.create_server(lambda replies=replies: _Conversation(replies), sock=listener, backlog=256)  # type: ignore[misc]  # mypy infers no type for a lambda with a default
    names = {name_of(index): str(each.address) for index, each in enumerate(plan.keyservers)}
    nameserver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    nameserver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * 1024 * 1024)
    nameserver.settimeout(0)
    nameserver.bind(("127.0.0.1", 0))
    loop.add_reader(nameserver, _answer, nameserver, names)
    port = next(iter(listeners.values())).getsockname()[1]
    line.send(Served(port, (ipaddress.IPv4Address("127.0.0.1"), nameserver.getsockname()[1])))
    await asyncio.Event().wait()


def _listeners(keyservers: Sequence[Planned]) -> dict[int, socket.socket]:
    """Return a listener for each keyserver that has one, all on a port that the first got from the kernel."""
    listeners: dict[int, socket.socket] = {}
    port = 0
    for index, keyserver in enumerate(keyservers):
        if keyserver.manner is not Manner.REFUSE:
            listeners[index] = socket.create_server((str(keyserver.address), port), backlog=256)
            port = listeners[index].getsockname()[1]
    return listeners


class _Replies:
    """What one keyserver says."""

    def __init__(self, keyserver: Planned, index: int, keyservers: Sequence[Planned]) -> None:
        self.keyserver = keyserver
        self._index = index
        self._size = len(keyservers)

    def to(self, request: bytes) -> bytes:
        """Return the reply to `request`: the stats page or the key."""
        if b"op=stats" in request or b"/pks/stats" in request:
            peers = [name_of(peer) for peer in self.keyserver.peers]
            page = sks(Facts(hostname=name_of(self._index), version="1.1.6", keys=5_000_000, peers=peers))
            body = page.encode().ljust(PAGE_BYTES)
        else:
            body = _KEY
        return b"HTTP/1.0 200 OK\r\nServer: sks_www/1.1.6\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


class _Conversation(asyncio.Protocol):
    """One connection with one keyserver."""

    def __init__(self, replies: _Replies) -> None:
        self._replies = replies
        self._request = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._request += data
        keyserver = self._replies.keyserver
        if keyserver.manner is Manner.SILENT or not self._request.endswith(b"\r\n\r\n"):
            return
        then = self._answer if keyserver.manner is Manner.GOOD else self._begin_to_drip
        asyncio.get_running_loop().call_later(keyserver.latency, then)

    def _answer(self) -> None:
        self._transport.write(self._replies.to(self._request))
        self._transport.close()

    def _begin_to_drip(self) -> None:
        self._transport.write(b"HTTP/1.0 200 OK\r\nContent-Length: 10000\r\n\r\n")
        self._drip()

    def _drip(self) -> None:
        if not self._transport.is_closing():
            self._transport.write(b".")
            asyncio.get_running_loop().call_later(DRIP_INTERVAL, self._drip)


def _answer(line: socket.socket, addresses: dict[str, str]) -> None:
    """Answer the questions that wait at the nameserver."""
    with contextlib.suppress(BlockingIOError):
        while True:
            wire, client = line.recvfrom(512)
            line.sendto(_name_reply(wire, addresses), client)


def _name_reply(wire: bytes, addresses: dict[str, str]) -> bytes:
    """Answer by hand: a thousand questions a second by dnspython's codec would slow the farm itself."""
    end = wire.index(b"\0", 12) + 5
    question = wire[12:end]
    labels, position = [], 0
    while question[position]:
        labels.append(question[position + 1 : position + 1 + question[position]].decode("ascii"))
        position += question[position] + 1
    address = addresses.get(".".join(labels).lower())
    has_answer = address is not None and question[-4:-2] == b"\0\1"
    record = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + socket.inet_aton(address) if address and has_answer else b""
    flags = b"\x81\x80" if address is not None else b"\x81\x83"
    return wire[:2] + flags + b"\0\1" + (b"\0\1" if has_answer else b"\0\0") + b"\0\0\0\0" + question + record
