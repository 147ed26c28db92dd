from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import pytest

from poolmgr.errors import PoolmgrError
from poolmgr.hosts import parse_host
from poolmgr.judge.policy import Policy
from poolmgr.judge.selection import select
from poolmgr.model import Certificate, Keyserver, Outcome, Service, Snapshot, State
from poolmgr.pools import Pool
from poolmgr.report import explain
from poolmgr.report.life import Count, Life, find_keyserver, life_of
from tests.build import NOW, crawls, judged, keyserver, mesh, pool, probe, snapshot
from tests.unit.test_report import HOSTILE

NAME, ADDRESS = "ks.example.net", "203.0.113.1"


def life(*rounds: Keyserver, policy: Policy | None = None, of: Pool | None = None) -> Life:
    """Return the life of the one keyserver that is as in each of `rounds`, among five healthy ones."""
    return life_in(crawls(*([*mesh(5), one] for one in rounds)), policy=policy, of=of)


def life_in(seen: tuple[Snapshot, ...], *, policy: Policy | None = None, of: Pool | None = None) -> Life:
    pools, by = [of or pool()], policy or Policy()
    before, judgement = judged(seen, by, pools)
    selection = select(judgement.verdicts, pools, {}, judgement.history.reliability, judgement.snapshot.finished)
    keyserver = find_keyserver(judgement.snapshot, parse_host(NAME))
    return life_of(keyserver, judgement, selection, by, pools, before, seen)


GOOD = keyserver(NAME, ADDRESS)
REFUSED = keyserver(NAME, ADDRESS, stats_outcome=Outcome.REFUSED, detail="connection refused")
RESET = keyserver(NAME, ADDRESS, outcomes={Service.HKP: Outcome.RESET})
LATE = keyserver(NAME, ADDRESS, keys=4_997_000)


def text(of: Life) -> str:
    return "\n".join(explain.to_text(of))


def test_a_member_is_told_since_when_and_that_every_rule_passed() -> None:
    shown = text(life(GOOD, GOOD, GOOD))
    assert "pool.example.org: member, in since 2026-11-23T11:30:00Z (30 min)" in shown
    assert "FAIL" not in shown
    assert "  ok    version          SKS 1.1.6 is not older than 1.1.6\n" in shown
    assert "at most 2000 may be missing (2000 keys to spare)" in shown
    assert "to come in" not in shown


def test_one_that_is_late_is_told_how_many_keys_it_lacks_and_what_follows_then() -> None:
    shown = text(life(LATE, LATE))
    assert "pool.example.org: out, out since " in shown
    assert "at most 2000 may be missing (fails by 1000 keys)" in shown
    assert "  to come in: catch up 1000 keys; 2 more good crawls\n" in shown + "\n"


def test_one_that_is_back_is_told_how_many_good_crawls_are_missing_and_how_long_it_waits() -> None:
    steady = replace(Policy().steadiness, flap_wait=timedelta(minutes=55))
    policy = replace(Policy(), steadiness=steady, fast_fall=frozenset({Outcome.REFUSED}))
    shown = text(life(GOOD, REFUSED, GOOD, policy=policy))
    assert "pool.example.org: joining 1/2, out since 2026-11-23T11:45:00Z (15 min)" in shown
    assert "  to come in: 1 more good crawl; wait 40 min" in shown


def test_one_that_fails_for_the_first_time_is_still_in_and_warned() -> None:
    shown = text(life(GOOD, GOOD, RESET))
    assert "pool.example.org: leaving 1/4, in since " in shown
    assert "  warn  service          hkp on port 11371 as pool.example.org: reset\n" in shown
    assert "FAIL" not in shown
    assert "  to stay: answer lookups: hkp ok" in shown


