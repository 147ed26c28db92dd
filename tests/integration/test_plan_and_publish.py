"""What is planned, published, rolled back and told of it, on a mesh and on real name servers."""

from __future__ import annotations

import json
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dns.message
import dns.query
import pytest

from tests.conftest import Need
from tests.lab.clock import Clock
from tests.lab.crawls import Lab
from tests.lab.named import Named
from tests.lab.process import find_program
from tests.lab.site import Site, update_target

NAMES = [f"ks{number}.test" for number in range(4)]
ORIGIN = "keys.test."
POOL = "pool.keys.test."


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock(datetime(2026, 11, 23, 4, 10, 30, tzinfo=UTC))
    clock.use(monkeypatch)
    return clock


@pytest.fixture
def site(tmp_path: Path, clock: Clock, lab: Lab) -> Site:  # noqa: ARG001 -- the site begins at that time
    """Four good keyservers, not published yet."""
    for name in NAMES:
        lab.add(name, peers=NAMES)
    site = lab.site(tmp_path, *NAMES, retries=0, deadline="5s")
    site.config["policy"] = {"flap_wait": "0s", "min_cohort": 1, "drop": 1}
    site.pool |= {"min_members": 0, "max_removed": "50%", "families": ["ipv4"]}
    return site


def lose(lab: Lab, count: int) -> None:
    for keyserver in lab.mesh.keyservers[:count]:
        lab.mesh.stop(keyserver)


def records(named: Named) -> tuple[int, set[str]]:
    """Return TTL and addresses of the pool."""
    reply = dns.query.tcp(dns.message.make_query(POOL, "A"), str(named.address), port=named.port, timeout=5)
    return sum(rrset.ttl for rrset in reply.answer), {rdata.to_text() for rrset in reply.answer for rdata in rrset}


def nsupdate(named: Named, script: str) -> subprocess.CompletedProcess[str]:
    program = find_program("nsupdate")
    assert program is not None
    words = [program, "-k", str(named.key_file)]
    return subprocess.run(words, input=script, capture_output=True, text=True, timeout=20, check=False)


def test_the_script_for_nsupdate_does_what_publish_does_and_nothing_twice(
    site: Site, lab: Lab, tmp_path: Path, need: Need
) -> None:
    need("named", "nsupdate")
    with Named(tmp_path / "a", ORIGIN) as scripted, Named(tmp_path / "b", ORIGIN) as published:
        targets = [update_target(named.address, named.port, named.key_file) for named in (scripted, published)]
        label = f"primary {scripted.address} port {scripted.port}"

        def both() -> str:
            """Let the script work at one and poolmgr at the other, and return the script."""
            site.config["publish"] = targets
            planned = site.call("plan", "--target", label, "--format", "nsupdate")
            assert (planned.returncode, planned.stderr) == (0, "")
            done = nsupdate(scripted, planned.stdout)
            assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
            site.config["publish"] = targets[1:]
            assert site.call("publish").returncode == 0
            assert records(scripted) == records(published)
            site.config["publish"] = targets[:1]
            planned_again = site.call("plan", "--check")
            assert planned_again.returncode == 0, planned_again.stdout
            return planned.stdout

        assert site.call("crawl").returncode == 0
        created = both()
        assert f"prereq nxrrset {POOL} A" in created
        assert records(scripted) == (300, {str(keyserver.address) for keyserver in lab.mesh.keyservers})
        for named in (scripted, published):
            secret = named.key_file.read_text().split('"')[3]
            assert secret not in created
        again = nsupdate(scripted, created)
        assert again.returncode == 2
        assert "YXRRSET" in again.stderr

        lose(lab, 1)
        site.config["policy"]["fall"] = 1
        assert site.call("crawl").returncode == 0
        changed = both()
        assert changed.count("prereq yxrrset") == 4
        assert len(records(scripted)[1]) == 3
        site.pool["ttl"] = "10m"
        both()
        assert records(scripted)[0] == 600
        site.config["publish"] = targets
        refused = site.call("plan", "--format", "nsupdate")
        assert refused.returncode == 2
        assert label in refused.stderr


