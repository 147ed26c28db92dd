from __future__ import annotations

import json
from datetime import timedelta

from poolmgr.judge.policy import Policy
from poolmgr.model import Keyserver, Outcome
from poolmgr.report import detail
from poolmgr.report.snapshot import from_json
from tests.build import NOW, judge, keyserver, pool, probe, snapshot

HOSTILE = "\x1b[31m\u202ex\n"


def text_of(*keyservers: Keyserver) -> list[str]:
    crawled = snapshot(keyservers)
    return list(detail.to_text(crawled, judge(crawled, Policy(min_cohort=1), [pool()])[0], []))


def test_every_address_and_probe_is_shown_with_its_timing_and_outcome() -> None:
    lines = text_of(keyserver("a.example.net", "192.0.2.1", "2001:db8::1"))
    assert lines[:2] == ["a.example.net", "  DNS: 192.0.2.1, 2001:db8::1"]
    assert lines.count("    stats on hkp port 11371 as a.example.net: ok; total 150 ms") == 2
    assert lines.count("    lookup on http port 80 as pool.example.org: ok; total 150 ms") == 2
    assert lines.count("    says of itself: SKS 1.1.6, 5000000 keys, hostname a.example.net, 0 peers") == 2
    assert lines[-2:] == ["  pool.example.org 192.0.2.1: eligible", "  pool.example.org 2001:db8::1: eligible"]


def test_the_version_of_the_canary_key_is_shown() -> None:
    lines = text_of(keyserver("a.example.net", "192.0.2.1", canary=NOW - timedelta(hours=2)))
    assert "    lookup on hkp port 11371 as pool.example.org: ok; total 150 ms, key of 2026-11-23T10:00:00Z" in lines


def test_a_name_without_address_is_shown_with_its_problem_and_verdict() -> None:
    assert text_of(keyserver("gone.example.net")) == [
        "gone.example.net",
        "  DNS: gone.example.net does not exist (NXDOMAIN)",
        "  pool.example.org no address: out",
        "    gone.example.net does not exist (NXDOMAIN)",
    ]


def test_hostile_text_is_shown_escaped() -> None:
    bad = keyserver("a.example.net", "192.0.2.1", software=HOSTILE, version=HOSTILE, detail=HOSTILE)
    shown = "\n".join([*text_of(bad), detail.line(bad)])
    assert all(char.isprintable() for char in shown.replace("\n", ""))
    assert "\\x1b[31m\\u202ex\\n" in shown


def test_a_head_is_shown_line_by_line_with_every_odd_byte_escaped() -> None:
    head = b"HTTP/1.0 302 Found\r\nLocation: \x1b[31m\xe2\x80\xae\r\n\r\n<b"
    bad = probe("192.0.2.1", outcome=Outcome.REDIRECT)
    lines = list(detail.to_text(snapshot([]), [], [(bad, head)]))
    assert lines == [
        "received from hkp 192.0.2.1:11371 as pool.example.org (lookup, redirect):",
        "  | HTTP/1.0 302 Found",
        "  | Location: \\x1b[31m\\xe2\\x80\\xae",
        "  | ",
        "  | <b",
    ]


def test_json_has_the_snapshot_the_verdicts_and_the_heads() -> None:
    crawled = snapshot([keyserver("a.example.net", "192.0.2.1", stats_outcome=Outcome.REFUSED)])
    verdicts, _ = judge(crawled, Policy(), [pool()])
    heads = [(probe("192.0.2.1", outcome=Outcome.NO_KEY), b"\xff")]
    document = json.loads(detail.to_json(crawled, verdicts, heads, is_reachable=False))
    assert (document["format"], document["version"], document["reachable"]) == ("poolmgr-probe", 1, False)
    assert from_json(json.dumps(document["snapshot"])) == crawled
    (verdict,) = document["verdicts"]
    assert (verdict["address"], verdict["state"], verdict["reasons"][0]["code"]) == ("192.0.2.1", "out", "stats")
    assert document["heads"][0]["head"] == "\xff"


def test_a_line_for_the_log_has_every_probe_of_every_address() -> None:
    one = keyserver("a.example.net", "192.0.2.1", "192.0.2.2")
    assert detail.line(one) == (
        "a.example.net: 192.0.2.1 stats ok, hkp as pool.example.org ok, http as pool.example.org ok; "
        "192.0.2.2 stats ok, hkp as pool.example.org ok, http as pool.example.org ok"
    )
    assert len(detail.fields(one)["probes"]) == 6
    json.dumps(detail.fields(one))
