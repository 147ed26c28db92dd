"""Questions to nameservers, and what their replies say.

The octets are read and written by dnspython's parser and names, without its messages: they hold every record in objects
of their own, and a crawl needs none but addresses. Twice as many names are looked up in the same time.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Callable
from dataclasses import dataclass

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.wire

from poolmgr.errors import ParseError
from poolmgr.hosts import IPAddress
from poolmgr.model import Family

EDNS_PAYLOAD = 1232
"""Bytes of an answer over UDP that pass everywhere unfragmented: more comes over TCP."""

FIRST_WAIT = 0.4
"""Seconds until a question is sent again, to the next nameserver; each further wait is twice as long. A recursive
nameserver that knows the answer is back in far less, and one that must ask around answers the first question late."""

MAX_ALIASES = 8
"""Answers that end in an alias without its addresses and are followed, beside the chains within one answer."""

MAX_CHAIN = 16
"""Aliases that are followed within one answer."""

_HEADER = struct.Struct("!6H")
_TYPES = {family: dns.rdatatype.from_text(family.rdtype) for family in Family}
_QUERIES = {
    family: dns.message.make_query(dns.name.root, family.rdtype, use_edns=0, payload=EDNS_PAYLOAD).to_wire()
    for family in Family
}
"""A question for the root name by family: all that a question has beside its ID and name."""

_Owner = tuple[bytes, ...]

_ADDRESS_OCTETS = {Family.IPV4: 4, Family.IPV6: 16}


def query_wire(name: dns.name.Name, family: Family, message_id: int) -> bytes:
    """Return the query for the addresses of `name`, with recursion and EDNS (RFC 1035 section 4.1, RFC 6891)."""
    of_root = _QUERIES[family]
    head, tail = of_root[2 : _HEADER.size], of_root[_HEADER.size + 1 :]
    return message_id.to_bytes(2) + head + (name.to_wire() or b"") + tail


def is_reply(wire: bytes, query: bytes) -> bool:
    """Whether `wire` has the ID and the question of `query` and is a reply to it (RFC 5452 section 9.1)."""
    if len(wire) < _HEADER.size or wire[:2] != query[:2]:
        return False
    _, flags, questions, _, _, _ = _HEADER.unpack_from(wire)
    if not flags & dns.flags.QR or flags >> 11 & 0xF or questions > 1:
        return False
    # One that only says what is wrong may leave the question out.
    if questions == 0:
        return flags & 0xF in {dns.rcode.FORMERR, dns.rcode.SERVFAIL, dns.rcode.NOTIMP, dns.rcode.REFUSED}
    asked = query[_HEADER.size : query.index(b"\0", _HEADER.size) + 5]
    return wire[_HEADER.size : _HEADER.size + len(asked)].lower() == asked.lower()


@dataclass(frozen=True, slots=True)
class Reply:
    """What a nameserver says of the addresses of a name.

    `alias` is the last name of the chain that the answer follows from the name asked for, and `addresses` are those of
    this name. `is_denial` says that the nameserver looked for records and found none, rather than no further than an
    alias (RFC 2308).
    """

    rcode: int
    is_truncated: bool
    addresses: tuple[IPAddress, ...] = ()
    alias: dns.name.Name | None = None
    is_denial: bool = False


def parse_reply(wire: bytes, name: dns.name.Name, family: Family) -> Reply:
    """Return what the reply `wire` to the query for `name` and `family` says.

    Nothing is read of one that is truncated. Raises ParseError for octets that are no DNS message, or whose aliases go
    in a circle.
    """
    try:
        return _parse_reply(wire, name, family)
    except (dns.exception.DNSException, struct.error) as error:
        raise ParseError(f"not a DNS message ({type(error).__name__})") from error


def _parse_reply(wire: bytes, name: dns.name.Name, family: Family) -> Reply:
    parser = dns.wire.Parser(wire)
    _, flags, questions, answers, authorities, additional = parser.get_struct("!6H")
    if flags & dns.flags.TC:
        return Reply(rcode=flags & 0xF, is_truncated=True)
    for _ in range(questions):
        parser.get_name(decompress=True)
        parser.get_bytes(4)
    addresses: dict[_Owner, list[IPAddress]] = {}
    aliases: dict[_Owner, dns.name.Name] = {}
    rcode = flags & 0xF
    is_denial = False
    for number in range(answers + authorities + additional):
        owner = parser.get_name(decompress=True)
        rdtype, rdclass, ttl, length = parser.get_struct("!HHIH")
        with parser.restrict_to(length):
            if number >= answers + authorities:
                # The upper bits of the RCODE are in the OPT record (RFC 6891 section 6.1.3).
                rcode |= (ttl >> 24) << 4 if rdtype == dns.rdatatype.OPT else 0
            elif number >= answers:
                is_denial = is_denial or rdtype == dns.rdatatype.SOA
            elif rdclass == dns.rdataclass.IN and rdtype == _TYPES[family]:
                octets = parser.get_bytes(_ADDRESS_OCTETS[family])
                addresses.setdefault(_owner(owner), []).append(ipaddress.ip_address(octets))
                continue
            elif rdclass == dns.rdataclass.IN and rdtype == dns.rdatatype.CNAME:
                aliases.setdefault(_owner(owner), parser.get_name(decompress=True))
                continue
            parser.get_remaining()
    meant = name
    for _ in range(MAX_CHAIN):
        key = _owner(meant)
        if key in addresses or key not in aliases:
            break
        meant = aliases[key]
    else:
        raise ParseError(f"more than {MAX_CHAIN} aliases in one answer")
    return Reply(
        rcode=rcode,
        is_truncated=False,
        addresses=tuple(addresses.get(_owner(meant), ())),
        alias=None if meant is name else meant,
        is_denial=is_denial,
    )


def _owner(name: dns.name.Name) -> _Owner:
    """Return what tells `name` from others: not its own hash, by which anybody can make names that are all alike."""
    return tuple(label.lower() for label in name.labels)


class Question:
    """One family of one name: which nameserver is asked next and when, and what came of it."""

    def __init__(self, name: dns.name.Name, family: Family, servers: int, message_id: Callable[[], int]) -> None:
        self._family = family
        self._servers = servers
        self._message_id = message_id
        self._aliases = 0
        self.addresses: tuple[IPAddress, ...] = ()
        self.problem: str | None = None
        self.is_alias = False
        self.is_open = True
        self._begin(name)

    def _begin(self, name: dns.name.Name) -> None:
        self._name = name
        self.wire = query_wire(name, self._family, self._message_id())
        self.due = 0.0
        self._wait = FIRST_WAIT
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

    def answered(self, server: int, wire: bytes) -> bool:
        """Take in a reply, and return False where it is truncated and to be asked for over TCP."""
        try:
            reply = parse_reply(wire, self._name, self._family)
        except ParseError as error:
            self.failed(server, str(error))
            return True
        if reply.is_truncated:
            return False
        self.is_alias = self.is_alias or reply.alias is not None
        if reply.rcode not in {dns.rcode.NOERROR, dns.rcode.NXDOMAIN}:
            self.failed(server, dns.rcode.to_text(dns.rcode.Rcode.make(reply.rcode)))
        elif reply.addresses:
            self.addresses = reply.addresses
            self._close(None)
        elif reply.rcode == dns.rcode.NXDOMAIN:
            self._close("no such name (NXDOMAIN)")
        elif reply.alias is not None and not reply.is_denial:
            self._follow(reply.alias)
        else:
            self._close(None)
        return True

    def _follow(self, name: dns.name.Name) -> None:
        self._aliases += 1
        if self._aliases > MAX_ALIASES:
            self._close(f"the name is an alias of an alias, and so on more than {MAX_ALIASES} times")
        else:
            self._begin(name)

    def _close(self, problem: str | None) -> None:
        self.problem = problem
        self.is_open = False