def test_plan_and_publish_warn_of_answers_that_are_too_large_for_clients_without_edns(site: Site) -> None:
    site.pool |= {"srv": ["pgpkey-http", "hkp"], "name": f"{'p' * 60}.{POOL}"}
    assert site.call("crawl").returncode == 0
    for command in ("plan", "publish"):
        done = site.call(command)
        assert done.returncode == 0
        warnings = [line for line in done.stderr.splitlines() if " it does not fit without EDNS: " in line]
        assert len(warnings) == 2
        for warning in warnings:
            assert ": _" in warning
            assert f"{POOL[:-1]} SRV: the answer has " in warning


def test_the_zone_is_the_file_that_is_written_and_a_dry_run_is_the_plan(site: Site, lab: Lab) -> None:
    assert site.call("crawl").returncode == 0
    file = site.folder / "keys.test.zone"
    planned = site.call("plan", "--format", "zone")
    plan, dry = site.call("plan"), site.call("publish", "--dry-run")
    assert plan.stdout == dry.stdout
    assert (plan.returncode, plan.stderr) == (dry.returncode, dry.stderr) == (0, "")
    assert "4 RRsets to create" in plan.stdout
    assert f"  {POOL[:-1]} A: 4 members; 0 of 0 removed" in plan.stdout
    assert not file.exists()
    done = site.call("publish")
    assert done.returncode == 0, done.stderr
    assert planned.stdout == file.read_text()
    site.pool["min_members"] = 2
    lose(lab, 1)
    site.config["policy"]["fall"] = 1
    assert site.call("crawl").returncode == 0
    near = site.call("plan")
    said = "3 members (1 to spare, min_members 2); 1 of 4 removed (2 may be, max_removed 50%); 0 added"
    assert f"  pool.keys.test A: {said}" in near.stdout.splitlines()
    assert "1 RRset to change" in near.stdout
    (target,) = json.loads(site.call("plan", "--format", "json").stdout)["targets"]
    assert [change["action"] for change in target["changes"] if change["type"] == "A"] == ["changed"]
    (limit,) = target["limits"]
    assert (limit["members"], limit["removed"], limit["max_removed"], limit["max_added"]) == (3, 1, 2, None)
    nothing = site.call("plan", "--format", "nsupdate")
    assert nothing.returncode == 2
    assert "takes no updates" in nothing.stderr


def members(site: Site) -> set[str]:
    lines = (site.folder / "keys.test.zone").read_text().splitlines()
    return {line.split()[-1] for line in lines if line.startswith("pool")}


def test_rollback_publishes_earlier_members_within_the_limits_and_the_next_run_judges(
    clock: Clock, site: Site, lab: Lab
) -> None:
    site.config["policy"]["fall"] = 1
    assert site.call("run").returncode == 0
    first = members(site)
    lose(lab, 2)
    clock.move(timedelta(minutes=10))
    assert site.call("run").returncode == 0
    second = members(site)
    assert (len(first), len(second)) == (4, 2)
    site.pool["ttl"] = "10m"
    assert site.call("publish").returncode == 0, "the same members again are no other state"
    now, before = site.call("rollback", "--list").stdout.splitlines()
    assert now == "  0  p2  2026-11-23 04:20 UTC  pool.keys.test ipv4: 2  (published now)"
    assert before == "  1  p1  2026-11-23 04:10 UTC  pool.keys.test ipv4: 4"

    site.pool["max_added"] = 1
    clock.move(timedelta(minutes=10))
    held = site.call("rollback")
    assert held.returncode == 3
    assert "would gain 2 members beside 2, at most 1 may come at once (max_added 1)" in held.stderr
    assert members(site) == second
    forced = site.call("rollback", "--to", "p1", "--force")
    assert (forced.returncode, forced.stderr) == (0, "")
    assert members(site) == first
    assert "rolled back to" in (site.folder / "keys.test.zone").read_text().splitlines()[0]
    site.pool.pop("max_added")
    assert site.call("run").returncode == 0
    assert members(site) == second, "the run judges as always"
    clock.move(timedelta(hours=3))
    old = site.call("rollback", "--to", "p1")
    assert (old.returncode, old.stderr) == (0, ""), "how old the last crawl is does not matter"
    assert members(site) == first
    far = site.call("rollback", "--to", "9")
    assert (far.returncode, far.stdout) == (1, "")
    assert "rollback --list" in far.stderr


