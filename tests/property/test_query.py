from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from datetime import timedelta
from ipaddress import IPv4Address
from types import SimpleNamespace
from unittest.mock import patch

import dns.message
import dns.name
import dns.rdatatype
import dns.tsig
from hypothesis import given
from hypothesis import strategies as st

from poolmgr.errors import PublishError, ZoneError
from poolmgr.publish import query
from poolmgr.publish.tsig import TsigKey
from poolmgr.publish.wire import Server

KEY = TsigKey(dns.name.from_text("poolmgr-key."), "hmac-sha256", bytes(32))
SERVER = Server(IPv4Address("127.0.0.1"), 53, timedelta(seconds=1))


def signed_reply() -> bytes:
    request = dns.message.make_query("example.org.", "SOA", id=1)
    request.use_tsig(KEY.to_dnspython())
    request.to_wire()
    return dns.message.make_response(request, tsig_error=18).to_wire()


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A reply with a TSIG record in which some octets are others."""
    wire = bytearray(signed_reply())
    for _ in range(draw(st.integers(1, 4))):
        wire[draw(st.integers(0, len(wire) - 1))] = draw(st.integers(0, 255))
    return bytes(wire)


@given(st.one_of(st.binary(max_size=300), damaged()), st.sampled_from([KEY, None]))
def test_whatever_a_server_answers_without_the_secret_is_a_publish_error(answer: bytes, key: TsigKey | None) -> None:
    request = dns.message.make_query("example.org.", "SOA", id=1)
    with patch.object(query, "send", return_value=answer):
        try:
            reply = query.exchange(request, SERVER, key)
        except PublishError:
            return
    assert key is None
    assert request.is_response(reply)


@given(st.lists(st.one_of(st.binary(max_size=300), damaged()), min_size=3, max_size=3))
def test_no_question_of_several_has_an_answer_without_the_secret(answers: list[bytes]) -> None:
    def exchange(wires: Sequence[bytes]) -> Iterator[bytes]:
        yield from answers[: len(wires)]

    keys = [(dns.name.from_text(f"p{number}.example.org."), dns.rdatatype.A) for number in range(3)]
    connection = nullcontext(SimpleNamespace(exchange=exchange))
    with patch.object(query, "connect", return_value=connection), query.Conversation(SERVER, KEY) as conversation:
        try:
            conversation.rrsets(keys)
        except (PublishError, ZoneError):
            return
    raise AssertionError("an answer counted")
