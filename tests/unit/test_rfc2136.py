from __future__ import annotations

import dns.name
import dns.rdatatype
import pytest
from dns.rdataclass import ANY, NONE

from poolmgr.publish.messages import update_message
from poolmgr.publish.rfc2136 import difference
from poolmgr.publish.target import Published
from poolmgr.zone.plan import Change, Plan
from poolmgr.zone.records import RRset
from tests.build import ORIGIN, zone

KEY = (dns.name.from_text("pool.example.org."), dns.rdatatype.A)


def rrset(*addresses: str, ttl: int = 300) -> RRset:
    return zone("".join(f"pool {ttl} A {address}\n" for address in addresses))[KEY]


def plan(change: Change, serial: int = 5) -> Plan:
    return Plan(
        origin=ORIGIN,
        records={} if change.after is None else {change.key: change.after},
        changes=(change,),
        held=(),
        unchanged=0,
        serial=serial,
        next_serial=None,
        provenance="a test",
    )


def test_a_change_is_bound_to_the_records_that_were_read() -> None:
    message = update_message(ORIGIN, [Change(KEY, rrset("192.0.2.1", "192.0.2.2"), rrset("192.0.2.3", ttl=60))])
    assert [str(rrset) for rrset in message.zone] == ["example.org. IN SOA"]
    assert [str(rrset) for rrset in message.prerequisite] == [
        "pool.example.org. 0 IN A 192.0.2.1",
        "pool.example.org. 0 IN A 192.0.2.2",
    ]
    assert [rrset.deleting for rrset in message.update] == [ANY, None]
    assert str(message.update[1]) == "pool.example.org. 60 IN A 192.0.2.3"


def test_a_creation_is_bound_to_the_absence_of_the_rrset() -> None:
    message = update_message(ORIGIN, [Change(KEY, None, rrset("192.0.2.1"))])
    assert [(rrset.name, rrset.rdtype, rrset.rdclass) for rrset in message.prerequisite] == [(*KEY, NONE)]
    assert [str(rrset) for rrset in message.update] == ["pool.example.org. 300 IN A 192.0.2.1"]


def test_a_deletion_is_bound_to_the_records_that_were_read() -> None:
    message = update_message(ORIGIN, [Change(KEY, rrset("192.0.2.1"), None)])
    assert [str(rrset) for rrset in message.prerequisite] == ["pool.example.org. 0 IN A 192.0.2.1"]
    assert [(rrset.name, rrset.rdtype, rrset.deleting) for rrset in message.update] == [(*KEY, ANY)]


def test_what_was_planned_and_shows_is_no_difference() -> None:
    after = rrset("192.0.2.1")
    assert difference(plan(Change(KEY, None, after)), Published({KEY: after}, 6)) is None
    assert difference(plan(Change(KEY, after, None)), Published({}, 6)) is None


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (None, "has no records, not the planned 1 records (192.0.2.1) with TTL 300"),
        (rrset("192.0.2.2"), "has 1 records (192.0.2.2) with TTL 300, not the planned"),
        (rrset("192.0.2.1", ttl=60), "has 1 records (192.0.2.1) with TTL 60, not the planned"),
    ],
)
def test_a_difference_names_what_is_there_and_what_was_planned(found: RRset | None, words: str) -> None:
    published = Published({} if found is None else {KEY: found}, 6)
    assert words in str(difference(plan(Change(KEY, None, rrset("192.0.2.1"))), published))


def test_a_long_rrset_is_not_told_whole() -> None:
    found = rrset(*(f"192.0.2.{number}" for number in range(1, 50)))
    sentence = str(difference(plan(Change(KEY, None, rrset("192.0.2.1"))), Published({KEY: found}, 6)))
    assert "49 records (192.0.2.1, " in sentence
    assert "192.0.2.10, ...)" in sentence
    assert "192.0.2.11" not in sentence


@pytest.mark.parametrize(("serial", "is_new"), [(4, False), (5, False), (6, True)])
def test_records_that_no_secondary_would_fetch_are_not_published(serial: int, is_new: bool) -> None:
    after = rrset("192.0.2.1")
    sentence = difference(plan(Change(KEY, None, after), serial=5), Published({KEY: after}, serial))
    assert (sentence is None) is is_new
    assert is_new or f"serial is {serial} and was 5" in str(sentence)
