"""Exchanges with a name server, and the questions that publishers ask it."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from types import TracebackType
from typing import Self

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rdatatype

from poolmgr.errors import Conflict, PublishError, ZoneError
from poolmgr.publish.refusal import is_overtaken, refusal, unsigned_refusal
from poolmgr.publish.tsig import TsigKey
from poolmgr.publish.wire import Closed, Connection, Server, connect, send
from poolmgr.zone.desired import soa_serial
from poolmgr.zone.records import Records, RRset, RRsetKey

MAX_MESSAGE = 65_535
"""Octets of one DNS message over TCP (RFC 1035 section 4.2.2)."""

AT_ONCE = 64
"""Questions that are under way together: they fit into the buffers of any connection, so that no side blocks."""


class TooLarge(PublishError):
    """The message does not fit into MAX_MESSAGE octets: nothing was sent."""


def exchange(request: dns.message.Message, server: Server, key: TsigKey | None = None) -> dns.message.Message:
    """Send `request` over TCP or TLS, signed with `key` if there is one, and return the good reply.

    A good reply is whole, says NOERROR, or NXDOMAIN to a question, and is signed if the request was. Raises NoReply
    where the request was sent and no whole reply came back, Conflict where a prerequisite of an update does not hold,
    PublishError where nothing was sent and for any other reply.
    """
    return _good_reply(request, send(render(request, key), server), server)


def _good_reply(request: dns.message.Message, answer: bytes, server: Server) -> dns.message.Message:
    try:
        reply = dns.message.from_wire(answer, keyring=request.keyring, request_mac=request.mac)
    except (dns.exception.DNSException, ValueError) as error:
        raise PublishError(f"{server} {_diagnosis(request, answer)}") from error
    if not request.is_response(reply):
        raise PublishError(f"{server} answered something else than it was asked: is the port right?")
    problem = refusal(request, reply)
    if problem is not None:
        kind = Conflict if is_overtaken(request, reply) else PublishError
        raise kind(f"{server} {problem}")
    if reply.flags & dns.flags.TC:
        raise PublishError(f"{server} cut its reply short (TC), although nothing is cut over TCP: see its log")
    return reply


def render(request: dns.message.Message, key: TsigKey | None) -> bytes:
    """Return `request` as it is sent, signed with `key` if there is one.

    Signing is of the moment: a message is rendered for sending once. Raises TooLarge where it does not fit.
    """
    if key is not None:
        request.use_tsig(key.to_dnspython())
    try:
        return request.to_wire()
    except dns.exception.TooBig as error:
        raise TooLarge(
            f"the message is larger than the {MAX_MESSAGE} octets that DNS allows: lower max_records"
        ) from error


class Conversation:
    """Questions to `server`, signed with `tsig` if there is one. A context manager.

    They go over one connection, up to AT_ONCE of them together (RFC 7766 section 6.2.1), for which all of them have the
    server's timeout. A server that closes the connection early is asked the rest over others, one question at a time.
    """

    def __init__(self, server: Server, tsig: TsigKey | None = None) -> None:
        self._server = server
        self._tsig = tsig
        self._at_once = AT_ONCE
        self._opened = contextlib.ExitStack()
        self._connection: Connection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.close()

    def rrsets(self, keys: Iterable[RRsetKey]) -> Records:
        """Return the RRsets at `keys` as the server has them in its own zone, without those that there are not.

        Raises PublishError where it gives no answer, or not one of its own (AA, RFC 1035 section 4.1.1); ZoneError
        where an owner name is an alias.
        """
        waiting = dict.fromkeys(keys)
        found: dict[RRsetKey, RRset] = {}
        while waiting:
            questions = tuple(islice(waiting, self._at_once))
            is_new = self._connection is None
            connection = self._connection or self._connect()
            try:
                for key, reply in self._replies(connection, questions):
                    is_new = False
                    del waiting[key]
                    rrset = _rrset_in(reply, key, self._server)
                    if rrset is not None:
                        found[key] = rrset
            except Closed:
                # Where it did not take even one question, it takes none.
                if is_new and len(questions) == 1:
                    raise
                self._opened.close()
                self._connection = None
                self._at_once = 1
        return found

    def serial(self, origin: dns.name.Name) -> int:
        """Return the SOA serial of the zone `origin`. Raises PublishError where the server has no such zone."""
        serial = soa_serial(self.rrsets([(origin, dns.rdatatype.SOA)]), origin)
        if serial is None:
            raise PublishError(
                f"{self._server} has no zone {origin}: set it up there, or mend the zone's name in the config"
            )
        return serial

    def _connect(self) -> Connection:
        self._connection = self._opened.enter_context(connect(self._server))
        return self._connection

    def _replies(
        self, connection: Connection, keys: Sequence[RRsetKey]
    ) -> Iterator[tuple[RRsetKey, dns.message.Message]]:
        """Yield the good reply to each of the questions, told apart by their ids (RFC 7766 section 7)."""
        ids = random.SystemRandom().sample(range(1 << 16), len(keys))
        asked = {id_: (key, dns.message.make_query(*key, flags=0, id=id_)) for id_, key in zip(ids, keys, strict=True)}
        for answer in connection.exchange([render(request, self._tsig) for _, request in asked.values()]):
            # One that belongs to none of them is no good reply to any.
            id_ = int.from_bytes(answer[:2])
            key, request = asked.pop(id_ if id_ in asked else next(iter(asked)))
            yield key, _good_reply(request, answer, self._server)


def _rrset_in(reply: dns.message.Message, key: RRsetKey, server: Server) -> RRset | None:
    owner, rdtype = key
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


def ask_rrset(key: RRsetKey, server: Server, tsig: TsigKey | None = None) -> RRset | None:
    """Return the one RRset at `key`, None where there is none: see Conversation.rrsets."""
    with Conversation(server, tsig) as conversation:
        return conversation.rrsets([key]).get(key)


def ask_serial(origin: dns.name.Name, server: Server, tsig: TsigKey | None = None) -> int:
    """Return the SOA serial of the zone `origin` that `server` answers with: see Conversation.serial."""
    with Conversation(server, tsig) as conversation:
        return conversation.serial(origin)


def _diagnosis(request: dns.message.Message, answer: bytes) -> str:
    """Return why `answer` does not count. It is parsed again without its signature, only to see what it says."""
    if request.had_tsig:
        with contextlib.suppress(dns.exception.DNSException, ValueError):
            return unsigned_refusal(request, dns.message.from_wire(answer, keyring=False, ignore_trailing=True))
    return "answered with something that is no DNS message: is the port right?"
