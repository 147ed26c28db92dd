"""What is made of the stored crawls: a backtest of real runs, and crawls that move from one store to another."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import chain, pairwise
from pathlib import Path

import pytest

from poolmgr import past, pipeline
from poolmgr.config import load_config
from poolmgr.hosts import IPAddress
from poolmgr.judge.backtest import Published, replay
from poolmgr.model import Family
from poolmgr.publish.target import Receipt
from poolmgr.publish.zonefile import ZoneFilePublisher
from poolmgr.report.snapshot import MAX_OCTETS
from poolmgr.store.database import FILE, Store, read_store
from poolmgr.zone.plan import Plan
from tests.lab.clock import Clock
from tests.lab.crawls import POOL, Lab
from tests.lab.mesh import Fault, LabKeyserver
from tests.lab.process import unused_address, unused_port
from tests.lab.site import Site

NAMES = [f"ks{number}.test" for number in range(10)]
EVER = datetime(2000, 1, 1, tzinfo=UTC)
NO_CRAWL = "not a poolmgr-snapshot of version 1"


@pytest.fixture
def site(tmp_path: Path, lab: Lab) -> Site:
    """Six good keyservers, and a site that publishes four of them."""
    for name in NAMES[:6]:
        lab.add(name, peers=NAMES[:6], keys=5_000)
    folder = tmp_path / "site"
    folder.mkdir()
    site = lab.site(folder, *NAMES[:6], retries=0, deadline="5s")
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


QUARTER, EPOCH = timedelta(minutes=15), timedelta(hours=6)
MIDNIGHT = datetime(2026, 11, 23, tzinfo=UTC)
SLOWNESS = timedelta(seconds=20)
"""How long the name server of a story takes to reload."""


class Story:
    """Runs one after the other, with what was published after each, and what was said when that was held."""

    def __init__(self, site: Site, lab: Lab, clock: Clock) -> None:
        self.published: list[frozenset[IPAddress]] = []
        self.said: list[str] = []
        self._site, self._lab, self._clock = site, lab, clock

    @property
    def members(self) -> list[LabKeyserver]:
        """The keyservers that are published now, the one that was added first before the others."""
        return [each for each in self._lab.mesh.keyservers if each.address in self.published[-1]]

    @property
    def others(self) -> list[LabKeyserver]:
        return [each for each in self._lab.mesh.keyservers if each.address not in self.published[-1]]

    def run(
        self,
        *,
        at: datetime | None = None,
        failing: Iterable[LabKeyserver] = (),
        stopped: Iterable[LabKeyserver] = (),
        nameless: Iterable[LabKeyserver] = (),
        unlisted: Iterable[LabKeyserver] = (),
        is_blind: bool = False,
    ) -> bool:
        """Make a run, a quarter of an hour after the last one or `at` then; return whether all was published.

        Only those that are named behave so, and only in this run: `failing` answer with errors, `stopped` refuse, the
        names of the `nameless` lead nowhere, and nobody lists the `unlisted`.
        """
        if at is None:
            self._clock.move(QUARTER)
        else:
            self._clock.at = at
        failing, stopped, left_out = set(failing), set(stopped), {each.hostname for each in unlisted}
        listed = [name for name in NAMES if name not in left_out]
        for each in self._lab.mesh.keyservers:
            each.faults = dict.fromkeys(self._lab.mesh.ports, Fault.ERROR) if each in failing else {}
            each.peers = listed
        for each in stopped:
            self._lab.mesh.stop(each)
        records = dict(self._lab.nameserver.records)
        for each in nameless:
            del self._lab.nameserver.records[each.hostname]
        out_of_reach = unused_address()
        check = {"ipv4": [f"{out_of_reach}:{unused_port(out_of_reach)}"]} if is_blind else {}
        self._site.config["crawl"] |= {"seeds": listed, "self_check": check}
        done = self._site.call("run")
        assert done.returncode in {0, 3}, done
        self._lab.nameserver.records.update(records)
        for each in stopped:
            self._lab.mesh.start(each)
        self.said.append(done.stderr)
        with store_of(self._site) as store:
            self.published.append(frozenset(store.load_publications()[-1].members[POOL, Family.IPV4]))
        return done.returncode == 0


@pytest.fixture
def story(site: Site, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Story:
    """Ten good keyservers, of which four are published and drawn anew every six hours."""
    clock = Clock(MIDNIGHT - EPOCH + QUARTER)
    clock.use(monkeypatch)
    publish = ZoneFilePublisher.publish

    def slowly(publisher: ZoneFilePublisher, plan: Plan) -> Receipt:
        receipt = publish(publisher, plan)
        clock.move(SLOWNESS)
        return receipt

    monkeypatch.setattr(ZoneFilePublisher, "publish", slowly)
    for name in NAMES[len(lab.mesh.keyservers) :]:
        lab.add(name, keys=5_000)
    site.pool |= {"families": ["ipv4"], "rotate_every": "6h"}
    site.config["crawl"]["forget_after"] = "1s"
    return Story(site, lab, clock)


def live_through(story: Story) -> None:
    """Make runs of all kinds: each would have published something else had it not been what it was."""
    assert story.run()
    story.run(failing=story.members[:1])
    assert not story.run(failing=story.members[:1], is_blind=True)
    assert "the crawl was blind for ipv4" in story.said[-1]
    assert story.run()
    assert story.published[-1] == story.published[0], "what failed twice did so once"

    one = story.members[0]
    assert story.run(nameless=[one])
    assert one in story.members, "its addresses had one bad look"
    assert story.run(nameless=[one])
    assert one not in story.members
    one = story.members[0]
    assert story.run(unlisted=[one])
    assert one not in story.members

    most = story.members[:3]
    story.run(failing=most)
    assert not story.run(failing=most)
    assert "(max_removed 50%)" in story.said[-1]
    story.run()
    assert story.run()

    few = [*story.members[:2], *story.others[:4]]
    assert not story.run(stopped=few)
    assert "(min_seen)" in story.said[-1]
    assert story.run()

    one = story.members[0]
    assert story.run(at=MIDNIGHT - QUARTER - SLOWNESS / 2, failing=[one])
    assert story.run(at=MIDNIGHT - SLOWNESS / 2, failing=[one])
    assert one not in story.members, "published after midnight, by a crawl that ended before it"
    assert not story.run(at=MIDNIGHT + QUARTER, is_blind=True), "nor is it drawn anew by a blind crawl"
    for count in range(4):
        story.run(at=MIDNIGHT + 2 * QUARTER + count * EPOCH)
    assert len(set(story.published[-5:])) > 1, "drawn anew"


def test_runs_replayed_publish_what_they_published(site: Site, story: Story) -> None:
    live_through(story)
    config = load_config(site.path)
    with store_of(site) as store:
        for since, count in ((EVER, len(story.published)), (MIDNIGHT + QUARTER, 5)):
            history, crawls = store.replay(since)
            first = next(crawls)
            last = store.load_publication(first.finished)
            published = None if last is None else Published(last.members, last.chosen)
            rounds = replay(history, chain([first], crawls), past.rules_of(config), published)
            replayed = [frozenset(each.members.get((POOL, Family.IPV4), ())) for each in rounds]
            assert replayed == story.published[-count:]
            _, fates = past.backtest(config, {}, pipeline.now() - since)
            ((fate,),) = fates.values()
            assert (fate.joins, fate.leaves) == moves(story.published[-count:])


def moves(published: list[frozenset[IPAddress]]) -> tuple[int, int]:
    """Return how many joined and how many left."""
    pairs = list(pairwise(published))
    return sum(len(after - before) for before, after in pairs), sum(len(before - after) for before, after in pairs)


def test_members_that_are_published_anew_are_those_of_the_crawl_that_chose_them(site: Site, story: Story) -> None:
    assert story.run()
    site.pool["ttl"] = "10m"
    assert story.run()
    with store_of(site) as store:
        (first, second), (last,) = store.load_crawls(2), store.load_publications()
    assert (last.chosen, last.at) == (first.finished, second.finished + SLOWNESS)


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
        ("{}", f"{NO_CRAWL}: format: is missing"),
        ("not JSON", f"{NO_CRAWL}: not JSON: Expecting value (character 0)"),
        ("\xff", f"{NO_CRAWL}: not UTF-8 text (octet 0)"),
        ("long", f"{NO_CRAWL}: it is longer than {MAX_OCTETS} octets"),
        ("port", f"{NO_CRAWL}: keyservers[2].addresses[0].probes[0].port: '80' is not a whole number from 0 to 65535"),
        ("later", "this crawl ended at 2999-01-01T00:00:00Z, which is not yet"),
        ("no offset", f"{NO_CRAWL}: finished: '2020-01-01T00:00:00' is a time without an offset from UTC"),
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
    document["keyservers"][2]["addresses"][0]["probes"][0]["port"] = "80"
    lines |= {"port": json.dumps(document), "long": "[" * (MAX_OCTETS + 1)}
    (site.folder / "crawls.jsonl").write_text(f"{older}\n{lines.get(line, line)}\n", "latin-1")
    done = site.call("import", "crawls.jsonl")
    assert (done.returncode, done.stdout) == (1, "")
    assert f"crawls.jsonl:2: {sentence}" in done.stderr
    assert "nothing was imported" in done.stderr
    assert site.call("export").stdout == good


def test_crawls_may_come_in_any_order_and_twice(site: Site) -> None:
    for _ in range(3):
        assert site.call("crawl").returncode == 0
    report, exported = (site.call(*words).stdout for words in (("report", "--format", "json"), ("export",)))
    lines = exported.splitlines()
    (site.folder / "crawls.jsonl").write_text("\n".join([*reversed(lines), lines[1]]))
    (site.folder / "state" / FILE).unlink()
    assert site.call("import", "crawls.jsonl").stdout == "3 crawls imported\n"
    assert site.call("export").stdout == exported
    assert site.call("report", "--format", "json").stdout == report


def test_a_crawl_in_a_file_that_is_none_is_refused_with_its_field(site: Site) -> None:
    document = {"format": "poolmgr-snapshot", "version": 1, "started": "now"}
    (site.folder / "crawl.json").write_text(json.dumps(document))
    done = site.call("report", "--snapshot", "crawl.json")
    sentence = (
        f"crawl.json: {NO_CRAWL}: started: 'now' is not an ISO 8601 time: give a file that `poolmgr crawl --output`"
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert sentence in done.stderr
    endless = site.call("report", "--snapshot", "/dev/zero")
    assert endless.returncode == 1
    assert f"/dev/zero: {NO_CRAWL}: it is longer than {MAX_OCTETS} octets" in endless.stderr


def test_a_file_that_is_not_there_is_named(site: Site) -> None:
    done = site.poolmgr("import", "nowhere.jsonl")
    assert done.returncode == 1
    assert "cannot read nowhere.jsonl: No such file or directory" in done.stderr
