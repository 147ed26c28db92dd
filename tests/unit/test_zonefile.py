from __future__ import annotations

import dns.name
import dns.rdata
import dns.rdatatype
import pytest

from poolmgr.errors import ZoneError
from poolmgr.publish.zonefile import checked_text
from poolmgr.zone.desired import from_text
from poolmgr.zone.plan import Plan
from poolmgr.zone.records import Records, RRset
from poolmgr.zone.sizes import MAX_RECORDS
from tests.build import ORIGIN, zone


def plan(records: Records) -> Plan:
    return Plan(
        origin=ORIGIN,
        records=records,
        changes=(),
        held=(),
        unchanged=0,
        serial=None,
        next_serial=None,
        provenance="a test",
    )


def addresses(count: int) -> str:
    return "".join(f"pool 300 A 198.51.100.{number}\n" for number in range(count))


def test_the_text_reads_back_as_the_plan_and_names_its_provenance() -> None:
    records = zone("pool 300 A 192.0.2.1\npool 300 AAAA 2001:db8::1\n")
    text = checked_text(plan(records))
    assert from_text(text, ORIGIN, "text") == records
    assert text.startswith("; a test\n")


def test_an_rrset_of_more_records_than_name_servers_load_is_refused_with_the_limit() -> None:
    for count in (MAX_RECORDS - 1, MAX_RECORDS):
        checked_text(plan(zone(addresses(count))))
    with pytest.raises(
        ZoneError, match=r"pool\.example\.org\. A has 101 records, .* at most 100 .*: lower max_records"
    ):
        checked_text(plan(zone(addresses(MAX_RECORDS + 1))))


@pytest.mark.parametrize("kind", ["SOA", "NS"])
def test_a_zone_without_soa_or_ns_at_its_apex_is_refused(kind: str) -> None:
    records = dict(zone())
    del records[(ORIGIN, dns.rdatatype.from_text(kind))]
    with pytest.raises(ZoneError, match=f"no {kind} record at the apex"):
        checked_text(plan(records))


def test_records_that_do_not_read_back_as_they_were_planned_are_refused() -> None:
    owner = dns.name.from_text("x.example.org.")
    rrset = RRset(owner, dns.rdatatype.A, 300, frozenset({dns.rdata.from_text("IN", "A", "192.0.2.1")}))
    with pytest.raises(ZoneError, match="does not read back as what was planned"):
        checked_text(plan({**zone(), (owner, dns.rdatatype.AAAA): rrset}))
