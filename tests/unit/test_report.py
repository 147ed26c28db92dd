from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from datetime import timedelta

import pytest
from rich.console import Console

from poolmgr.judge.freshness import Cohort, Paces
from poolmgr.judge.pace import Count, Pace
from poolmgr.judge.policy import Policy
from poolmgr.judge.selection import select
from poolmgr.model import Certificate, Keyserver, Outcome, Service, State
from poolmgr.report import rows, table
from poolmgr.report.escape import csv_cell, printable
from poolmgr.report.rows import Row
from tests.build import NOW, crawls, judge, judged, keyserver, mesh, pool, probe, snapshot

HOSTILE = "\x1b[31m\u202eks\n<script>\t[bold]x[/bold]"


def reported(keyservers: list[Keyserver], **fields: object) -> tuple[Row, ...]:
    of = pool(**fields)
    verdicts, references = judge(snapshot(keyservers), Policy(), [of])
    selection = select(verdicts, [of], {}, {}, NOW)
    hosts = {"pool.example.org": "pool.example.org"}
    return rows.rows(snapshot(keyservers), selection.verdicts, references, Policy().window, hosts)


def mixed() -> list[Keyserver]:
    return [
        *mesh(5),
        keyserver("late.example.net", "203.0.113.9", keys=4_900_000),
        keyserver("gone.example.net"),
        keyserver("old.example.net", "2001:db8::9", version="1.0.10", keys=None),
        keyserver("hostile.example.net", "203.0.113.66", software=HOSTILE, version="=cmd()"),
    ]


def test_a_row_has_what_was_measured() -> None:
    late = next(row for row in reported(mixed()) if row.keyserver == "late.example.net")
    assert (late.address, late.keys, late.difference) == ("203.0.113.9", 4_900_000, -100_000)
    assert (late.software, late.version) == ("SKS", "1.1.6")
    assert late.services == {Service.HKP: Outcome.OK, Service.HTTP: Outcome.OK}


def test_a_row_without_address_or_count_leaves_them_unknown() -> None:
    by_name = {row.keyserver: row for row in reported(mixed())}
    gone, old = by_name["gone.example.net"], by_name["old.example.net"]
    assert (gone.address, gone.services, gone.keys, gone.software) == (None, {}, None, None)
    assert (old.keys, old.difference) == (None, None)


def test_plain_text_is_one_line_per_address_with_every_reason() -> None:
    ((name, group),) = table.by_pool(reported(mixed(), max_records=4))
    text = table.to_plain(table.title(name, group), group)
    lines = text.splitlines()
    assert lines[0] == "pool.example.org: 4 members (4 A, 0 AAAA), 1 eligible, 4 out"
    assert len(lines) == 2 + 9
    assert [line.split()[0] for line in lines[2:]] == ["member"] * 4 + ["eligible"] + ["out"] * 4
    assert "100000 keys behind: 4900000 of the 5000000 of sks 1.1" in text


def test_json_says_the_same_as_the_rows() -> None:
    report = reported(mixed())
    document = json.loads(rows.to_json(snapshot(mixed()), report))
    assert (document["format"], document["version"]) == ("poolmgr-report", 1)
    (only,) = document["pools"]
    assert only["name"] == "pool.example.org"
    assert [entry["address"] for entry in only["addresses"]] == [row.address for row in report]
    late = next(entry for entry in only["addresses"] if entry["keyserver"] == "late.example.net")
    (reason,) = late["reasons"]
    assert (reason["code"], reason["measured"], reason["limit"]) == ("behind", "4900000", "4998000")


def test_csv_has_a_line_per_row_and_the_same_columns_everywhere() -> None:
    report = reported(mixed())
    lines = list(csv.DictReader(io.StringIO(rows.to_csv(report))))
    assert len(lines) == len(report)
    late = next(line for line in lines if line["keyserver"] == "late.example.net")
    assert (late["hkp"], late["difference"], late["codes"]) == ("ok", "-100000", "behind")


