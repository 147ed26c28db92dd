"""What is made of the stored crawls: a backtest of real runs, and crawls that move from one store to another."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from poolmgr import past
from poolmgr.config import load_config
from poolmgr.hosts import IPAddress
from poolmgr.judge.backtest import replay
from poolmgr.model import Family
from poolmgr.store.database import FILE, Store, read_store
from tests.lab.crawls import POOL, Lab
from tests.lab.mesh import Fault
from tests.lab.site import Site

NAMES = [f"ks{number}.test" for number in range(6)]
EVER = datetime(2000, 1, 1, tzinfo=UTC)


@pytest.fixture
def site(tmp_path: Path, lab: Lab) -> Site:
    """Six good keyservers, and a site that publishes four of them."""
    for name in NAMES:
        lab.add(name, peers=NAMES, keys=5_000)
    folder = tmp_path / "site"
    folder.mkdir()
    site = lab.site(folder, *NAMES, retries=0, deadline="5s")
    site.pool.update(max_records=4, min_members=2, max_removed="50%")
    site.config["policy"] = {"flap_wait": "0s", "probation": "0s"}
    return site


def store_of(site: Site) -> Store:
    store = read_store(site.folder / "state")
    assert store is not None
    return store


def runs(site: Site, lab: Lab, failing: Iterable[set[int]]) -> list[frozenset[IPAddress]]:
    """Make a run for each set of keyservers that fail then, and return what is published after each.

    Numbers 0 to 3 are those that the first run publishes, at which none may fail: which ones depends on the addresses.
    """
    published: list[frozenset[IPAddress]] = []
    keyservers = lab.mesh.keyservers
    for indexes in failing:
        for index, keyserver in enumerate(keyservers):
            keyserver.faults = dict.fromkeys(lab.mesh.ports, Fault.ERROR) if index in indexes else {}
        done = site.call("run")
        assert done.returncode in {0, 3}, done
        with store_of(site) as store:
            published.append(frozenset(store.load_publications()[-1].members[POOL, Family.IPV4]))
        keyservers = sorted(keyservers, key=lambda each: each.address not in published[0])
    return published


def test_runs_replayed_publish_what_they_published(site: Site, lab: Lab) -> None:
    held = {1, 2, 3, 4, 5}
    published = runs(site, lab, [set(), {0}, {0}, set(), held, held, {1, 2}, {1, 2}, {0, 3}, set()])
    assert len(set(published)) >= 3, "otherwise there is nothing to replay"
    config = load_config(site.path)
    with store_of(site) as store:
        history, crawls = store.replay(EVER)
        rounds = list(replay(history, crawls, past.rules_of(config), None))
    assert [frozenset(each.members.get((POOL, Family.IPV4), ())) for each in rounds] == published
    moves = [(len(after - before), len(before - after)) for before, after in pairwise(published)]
    _, fates = past.backtest(config, {}, timedelta(days=1))
    ((fate,),) = fates.values()
    assert (fate.joins, fate.leaves) == tuple(map(sum, zip(*moves, strict=True)))


def test_a_backtest_compares_two_policies_and_leaves_everything_as_it_was(site: Site, lab: Lab) -> None:
    runs(site, lab, [set(), {0, 1}, {0, 1}, {0, 1}])
    database = site.folder / "state" / FILE
    zone = site.folder / "keys.test.zone"
    before = database.read_bytes(), zone.read_bytes()
    lab.nameserver.records.clear()
    shown = site.call("backtest", "--set", "policy.fall=1", "--format", "csv")
    assert (shown.returncode, shown.stderr) == (0, "")
    today, other = csv.DictReader(io.StringIO(shown.stdout))
    assert (today["policy"], other["policy"]) == ("today", "other")
    assert float(today["failing"]) > 0
    assert float(other["failing"]) != float(today["failing"])
    other_path = site.folder / "other.yaml"
    other_path.write_text(json.dumps({**site.config, "policy": {**site.config["policy"], "fall": 1}}))
    by_file = json.loads(site.call("backtest", "--config", "other.yaml", "--format", "json").stdout)
    assert [row["failing"] for row in by_file["pools"]] == [float(today["failing"]), float(other["failing"])]
    table = site.poolmgr("backtest", "--since", "1d").stdout.splitlines()
    assert [line.split()[:2] for line in table[1:]] == [["pool.keys.test", "today"]]
    assert (database.read_bytes(), zone.read_bytes()) == before


def test_a_wrong_setting_is_a_wrong_configuration(site: Site) -> None:
    done = site.call("backtest", "--set", "policy.fall=0")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--set policy.fall: 0 is not a whole number from 1 to " in done.stderr
    assert site.call("backtest", "--since", "soon").returncode == 2


@pytest.mark.parametrize("command", ["backtest", "export"])
def test_without_crawls_there_is_nothing_to_work_with(site: Site, command: str) -> None:
    done = site.poolmgr(command)
    assert done.returncode == 1
    assert "run `poolmgr crawl` or `poolmgr run` first" in done.stderr


def test_crawls_move_to_another_store_once_and_are_judged_there_as_here(site: Site, tmp_path: Path) -> None:
    for _ in range(3):
        assert site.call("crawl").returncode == 0
    assert site.call("export", "-o", "crawls.jsonl").returncode == 0
    exported = (site.folder / "crawls.jsonl").read_text()
    assert exported == site.poolmgr("export").stdout == site.call("export", "--since", "1h").stdout
    assert [json.loads(line)["format"] for line in exported.splitlines()] == ["poolmgr-snapshot"] * 3
    here = site.call("report", "--format", "json").stdout
    (site.folder / "state").rename(tmp_path / "first")
    for told in ("3 crawls imported\n", "0 crawls imported\n"):
        done = site.call("import", "crawls.jsonl")
        assert (done.returncode, done.stdout, done.stderr) == (0, told, "")
    assert site.call("report", "--format", "json").stdout == here
    assert site.call("export").stdout == exported


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("{}", "not a poolmgr-snapshot of version 1: KeyError: 'format'"),
        ("not JSON", "not a poolmgr-snapshot of version 1: JSONDecodeError"),
        ("later", "this crawl ended at 2999-01-01T00:00:00Z, which is not yet"),
        ("no offset", "'2020-01-01T00:00:00' is a time without an offset"),
    ],
)
def test_a_bad_line_is_named_and_nothing_is_imported(site: Site, line: str, sentence: str) -> None:
    assert site.call("crawl").returncode == 0
    good = site.call("export").stdout
    document = json.loads(good)
    lines = {
        "later": json.dumps({**document, "finished": "2999-01-01T00:00:00+00:00"}),
        "no offset": json.dumps({**document, "finished": "2020-01-01T00:00:00"}),
    }
    older = json.dumps({**document, "started": "2020-01-01T00:00:00+00:00", "finished": "2020-01-01T00:01:00+00:00"})
    (site.folder / "crawls.jsonl").write_text(f"{older}\n{lines.get(line, line)}\n")
    done = site.call("import", "crawls.jsonl")
    assert (done.returncode, done.stdout) == (1, "")
    assert f"crawls.jsonl:2: {sentence}" in done.stderr
    assert "nothing was imported" in done.stderr
    assert site.call("export").stdout == good


def test_a_file_that_is_not_there_is_named(site: Site) -> None:
    done = site.poolmgr("import", "nowhere.jsonl")
    assert done.returncode == 1
    assert "cannot read nowhere.jsonl: No such file or directory" in done.stderr
