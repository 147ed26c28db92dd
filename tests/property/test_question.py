"""What is read of a nameserver's reply is what dnspython's messages say."""

from __future__ import annotations

import ipaddress

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset
from hypothesis import given
from hypothesis import strategies as st

from poolmgr.crawl.question import is_reply, parse_reply, query_wire
from poolmgr.errors import ParseError
from poolmgr.model import Family

NAME = dns.name.from_text("a.test")
NAMES = [NAME, *(dns.name.from_text(f"{label}.test") for label in "bcd")]

records = st.one_of(
    st.tuples(st.just("A"), st.ip_addresses(v=4).map(str)),
    st.tuples(st.just("AAAA"), st.ip_addresses(v=6).map(str)),
    st.tuples(st.just("CNAME"), st.sampled_from(NAMES).map(dns.name.Name.to_text)),
    st.tuples(st.just("TXT"), st.just('"said"')),
)
Answer = list[tuple[dns.name.Name, tuple[str, str]]]
answers = st.lists(st.tuples(st.sampled_from(NAMES), records), max_size=8)
families = st.sampled_from(list(Family))


def reply_to(query: bytes, answer: Answer, rcode: int, *, is_denial: bool) -> bytes:
    reply = dns.message.make_response(dns.message.from_wire(query))
    reply.set_rcode(dns.rcode.Rcode.make(rcode))
    for owner, (rdtype, text) in answer:
        single = dns.rrset.from_text(owner, 60, "IN", rdtype, text)
        rrset = reply.find_rrset(reply.answer, owner, single.rdclass, single.rdtype, create=True)
        for record in single:
            rrset.add(record)
    if is_denial:
        reply.authority.append(dns.rrset.from_text("test.", 60, "IN", "SOA", "a. b. 1 2 3 4 5"))
    return reply.to_wire()


def has_two_aliases(answer: Answer) -> bool:
    owners = [owner for owner, (rdtype, _) in answer if rdtype == "CNAME"]
    return len(owners) != len(set(owners))


@given(families, answers, st.sampled_from([0, 2, 3, 5, 16]), st.booleans())
def test_a_reply_says_what_dnspython_reads(family: Family, answer: Answer, rcode: int, is_denial: bool) -> None:
    query = query_wire(NAME, family, 4711)
    wire = reply_to(query, answer, rcode, is_denial=is_denial)
    assert is_reply(wire, query)
    message = dns.message.from_wire(wire)
    assert isinstance(message, dns.message.QueryMessage)
    if has_two_aliases(answer):
        return
    try:
        chain = message.resolve_chaining()
    except dns.message.ChainTooLong:
        return
    except dns.message.AnswerForNXDOMAIN:
        return
    said = parse_reply(wire, NAME, family)
    assert said.rcode == message.rcode()
    assert set(said.addresses) == {ipaddress.ip_address(record.address) for record in chain.answer or ()}
    assert (said.alias or NAME) == chain.canonical_name
    assert said.is_denial == is_denial


@given(families, st.integers(0, 65535))
def test_a_query_is_read_by_dnspython_as_what_was_meant(family: Family, message_id: int) -> None:
    query = dns.message.from_wire(query_wire(NAME, family, message_id))
    (question,) = query.question
    assert (query.id, query.flags, query.edns, query.payload) == (message_id, dns.flags.RD, 0, 1232)
    assert (question.name, dns.rdatatype.to_text(question.rdtype)) == (NAME, family.rdtype)


@given(families, st.binary(max_size=80), answers, st.integers(0, 200), st.integers(0, 255))
def test_reading_is_total(family: Family, noise: bytes, answer: Answer, place: int, octet: int) -> None:
    query = query_wire(NAME, family, 1)
    broken = bytearray(reply_to(query, answer, 0, is_denial=True))
    broken[place % len(broken)] = octet
    for wire in (noise, query[:12] + noise, bytes(broken), bytes(broken[: place % len(broken)])):
        is_reply(wire, query)
        try:
            parse_reply(wire, NAME, family)
        except ParseError:
            continue


@given(families, answers)
def test_a_reply_to_another_question_is_none(family: Family, answer: Answer) -> None:
    wire = reply_to(query_wire(NAME, family, 7), answer, 0, is_denial=False)
    other = next(each for each in Family if each is not family)
    for query in (query_wire(NAME, family, 8), query_wire(NAME, other, 7), query_wire(NAMES[1], family, 7)):
        assert not is_reply(wire, query)
    assert not is_reply(query_wire(NAME, family, 7), query_wire(NAME, family, 7))