def test_countries_are_shown_where_some_are_known_and_have_no_column_where_none_is() -> None:
    one, *others = mesh(3)
    placed = replace(one, addresses=(replace(one.addresses[0], country="de"),))
    for keyservers, told in (([one, *others], [""] * 3), ([placed, *others], ["de", "", ""])):
        report = reported(keyservers)
        console = Console(file=io.StringIO(), width=80)
        console.print(table.to_table("pool", report))
        shown = console.file.getvalue()  # type: ignore[attr-defined]
        plain = table.to_plain("pool", report)
        is_known = any(told)
        assert ("Country" in shown, "COUNTRY" in plain) == (is_known, is_known)
        assert max(map(len, shown.splitlines())) <= 80
        assert [line["country"] for line in csv.DictReader(io.StringIO(rows.to_csv(report)))] == told
        (of,) = json.loads(rows.to_json(snapshot(keyservers), report))["pools"]
        assert [each["country"] or "" for each in of["addresses"]] == told
        if is_known:
            head, *lines = plain.splitlines()[1:]
            assert [line[head.index("COUNTRY") :].split()[0] for line in lines] == ["de", "-", "-"]


def test_hostile_text_reaches_neither_terminal_nor_csv_unescaped() -> None:
    report = reported(mixed())
    ((name, group),) = table.by_pool(report)
    console = Console(file=io.StringIO(), width=80, force_terminal=True, color_system="standard")
    console.print(table.to_table(table.title(name, group), group))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    for text in (table.to_plain(table.title(name, group), group), shown):
        assert "\x1b[31m\u202e" not in text
        assert "\u202e" not in text
        assert "\t" not in text
    assert "\\x1b[31m" in table.to_plain(table.title(name, group), group)
    cells = [cell for line in csv.reader(io.StringIO(rows.to_csv(report))) for cell in line]
    assert not any("\x1b" in cell or "\n" in cell or "\t" in cell for cell in cells)
    assert "'=cmd()" in cells


def test_a_warning_is_in_every_report_beside_the_verdict() -> None:
    (one,) = mesh(1)
    (address,) = one.addresses
    certificate = Certificate("Lab CA", NOW + timedelta(days=3))
    shown = probe(str(address.address), service=Service.HKPS, certificate=certificate)
    one = replace(one, addresses=(replace(address, probes=(*address.probes, shown)),))
    report = reported([one, *mesh(4, first=2)], services=frozenset(Service))
    sentence = "its certificate for pool.example.org ends in 3 days, on 2026-11-26"
    document = json.loads(rows.to_json(snapshot([one]), report))["pools"][0]["addresses"][0]
    assert [(each["code"], each["measured"], each["sentence"]) for each in document["warnings"]] == [
        ("certificate", "3 days", sentence)
    ]
    assert (document["state"], document["reasons"]) == ("member", [])
    first = next(csv.DictReader(io.StringIO(rows.to_csv(report))))
    assert (first["warnings"], first["reasons"]) == (sentence, "")
    console = Console(file=io.StringIO(), width=200)
    console.print(table.to_table("pool.example.org", report[:1]))
    assert f"warning: {sentence}" in console.file.getvalue()  # type: ignore[attr-defined]
    assert table.to_plain("pool.example.org", report[:1]).splitlines()[-1].endswith(f"  warning: {sentence}")


def on_terminal(report: tuple[Row, ...], width: int) -> list[str]:
    """Return the lines of the table of the only pool in `report`."""
    ((name, group),) = table.by_pool(report)
    output = io.StringIO()
    Console(file=output, width=width, force_terminal=False).print(table.to_table(table.title(name, group), group))
    return output.getvalue().splitlines()


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
def test_the_table_fits_its_terminal_and_keeps_every_word(width: int) -> None:
    report = reported(mixed())
    lines = on_terminal(report, width)
    assert all(len(line) <= width for line in lines)
    words = " ".join(lines).split()
    for word in ("late.example.net", "203.0.113.9", "4900000", "-100000", "2001:db8::9"):
        assert word in words
    for reason in next(row.reasons for row in report if row.keyserver == "late.example.net"):
        assert reason.sentence in " ".join(words)


