"""One exchange with a name server, and the questions that publishers ask it."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rdatatype

from poolmgr.errors import PublishError, ZoneError
from poolmgr.hosts import IPAddress
from poolmgr.publish.refusal import refusal, unsigned_refusal
from poolmgr.publish.tsig import TsigKey
from poolmgr.zone.desired import soa_serial
from poolmgr.zone.records import RRset, RRsetKey

MAX_MESSAGE = 65_535
"""Octets of one DNS message over TCP (RFC 1035 section 4.2.2)."""

_FIRST_PAUSE = timedelta(milliseconds=20)
_LONGEST_PAUSE = timedelta(milliseconds=500)


class NoReply(PublishError):
    """The message was sent, but no reply came: the server may or may not have acted on it."""


@dataclass(frozen=True, slots=True)
class Server:
    """A name server. `timeout` bounds one exchange as a whole, from connect to the last octet."""

    address: IPAddress
    port: int
    timeout: timedelta

    def __str__(self) -> str:
        """Return how errors name it."""
        return f"name server {self.address} port {self.port}"


def exchange(request: dns.message.Message, server: Server, key: TsigKey | None = None) -> dns.message.Message:
    """Send `request` over TCP, signed with `key` if there is one, and return the good reply.

    A good reply says NOERROR, or NXDOMAIN to a question, and is signed if the request was. Raises NoReply where the
    request was sent and no whole reply came back, PublishError where it was not sent and for any other reply.
    """
    if key is not None:
        request.use_tsig(key.to_dnspython())
    try:
        wire = request.to_wire()
    except dns.exception.TooBig as error:
        raise PublishError(
            f"the message to {server} is larger than the {MAX_MESSAGE} octets that DNS allows: lower max_records"
        ) from error
    answer = _send(wire, server)
    try:
        reply = dns.message.from_wire(answer, keyring=request.keyring, request_mac=request.mac)
    except (dns.exception.DNSException, ValueError) as error:
        raise PublishError(f"{server} {_diagnosis(request, answer)}") from error
    if not request.is_response(reply):
        raise PublishError(f"{server} answered something else than it was asked: is the port right?")
    problem = refusal(request, reply)
    if problem is not None:
        raise PublishError(f"{server} {problem}")
    return reply


def ask_rrset(key: RRsetKey, server: Server, tsig: TsigKey | None = None) -> RRset | None:
    """Return the RRset at `key` as `server` has it in its own zone, None where there is none.

    Raises PublishError where it gives no answer, or not one of its own (AA, RFC 1035 section 4.1.1); ZoneError where
    the owner name is an alias.
    """
    owner, rdtype = key
    reply = exchange(dns.message.make_query(owner, rdtype, flags=0), server, tsig)
    if not reply.flags & dns.flags.AA:
        raise PublishError(
            f"{server} has no data of its own for {owner}: give the address of the zone's primary, and no name that "
            "the zone delegates"
        )
    for rrset in reply.answer:
        if rrset.name == owner and rrset.rdtype == rdtype:
            return RRset(owner, rdtype, rrset.ttl, frozenset(rrset))
        if rrset.name == owner and rrset.rdtype == dns.rdatatype.CNAME:
            raise ZoneError(f"{owner} is an alias (CNAME) at {server}: remove the alias, or rename the pool")
    return None


def ask_serial(origin: dns.name.Name, server: Server, tsig: TsigKey | None = None) -> int:
    """Return the SOA serial of the zone `origin` that `server` answers with.

    Raises PublishError where it gives no answer of its own, or has no such zone.
    """
    soa = ask_rrset((origin, dns.rdatatype.SOA), server, tsig)
    serial = None if soa is None else soa_serial({soa.key: soa}, origin)
    if serial is None:
        raise PublishError(f"{server} has no zone {origin}: set it up there, or mend the zone's name in the config")
    return serial


def attempts(timeout: timedelta) -> Iterator[timedelta]:
    """Yield the time that is left, at once and again after growing pauses, until `timeout` is over."""
    deadline = time.monotonic() + timeout.total_seconds()
    pause = _FIRST_PAUSE.total_seconds()
    while (left := deadline - time.monotonic()) > 0:
        yield timedelta(seconds=left)
        time.sleep(max(0.0, min(pause, deadline - time.monotonic())))
        pause = min(2 * pause, _LONGEST_PAUSE.total_seconds())


def _diagnosis(request: dns.message.Message, answer: bytes) -> str:
    """Return why `answer` does not count. It is parsed again without its signature, only to see what it says."""
    if request.had_tsig:
        with contextlib.suppress(dns.exception.DNSException, ValueError):
            return unsigned_refusal(request, dns.message.from_wire(answer, keyring=False, ignore_trailing=True))
    return "answered with something that is no DNS message: is the port right?"


def _send(wire: bytes, server: Server) -> bytes:
    deadline = time.monotonic() + server.timeout.total_seconds()
    try:
        connection = socket.create_connection((str(server.address), server.port), server.timeout.total_seconds())
    except OSError as error:
        raise PublishError(
            f"{server} cannot be reached ({error.strerror or 'timed out'}), nothing was sent: is it running, and does "
            "it listen there with TCP?"
        ) from error
    with connection:
        try:
            connection.settimeout(_left(deadline))
            connection.sendall(len(wire).to_bytes(2) + wire)
            return _receive(connection, int.from_bytes(_receive(connection, 2, deadline)), deadline)
        except TimeoutError as error:
            seconds = server.timeout.total_seconds()
            raise NoReply(f"{server} gave no whole reply within {seconds:g} s: see its log and its load") from error
        except (OSError, EOFError) as error:
            raise NoReply(f"{server} closed the connection without a whole reply: see its log") from error


def _receive(connection: socket.socket, count: int, deadline: float) -> bytes:
    """Return exactly `count` octets. The deadline bounds them together, however slowly they drip."""
    received = b""
    while len(received) < count:
        connection.settimeout(_left(deadline))
        chunk = connection.recv(count - len(received))
        if not chunk:
            raise EOFError
        received += chunk
    return received


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
