"""Names to addresses.

A stub resolver over dnspython's wire codec. dnspython's own waits five seconds before it sends a lost question again,
and asks for the two families one after the other: a crawl of thousands of names spends its time on that.
"""

from __future__ import annotations

import errno
import ipaddress
import select
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import Self

import dns.entropy
import dns.exception
import dns.flags
import dns.inet
import dns.message
import dns.name
import dns.nameserver
import dns.query
import dns.rcode
import dns.rdatatype
import dns.resolver

from poolmgr.crawl.frontier import Answer
from poolmgr.errors import PoolmgrError
from poolmgr.hosts import IPAddress
from poolmgr.model import Family

_EDNS_PAYLOAD = 1232
"""Bytes of an answer over UDP that pass everywhere unfragmented: more comes over TCP."""

_FIRST_WAIT = 0.4
"""Seconds until a question is sent again, to the next nameserver; each further wait is twice as long. A recursive
nameserver that knows the answer is back in far less, and one that must ask around answers the first question late."""

_MAX_ALIASES = 8
"""Answers that end in an alias without its addresses and are followed, beside the chains within one answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Nameservers:
    """Who is asked for addresses, and for how long in all per name. No `servers`: those of the system."""

    servers: tuple[tuple[IPAddress, int], ...] = ()
    timeout: timedelta = timedelta(seconds=5)


class Resolver:
    """Looks names up at recursive nameservers. Threads may share one."""

    def __init__(self, nameservers: Nameservers, *, message_id: Callable[[], int] = dns.entropy.random_16) -> None:
        """Raise PoolmgrError when no nameservers are given and the system has none.

        `message_id` gives the ID of each question, 0 to 65535, that nobody can foretell (RFC 5452 section 4.3).
        """
        self._timeout = nameservers.timeout
        self._message_id = message_id
        self._servers = [(str(address), port) for address, port in nameservers.servers] or _system_servers()

    def addresses(self, name: dns.name.Name) -> Answer:
        """Return the addresses of `name` in both families, or why there are none.

        A family that cannot be had does not count where the other one can. Raises PoolmgrError when this process may
        not open another socket.
        """
        end = time.monotonic() + self._timeout.total_seconds()
        questions = [_Question(name, family, len(self._servers), self._message_id) for family in Family]
        with _Lines(self._servers) as lines:
            while any(question.is_open for question in questions) and time.monotonic() < end:
                lines.ask(questions, end)
        addresses = tuple(address for question in questions for address in question.addresses)
        return Answer(addresses) if addresses else Answer(problem=self._problem(questions))

    def _problem(self, questions: list[_Question]) -> str:
        problems = [question.problem for question in questions if question.problem is not None]
        if problems:
            return problems[0]
        if any(question.is_open for question in questions):
            return f"the nameservers did not answer within {self._timeout.total_seconds():g} s"
        return "the name has neither A nor AAAA records"


def _system_servers() -> list[tuple[str, int]]:
    try:
        resolver = dns.resolver.Resolver()
    except dns.resolver.NoResolverConfiguration as error:
        raise PoolmgrError("this system names no nameservers: set crawl.nameservers") from error
    return [(str(server), resolver.port) for server in resolver.nameservers]


class _Question:
    """One family of one name: which nameserver is asked next and when, and what came of it. Touches nothing."""

    def __init__(self, name: dns.name.Name, family: Family, servers: int, message_id: Callable[[], int]) -> None:
        self._family = family
        self._servers = servers
        self._message_id = message_id
        self._aliases = 0
        self.addresses: tuple[IPAddress, ...] = ()
        self.problem: str | None = None
        self.is_open = True
        self._begin(name)

    def _begin(self, name: dns.name.Name) -> None:
        self.query = dns.message.make_query(
            name, self._family.rdtype, use_edns=0, payload=_EDNS_PAYLOAD, id=self._message_id()
        )
        self.wire = self.query.to_wire()
        self.due = 0.0
        self._wait = _FIRST_WAIT
        self._untried = list(range(self._servers))
        self._failures: set[str] = set()

    def next_server(self, now: float) -> int:
        """Return which nameserver is asked now, and be due again when it has had its time."""
        self.due = now + self._wait
        self._wait *= 2
        self._untried.append(self._untried.pop(0))
        return self._untried[-1]

    def failed(self, server: int, failure: str) -> None:
        """Ask the nameserver no more, but at once the next one; the question ends with the last of them."""
        if server not in self._untried:
            return
        self._untried.remove(server)
        self._failures.add(failure)
        self.due = 0.0
        if not self._untried:
            self._close(f"the nameservers failed ({', '.join(sorted(self._failures))})")

    def answered(self, server: int, reply: dns.message.Message) -> None:
        """Take in the reply of a nameserver to the query."""
        rcode = reply.rcode()
        if rcode not in {dns.rcode.NOERROR, dns.rcode.NXDOMAIN}:
            self.failed(server, dns.rcode.to_text(rcode))
            return
        try:
            assert isinstance(reply, dns.message.QueryMessage)
            chain = reply.resolve_chaining()
        except dns.exception.DNSException as error:
            self._close(f"the nameservers sent nonsense ({type(error).__name__})")
            return
        if chain.answer is not None:
            self.addresses = tuple(ipaddress.ip_address(record.address) for record in chain.answer)
            self._close(None)
        elif rcode == dns.rcode.NXDOMAIN:
            self._close("no such name (NXDOMAIN)")
        elif chain.cnames and not _says_there_is_nothing(reply):
            self._follow(chain.canonical_name)
        else:
            self._close(None)

    def _follow(self, name: dns.name.Name) -> None:
        self._aliases += 1
        if self._aliases > _MAX_ALIASES:
            self._close(f"the name is an alias of an alias, and so on more than {_MAX_ALIASES} times")
        else:
            self._begin(name)

    def _close(self, problem: str | None) -> None:
        self.problem = problem
        self.is_open = False


def _says_there_is_nothing(reply: dns.message.Message) -> bool:
    """Whether the nameserver looked for records and found none, rather than no further than an alias (RFC 2308)."""
    return any(rrset.rdtype == dns.rdatatype.SOA for rrset in reply.authority)


class _Lines:
    """One UDP socket to each nameserver that was asked about a name, each from a source port of its own.

    The kernel chooses the port at random and drops what other addresses send; the ID and the question are compared
    here: what RFC 5452 asks of a resolver.
    """

    def __init__(self, servers: list[tuple[str, int]]) -> None:
        self._servers = servers
        self._sockets: dict[int, socket.socket] = {}
        self._poll = select.poll()

    def ask(self, questions: list[_Question], end: float) -> None:
        """Send the questions that are due, and take in what comes until one is due again or it is `end`."""
        now = time.monotonic()
        for question in questions:
            if question.is_open and question.due <= now:
                self._send(question, question.next_server(now), questions)
        due = min((question.due for question in questions if question.is_open), default=now)
        left = min(due, end) - time.monotonic()
        by_descriptor = {line.fileno(): server for server, line in self._sockets.items()}
        for descriptor, _ in self._poll.poll(max(left, 0) * 1000):
            self._receive(by_descriptor[descriptor], questions, end)

    def _send(self, question: _Question, server: int, questions: list[_Question]) -> None:
        try:
            self._line(server).send(question.wire)
        except OSError as error:
            self._broken(server, error, questions)

    def _line(self, server: int) -> socket.socket:
        if server not in self._sockets:
            host, port = self._servers[server]
            family = dns.inet.af_for_address(host)
            line = self._sockets[server] = _udp_socket(family)
            line.settimeout(0)
            line.connect(dns.inet.low_level_address_tuple((host, port), family))
            self._poll.register(line, select.POLLIN)
        return self._sockets[server]

    def _receive(self, server: int, questions: list[_Question], end: float) -> None:
        """Take in all that has come from one nameserver."""
        while True:
            try:
                wire = self._sockets[server].recv(65535)
            except BlockingIOError:
                return
            except OSError as error:
                self._broken(server, error, questions)
                return
            for question in questions:
                if question.is_open and wire[:2] == question.wire[:2]:
                    self._read(question, server, wire, end)

    def _read(self, question: _Question, server: int, wire: bytes, end: float) -> None:
        """Take in what may be the reply to a question. What is not is dropped: anybody may have sent it."""
        try:
            reply = dns.message.from_wire(wire)
        except dns.exception.DNSException:
            return
        if not question.query.is_response(reply):
            return
        if reply.flags & dns.flags.TC:
            self._read_over_tcp(question, server, end)
        else:
            question.answered(server, reply)

    def _read_over_tcp(self, question: _Question, server: int, end: float) -> None:
        """Ask again over TCP, in half of the time that is left: the rest is for other nameservers and questions."""
        host, port = self._servers[server]
        left = max(end - time.monotonic(), 0) / 2
        try:
            reply = dns.query.tcp(question.query, host, timeout=left, port=port)
        except (OSError, EOFError, dns.exception.DNSException) as error:
            question.failed(server, f"{type(error).__name__} over TCP")
        else:
            question.answered(server, reply)

    def _broken(self, server: int, error: OSError, questions: list[_Question]) -> None:
        for question in questions:
            if question.is_open:
                question.failed(server, error.strerror or "unreachable")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        for line in self._sockets.values():
            line.close()


def _udp_socket(family: int) -> socket.socket:
    try:
        return socket.socket(family, socket.SOCK_DGRAM)
    except OSError as error:
        if error.errno in {errno.EMFILE, errno.ENFILE}:
            sentence = f"no further socket can be opened ({error.strerror}): lower crawl.workers or raise ulimit -n"
            raise PoolmgrError(sentence) from error
        raise