def test_status_is_ok_then_warns_of_what_is_held_and_cries_when_it_grows_old(
    clock: Clock, site: Site, lab: Lab
) -> None:
    def told() -> tuple[int, str, list[str]]:
        done = site.call("status")
        assert done.stderr == ""
        first, *rest = done.stdout.splitlines()
        return done.returncode, first, rest

    code, first, _ = told()
    assert (code, first) == (2, "POOLMGR CRITICAL: no run is stored: is cron set up?")
    assert site.call("run").returncode == 0
    label = f"zone file {site.folder / 'keys.test.zone'}"
    serial = int(clock.at.timestamp())
    good = "POOLMGR OK: 1 target as the last crawl wants it"
    assert told() == (
        0,
        good,
        [
            "last crawl: 2026-11-23 04:10 UTC, 0 min ago",
            "last run: 2026-11-23 04:10 UTC, 0 min ago, exit code 0",
            f"{label}:",
            "  data: 2026-11-23 04:10 UTC, 0 min ago",
            f"  serial: {serial} written, {serial} seen",
            "  last run: published",
        ],
    )
    lose(lab, 4)
    site.config["policy"]["fall"] = 1
    site.pool["min_members"] = 3
    clock.move(timedelta(minutes=15))
    assert site.call("run").returncode == 3
    code, first, _ = told()
    assert (code, first) == (
        1,
        f"POOLMGR WARNING: pool.keys.test A is held since 2026-11-23 04:25 UTC at {label}",
    )
    clock.move(timedelta(minutes=46))
    assert site.call("run").returncode == 3
    code, first, rest = told()
    assert (code, first) == (
        2,
        f"POOLMGR CRITICAL: {label} has data 61 min old, at most 60 min is asked for (and 1 more)",
    )
    assert any(line.startswith("WARNING: pool.keys.test A is held") for line in rest)
    assert site.call("status", "--max-age", "2h").returncode == 1
    document = json.loads(site.call("status", "--format", "json").stdout)
    assert (document["level"], document["run"]["exit_code"]) == ("CRITICAL", 3)
    clock.move(timedelta(hours=3))
    code, first, rest = told()
    assert any("the last run was 3.0 h ago" in line for line in [first, *rest])


def test_status_sees_a_target_that_cannot_be_read_or_lost_what_was_written(clock: Clock, site: Site) -> None:
    assert site.call("run").returncode == 0
    file = site.folder / "keys.test.zone"
    serial = str(int(clock.at.timestamp()))
    good = file.read_text()
    file.write_text(good.replace(serial, "5"))
    lost = site.call("status")
    assert lost.returncode == 2
    assert f"has serial 5, and {serial} was written" in lost.stdout.splitlines()[0]
    file.write_text("no zone\n")
    unreadable = site.call("status")
    assert unreadable.returncode == 2
    assert "cannot be asked" in unreadable.stdout.splitlines()[0]
    assert site.call("run").returncode == 1
    file.write_text(good)
    failed = site.call("status")
    assert (failed.returncode, "failed in the last run" in failed.stdout.splitlines()[0]) == (2, True)


def test_a_run_that_could_not_crawl_is_remembered(site: Site) -> None:
    assert site.call("run").returncode == 0
    site.config["crawl"]["membership"] = "absent"
    assert site.call("run").returncode == 1
    told = site.call("status")
    assert told.returncode == 2
    assert told.stdout.startswith("POOLMGR CRITICAL: the last run failed: cannot read ")


