from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from poolmgr.errors import StoreError
from poolmgr.judge.changes import VerdictChange
from poolmgr.judge.history import History
from poolmgr.model import Outcome, Reason, ReasonCode, State
from poolmgr.store.database import FILE, Store, open_store
from tests.build import NOW, POOL, keyserver, snapshot
from tests.unit.test_report import HOSTILE

KEEP = timedelta(days=90)

CAME = VerdictChange(
    at=NOW,
    pool=POOL,
    keyserver=keyserver("ks.example.net").name,
    address=ipaddress.ip_address("2001:db8::1"),
    state=State.ELIGIBLE,
)
REASONS = (
    Reason(ReasonCode.STATS, "reset", "ok", HOSTILE, Outcome.RESET),
    Reason(ReasonCode.BEHIND, "1", "2", "1 key behind"),
)
WENT = replace(CAME, at=NOW + timedelta(minutes=5), state=State.OUT, reasons=REASONS)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path) as opened:
        yield opened


def save(store: Store, *changes: VerdictChange, later: timedelta = timedelta(0)) -> None:
    crawl = snapshot([])
    crawl = replace(crawl, started=crawl.started + later, finished=crawl.finished + later)
    store.save_crawl(crawl, History(), keep=KEEP, changes=changes)


def test_changes_come_back_as_they_were_from_a_time_on(store: Store) -> None:
    save(store, CAME)
    save(store, WENT, later=timedelta(minutes=5))
    assert store.load_changes(NOW) == (CAME, WENT)
    assert store.load_changes(NOW + timedelta(seconds=1)) == (WENT,)
    assert store.load_changes(WENT.at + timedelta(seconds=1)) == ()


def test_the_last_change_of_each_pool_and_address_says_who_is_in(store: Store) -> None:
    other = replace(CAME, address=ipaddress.ip_address("198.51.100.1"))
    save(store, CAME, other, WENT)
    assert set(store.load_last_changes()) == {other, WENT}


def test_changes_are_forgotten_as_crawls_are_but_not_who_is_in(store: Store) -> None:
    other = replace(CAME, address=ipaddress.ip_address("198.51.100.1"))
    save(store, CAME, WENT, other)
    save(store, later=KEEP + timedelta(minutes=5))
    assert store.load_changes(NOW) == (WENT, other), "at the limit"
    save(store, later=KEEP + timedelta(minutes=5, seconds=1))
    assert store.load_changes(NOW) == (other,)


def test_changes_are_stored_with_their_crawl_or_not_at_all(store: Store) -> None:
    broken = replace(CAME, at=None)  # type: ignore[arg-type]
    with pytest.raises((StoreError, AttributeError)):
        save(store, CAME, broken)
    assert store.load_crawl() is None
    assert store.load_changes(NOW) == ()


def test_a_reason_that_this_version_does_not_know_is_an_error_that_names_the_store(store: Store) -> None:
    save(store, WENT)
    with store._database:
        store._database.execute("UPDATE change SET reasons = '[[\"unheard-of\"]]'")
    with pytest.raises(StoreError, match=rf"cannot read the changes in .*{FILE}"):
        store.load_changes(NOW)


def test_the_last_crawls_come_back_the_oldest_first(store: Store) -> None:
    for minutes in range(5):
        save(store, later=timedelta(minutes=minutes))
    ends = [crawl.finished - NOW for crawl in store.load_crawls(3)]
    assert ends == [timedelta(minutes=minutes) for minutes in (2, 3, 4)]
