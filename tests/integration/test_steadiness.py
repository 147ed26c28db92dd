"""One keyserver that fails and comes back, run after run: what is published, and what the report says of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.lab.crawls import Lab
from tests.lab.mesh import Fault, LabKeyserver
from tests.lab.site import Site

NAMES = [f"ks{number}.test" for number in range(5)]


@pytest.fixture
def site(tmp_path: Path, lab: Lab) -> Site:
    """Five good keyservers, and a site that publishes them: two failures put out, and who went out need not wait."""
    for name in NAMES:
        lab.add(name, peers=NAMES, keys=5_000)
    site = lab.site(tmp_path, *NAMES, retries=0, deadline="5s")
    site.config["policy"] = {"flap_wait": "0s", "drop": 2}
    return site


def published(site: Site) -> set[str]:
    """Return the addresses in the zone file."""
    lines = (site.folder / "keys.test.zone").read_text().splitlines()
    return {line.split()[-1] for line in lines if line.startswith("pool")}


def row_of(site: Site, keyserver: LabKeyserver) -> dict[str, Any]:
    """Return what the report says of a keyserver."""
    rows = json.loads(site.call("report", "--format", "json").stdout)["pools"][0]["addresses"]
    (row,) = [row for row in rows if row["keyserver"] == keyserver.hostname]
    return dict(row)


def run(site: Site, keyserver: LabKeyserver) -> tuple[bool, str, list[str], list[str]]:
    """Run poolmgr; return whether `keyserver` is published, and its state, reasons and warnings, by their codes."""
    done = site.call("run")
    assert done.returncode == 0, done.stderr
    row = row_of(site, keyserver)
    reasons, warnings = ([reason["code"] for reason in row[key]] for key in ("reasons", "warnings"))
    return str(keyserver.address) in published(site), row["state"], reasons, warnings


def test_a_keyserver_goes_out_after_two_failures_and_is_back_after_two_answers(site: Site, lab: Lab) -> None:
    one = lab.mesh.keyservers[0]
    assert run(site, one) == (True, "member", [], [])
    one.faults = dict.fromkeys(lab.mesh.ports, Fault.ERROR)
    assert run(site, one) == (True, "member", [], ["stats"])
    assert run(site, one) == (False, "out", ["stats"], [])
    one.faults = {}
    assert run(site, one) == (False, "out", ["joining"], [])
    assert "1 good crawl in a row, 2 are asked for" in site.call("report", "--excluded").stdout
    assert run(site, one) == (True, "member", [], [])
    assert len(published(site)) == len(NAMES)


def test_a_full_pool_replaces_one_that_fails_before_it_is_out(site: Site, lab: Lab) -> None:
    site.pool["max_records"] = 3
    del site.config["policy"]["drop"]
    assert site.call("run").returncode == 0
    first = published(site)
    one = next(each for each in lab.mesh.keyservers if str(each.address) in first)
    one.faults = dict.fromkeys(lab.mesh.ports, Fault.ERROR)
    assert run(site, one) == (True, "member", [], ["stats"])
    assert run(site, one) == (False, "eligible", ["falling"], ["stats"])
    after = published(site)
    assert (len(after), first - after) == (3, {str(one.address)})
    sentence = "its last 2 crawls were bad, and others have its place; after 4 it is out"
    for command in (("report",), ("explain", one.hostname)):
        assert sentence in site.call(*command).stdout
    assert "to be published: give its stats page; one good crawl" in site.call("explain", one.hostname).stdout
    assert run(site, one) == (False, "eligible", ["falling"], ["stats"])
    assert run(site, one) == (False, "out", ["stats"], [])
    assert published(site) == after


def test_one_that_fails_keeps_its_place_where_there_is_no_other(site: Site, lab: Lab) -> None:
    del site.config["policy"]["drop"]
    one = lab.mesh.keyservers[0]
    assert run(site, one) == (True, "member", [], [])
    one.faults = dict.fromkeys(lab.mesh.ports, Fault.ERROR)
    assert [run(site, one) for _ in range(3)] == [(True, "member", [], ["stats"])] * 3
    one.faults = {}
    assert run(site, one) == (True, "member", [], [])


def test_a_keyserver_that_refuses_is_out_at_once_where_the_operator_says_so(site: Site, lab: Lab) -> None:
    site.config["policy"]["fast_fall"] = ["refused"]
    one = lab.mesh.keyservers[0]
    assert run(site, one)[0]
    lab.mesh.stop(one)
    assert run(site, one) == (False, "out", ["stats"], [])
    lab.mesh.start(one)
    site.config["policy"]["rise"] = 1
    assert run(site, one) == (True, "member", [], [])


def test_a_keyserver_that_went_out_waits_before_it_is_back(site: Site, lab: Lab) -> None:
    site.config["policy"] = {"flap_wait": "1h", "rise": 1, "fall": 1, "drop": 1}
    one = lab.mesh.keyservers[0]
    assert run(site, one)[0]
    one.faults = dict.fromkeys(lab.mesh.ports, Fault.ERROR)
    assert not run(site, one)[0]
    one.faults = {}
    assert run(site, one) == (False, "out", ["flapping"], [])
    assert "waits 60 min for having gone out once lately" in site.call("report", "--excluded").stdout


def test_a_name_that_cannot_be_looked_up_once_costs_nothing(site: Site, lab: Lab) -> None:
    one = lab.mesh.keyservers[0]
    assert run(site, one)[0]
    records = lab.nameserver.records.pop(one.hostname)
    assert run(site, one) == (True, "member", [], ["stats"])
    (warning,) = row_of(site, one)["warnings"]
    assert warning["sentence"].startswith("no stats page: unresolved (")
    assert run(site, one) == (False, "out", ["stats"], [])
    assert run(site, one) == (False, "out", ["no-address"], [])
    lab.nameserver.records[one.hostname] = records
    assert run(site, one) == (False, "out", ["joining"], [])
    assert run(site, one) == (True, "member", [], [])