def test_several_zones_are_published_each_to_its_targets(clock: Clock, site: Site, lab: Lab) -> None:
    (site.folder / "eu.zone").write_text(
        "$ORIGIN eu.keys.test.\n$TTL 300\n@ SOA n.test. h 7 900 600 86400 60\n@ NS n.test.\n"
    )
    zone = site.config["zone"]
    site.config["zone"] = [zone, {"origin": "eu.keys.test", "skeleton": "eu.zone"}]
    site.config["pools"].append({**site.pool, "name": "pool.eu.keys.test", "exclude": [NAMES[3]]})
    site.config["publish"] = [
        {"type": "zonefile", "zone": "eu.keys.test", "file": "eu.served.zone"},
        {"type": "zonefile", "zone": "keys.test", "file": "keys.test.zone"},
    ]
    assert site.call("check-config").returncode == 0
    site.config["policy"]["fall"] = 1
    assert site.call("run").returncode == 0

    def european() -> set[str]:
        lines = (site.folder / "eu.served.zone").read_text().splitlines()
        return {line.split()[-1] for line in lines if line.startswith("pool")}

    every = {str(keyserver.address) for keyserver in lab.mesh.keyservers}
    last = str(lab.mesh.keyservers[3].address)
    assert (european(), members(site)) == (every - {last}, every)
    clock.move(timedelta(minutes=10))
    assert site.call("run").stdout == ""
    lab.mesh.stop(lab.mesh.keyservers[3])
    assert site.call("run").returncode == 0
    assert (european(), members(site)) == (every - {last}, every - {last})
    newest = site.call("rollback", "--list").stdout.splitlines()[0]
    assert "pool.eu.keys.test ipv4: 3" in newest
    assert "pool.keys.test ipv4: 3" in newest, "each publication has the members of all zones"
    assert site.call("rollback", "--force").returncode == 0
    assert (european(), members(site)) == (every - {last}, every)


FALLBACK = {"192.0.2.1", "192.0.2.2", "192.0.2.3"}


@pytest.fixture
def with_fallback(site: Site) -> Site:
    """Published, with a fallback for what is held for longer than six hours."""
    site.pool |= {"fallback": sorted(FALLBACK), "min_members": 2, "max_removed": 1}
    site.config["zone"]["fallback_after"] = "6h"
    assert site.call("run").returncode == 0
    return site


def test_the_fallback_is_published_when_no_crawl_succeeds_for_too_long(
    clock: Clock, with_fallback: Site, lab: Lab
) -> None:
    site = with_fallback
    every = {str(keyserver.address) for keyserver in lab.mesh.keyservers}
    site.config["crawl"]["membership"] = "absent"
    for hours in (1, 4, 1):
        clock.move(timedelta(hours=hours))
        assert site.call("run").returncode == 1
        assert members(site) == every
    clock.move(timedelta(minutes=1))
    stuck = site.call("run")
    assert stuck.returncode == 1
    assert members(site) == FALLBACK
    said = "that is so for longer than 6.0 h (fallback_after), and the fallback of pool.keys.test A is published"
    assert said in stuck.stderr
    assert "cannot read " in stuck.stderr
    told = site.call("status")
    assert told.returncode == 2
    serial = (site.folder / "keys.test.zone").read_text()
    clock.move(timedelta(minutes=15))
    assert site.call("run").returncode == 1
    assert (site.folder / "keys.test.zone").read_text() == serial, "once"
    assert site.call("publish").returncode == 3
    del site.config["crawl"]["membership"]
    assert site.call("run").returncode == 0
    assert members(site) == every, "the members are back at once, whatever max_removed says"
    assert site.call("status").returncode == 0


def test_the_fallback_is_published_when_crawls_are_refused_for_too_long(
    clock: Clock, with_fallback: Site, lab: Lab
) -> None:
    site = with_fallback
    every = {str(keyserver.address) for keyserver in lab.mesh.keyservers}
    lose(lab, 3)
    site.config["policy"]["fall"] = 1
    for _ in range(4):
        clock.move(timedelta(hours=2))
        assert site.call("run").returncode == 3
        assert members(site) == every
    clock.move(timedelta(minutes=15))
    planned = site.call("plan")
    assert planned.returncode == 3
    assert "the fallback of pool.keys.test A" in planned.stderr
    given_up = site.call("run")
    assert given_up.returncode == 3
    assert "+ pool.keys.test. 300 IN A 192.0.2.1" in given_up.stdout
    assert members(site) == FALLBACK
    told = site.call("status")
    assert told.returncode == 2
    assert "the fallback of pool.keys.test A" in told.stdout
    again = site.call("run")
    assert (again.returncode, members(site)) == (3, FALLBACK)
    for keyserver in lab.mesh.keyservers[:3]:
        lab.mesh.start(keyserver)
    site.config["policy"]["rise"] = 1
    assert site.call("run").returncode == 0
    assert members(site) == every