def test_an_address_takes_one_line_where_the_widest_fits_and_else_two() -> None:
    report = reported(mesh(3))
    wide = on_terminal(report, 200)
    assert len(wide) == 2 + 3
    needed = max(map(len, wide))
    assert on_terminal(report, needed) == wide
    title, *narrow = on_terminal(report, needed - 1)
    assert title == wide[0]
    assert [line.split()[0] for line in narrow[2:]] == ["member", "ok"] * 3
    assert narrow[3].index("ok") == narrow[2].index("ks1") == len("member  ")


def standing() -> tuple[Row, ...]:
    """Return rows of one that has been in for 45 minutes, one that is leaving, and one that is joining."""
    others, name, late = mesh(4), "ks8.example.net", "ks9.example.net"
    up = [*others, keyserver(name, "203.0.113.8"), keyserver(late, "203.0.113.9")]
    down = [*others, keyserver(name, "203.0.113.8"), keyserver(late, "203.0.113.9", stats_outcome=Outcome.REFUSED)]
    failing = [*others, keyserver(name, "203.0.113.8", outcomes={Service.HKP: Outcome.RESET}), up[-1]]
    steady = replace(Policy().steadiness, flap_wait=timedelta(0))
    policy = replace(Policy(), steadiness=steady, fast_fall=frozenset({Outcome.REFUSED}))
    _, judgement = judged(crawls(up, up, down, failing), policy)
    selection = select(judgement.verdicts, [pool()], {}, judgement.history.reliability, NOW)
    hosts = {"pool.example.org": "pool.example.org"}
    report = rows.rows(judgement.snapshot, selection.verdicts, judgement.references, policy.window, hosts)
    return report[0], report[-2], report[-1]


def test_a_row_says_where_it_is_on_the_way_to_and_since_when() -> None:
    assert [(row.standing, row.state, row.progress, row.stood) for row in standing()] == [
        ("member", State.MEMBER, None, timedelta(minutes=45)),
        ("leaving 1/4", State.MEMBER, (1, 4), timedelta(minutes=45)),
        ("joining 1/2", State.OUT, (1, 2), timedelta(minutes=15)),
    ]


def test_json_and_csv_have_since_when_and_the_progress() -> None:
    document = json.loads(rows.to_json(snapshot(mixed()), standing()))
    assert [(each["since"], each["progress"]) for each in document["pools"][0]["addresses"]] == [
        ("2026-11-23T11:15:00+00:00", None),
        ("2026-11-23T11:15:00+00:00", {"crawls": 1, "of": 4}),
        ("2026-11-23T11:45:00+00:00", {"crawls": 1, "of": 2}),
    ]
    lines = csv.DictReader(io.StringIO(rows.to_csv(standing())))
    assert [(line["state"], line["since"], line["progress"]) for line in lines] == [
        ("member", "2026-11-23T11:15:00+00:00", ""),
        ("member", "2026-11-23T11:15:00+00:00", "1/4"),
        ("out", "2026-11-23T11:45:00+00:00", "1/2"),
    ]


def test_text_has_the_standing_and_how_long_it_lasts() -> None:
    for lines in (on_terminal(standing(), 80), table.to_plain("pool", standing()).splitlines()):
        shown = [line for line in lines if "ks" in line]
        assert [line.split("  ")[0] for line in shown] == ["member", "leaving 1/4", "joining 1/2"]
        assert [time in line for time, line in zip(["45 min", "45 min", "15 min"], shown, strict=True)] == [True] * 3


@pytest.mark.parametrize(("stood", "shown"), [(timedelta(0), "now"), (timedelta(days=3), "3 d"), (None, "-")])
def test_how_long_a_row_stands_is_told_in_its_unit(stood: timedelta | None, shown: str) -> None:
    row = replace(standing()[0], stood=stood)
    assert table.to_plain("pool", [row]).splitlines()[-1].split("  ")[3] == shown


