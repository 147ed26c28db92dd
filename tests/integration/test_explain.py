"""Why an address stands where it does, and who came and went, after real crawls of a mesh."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from poolmgr.model import Service
from tests.lab.crawls import Lab
from tests.lab.mesh import Fault
from tests.lab.site import Site

NAMES = [f"ks{number}.test" for number in range(4)]
POOL = "pool.keys.test"


@pytest.fixture
def site(tmp_path: Path, lab: Lab) -> Site:
    """Return a site whose crawls let in and put out at the second time, without any wait."""
    for name in NAMES:
        lab.add(name, peers=NAMES, keys=5_000)
    made = lab.site(tmp_path, *NAMES, retries=0, deadline="5s")
    made.config["policy"] = {"flap_wait": "0s", "drop": 2}
    return made


def crawl(site: Site) -> None:
    done = site.call("crawl")
    assert (done.returncode, done.stderr) == (0, "")


def said(site: Site, *words: str) -> str:
    done = site.call(*words)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_a_life_is_told_from_crawl_to_crawl(site: Site, lab: Lab) -> None:
    failing = lab.mesh.keyservers[0]
    crawl(site)
    assert f"  {POOL}: member, in since " in said(site, "explain", NAMES[0])
    failing.faults = dict.fromkeys(lab.mesh.ports, Fault.ERROR)
    crawl(site)
    leaving = said(site, "explain", NAMES[0])
    assert f"  {POOL}: leaving 1/2, in since " in leaving
    assert "  warn  stats  " in leaving
    crawl(site)
    out = said(site, "explain", NAMES[0])
    assert f"  {POOL}: out, out since " in out
    assert "    to come in: give its stats page; 2 more good crawls\n" in out
    assert "; 2 times since " in out
    failing.faults = {}
    crawl(site)
    assert f"  {POOL}: joining 1/2, out since " in said(site, "explain", str(failing.address))
    crawl(site)
    back = json.loads(said(site, "explain", NAMES[0], "--format", "json"))
    (address,) = back["addresses"]
    assert (address["pools"][0]["state"], address["pools"][0]["remedies"]) == ("member", [])
    assert [count["keys"] for count in address["counts"]] == [5000, None, None, 5000, 5000]
    assert len(back["crawls"]) == 5
    changes = json.loads(said(site, "report", "--changes", "--format", "json"))["changes"]
    first = [change["keyserver"] for change in changes[:4]]
    assert sorted(first) == NAMES
    assert [(change["keyserver"], change["state"]) for change in changes[4:]] == [
        (NAMES[0], "out"),
        (NAMES[0], "eligible"),
    ]
    assert [reason["code"] for reason in changes[4]["reasons"]] == ["stats"]


def test_report_says_the_same_as_explain(site: Site, lab: Lab) -> None:
    crawl(site)
    lab.mesh.keyservers[0].faults = {Service.HKP: Fault.ERROR}
    crawl(site)
    (row, *_) = json.loads(said(site, "report", "--format", "json"))["pools"][0]["addresses"]
    life = json.loads(said(site, "explain", NAMES[0], "--format", "json"))["addresses"][0]["pools"][0]
    assert row["keyserver"] == NAMES[0]
    for field in ("state", "since", "progress"):
        assert row[field] == life[field]
    assert row["progress"] == {"crawls": 1, "of": 2}
    assert "leaving 1/2  ks0.test" in said(site, "report")


def test_changes_are_those_since_a_time_of_a_pool_and_in_every_form(site: Site) -> None:
    crawl(site)
    text = said(site, "report", "--changes")
    assert text.splitlines()[0].endswith(": 4 came, 0 went")
    assert text.count(f" came, {POOL}\n") == 4
    for since in ("1h", "2020-01-01", "2020-01-01T00:00:00+01:00"):
        assert said(site, "report", "--changes", since).count(f" came, {POOL}\n") == 4
    assert "0 came, 0 went" in said(site, "report", "--changes", "2100-01-01")
    assert "0 came, 0 went" in said(site, "report", "--changes", "0s")
    assert said(site, "report", "--changes", "1h", "--format", "csv").count(",eligible,") == 4
    assert said(site, "report", "--changes", "--pool", POOL.upper()).count(" came") == 5


MISTAKES = {
    ("--changes", "yesterday"): "'yesterday' is neither a duration such as 24h or 7d nor an ISO time",
    ("--changes", "24"): "'24' is neither a duration",
    ("--changes", "1h", "--members"): "--changes goes with --format and --pool only",
    ("--changes", "1h", "--snapshot", "crawl.json"): "--changes goes with --format and --pool only",
    ("--changes", "1h", "--pool", "pole.test"): "no pool 'pole.test'; configured: pool.keys.test",
}


def test_changes_that_cannot_be_told_are_a_mistake_of_the_user(site: Site) -> None:
    crawl(site)
    for words, sentence in MISTAKES.items():
        done = site.call("report", *words)
        assert (words, done.returncode, done.stdout) == (words, 2, "")
        assert sentence in done.stderr


def test_an_unknown_keyserver_is_refused_with_those_that_are_near(site: Site) -> None:
    crawl(site)
    done = site.call("explain", "ks7.test")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("poolmgr: the newest crawl has no keyserver ks7.test: did you mean ks")
    wrong = site.call("explain", "no name\x1b")
    assert wrong.returncode == 2
    assert "'no name\\x1b' is neither an address nor" in wrong.stderr


@pytest.mark.parametrize("words", [("explain", NAMES[0]), ("report", "--changes")])
def test_what_needs_a_crawl_says_so_before_the_first(site: Site, words: tuple[str, ...]) -> None:
    done = site.poolmgr(*words)
    assert (done.returncode, done.stdout) == (1, "")
    assert "run `poolmgr crawl` or `poolmgr run` first" in done.stderr


def test_a_crawl_that_is_judged_the_same_changes_nothing(site: Site) -> None:
    crawl(site)
    before = said(site, "report", "--changes", "1d").splitlines()[1:]
    crawl(site)
    assert said(site, "report", "--changes", "1d").splitlines()[1:] == before
