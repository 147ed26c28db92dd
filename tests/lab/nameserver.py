"""A recursive-looking nameserver on loopback that answers from a table.

    with Nameserver() as nameserver:
        nameserver.records["a.mesh.test"] = ["127.1.2.3", "::1"]
        nameserver.records["b.mesh.test"] = ["a.mesh.test"]          # a CNAME
        nameserver.faults["c.mesh.test"] = NameFault.SERVFAIL
        crawl(..., nameservers=Nameservers(servers=(nameserver.server,)))

Names that are in neither table do not exist (NXDOMAIN). Both tables may be changed while it runs.
"""

from __future__ import annotations

import contextlib
import enum
import ipaddress
import socketserver
import struct
import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Self

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

MAX_CHAIN = 8
TTL = 60


class NameFault(enum.Enum):
    """How a name is answered wrongly."""

    SERVFAIL = "servfail"
    REFUSED = "refused"
    SILENT = "silent"
    NO_AAAA = "servfail for AAAA only"
    SILENT_AAAA = "silent for AAAA only"
    GARBAGE = "bytes that are no DNS message"


class Nameserver:
    """The nameserver. `asked` has the (name, type) of every question in the order they came.

    A name that is in `later` has those addresses, instead of its `records`, whenever it is asked for a type again.
    """

    def __init__(self) -> None:
        self.records: dict[str, list[str]] = {}
        self.later: dict[str, list[str]] = {}
        self.faults: dict[str, NameFault] = {}
        self.asked: list[tuple[str, str]] = []
        self._udp, self._tcp = _bound(self)
        self._threads = [threading.Thread(target=each.serve_forever, args=(0.02,)) for each in (self._udp, self._tcp)]

    @property
    def server(self) -> tuple[ipaddress.IPv4Address, int]:
        """Its address and port, UDP and TCP."""
        return ipaddress.IPv4Address("127.0.0.1"), self._udp.server_address[1]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        for each in (self._udp, self._tcp):
            each.shutdown()
            each.server_close()
        for thread in self._threads:
            thread.join()

    def answer(self, wire: bytes, max_size: int) -> bytes | None:
        """Return the answer to the question in `wire`, truncated over `max_size` bytes; None is silence."""
        try:
            query = dns.message.from_wire(wire)
            question = query.question[0]
        except (dns.exception.DNSException, IndexError):
            return None
        name = question.name.to_text(omit_final_dot=True).lower()
        rdtype = dns.rdatatype.to_text(question.rdtype)
        is_later = name in self.later and (name, rdtype) in self.asked
        self.asked.append((name, rdtype))
        reply = dns.message.make_response(query, recursion_available=True)
        fault = self.faults.get(name)
        if fault is NameFault.SILENT or (fault is NameFault.SILENT_AAAA and rdtype == "AAAA"):
            return None
        if fault is NameFault.GARBAGE:
            return wire[:2] + b"\x80\x00garbage"
        if fault is NameFault.SERVFAIL or (fault is NameFault.NO_AAAA and rdtype == "AAAA"):
            reply.set_rcode(dns.rcode.SERVFAIL)
        elif fault is NameFault.REFUSED:
            reply.set_rcode(dns.rcode.REFUSED)
        else:
            _fill(reply, self.later if is_later else self.records, name, rdtype)
        try:
            return reply.to_wire(max_size=max_size)
        except dns.exception.TooBig:
            reply.answer.clear()
            reply.flags |= dns.flags.TC
            return reply.to_wire(max_size=max_size)


def _fill(reply: dns.message.Message, records: Mapping[str, list[str]], name: str, rdtype: str) -> None:
    for _ in range(MAX_CHAIN):
        values = records.get(name)
        if values is None:
            reply.set_rcode(dns.rcode.NXDOMAIN)
            return
        owner = dns.name.from_text(name)
        if len(values) == 1 and not _is_address(values[0]):
            reply.answer.append(dns.rrset.from_text(owner, TTL, "IN", "CNAME", values[0].rstrip(".") + "."))
            name = values[0].rstrip(".").lower()
            continue
        wanted = [value for value in values if (":" in value) == (rdtype == "AAAA")]
        if wanted:
            reply.answer.append(dns.rrset.from_text(owner, TTL, "IN", rdtype, *wanted))
        return


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


class _Udp(socketserver.ThreadingUDPServer):
    daemon_threads = True
    block_on_close = False
    max_packet_size = 65535


class _Tcp(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128


def _bound(nameserver: Nameserver) -> tuple[_Udp, _Tcp]:
    """Return servers on one port that is free for both protocols."""

    class OverUdp(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            wire, sock = self.request
            answer = nameserver.answer(wire, max_size=1232)
            if answer is not None:
                sock.sendto(answer, self.client_address)

    class OverTcp(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(ConnectionError):
                length = self.rfile.read(2)
                if len(length) == 2:
                    answer = nameserver.answer(self.rfile.read(struct.unpack("!H", length)[0]), max_size=65535)
                    if answer is not None:
                        self.wfile.write(struct.pack("!H", len(answer)) + answer)

    for _ in range(100):
        udp = _Udp(("127.0.0.1", 0), OverUdp)
        try:
            return udp, _Tcp(("127.0.0.1", udp.server_address[1]), OverTcp)
        except OSError:
            udp.server_close()
    raise OSError("no port of 127.0.0.1 is free for both UDP and TCP")