def test_what_it_lacks_in_reliability_and_speed_is_told_with_its_margin() -> None:
    (address,) = GOOD.addresses
    late = tuple(replace(each, total=timedelta(seconds=5.5)) for each in address.probes)
    slow = replace(GOOD, addresses=(replace(address, probes=late),))
    others = mesh(5)
    seen = crawls(others, *([*others, RESET] for _ in range(48)), [*others, slow], every=timedelta(hours=1))
    shown = text(life_in(seen))
    assert (
        "  FAIL  unreliable       hkp was not seen to fail in 75.3% of the last week, at least 87% is asked for "
        "(fails by 12 percent)\n"
    ) in shown
    assert "  FAIL  slow             hkp answers a lookup in 5.5 s, at most 4 s is allowed (fails by 2 s)\n" in shown
    assert (
        "to come in: not fail for some days: 12 percent are missing; answer lookups in time: hkp 4 s; 2 more" in shown
    )
    good = text(life(GOOD, GOOD))
    assert (
        "  ok    unreliable       hkp was not seen to fail in 100.0% of the last week, at least 70% is asked for "
        "(30 percent to spare)\n"
    ) in good
    assert "  ok    slow             hkp answers a lookup in 150 ms, at most 8 s is allowed (8 s to spare)" in good


def test_one_that_gave_its_place_away_is_told_what_brings_it_back() -> None:
    shown = text(life(GOOD, RESET, RESET, of=pool(max_records=5)))
    assert "pool.example.org: leaving 2/4, in since " in shown
    assert (
        "  FAIL  falling          its last 2 crawls were bad, and others have its place; after 4 it is out\n" in shown
    )
    assert "  to be published: answer lookups: hkp ok; one good crawl" in shown


def test_what_only_warns_is_nothing_that_it_must_do() -> None:
    shown = probe(ADDRESS, service=Service.HKPS, certificate=Certificate("Lab CA", NOW + timedelta(days=3)))
    (address,) = GOOD.addresses
    ending = replace(GOOD, addresses=(replace(address, probes=(*address.probes, shown)),))
    found = life(ending, of=pool(services=frozenset({Service.HKP, Service.HKPS})))
    assert "  warn  certificate      its certificate for pool.example.org ends in 3 days" in text(found)
    assert found.addresses[0].pools[0].remedies == ()


def test_one_that_the_cap_leaves_out_is_told_so() -> None:
    shown = text(life(GOOD, of=pool(max_records=0)))
    assert "pool.example.org: eligible" in shown
    assert "FAIL  cap" in shown
    assert "  to be published: wait for one that is published to leave" in shown


def test_a_name_without_an_address_is_explained() -> None:
    shown = text(life(keyserver(NAME)))
    assert "\nno address\n" in shown
    assert "FAIL  no-address" in shown
    assert f"address of {NAME}: unresolved ({NAME} does not exist (NXDOMAIN))" in shown
    assert "to come in: have its name lead to an address" in shown


def test_failures_are_told_once_with_how_often_they_were_the_latest_first() -> None:
    (address,) = life(REFUSED, RESET, REFUSED, GOOD).addresses
    assert [(each.outcome, each.times, each.first, each.last) for each in address.failures] == [
        (Outcome.REFUSED, 2, NOW - timedelta(minutes=45), NOW - timedelta(minutes=15)),
        (Outcome.RESET, 1, NOW - timedelta(minutes=30), NOW - timedelta(minutes=30)),
    ]
    shown = text(life(REFUSED, RESET, REFUSED, GOOD))
    assert (
        "    2026-11-23T11:45:00Z  stats on hkp port 11371 as ks.example.net: refused (connection refused); "
        "2 times since 2026-11-23T11:15:00Z\n"
        "    2026-11-23T11:30:00Z  lookup on hkp port 11371 as pool.example.org: reset\n"
    ) in shown


def test_counts_are_told_crawl_by_crawl() -> None:
    (address,) = life(GOOD, REFUSED, LATE).addresses
    assert address.counts == (
        Count(NOW - timedelta(minutes=30), 5_000_000, 0),
        Count(NOW - timedelta(minutes=15), None, None),
        Count(NOW, 4_997_000, -3000),
    )
    assert "keys against the reference, from -3000 to +0, last -3000:\n    █·▁\n" in text(life(GOOD, REFUSED, LATE))


