from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from poolmgr.store import runs
from poolmgr.store.database import open_store
from poolmgr.store.runs import Command, Fate, Outcome, Run
from tests.build import NOW

MINUTE = timedelta(minutes=1)


def a_run(minute: int, *outcomes: Outcome, command: Command = Command.RUN, error: str = "") -> Run:
    at = NOW + minute * MINUTE
    crawled = None if error else at - MINUTE
    return Run(at=at, command=command, exit_code=3, crawled=crawled, error=error, outcomes=outcomes)


def test_the_last_run_comes_back_as_it_was(tmp_path: Path) -> None:
    last = a_run(2, Outcome("b", Fate.HELD, "held: why"), Outcome("a", Fate.PUBLISHED, serial=4294967295))
    with open_store(tmp_path) as store:
        assert store.load_run() is None
        assert store.load_confirmed() == {}
        store.save_run(a_run(1, error="no crawl"))
        assert store.load_run() == a_run(1, error="no crawl")
        store.save_run(last)
    with open_store(tmp_path) as store:
        assert store.load_run() == last


def test_a_target_is_confirmed_by_crawls_that_it_follows_and_not_by_a_rollback(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        store.save_run(a_run(1, Outcome("a", Fate.PUBLISHED, serial=1), Outcome("b", Fate.UNCHANGED)))
        store.save_run(a_run(2, Outcome("a", Fate.HELD, "x"), Outcome("b", Fate.UNCHANGED)))
        store.save_run(a_run(3, Outcome("a", Fate.PUBLISHED, serial=2), command=Command.ROLLBACK))
        store.save_run(a_run(4, Outcome("a", Fate.FAILED, "x"), Outcome("b", Fate.FAILED, "x")))
        assert store.load_confirmed() == {"a": NOW, "b": NOW + MINUTE}


def test_old_runs_are_forgotten_but_for_those_that_say_how_old_the_data_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "KEPT", 3)
    with open_store(tmp_path) as store:
        store.save_run(a_run(1, Outcome("a", Fate.UNCHANGED), Outcome("b", Fate.UNCHANGED)))
        store.save_run(a_run(2, Outcome("a", Fate.UNCHANGED), Outcome("b", Fate.FAILED, "x")))
        for minute in range(3, 20):
            store.save_run(a_run(minute, Outcome("a", Fate.HELD, "x"), Outcome("b", Fate.FAILED, "x")))
        assert store.load_confirmed() == {"a": NOW + MINUTE, "b": NOW}
        counted = store._database.execute("SELECT (SELECT count(*) FROM run), (SELECT count(*) FROM outcome)")
        assert counted.fetchone() == (5, 10)
