from __future__ import annotations

import ipaddress
import json

from poolmgr.hosts import parse_host
from poolmgr.model import Reason, ReasonCode, State, Verdict
from poolmgr.report import changes
from poolmgr.zone.plan import Plan, make_plan
from tests.build import NOW, ORIGIN, POOL, zone

VERDICTS = (
    Verdict(
        pool=POOL,
        keyserver=parse_host("new.example.net"),
        address=ipaddress.ip_address("192.0.2.2"),
        state=State.MEMBER,
    ),
    Verdict(
        pool=POOL,
        keyserver=parse_host("late.example.net"),
        address=ipaddress.ip_address("192.0.2.1"),
        state=State.OUT,
        reasons=(Reason(ReasonCode.BEHIND, "1", "9", "8 keys behind\x1b"),),
    ),
)


def planned(before: str, after: str) -> Plan:
    return make_plan(
        origin=ORIGIN,
        published=zone(before),
        desired=zone(after),
        limits={},
        serial=1,
        next_serial=2,
        provenance="a test",
        at=NOW,
        holds={},
    )


def test_each_record_that_comes_or_goes_has_a_line_with_why() -> None:
    plan = planned("pool A 192.0.2.1\npool A 192.0.2.3\npool A 192.0.2.4\n", "pool A 192.0.2.2\npool A 192.0.2.4\n")
    assert list(changes.to_text("zone file x", plan, VERDICTS)) == [
        "zone file x: 1 RRset to change, 3 unchanged, serial 1 -> 2",
        "- pool.example.org. 300 IN A 192.0.2.1  ; late.example.net: 8 keys behind\\x1b",
        "- pool.example.org. 300 IN A 192.0.2.3  ; not found by the crawl",
        "+ pool.example.org. 300 IN A 192.0.2.2  ; new.example.net: member",
    ]


def test_addresses_of_others_need_no_explanation() -> None:
    plan = planned("", "www A 192.0.2.9\n")
    assert list(changes.to_text("x", plan, VERDICTS))[1:] == ["+ www.example.org. 300 IN A 192.0.2.9"]


def test_a_changed_ttl_shows_every_record_going_and_coming() -> None:
    plan = planned("pool 60 A 192.0.2.2\n", "pool 90 A 192.0.2.2\n")
    assert list(changes.to_text("x", plan, VERDICTS))[1:] == [
        "- pool.example.org. 60 IN A 192.0.2.2  ; TTL",
        "+ pool.example.org. 90 IN A 192.0.2.2  ; TTL",
    ]


def test_nothing_to_change_is_one_line() -> None:
    assert list(changes.to_text("x", planned("", ""), ())) == ["x: nothing to change, serial 1"]


def test_json_has_the_same_lines() -> None:
    plans = {"x": planned("pool A 192.0.2.1\n", "pool A 192.0.2.2\n")}
    document = json.loads(changes.to_json(plans, VERDICTS, {"x": ("too large",), "failed": ()}))
    (target,) = document["targets"]
    assert target["warnings"] == ["too large"]
    assert (target["target"], target["serial"], target["next_serial"]) == ("x", 1, 2)
    (change,) = target["changes"]
    assert [(record["sign"], record["record"].split()[-1]) for record in change["records"]] == [
        ("-", "192.0.2.1"),
        ("+", "192.0.2.2"),
    ]
