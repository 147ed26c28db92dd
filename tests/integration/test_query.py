"""Many questions over one connection: to real named, and to servers that do with it what servers do."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from itertools import islice

import dns.message
import dns.name
import dns.rdatatype
import pytest

from poolmgr.errors import PublishError
from poolmgr.publish.query import AT_ONCE, Conversation
from poolmgr.publish.tsig import KeyFile, TsigKey, load_key
from poolmgr.publish.wire import NoReply, Server, Unreachable
from poolmgr.zone.records import Records, RRsetKey
from tests.build import ORIGIN, zone
from tests.lab.named import Named, first_zone
from tests.lab.scripted import Conversing, forward, framed

COUNT = 2 * AT_ONCE + 1
TEXT = "".join(f"p{number} 300 A 192.0.2.{number}\n" for number in range(COUNT))
KEYS: tuple[RRsetKey, ...] = tuple((dns.name.from_text(f"p{n}", ORIGIN), dns.rdatatype.A) for n in range(COUNT))
RECORDS: Records = {key: rrset for key, rrset in zone(TEXT).items() if key in KEYS}

Talk = Callable[[Iterator[bytes]], Iterable[bytes]]


@pytest.fixture
def named(start_named: Callable[..., Named]) -> Named:
    return start_named(zone_text=first_zone(ORIGIN.to_text()) + TEXT)


@pytest.fixture
def key(named: Named) -> TsigKey:
    return load_key(KeyFile(named.key_file), {})


def asked(server: Named | Conversing, key: TsigKey | None, *, timeout: float = 5, count: int = COUNT) -> Records:
    """Return what `server` answers to `count` questions in one conversation."""
    with Conversation(Server(server.address, server.port, timedelta(seconds=timeout)), key) as conversation:
        return conversation.rrsets(KEYS[:count])


def answers(named: Named, requests: Iterable[bytes]) -> Iterator[bytes]:
    for request in requests:
        yield framed(forward(request, named.address, named.port))


def test_all_questions_go_over_one_connection(named: Named, key: TsigKey) -> None:
    with Conversing(lambda requests: answers(named, requests)) as relay:
        assert asked(relay, key) == RECORDS
    assert (relay.connections, len(relay.requests)) == (1, COUNT)
    assert len({request[:2] for request in relay.requests[:AT_ONCE]}) == AT_ONCE


@pytest.mark.parametrize("is_signed", [True, False])
def test_named_answers_them_all(named: Named, key: TsigKey, is_signed: bool) -> None:
    assert asked(named, key if is_signed else None) == RECORDS


def test_replies_count_in_whatever_order_they_come(named: Named, key: TsigKey) -> None:
    def backwards(requests: Iterator[bytes]) -> Iterator[bytes]:
        while some := list(islice(requests, 4)):
            yield from reversed(list(answers(named, some)))

    with Conversing(backwards) as relay:
        assert asked(relay, key, count=4 * 16) == {each: RECORDS[each] for each in KEYS[: 4 * 16]}
    assert relay.connections == 1


@pytest.mark.parametrize("count", [1, 3, AT_ONCE, AT_ONCE + 1])
def test_a_server_that_closes_early_is_asked_the_rest_over_others(named: Named, key: TsigKey, count: int) -> None:
    with Conversing(lambda requests: answers(named, islice(requests, count))) as relay:
        assert asked(relay, key) == RECORDS
    assert relay.connections > 1


def test_a_server_that_takes_one_question_at_a_time_is_asked_so(named: Named, key: TsigKey) -> None:
    def alone(requests: Iterator[bytes]) -> Iterator[bytes]:
        if relay.connections > 1:
            yield from answers(named, requests)

    with Conversing(alone) as relay:
        assert asked(relay, key) == RECORDS
    assert relay.connections == 2


def test_a_server_that_never_answers_is_not_asked_for_ever(key: TsigKey) -> None:
    with Conversing(lambda requests: islice(requests, 0)) as server, pytest.raises(NoReply, match="without a whole"):
        asked(server, key)
    assert server.connections == 2


def test_a_server_that_is_gone_meanwhile_is_told(named: Named, key: TsigKey) -> None:
    closing = Conversing(lambda requests: answers(named, islice(requests, 1)))
    with Conversation(Server(closing.address, closing.port, timedelta(seconds=5)), key) as conversation:
        with closing:
            assert conversation.serial(ORIGIN) == 2026010101
        with pytest.raises(Unreachable, match="cannot be reached"):
            conversation.rrsets(KEYS)


def test_the_timeout_bounds_the_questions_that_are_asked_together(named: Named, key: TsigKey) -> None:
    def slowly(requests: Iterator[bytes]) -> Iterator[bytes]:
        for answer in answers(named, requests):
            time.sleep(0.1)
            yield answer

    start = time.monotonic()
    with Conversing(slowly) as relay, pytest.raises(NoReply, match=r"no whole reply within 0\.5 s"):
        asked(relay, key, timeout=0.5)
    assert time.monotonic() - start < 0.1 * AT_ONCE


def test_every_exchange_on_a_connection_has_the_whole_timeout(named: Named, key: TsigKey) -> None:
    with (
        Conversing(lambda requests: answers(named, requests)) as relay,
        Conversation(Server(relay.address, relay.port, timedelta(seconds=1)), key) as conversation,
    ):
        assert conversation.serial(ORIGIN) == 2026010101
        time.sleep(1)
        assert conversation.serial(ORIGIN) == 2026010101
    assert relay.connections == 1


def renumbered(wire: bytes, id_: bytes) -> bytes:
    return id_ + wire[2:]


@pytest.mark.parametrize("is_signed", [True, False])
@pytest.mark.parametrize("wrong", ["exchanged", "twice", "unknown id"])
def test_a_reply_counts_for_its_own_question_only(named: Named, key: TsigKey, wrong: str, is_signed: bool) -> None:
    def mixed(requests: Iterator[bytes]) -> Iterator[bytes]:
        first, second = islice(requests, 2)
        one, other = (forward(request, named.address, named.port) for request in (first, second))
        unknown = bytes([first[0] ^ second[0] ^ 1, first[1] ^ 1])
        yield from {
            "exchanged": (framed(renumbered(one, second[:2])), framed(renumbered(other, first[:2]))),
            "twice": (framed(one), framed(one)),
            "unknown id": (framed(one), framed(renumbered(other, unknown))),
        }[wrong]

    with Conversing(mixed) as relay, pytest.raises(PublishError, match=r"answered something else|does not confirm"):
        asked(relay, key if is_signed else None, count=2)
    assert relay.connections == 1


def test_an_unsigned_reply_among_signed_ones_does_not_count(named: Named, key: TsigKey) -> None:
    def unsigned(requests: Iterator[bytes]) -> Iterator[bytes]:
        first, second = islice(requests, 2)
        yield from answers(named, [first])
        query = dns.message.from_wire(second, keyring=False)
        plain = dns.message.make_query(query.question[0].name, "A", id=query.id, flags=0)
        yield from answers(named, [plain.to_wire()])

    with Conversing(unsigned) as relay, pytest.raises(PublishError, match="did not sign its reply"):
        asked(relay, key, count=2)