def test_no_line_of_a_usual_mesh_is_folded_in_80_columns() -> None:
    usual = [
        *mesh(3),
        keyserver("keyserver2.example.net", "2001:db8:1:2::1234:1", software="Hockeypuck", version="2.3.1"),
    ]
    failing = keyserver("ks9.example.net", "203.0.113.9", outcomes={Service.HKP: Outcome.HTTP_STATUS})
    first, *others = reported([*usual, failing, *mixed()[-1:]], max_records=9)
    lines = on_terminal((replace(first, progress=(1, 2)), *others), 80)
    facts = [line for line in lines if "SKS" in line or "Hockeypuck" in line]
    assert len(facts) == 5
    assert all(line.split()[-2].isdigit() and line.endswith("+0") for line in facts)


def test_a_pool_is_one_table_wherever_its_rows_stand() -> None:
    ours = reported(mesh(2))
    other = replace(ours[0], pool="other.example.org")
    assert [(name, len(group)) for name, group in table.by_pool((ours[0], other, ours[1]))] == [
        ("pool.example.org", 2),
        ("other.example.org", 1),
    ]


def test_a_service_that_failed_shows_how() -> None:
    failing = keyserver("ks9.example.net", "203.0.113.9", outcomes={Service.HKP: Outcome.RESET})
    head, *lines = on_terminal(reported([*mesh(3), failing]), 200)[1:]
    assert head.split() == ["Keyserver", "Address", "Since", "hkp", "http", "Software", "Keys", "Diff"]
    (line,) = (line for line in lines if "ks9" in line)
    assert line.index("reset") == head.index("hkp")
    assert line.index("SKS") == head.index("Software")


def test_one_endless_name_does_not_widen_the_table() -> None:
    endless = keyserver(".".join(["x" * 60] * 4), "203.0.113.9")
    lines = on_terminal(reported([*mesh(3), endless]), 120)
    assert sum(len(line) < 120 and "ks" in line and "198.51.100." in line for line in lines) == 3


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("keys.example.org", "keys.example.org"),
        ("b\u00fccher", "b\u00fccher"),
        ("a\x00b\x1b\r\n", "a\\x00b\\x1b\\r\\n"),
        ("\u202e\u200b\u2028", "\\u202e\\u200b\\u2028"),
        ("back\\slash", "back\\\\slash"),
        ("\ud800", "\\ud800"),
    ],
)
def test_printable_shows_what_a_terminal_could_act_on(text: str, shown: str) -> None:
    assert printable(text) == shown


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\t=1"])
def test_no_csv_cell_starts_a_formula(text: str) -> None:
    assert csv_cell(text)[0] in "'\\"


def test_a_row_says_by_how_much_time_its_count_lags_where_that_is_known() -> None:
    frontier = Pace((Count(4_998_000, NOW - timedelta(hours=50)), Count(4_999_600, NOW - timedelta(hours=10))))
    paces = Paces(frontiers={Cohort("sks", (1, 1)): frontier})
    late = keyserver("late.example.net", "203.0.113.9", keys=4_999_200)
    crawl, of = snapshot([*mesh(5), late, keyserver("gone.example.net")]), pool()
    for known, lag, shown in ((Paces(), None, "-800"), (paces, 72_000, "-800 20h")):
        verdicts, references = judge(crawl, Policy(), [of], known)
        report = rows.rows(crawl, verdicts, references, Policy().window, {"pool.example.org": "pool.example.org"})
        assert [None if row.lag is None else round(row.lag.total_seconds()) for row in report] == [
            *[None if lag is None else 0] * 5, lag, None
        ]  # fmt: skip
        entries = json.loads(rows.to_json(crawl, report))["pools"][0]["addresses"]
        assert entries[5]["lag"] == lag
        assert list(csv.DictReader(io.StringIO(rows.to_csv(report))))[5]["lag"] == ("" if lag is None else str(lag))
        assert f"  {shown}" in table.to_plain("pool.example.org", report[5:6])
        assert shown in " ".join(on_terminal(report[5:6], 200)).split("  ")