@pytest.mark.parametrize(
    ("differences", "shown"),
    [
        ([], ""),
        ([None, None], "··"),
        ([5], "▅"),
        ([0, 0, None, 0], "▅▅·▅"),
        ([-700, -600, -1, 0], "▁▂▇█"),
        ([-(2**63), 0, 2**63], "▁▄█"),
    ],
)
def test_the_plot_has_a_bar_for_each_count(differences: list[int | None], shown: str) -> None:
    assert explain.sparkline([Count(NOW, None, each) for each in differences]) == shown


def test_reliability_is_told_for_each_window_and_service() -> None:
    found = life(GOOD, REFUSED)
    shown = text(found)
    assert "             2h    8h    1d    7d   30d score\n" in shown
    row = next(line.split() for line in shown.splitlines() if line.strip().startswith("hkp "))
    assert len(row) == 7
    assert all(0 < int(cell.removesuffix("%")) < 100 for cell in row[1:6])


def test_every_address_is_explained_by_itself() -> None:
    both = keyserver(NAME, ADDRESS, "2001:db8::1")
    shown = text(life(both))
    assert shown.count("pool.example.org: member") == 2
    assert "\n203.0.113.1: SKS 1.1.6, 5000000 keys\n" in shown
    assert "\n2001:db8::1: SKS 1.1.6, 5000000 keys\n" in shown


def test_what_a_keyserver_says_cannot_act_on_a_terminal() -> None:
    hostile = keyserver(NAME, ADDRESS, software=HOSTILE, version=HOSTILE)
    failing = keyserver(NAME, ADDRESS, stats_outcome=Outcome.NOT_KEYSERVER, detail=HOSTILE)
    for line in (*explain.to_text(life(hostile)), *explain.to_text(life(GOOD, failing))):
        assert line.isprintable(), line
    assert "\\x1b[31m\\u202eks\\n<script>" in text(life(hostile))
    assert "\\x1b[31m" in text(life(GOOD, failing))


def test_json_says_the_same_for_programs() -> None:
    document = json.loads(explain.to_json(life(GOOD, LATE)))
    (address,) = document["addresses"]
    (of,) = address["pools"]
    assert (document["keyserver"], address["address"], of["name"]) == (NAME, ADDRESS, "pool.example.org")
    assert (of["state"], of["progress"]) == (State.OUT, None)
    (behind,) = (finding for finding in of["findings"] if finding["code"] == "behind")
    assert (behind["passed"], behind["margin"]) == (False, {"amount": -1000, "unit": "keys"})
    assert of["remedies"][:2] == ["catch up 1000 keys", "2 more good crawls"]
    assert [count["difference"] for count in address["counts"]] == [0, -3000]


@pytest.mark.parametrize("host", ["keys.example.org", "alias.example.org", "203.0.113.7", "2001:db8::7"])
def test_a_keyserver_is_found_by_name_alias_and_address(host: str) -> None:
    one = replace(
        keyserver("keys.example.org", "203.0.113.7", "2001:db8::7"), aliases=(parse_host("alias.example.org"),)
    )
    assert find_keyserver(snapshot([*mesh(2), one]), parse_host(host)) is one


@pytest.mark.parametrize(
    ("host", "near"),
    [
        ("ks1.example.com", "did you mean ks1.example.net, ks"),
        ("ks2", "did you mean ks2.example.net"),
        ("198.51.100.9", "did you mean 198.51.100."),
        ("nothing.of.that.kind.test", "`poolmgr report` lists all that it has"),
    ],
)
def test_an_unknown_name_is_refused_with_those_that_are_near(host: str, near: str) -> None:
    with pytest.raises(PoolmgrError, match=r"^the newest crawl has no keyserver ") as refused:
        find_keyserver(snapshot(mesh(3)), parse_host(host))
    assert f"{host}: {near}" in str(refused.value)
