"""Names to addresses.

A stub resolver. dnspython's own waits five seconds before it sends a lost question again,
and asks for the two families one after the other: a crawl of thousands of names spends its time on that.
"""

from __future__ import annotations

import ipaddress
import secrets
import select
import socket
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import Self

from poolmgr.crawl.frontier import Answer
from poolmgr.crawl.line import Line, open_socket
from poolmgr.crawl.question import Question, is_reply
from poolmgr.crawl.tasks import now, wait
from poolmgr.errors import PoolmgrError
from poolmgr.hosts import HostName, IPAddress
from poolmgr.model import Family


@dataclass(frozen=True, slots=True, kw_only=True)
class Nameservers:
    """Who is asked for addresses, and for how long in all per name. No `servers`: those of the system."""

    servers: tuple[tuple[IPAddress, int], ...] = ()
    timeout: timedelta = timedelta(seconds=5)


def _random_id() -> int:
    return secrets.randbits(16)


class Resolver:
    """Looks names up at recursive nameservers. Threads may share one."""

    def __init__(self, nameservers: Nameservers, *, message_id: Callable[[], int] = _random_id) -> None:
        """Raise PoolmgrError when no nameservers are given and the system has none.

        `message_id` gives the ID of each question, 0 to 65535, that nobody can foretell (RFC 5452 section 4.3).
        """
        self._timeout = nameservers.timeout
        self._message_id = message_id
        self._servers = nameservers.servers or _system_servers()

    def addresses(self, name: HostName) -> Answer:
        """Return the addresses of `name` in both families, or why there are none.

        A family that cannot be had does not count where the other one can. Raises PoolmgrError when this process may
        not open another socket.
        """
        end = now() + self._timeout.total_seconds()
        asked = name.to_name()
        questions = [Question(asked, family, len(self._servers), self._message_id) for family in Family]
        with _Lines(self._servers) as lines:
            while any(question.is_open for question in questions) and now() < end:
                lines.ask(questions, end)
        addresses = tuple(address for question in questions for address in question.addresses)
        if not addresses:
            return Answer(problem=self._problem(questions))
        return Answer(addresses, is_canonical=_is_canonical(questions))

    def _problem(self, questions: list[Question]) -> str:
        problems = [question.problem for question in questions if question.problem is not None]
        if problems:
            return problems[0]
        if any(question.is_open for question in questions):
            return f"the nameservers did not answer within {self._timeout.total_seconds():g} s"
        return "the name has neither A nor AAAA records"


def _is_canonical(questions: list[Question]) -> bool | None:
    """Return whether the name has its addresses itself, None where a family that was not had may say otherwise."""
    if any(question.is_alias for question in questions):
        return False
    return True if all(not question.is_open and question.problem is None for question in questions) else None


def _system_servers() -> tuple[tuple[IPAddress, int], ...]:
    import dns.resolver  # noqa: PLC0415 -- start-up time, for crawls with the system's nameservers alone

    try:
        resolver = dns.resolver.Resolver()
    except dns.resolver.NoResolverConfiguration as error:
        raise PoolmgrError("this system names no nameservers: set crawl.nameservers") from error
    return tuple((ipaddress.ip_address(str(server)), resolver.port) for server in resolver.nameservers)


class _Lines:
    """One UDP socket to each nameserver that was asked about a name, each from a source port of its own.

    The kernel chooses the port at random and drops what other addresses send; the ID and the question are compared
    here: what RFC 5452 asks of a resolver.
    """

    def __init__(self, servers: tuple[tuple[IPAddress, int], ...]) -> None:
        self._servers = servers
        self._sockets: dict[int, socket.socket] = {}

    def ask(self, questions: list[Question], end: float) -> None:
        """Send the questions that are due, and take in what comes until one is due again or it is `end`."""
        for question in questions:
            if question.is_open and question.due <= now():
                self._send(question, question.next_server(now()), questions)
        due = min((question.due for question in questions if question.is_open), default=0.0)
        wait(tuple(self._sockets.values()), select.POLLIN, max(min(due, end) - now(), 0))
        for server in tuple(self._sockets):
            self._receive(server, questions, end)

    def _send(self, question: Question, server: int, questions: list[Question]) -> None:
        try:
            self._line(server).send(question.wire)
        except OSError as error:
            self._broken(server, error, questions)

    def _line(self, server: int) -> socket.socket:
        if server not in self._sockets:
            address, port = self._servers[server]
            line = self._sockets[server] = open_socket(socket.socket, address.version, socket.SOCK_DGRAM)
            line.connect((str(address), port))
        return self._sockets[server]

    def _receive(self, server: int, questions: list[Question], end: float) -> None:
        """Take in what has come from one nameserver."""
        while any(question.is_open for question in questions):
            try:
                wire = self._sockets[server].recv(65535)
            except BlockingIOError:
                return
            except OSError as error:
                self._broken(server, error, questions)
                return
            for question in questions:
                # What is no reply to a question is dropped: anybody may have sent it.
                if question.is_open and is_reply(wire, question.wire) and not question.answered(server, wire):
                    self._ask_over_tcp(question, server, end)

    def _ask_over_tcp(self, question: Question, server: int, end: float) -> None:
        """Ask again over TCP, in half of the time that is left: the rest is for other nameservers and questions."""
        address, port = self._servers[server]
        try:
            with open_socket(Line, address.version, socket.SOCK_STREAM) as line:
                line.until((now() + end) / 2)
                line.reach(address, port)
                line.sendall(len(question.wire).to_bytes(2) + question.wire)
                wire = _tcp_message(line)
        except (OSError, EOFError) as error:
            question.failed(server, f"{type(error).__name__} over TCP")
            return
        if not is_reply(wire, question.wire) or not question.answered(server, wire):
            question.failed(server, "no answer over TCP")

    def _broken(self, server: int, error: OSError, questions: list[Question]) -> None:
        for question in questions:
            if question.is_open:
                question.failed(server, error.strerror or "unreachable")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        for line in self._sockets.values():
            line.close()


def _tcp_message(line: Line) -> bytes:
    """Return the next message: two octets of length before it (RFC 1035 section 4.2.2); raise EOFError at the end."""
    received = b""
    while len(received) < 2 or len(received) < 2 + int.from_bytes(received[:2]):
        some = line.recv(65535)
        if not some:
            raise EOFError
        received += some
    return received[2 : 2 + int.from_bytes(received[:2])]
