"""A process that is killed while it stores crawls leaves a whole store behind."""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing, suppress
from datetime import timedelta
from pathlib import Path

from poolmgr.store.database import FILE, open_store
from tests.build import NOW
from tests.lab.process import wait_until

KILLS = 8

SAVING = """
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from poolmgr.judge.history import History
from poolmgr.store.database import open_store
from tests.build import NOW, mesh, snapshot

one = snapshot(mesh(60))
with open_store(Path(sys.argv[1])) as store:
    last = store.load_crawl()
    finished = NOW if last is None else last.finished
    while True:
        finished += timedelta(hours=1)
        crawl = replace(one, started=finished - timedelta(seconds=10), finished=finished)
        store.save_crawl(crawl, History(), keep=timedelta(days=1), keep_thinned=timedelta(days=3))
"""


def count(path: Path) -> int:
    """Return how many crawls there ever were in the store."""
    if not path.exists():
        return 0
    try:
        with closing(sqlite3.connect(path)) as database:
            return int(database.execute("SELECT coalesce(max(id), 0) FROM crawl").fetchone()[0])
    except sqlite3.OperationalError:
        return 0


def test_whoever_is_killed_at_any_moment_of_storing_leaves_whole_crawls(tmp_path: Path) -> None:
    rng = random.Random(1)
    for _ in range(KILLS):
        before = count(tmp_path / FILE)
        process = subprocess.Popen([sys.executable, "-c", SAVING, str(tmp_path)])
        try:
            wait_until(lambda: process.poll() is not None or count(tmp_path / FILE) > before + 2, "it stores crawls")  # noqa: B023 -- called at once
            with suppress(subprocess.TimeoutExpired):
                process.wait(rng.uniform(0, 0.05))
        finally:
            process.kill()
            assert process.wait() == -signal.SIGKILL
        with open_store(tmp_path) as store:
            crawls = list(store.load_crawls_since(NOW - timedelta(days=1)))
            assert crawls[-1] == store.load_crawl()
            assert all(len(crawl.keyservers) == 60 for crawl in crawls)
            _, replayed = store.replay(NOW)
            assert [crawl.finished for crawl in replayed] == [crawl.finished for crawl in crawls]
        with closing(sqlite3.connect(tmp_path / FILE)) as database:
            assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            newest = database.execute("SELECT max(id) FROM crawl").fetchall()
            assert database.execute("SELECT id FROM crawl WHERE history IS NOT NULL").fetchall() == newest
