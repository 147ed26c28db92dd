from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from ipaddress import IPv4Address

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.resolver
import dns.rrset
import pytest

from poolmgr.crawl.frontier import Answer
from poolmgr.crawl.resolve import Nameservers, Resolver
from poolmgr.errors import PoolmgrError
from poolmgr.hosts import address_order
from tests.build import named
from tests.lab.nameserver import NameFault, Nameserver

TIMEOUT = 0.5


@pytest.fixture
def nameserver() -> Iterator[Nameserver]:
    with Nameserver() as running:
        yield running


def look_up(nameserver: Nameserver, name: str) -> Answer:
    resolver = Resolver(Nameservers(servers=(nameserver.server,), timeout=timedelta(seconds=TIMEOUT)))
    return resolver.addresses(named(name))


def found(answer: Answer) -> list[str]:
    return [str(address) for address in sorted(answer.addresses, key=address_order)]


def test_both_families_are_asked_for_once(nameserver: Nameserver) -> None:
    nameserver.records["a.test"] = ["127.0.0.7", "::7", "127.0.0.8"]
    answer = look_up(nameserver, "a.test")
    assert (found(answer), answer.problem) == (["127.0.0.7", "127.0.0.8", "::7"], None)
    assert answer.is_canonical is True
    assert sorted(nameserver.asked) == [("a.test", "A"), ("a.test", "AAAA")]


def test_an_alias_leads_to_its_addresses(nameserver: Nameserver) -> None:
    nameserver.records |= {"a.test": ["127.0.0.7"], "b.test": ["c.test"], "c.test": ["a.test"]}
    answer = look_up(nameserver, "b.test")
    assert (found(answer), answer.is_canonical) == (["127.0.0.7"], False)


def test_a_name_with_one_family_has_it_itself_where_the_other_is_known_to_be_none(nameserver: Nameserver) -> None:
    nameserver.records["a.test"] = ["127.0.0.7"]
    assert look_up(nameserver, "a.test").is_canonical is True


def test_a_thousand_addresses_come_over_tcp(nameserver: Nameserver) -> None:
    nameserver.records["wide.test"] = [f"127.9.{number // 250}.{number % 250}" for number in range(1000)]
    assert len(found(look_up(nameserver, "wide.test"))) == 1000


@pytest.mark.parametrize("fault", [NameFault.NO_AAAA, NameFault.SILENT_AAAA])
def test_one_family_failing_is_no_problem_where_the_other_answers(nameserver: Nameserver, fault: NameFault) -> None:
    nameserver.records["half.test"] = ["127.0.0.7"]
    nameserver.faults["half.test"] = fault
    answer = look_up(nameserver, "half.test")
    assert (found(answer), answer.problem, answer.is_canonical) == (["127.0.0.7"], None, None)


@pytest.mark.parametrize(
    ("fault", "problem"),
    [
        (NameFault.SERVFAIL, "the nameservers failed (SERVFAIL)"),
        (NameFault.REFUSED, "the nameservers failed (REFUSED)"),
        (NameFault.GARBAGE, "the nameservers did not answer within 0.5 s"),
        (NameFault.SILENT, "the nameservers did not answer within 0.5 s"),
    ],
)
def test_a_name_that_cannot_be_looked_up_says_why(nameserver: Nameserver, fault: NameFault, problem: str) -> None:
    nameserver.faults["bad.test"] = fault
    assert look_up(nameserver, "bad.test") == Answer(problem=problem)


def test_a_name_that_does_not_exist_is_asked_for_once_per_family(nameserver: Nameserver) -> None:
    assert look_up(nameserver, "gone.test") == Answer(problem="no such name (NXDOMAIN)")
    assert sorted(nameserver.asked) == [("gone.test", "A"), ("gone.test", "AAAA")]


def test_a_name_without_addresses_says_so(nameserver: Nameserver) -> None:
    nameserver.records["empty.test"] = []
    assert look_up(nameserver, "empty.test") == Answer(problem="the name has neither A nor AAAA records")


def test_a_loop_of_aliases_ends(nameserver: Nameserver) -> None:
    nameserver.records |= {"a.test": ["b.test"], "b.test": ["a.test"]}
    answer = look_up(nameserver, "a.test")
    assert answer.addresses == ()
    assert answer.problem is not None


def test_the_timeout_bounds_a_name_not_a_question(nameserver: Nameserver) -> None:
    nameserver.faults["bad.test"] = NameFault.SILENT
    start = time.monotonic()
    look_up(nameserver, "bad.test")
    assert TIMEOUT <= time.monotonic() - start < 10 * TIMEOUT


