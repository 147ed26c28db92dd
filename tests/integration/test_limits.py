"""What holds a run back, and what is published when too few are eligible."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.lab.clock import Clock
from tests.lab.crawls import Lab
from tests.lab.site import Site

NAMES = [f"ks{number}.test" for number in range(4)]
FALLBACK = {"192.0.2.1", "192.0.2.2", "192.0.2.3"}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of a test that asks for it first."""
    clock = Clock(datetime(2026, 11, 23, 4, 10, 30, tzinfo=UTC))
    clock.use(monkeypatch)
    return clock


@pytest.fixture
def site(tmp_path: Path, lab: Lab) -> Site:
    """Four good keyservers, published."""
    for name in NAMES:
        lab.add(name, peers=NAMES)
    site = lab.site(tmp_path, *NAMES, retries=0, deadline="5s")
    site.config["policy"] = {"flap_wait": "0s", "min_cohort": 1, "fall": 1, "drop": 1}
    assert site.call("run").returncode == 0
    return site


def published(site: Site) -> set[str]:
    lines = (site.folder / "keys.test.zone").read_text().splitlines()
    return {line.split()[-1] for line in lines if line.startswith("pool")}


def addresses(lab: Lab) -> set[str]:
    return {str(keyserver.address) for keyserver in lab.mesh.keyservers}


def stop(lab: Lab, count: int) -> None:
    for keyserver in lab.mesh.keyservers[:count]:
        lab.mesh.stop(keyserver)


def test_the_fallback_comes_when_too_few_are_left_and_goes_when_enough_are_back(site: Site, lab: Lab) -> None:
    site.pool |= {"when_short": "fallback", "fallback": sorted(FALLBACK)}
    stop(lab, 2)
    short = site.call("run")
    assert (short.returncode, short.stderr) == (0, "")
    assert published(site) == FALLBACK
    report = json.loads(site.call("report", "--format", "json").stdout)
    rows = {row["address"]: row for row in report["pools"][0]["addresses"]}
    assert {address for address, row in rows.items() if row["state"] == "member"} == FALLBACK
    said = "2 of at least 3 A are eligible, and the pool's fallback is published instead"
    assert [warning["sentence"] for warning in rows["192.0.2.1"]["warnings"]] == [said]
    for keyserver in lab.mesh.keyservers[:2]:
        lab.mesh.start(keyserver)
    assert [site.call("run").returncode for _round in range(2)] == [0, 0]
    assert published(site) == addresses(lab)


def test_a_crawl_that_saw_few_answer_counts_for_nothing_until_the_operator_believes_it(site: Site, lab: Lab) -> None:
    site.pool |= {"min_members": 0, "max_removed": "100%"}
    stop(lab, 3)
    held = site.call("run")
    assert held.returncode == 3
    said = "in the crawl 1 ipv4 addresses answered, lately it was 4, and at least 50% is asked for (min_seen)"
    assert f"pool.keys.test A is left as it is: {said}; the 4 published stay" in held.stderr
    assert published(site) == addresses(lab)
    assert site.call("run", "--force").returncode == 0
    assert published(site) == addresses(lab), "there is nothing to force: nobody is out by such a crawl"
    assert site.call("report", "--excluded", "--format", "csv").stdout.count("\n") == 1
    site.config["policy"]["min_seen"] = "0%"
    assert site.call("run").returncode == 0
    assert len(published(site)) == 1


def test_what_is_held_says_since_when_until_it_is_published(clock: Clock, site: Site, lab: Lab) -> None:
    target = f"zone file {site.folder / 'keys.test.zone'}"

    def told(*words: str) -> str:
        done = site.call(*words)
        assert done.returncode == 3, done
        (line,) = done.stderr.splitlines()
        return line.removeprefix(f"poolmgr: {target}: held: pool.keys.test A ")

    def planned() -> list[tuple[str, str]]:
        (of,) = json.loads(site.call("plan", "--format", "json").stdout)["targets"]
        return [(held["type"], held["since"]) for held in of["held"]]

    lost = "would lose 3 of 4 members, at most 1 may go at once (max_removed 1): the 4 published stay"
    site.pool |= {"families": ["ipv4"], "min_members": 0, "max_removed": 1}
    site.config["policy"]["min_seen"] = "0%"
    stop(lab, 3)
    assert site.call("crawl").returncode == 0
    assert told("plan") == lost, "nothing is held before a run holds it"
    assert planned() == [("A", "2026-11-23T04:10:30+00:00")]
    assert told("run") == told("plan") == lost
    clock.move(timedelta(hours=1, minutes=30))
    assert told("run") == told("plan") == f"{lost}; held since 2026-11-23 04:10 UTC, 90 min"
    clock.move(timedelta(hours=1, minutes=42))
    stop(lab, 4)
    lost = "would have 0 of at least 1 members (min_members): the 4 published stay"
    site.pool["min_members"] = 1
    since = "; held since 2026-11-23 04:10 UTC, 3.2 h"
    assert told("run") == told("plan") == lost + since, "another limit, and still held"
    assert planned() == [("A", "2026-11-23T04:10:30+00:00")]
    site.pool["min_members"] = 0
    assert site.call("run", "--force").returncode == 0
    assert planned() == []
    site.pool["min_members"] = 1
    clock.move(timedelta(hours=1))
    assert told("run").endswith("(min_members): nothing is published"), "held anew"
    assert planned() == [("A", "2026-11-23T08:22:30+00:00")]


def test_an_old_crawl_changes_nothing(site: Site) -> None:
    assert site.call("crawl", "--output", "crawl.json").returncode == 0
    site.pool |= {"min_members": 0, "max_records": 3}
    assert site.call("plan", "--snapshot", "crawl.json").returncode == 0
    path = site.folder / "crawl.json"
    document = json.loads(path.read_text())
    for moment in ("started", "finished"):
        document[moment] = (datetime.fromisoformat(document[moment]) - timedelta(hours=3)).isoformat()
    path.write_text(json.dumps(document))
    held = site.call("plan", "--snapshot", "crawl.json")
    assert held.returncode == 3
    said = "the crawl is 3.0 h old, at most 60 min is believed (max_age)"
    assert f"pool.keys.test A is left as it is: {said}; the 4 published stay" in held.stdout + held.stderr
    site.config["zone"]["max_age"] = "1d"
    assert site.call("plan", "--snapshot", "crawl.json").returncode == 0
