"""What people see and do: probe, logs, progress, snapshots in files, and stopping."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import time
from pathlib import Path

import pytest

from poolmgr.model import Service
from tests.lab.crawls import Lab
from tests.lab.mesh import Fault
from tests.lab.process import wait_until
from tests.lab.site import Site

NAMES = [f"ks{number}.test" for number in range(4)]


@pytest.fixture
def site(tmp_path: Path, lab: Lab) -> Site:
    """Four good keyservers, and a site that crawls them."""
    for name in NAMES:
        lab.add(name, peers=NAMES, keys=5_000)
    return lab.site(tmp_path, *NAMES)


def is_stored(site: Site) -> bool:
    return site.poolmgr("report").returncode == 0


# probe


def test_probe_shows_everything_of_a_good_keyserver_and_stores_nothing(site: Site, lab: Lab) -> None:
    shown = site.poolmgr("probe", NAMES[0])
    assert (shown.returncode, shown.stderr) == (0, "")
    port = lab.mesh.ports
    for words in (
        f"DNS: {lab.mesh.keyservers[0].address}",
        f"stats on hkp port {port[Service.HKP]} as {NAMES[0]}: ok; connect ",
        f"lookup on hkp port {port[Service.HKP]} as {NAMES[0]}: ok; connect ",
        f"lookup on http port {port[Service.HTTP]} as pool.keys.test: ok; connect ",
        "says of itself: SKS 1.1.6, 5000 keys",
        f"pool.keys.test {lab.mesh.keyservers[0].address}: out",
    ):
        assert words in shown.stdout
    assert shown.stdout.count("DNS: ") == 1
    assert "cut short" not in shown.stdout
    assert not (site.folder / "state").exists()


def test_probe_judges_by_the_newest_stored_crawl(site: Site, lab: Lab) -> None:
    assert site.poolmgr("crawl").returncode == 0
    lab.mesh.keyservers[0].keys = 10
    shown = site.poolmgr("probe", str(lab.mesh.keyservers[0].address))
    assert shown.returncode == 0, "it is reachable all the same"
    assert "4990 keys behind: 10 of the 5000 of sks 1.1, at most 2000 may be missing" in shown.stdout


def test_probe_fails_where_nobody_would_be_served_and_shows_what_was_refused(site: Site, lab: Lab) -> None:
    lab.add("bad.test", faults={Service.HKP: Fault.REDIRECT})
    plain = site.poolmgr("probe", "bad.test")
    assert plain.returncode == 1
    assert "redirect (302 to 'http://127.0.0.1:9/pks/" in plain.stdout
    assert "| HTTP/1.1" not in plain.stdout
    debug = site.poolmgr("probe", "bad.test", "--debug")
    assert debug.returncode == 1
    assert "  | HTTP/1.1 302 Found\n  | Location: http://127.0.0.1:9/pks/\\x1b[31m\n" in debug.stdout
    assert "\x1b" not in plain.stdout + debug.stdout


def test_probe_as_json_is_for_machines(site: Site) -> None:
    shown = site.poolmgr("probe", NAMES[0], "--format", "json")
    document = json.loads(shown.stdout)
    assert (document["reachable"], document["heads"]) == (True, [])
    assert [each["name"] for each in document["snapshot"]["keyservers"]] == NAMES[:1]


def test_probe_of_a_name_that_does_not_exist_or_is_none(site: Site) -> None:
    absent = site.poolmgr("probe", "absent.test")
    assert absent.returncode == 1
    assert "no such name (NXDOMAIN)" in absent.stdout
    wrong = site.poolmgr("probe", "no name\x1b")
    assert wrong.returncode == 2
    assert "'no name\\x1b' is neither an address nor" in wrong.stderr


# Logs and progress


def test_verbose_logs_one_line_for_each_keyserver(site: Site) -> None:
    quiet, verbose = site.poolmgr("crawl"), site.poolmgr("-v", "crawl")
    assert quiet.stderr == ""
    lines = verbose.stderr.splitlines()
    assert [line.split()[1] for line in lines] == [f"{name}:" for name in NAMES]
    assert all("stats ok, hkp as pool.keys.test ok, http as pool.keys.test ok" in line for line in lines)


def test_json_logs_have_one_object_a_line_whatever_is_said(site: Site) -> None:
    site.config["crawl"]["max_peers"] = 1
    lines = [json.loads(line) for line in site.poolmgr("--log-format", "json", "-v", "crawl").stderr.splitlines()]
    assert [line["keyserver"] for line in lines[: len(NAMES)]] == NAMES
    assert all(probe["outcome"] == "ok" for line in lines[: len(NAMES)] for probe in line["probes"])
    assert lines[-1]["level"] == "warning"
    assert "crawl.max_peers (1) was reached" in lines[-1]["message"]
    site.config["pools"] = []
    (error, *_) = site.poolmgr("--log-format", "json", "crawl").stderr.splitlines()
    assert json.loads(error)["level"] == "error"


def test_progress_is_shown_on_a_terminal(site: Site, lab: Lab) -> None:
    lab.add("slow.test", fault=Fault.SILENT)
    site.config["crawl"] |= {"seeds": [*NAMES, "slow.test"], "deadline": "2s"}
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        site.command("crawl"), cwd=site.folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=theirs
    ) as crawl:
        os.close(theirs)
        shown = b""
        with os.fdopen(ours, "rb", buffering=0) as screen:
            try:
                while chunk := screen.read(4096):
                    shown += chunk
            except OSError:
                pass  # EIO: nobody has the other end open any more
    assert crawl.returncode == 0
    assert b"crawling: 5 names found" in shown
    assert b"1 under way end within" in shown
    assert b"stats of hkp" in shown


# Snapshots in files


def test_a_crawl_is_written_to_a_file_and_judged_from_there(site: Site) -> None:
    crawled = site.poolmgr("crawl", "--output", "first.json")
    assert (crawled.returncode, crawled.stderr) == (0, "")
    site.config["crawl"]["seeds"] = NAMES[:1]
    site.config["crawl"]["max_depth"] = 0
    site.config["state"]["folder"] = "elsewhere"
    assert not is_stored(site)
    report = site.poolmgr("report", "--snapshot", "first.json")
    assert report.stdout.splitlines()[0] == "pool.keys.test: 4 members (4 A, 0 AAAA), 0 eligible, 0 out"
    plan = site.poolmgr("plan", "--snapshot", "first.json")
    assert plan.returncode == 0
    assert plan.stdout.count("+ pool.keys.test. 300 IN A 127.") == 4


def test_a_crawl_on_standard_output_is_json_alone(site: Site) -> None:
    crawled = site.poolmgr("crawl", "--output", "-")
    assert json.loads(crawled.stdout)["format"] == "poolmgr-snapshot"
    assert crawled.stderr.startswith("4 keyservers with 4 addresses")


def test_a_snapshot_that_cannot_be_written_or_read_is_named(site: Site) -> None:
    unwritten = site.poolmgr("crawl", "--output", "absent/crawl.json")
    assert (unwritten.returncode, unwritten.stderr) == (
        1,
        "poolmgr: cannot write absent/crawl.json: No such file or directory\n",
    )
    (site.folder / "no.json").write_text("{}")
    unread = site.poolmgr("report", "--snapshot", "no.json")
    assert unread.returncode == 1
    assert unread.stderr.startswith("poolmgr: no.json: not a poolmgr-snapshot")


# Stopping


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("command", ["crawl", "run"])
def test_a_crawl_that_is_stopped_says_what_was_done_and_stores_nothing(
    site: Site, lab: Lab, command: str, number: int, code: int
) -> None:
    silent = lab.add("silent.test", fault=Fault.SILENT)
    site.config["crawl"] |= {"seeds": [*NAMES, "silent.test"], "deadline": "60s"}
    with site.started(command) as running:
        wait_until(lambda: len(silent.requests) > 0, "the crawl to come to the silent keyserver")
        sent = time.monotonic()
        running.send_signal(number)
        _, said = running.communicate(timeout=30)
        took = time.monotonic() - sent
    assert running.returncode == code
    assert took < 10, "the deadline of what was under way is far away"
    assert "was stopped after" in said
    assert "Traceback" not in said
    assert not is_stored(site)
    assert not (site.folder / "keys.test.zone").exists()


def test_an_interrupt_while_publishing_leaves_a_whole_zone(site: Site) -> None:
    site.config["publish"][0]["reload"] = ["sleep", "60"]
    zone = site.folder / "keys.test.zone"
    with site.started("run") as running:
        wait_until(zone.exists, "the zone file to be there")
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=30)
    assert (running.returncode, said) == (130, "poolmgr: interrupted\n")
    assert not zone.exists() or zone.read_text().count("pool\t300\tIN\tA\t") == len(NAMES)