def test_a_system_without_nameservers_is_told_to_name_some(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise dns.resolver.NoResolverConfiguration

    monkeypatch.setattr(dns.resolver.Resolver, "read_resolv_conf", refuse)
    with pytest.raises(PoolmgrError, match=r"set crawl\.nameservers"):
        Resolver(Nameservers())


Address = tuple[IPv4Address, int]
Say = Callable[[dns.message.Message, socket.socket, tuple[str, int]], None]
"""Answers a query over the nameserver's socket, to the address that asked."""


@contextlib.contextmanager
def scripted(say: Say) -> Iterator[Address]:
    """Run a nameserver over UDP alone."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            wire, line = self.request
            say(dns.message.from_wire(wire), line, self.client_address)

    with socketserver.UDPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield IPv4Address("127.0.0.1"), server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def reply_to(query: dns.message.Message, address: str = "127.0.0.7", name: str = "a.test.") -> dns.message.Message:
    """Return a reply, to a question for `name`, with `address` where it asks for IPv4."""
    reply = dns.message.make_response(query, recursion_available=True)
    owner, rdtype = dns.name.from_text(name), query.question[0].rdtype
    reply.question = [dns.rrset.RRset(owner, dns.rdataclass.IN, rdtype)]
    if rdtype == dns.rdatatype.A:
        reply.answer.append(dns.rrset.from_text(owner, 60, "IN", "A", address))
    return reply


def honest(query: dns.message.Message, line: socket.socket, client: tuple[str, int]) -> None:
    line.sendto(reply_to(query).to_wire(), client)


def ask(*servers: Address, seconds: float = 20) -> Answer:
    resolver = Resolver(Nameservers(servers=servers, timeout=timedelta(seconds=seconds)))
    return resolver.addresses(named("a.test"))


def test_a_lost_question_is_sent_again_before_the_time_is_up() -> None:
    asked: Counter[dns.rdatatype.RdataType] = Counter()

    def forgetful(query: dns.message.Message, line: socket.socket, client: tuple[str, int]) -> None:
        rdtype = query.question[0].rdtype
        asked[rdtype] += 1
        if asked[rdtype] > 1:
            honest(query, line, client)

    with scripted(forgetful) as server:
        assert found(ask(server)) == ["127.0.0.7"]
    assert asked[dns.rdatatype.A] >= 2


def test_an_answer_with_another_id_or_to_another_question_is_not_believed() -> None:
    def forging(query: dns.message.Message, line: socket.socket, client: tuple[str, int]) -> None:
        other_id = reply_to(query, "127.6.6.6")
        other_id.id = (query.id + 1) % 65536
        echo = reply_to(query, "127.6.6.6")
        echo.flags &= ~dns.flags.QR
        for lie in (other_id, echo, reply_to(query, "127.6.6.6", "b.test.")):
            line.sendto(lie.to_wire(), client)
        honest(query, line, client)

    with scripted(forging) as server:
        assert found(ask(server)) == ["127.0.0.7"]


def test_an_answer_from_another_port_is_not_believed() -> None:
    def forged(query: dns.message.Message, line: socket.socket, client: tuple[str, int]) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as elsewhere:
            elsewhere.sendto(reply_to(query, "127.6.6.6").to_wire(), client)
        honest(query, line, client)

    with scripted(forged) as server:
        assert found(ask(server)) == ["127.0.0.7"]


def test_neither_source_port_nor_id_can_be_foretold() -> None:
    seen: set[tuple[int, int]] = set()

    def noting(query: dns.message.Message, line: socket.socket, client: tuple[str, int]) -> None:
        seen.add((client[1], query.id))
        honest(query, line, client)

    with scripted(noting) as server:
        for _ in range(20):
            ask(server)
    assert len({port for port, _ in seen}) > 10
    assert len({number for _, number in seen}) > 30


@pytest.mark.parametrize("rcode", [dns.rcode.SERVFAIL, dns.rcode.REFUSED, None])
def test_the_next_nameserver_is_asked_where_one_fails(rcode: dns.rcode.Rcode | None) -> None:
    def failing(query: dns.message.Message, line: socket.socket, client: tuple[str, int]) -> None:
        if rcode is not None:
            reply = dns.message.make_response(query)
            reply.set_rcode(rcode)
            line.sendto(reply.to_wire(), client)

    with scripted(failing) as first, scripted(honest) as second:
        assert found(ask(first, second)) == ["127.0.0.7"]


def test_a_port_where_no_nameserver_listens_fails_at_once() -> None:
    with scripted(honest) as gone:
        pass
    assert ask(gone) == Answer(problem="the nameservers failed (Connection refused)")
    with scripted(honest) as server:
        assert found(ask(gone, server)) == ["127.0.0.7"]


def test_an_alias_without_its_addresses_is_asked_for_in_turn() -> None:
    def stopping(query: dns.message.Message, line: socket.socket, client: tuple[str, int]) -> None:
        name = query.question[0].name
        reply = reply_to(query, name=name.to_text())
        if name == dns.name.from_text("a.test"):
            reply.answer = [dns.rrset.from_text(name, 60, "IN", "CNAME", "b.test.")]
        line.sendto(reply.to_wire(), client)

    with scripted(stopping) as server:
        assert found(ask(server)) == ["127.0.0.7"]


def test_aliases_that_never_end_are_given_up() -> None:
    def endless(query: dns.message.Message, line: socket.socket, client: tuple[str, int]) -> None:
        name = query.question[0].name
        reply = reply_to(query, name=name.to_text())
        reply.answer = [dns.rrset.from_text(name, 60, "IN", "CNAME", f"x{name}")]
        line.sendto(reply.to_wire(), client)

    with scripted(endless) as server:
        assert ask(server) == Answer(problem="the name is an alias of an alias, and so on more than 8 times")


def test_a_truncated_answer_that_cannot_be_had_over_tcp_fails() -> None:
    def cut(query: dns.message.Message, line: socket.socket, client: tuple[str, int]) -> None:
        reply = dns.message.make_response(query)
        reply.flags |= dns.flags.TC
        line.sendto(reply.to_wire(), client)

    with scripted(cut) as server:
        assert ask(server) == Answer(problem="the nameservers failed (ConnectionRefusedError over TCP)")
