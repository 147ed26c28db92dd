"""The stored crawls over time: thinned, imported, replayed, and brought along from older versions."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterable
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import dns.rdatatype
import pytest

from poolmgr.errors import StoreError
from poolmgr.judge.history import History, judge_next
from poolmgr.judge.policy import Policy
from poolmgr.judge.quality import LEAST_LATENCY, Quality
from poolmgr.model import Family, Keyserver, ReasonCode, Snapshot
from poolmgr.report.snapshot import to_json
from poolmgr.store.crawls import packed, unpacked
from poolmgr.store.database import FILE, MIGRATIONS, Store, open_store, read_store
from poolmgr.store.publications import Publication
from tests.build import NOW, POOL, keyserver, mesh, pool, snapshot
from tests.reference import whole_snapshot

KEEP, KEEP_THINNED = timedelta(days=90), timedelta(days=730)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
EVER = NOW - 3650 * DAY


def crawl(at: datetime, keys: int = 5_000_000, size: int = 3) -> Snapshot:
    """Return a crawl that ended at `at`."""
    return replace(snapshot(mesh(size, keys=keys)), started=at - timedelta(seconds=10), finished=at)


def past(history: History, crawls: Iterable[Snapshot]) -> History:
    """Judge `crawls`, one after the other."""
    for each in crawls:
        history = judge_next(history, each, Policy(), [pool()]).history
    return history


def save(store: Store, crawls: Iterable[Snapshot]) -> History:
    """Store `crawls` as runs do, and return what the last was judged by."""
    history, before = History(), None
    for each in crawls:
        history = history if before is None else past(history, [before])
        store.save_crawl(each, history, keep=KEEP, keep_thinned=KEEP_THINNED)
        before = each
    return history


def rows(folder: Path, question: str) -> list[tuple[object, ...]]:
    """Return the answer of the database."""
    with closing(sqlite3.connect(folder / FILE)) as database:
        return database.execute(question).fetchall()


def test_a_crawl_with_every_field_comes_back_as_it_was(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        save(store, [whole_snapshot()])
        assert store.load_crawl() == whole_snapshot()


def test_crawls_come_back_in_the_order_of_time_however_they_were_stored(tmp_path: Path) -> None:
    crawls = [crawl(NOW + number * HOUR) for number in range(5)]
    with open_store(tmp_path) as store:
        save(store, crawls[2:])
        store.import_crawls(reversed(crawls), past)
        assert list(store.load_crawls_since(EVER)) == crawls
        assert list(store.load_crawls_since(NOW + 2 * HOUR)) == crawls[2:]
        assert store.load_crawls(2) == tuple(crawls[-2:])
        assert store.load_crawl() == crawls[-1]


def test_what_crawls_have_in_common_is_stored_once_a_day(tmp_path: Path) -> None:
    noon = NOW.replace(hour=12)
    with open_store(tmp_path) as store:
        save(store, (crawl(noon + number * HOUR, keys=5_000_000 + number) for number in range(6)))
        assert rows(tmp_path, "SELECT count(*) FROM form") == [(3,)]
        save(store, [crawl(noon + DAY)])
    assert rows(tmp_path, "SELECT count(*), count(DISTINCT day) FROM form") == [(6, 2)]


def test_old_days_keep_their_first_crawl_and_only_what_that_one_needs(tmp_path: Path) -> None:
    morning = NOW.replace(hour=1)
    days = [morning - 92 * DAY, morning - 91 * DAY, morning - 90 * DAY, morning]
    crawls = [crawl(day + hour * HOUR, size=2 + hour) for day in days for hour in range(3)]
    with open_store(tmp_path) as store:
        save(store, crawls)
        assert list(store.load_crawls_since(EVER)) == [crawls[0], crawls[3], crawls[6], *crawls[8:]]
    # At 3:00 the crawl of 90 days ago at 2:00 is past its time, that of 3:00 is not.
    counted = [count for (count,) in rows(tmp_path, "SELECT count(*) FROM form GROUP BY day ORDER BY day")]
    assert counted == [2, 2, 4, 4]
    assert len(rows(tmp_path, "SELECT * FROM checkpoint")) == 4


@pytest.mark.parametrize(("older", "is_kept"), [(timedelta(), True), (timedelta(microseconds=1), False)])
def test_thinned_days_are_forgotten_in_the_end(tmp_path: Path, older: timedelta, is_kept: bool) -> None:
    first = crawl(NOW - KEEP_THINNED - older)
    with open_store(tmp_path) as store:
        save(store, [first, crawl(NOW)])
        assert (first in store.load_crawls_since(EVER)) is is_kept
    assert len(rows(tmp_path, "SELECT DISTINCT day FROM form")) == 1 + is_kept


def test_without_thinning_crawls_go_when_they_are_too_old_to_keep(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        for each in (crawl(NOW - KEEP - HOUR), crawl(NOW)):
            store.save_crawl(each, History(), keep=KEEP, keep_thinned=DAY)
        assert list(store.load_crawls_since(EVER)) == [crawl(NOW)]


def test_imported_crawls_are_stored_once(tmp_path: Path) -> None:
    crawls = [crawl(NOW + number * HOUR) for number in range(3)]
    with open_store(tmp_path) as store:
        assert store.import_crawls(crawls[:2], past) == 2
        assert store.import_crawls([*crawls, crawls[2]], past) == 1
        assert store.import_crawls(crawls, past) == 0
        assert list(store.load_crawls_since(EVER)) == crawls


def test_an_import_into_an_empty_store_makes_the_history_that_runs_would_have(tmp_path: Path) -> None:
    crawls = [crawl(NOW + number * HOUR) for number in range(4)]
    with open_store(tmp_path) as store:
        store.import_crawls(reversed(crawls), past)
        assert store.load_history() == past(History(), crawls[:-1]) != History()


def test_older_crawls_leave_the_history_and_newer_ones_go_on_from_it(tmp_path: Path) -> None:
    crawls = [crawl(NOW + number * HOUR) for number in range(6)]
    with open_store(tmp_path) as store:
        before = save(store, crawls[2:4])
        store.import_crawls(crawls[:2], past)
        assert store.load_history() == before
        store.import_crawls(crawls[4:], past)
        assert store.load_history() == past(History(), crawls[:-1])
    assert len(rows(tmp_path, "SELECT id FROM crawl WHERE history IS NOT NULL")) == 1


def test_an_import_that_fails_halfway_leaves_nothing(tmp_path: Path) -> None:
    def broken() -> Iterable[Snapshot]:
        yield crawl(NOW + HOUR)
        raise ValueError("bad line")

    with open_store(tmp_path) as store:
        history = save(store, [crawl(NOW - HOUR), crawl(NOW)])
        with pytest.raises(StoreError, match=r"cannot import crawls into .*bad line"):
            store.import_crawls(broken(), past)
        assert list(store.load_crawls_since(EVER)) == [crawl(NOW - HOUR), crawl(NOW)]
        assert store.load_history() == history


def replayed(store: Store, since: datetime) -> tuple[History, list[Snapshot]]:
    history, crawls = store.replay(since)
    return history, list(crawls)


def test_a_replay_begins_with_the_first_crawl_of_a_day_and_what_it_was_judged_by(tmp_path: Path) -> None:
    crawls = [crawl(NOW + number * 6 * HOUR) for number in range(12)]
    second = next(index for index, each in enumerate(crawls) if each.finished.date() == (NOW + DAY).date())
    with open_store(tmp_path) as store:
        save(store, crawls)
        history, seen = replayed(store, crawls[second + 2].finished)
        assert history == past(History(), crawls[:second])
        assert [each.finished for each in seen] == [each.finished for each in crawls[second:]]
        assert replayed(store, NOW - HOUR)[0] == History()
        assert len(replayed(store, NOW - HOUR)[1]) == 12


def test_after_an_import_a_replay_begins_before_what_came_in(tmp_path: Path) -> None:
    crawls = [crawl(NOW + number * DAY) for number in range(6)]
    with open_store(tmp_path) as store:
        save(store, [each for each in crawls if each is not crawls[2]])
        store.import_crawls([crawls[2]], past)
        history, seen = replayed(store, crawls[5].finished)
        assert history == past(History(), crawls[:1])
        assert [each.finished for each in seen] == [each.finished for each in crawls[1:]]


def test_a_replay_makes_the_verdicts_that_the_crawls_made(tmp_path: Path) -> None:
    kept = [*mesh(4), keyserver("late.example.net", "198.51.100.9", keys=4_900_000), whole_snapshot().keyservers[1]]
    crawls = [
        replace(
            snapshot(
                [keyserver("ks7.example.net", "198.51.100.7", keys=5_000_000 + 900 * number), *kept[number % 3 :]]
            ),
            started=NOW + number * 5 * HOUR - HOUR,
            finished=NOW + number * 5 * HOUR,
            blind={Family.IPV6: "no way out"} if number == 4 else {},
        )
        for number in range(9)
    ]
    with open_store(tmp_path) as store:
        save(store, crawls)
        replays = replayed(store, EVER)[1]
    ours, theirs = History(), History()
    for whole, seen in zip(crawls, replays, strict=True):
        one, other = judge_next(ours, whole, Policy(), [pool()]), judge_next(theirs, seen, Policy(), [pool()])
        ours, theirs = one.history, other.history
        assert one.verdicts == other.verdicts
    assert ours == theirs


@pytest.mark.parametrize("others", [timedelta(milliseconds=1), timedelta(seconds=1), timedelta(seconds=20), None])
@pytest.mark.parametrize("slow", [LEAST_LATENCY, LEAST_LATENCY + timedelta(microseconds=1), timedelta(seconds=9)])
def test_a_replay_knows_who_was_slow(tmp_path: Path, slow: timedelta, others: timedelta | None) -> None:
    one, *rest = mesh(4)
    (address,) = one.addresses
    page, *lookups = address.probes
    totals = [slow, *[others] * (len(lookups) - 1)]
    timed = [replace(probe, total=total) for probe, total in zip(lookups, totals, strict=True)]
    # Two lookups of one service, of which the quicker one counts.
    again = replace(timed[0], host="own.example.net", total=others)
    slowed = replace(one, addresses=(replace(address, probes=(page, *timed, again)),))
    policy = Policy(quality=Quality(max_latency=LEAST_LATENCY, enter_latency=LEAST_LATENCY))
    with open_store(tmp_path) as store:
        crawled = snapshot([slowed, *rest])
        save(store, [crawled])
        (seen,) = replayed(store, EVER)[1]
    whole, replay = (judge_next(History(), each, policy, [pool()]).verdicts for each in (crawled, seen))
    assert replay == whole
    codes = {reason.code for verdict in whole for reason in verdict.reasons}
    assert (ReasonCode.SLOW in codes) is (slow > LEAST_LATENCY and (others is None or others > LEAST_LATENCY))


def test_a_crawl_of_which_it_is_not_known_who_was_slow_is_replayed_whole(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        save(store, [crawl(NOW)])
    with closing(sqlite3.connect(tmp_path / FILE)) as database:
        (blob,) = database.execute("SELECT snapshot FROM crawl").fetchone()
        document = {name: value for name, value in unpacked(blob).items() if name != "slow"}
        database.execute("UPDATE crawl SET snapshot = ?", (packed(document),))
        database.commit()
    with open_store(tmp_path) as store:
        assert tuple(replayed(store, EVER)[1]) == (crawl(NOW),)


HOLDS = 5
"""The last version that did not know holds."""

CHOSEN = 6
"""The last version that did not know when members were chosen."""


@pytest.mark.parametrize("version", range(len(MIGRATIONS)))
def test_a_store_of_every_version_is_brought_to_todays_with_what_it_holds(tmp_path: Path, version: int) -> None:
    old = crawl(NOW)
    with closing(sqlite3.connect(tmp_path / FILE)) as database:
        database.executescript(";".join([*MIGRATIONS[:version], f"PRAGMA user_version = {version}"]))
        if version:
            row = (old.started.isoformat(), old.finished.isoformat(), zlib.compress(to_json(old).encode()))
            database.execute("INSERT INTO crawl (started, finished, snapshot) VALUES (?, ?, ?)", row)
            database.execute(
                "INSERT INTO publication (at, target, serial, members) VALUES (?, 'a', 1, '[]')", (NOW.isoformat(),)
            )
            if version > CHOSEN:
                database.execute("UPDATE publication SET chosen = at")
            if version > HOLDS:
                database.execute(
                    "INSERT INTO hold (target, owner, type, since) VALUES ('a', 'pool.example.org', 'A', ?)",
                    (NOW.isoformat(),),
                )
            database.commit()
    expected = [old] if version else []
    published = (Publication(NOW, NOW, "a", 1, {}),) if version else ()
    held = {"a": {(POOL, dns.rdatatype.A): NOW}} if version > HOLDS else {}
    with open_store(tmp_path) as store:
        assert store.load_history() == History()
        assert list(store.load_crawls_since(EVER)) == replayed(store, EVER)[1] == expected
        assert (store.load_publications(), store.load_holds()) == (published, held)
        store.save_publication(Publication(NOW + HOUR, NOW, "a", 2, {}), {})
        save(store, [crawl(NOW + HOUR)])
        assert [each.finished for each in replayed(store, EVER)[1]] == [
            *(each.finished for each in expected),
            NOW + HOUR,
        ]
    assert rows(tmp_path, "PRAGMA user_version") == [(len(MIGRATIONS),)]
    assert rows(tmp_path, "PRAGMA integrity_check") == [("ok",)]
    reader = read_store(tmp_path)
    assert reader is not None
    with reader:
        assert reader.load_crawl() == crawl(NOW + HOUR)


def test_a_replay_for_a_pool_of_countries_and_latencies_has_both(tmp_path: Path) -> None:
    of = pool(countries=frozenset({"de"}), max_latency=timedelta(milliseconds=500))

    def at(one: Keyserver, country: str, took: int) -> Keyserver:
        (address,) = one.addresses
        probes = tuple(replace(each, total=timedelta(milliseconds=took)) for each in address.probes)
        return replace(one, addresses=(replace(address, probes=probes, country=country),))

    found = [at(one, "de" if number else "us", 400 + 100 * number) for number, one in enumerate(mesh(3))]
    rounds = [replace(snapshot(found), finished=NOW + number * HOUR) for number in range(3)]
    with open_store(tmp_path) as store:
        save(store, rounds)
        history, seen = store.replay(EVER, with_latencies=True)
        timed = list(seen)
        _, untimed = store.replay(EVER)
        assert [each.keyservers[0].addresses[0].country for each in untimed] == ["us"] * 3
    assert timed == rounds
    verdicts = judge_next(history, timed[0], Policy(), [of]).verdicts
    assert [[reason.code for reason in each.reasons] for each in verdicts] == [
        [ReasonCode.COUNTRY],
        [],
        [ReasonCode.SLOW],
    ]
