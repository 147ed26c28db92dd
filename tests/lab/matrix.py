"""What poolmgr does on each kind of name server, case by case, seen on the real ones.

Each case drives the publishers against a server of its own, makes sure of what is served in the end, and returns what
was seen. tests/data/servers.json holds what was seen last: the tests compare each cell with it, and docs/servers.md is
made from it. Run as a program, this module sees everything anew and writes it there.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import dns.message
from dns.rdatatype import RdataType

from poolmgr.errors import PoolmgrError
from poolmgr.zone.serial import Scheme
from tests.build import NOW, POOL
from tests.lab.calamities import CALAMITIES
from tests.lab.cells import (
    BIND_UPDATE,
    BROUGHT_BACK,
    FILES,
    HELD,
    KNOT_UPDATE,
    OWNED,
    REFUSED,
    SERIAL,
    SETUPS,
    UNCHANGED,
    UNSEEN,
    UPDATES,
    Case,
    Cell,
    Outcome,
    Setup,
    answers,
    opened,
)
from tests.lab.knot import Knot
from tests.lab.named import KEY_NAME, Named, write_key
from tests.lab.nsd import Nsd
from tests.lab.process import PATIENCE, find_program, wait_until
from tests.lab.scripted import Scripted, forward, framed, is_update

SEEN = Path(__file__).resolve().parents[1] / "data" / "servers.json"

FIVE = "pool A 192.0.2.1\npool A 192.0.2.2\npool A 192.0.2.3\npool AAAA 2001:db8::1\npool AAAA 2001:db8::2\n"
OTHERS = "pool A 192.0.2.2\npool A 192.0.2.3\npool A 192.0.2.4\npool AAAA 2001:db8::1\npool AAAA 2001:db8::2\n"
ONE = "pool A 192.0.2.2\n"


def many(count: int) -> str:
    """Return that many A records of the pool."""
    return "".join(f"pool A 198.51.100.{number}\n" for number in range(1, count + 1))


def created(cell: Cell) -> Outcome:
    cell.serve()
    return cell.publish(FIVE)


def changed(cell: Cell) -> Outcome:
    cell.serve()
    cell.publish(FIVE)
    return cell.publish(OTHERS)


def shrunk(cell: Cell) -> Outcome:
    cell.serve()
    cell.publish("pool A 192.0.2.1\npool A 192.0.2.2\npool A 192.0.2.3\n")
    return cell.publish(ONE)


def emptied(cell: Cell) -> Outcome:
    cell.serve()
    cell.publish(FIVE)
    serial = cell.serial()
    plan = cell.plan("")
    assert not plan.changes
    assert (cell.served(), cell.serial()) == (answers(FIVE), serial)
    return Outcome(HELD, plan.held[0].sentence)


def repeated(cell: Cell) -> Outcome:
    cell.serve()
    cell.publish(FIVE)
    before = cell.serial()
    plan = cell.plan(FIVE)
    assert (plan.changes, plan.held, plan.next_serial) == ((), (), None)
    # One RRset of two changes: the other one is not sent.
    (only,) = (change.key for change in cell.plan(FIVE + "pool AAAA 2001:db8::3\n").changes if change.key in OWNED)
    assert only == (POOL, RdataType.AAAA)
    assert cell.serial() == before
    return Outcome(UNCHANGED, f"the serial stays {before}")


def foreign_kept(cell: Cell) -> Outcome:
    cell.serve()
    names = [("pool", "TXT"), ("www", "A"), ("far.pool", "A"), ("@", "NS"), ("ns1", "A")]
    before = [cell.answer(*name) for name in names]
    cell.publish(FIVE)
    seen = cell.publish(ONE + "pool AAAA 2001:db8::9\n")
    assert [cell.answer(*name) for name in names] == before
    return seen


def alias(cell: Cell) -> Outcome:
    cell.serve("pool CNAME www\nwww A 192.0.2.80\n")
    seen = cell.refused(lambda: cell.publish(FIVE))
    assert cell.answer("pool", "CNAME") == {"www.example.org."}
    assert cell.serial() == SERIAL
    return seen


def meanwhile(cell: Cell) -> Outcome:
    cell.serve()
    target, told = cell.publisher(), []
    # Others create what the first plan creates, and change what the second one changes.
    for theirs, ours in ((ONE, FIVE), ("pool A 192.0.2.9\n", "pool A 192.0.2.1\n")):
        late = cell.plan(ours)
        cell.publish(theirs)
        serial = cell.serial()
        told.append(cell.refused(partial(target.publish, late)))
        assert (cell.served(), cell.serial()) == (answers(theirs), serial)
    return told[-1]


def wrong_name(cell: Cell) -> Outcome:
    return _wrong_key(cell, lambda path: write_key(path, "no-such-key"))


def wrong_secret(cell: Cell) -> Outcome:
    return _wrong_key(cell, lambda path: write_key(path, KEY_NAME))


def wrong_algorithm(cell: Cell) -> Outcome:
    def written(path: Path) -> Path:
        assert not isinstance(cell.server, Nsd)
        path.touch(mode=0o600)
        path.write_text(cell.server.key_file.read_text().replace("hmac-sha256", "hmac-sha512"))
        return path

    return _wrong_key(cell, written)


def _wrong_key(cell: Cell, write: Callable[[Path], Path]) -> Outcome:
    cell.serve()
    plan = cell.plan(FIVE)
    target = cell.publisher(write(Path(tempfile.mkdtemp(dir=cell.server.folder)) / "mine.key"), patience=2)
    seen = cell.refused(lambda: target.publish(plan))
    assert (cell.served(), cell.serial()) == (answers(""), SERIAL)
    return seen


def wrong_clock(cell: Cell) -> Outcome:
    cell.serve()
    plan, target, real = cell.plan(FIVE), cell.publisher(patience=2), time.time
    with mock.patch.object(dns.message, "time", SimpleNamespace(time=lambda: real() + 3600)):
        seen = cell.refused(lambda: target.publish(plan))
    assert (cell.served(), cell.serial()) == (answers(""), SERIAL)
    return seen


def not_running(cell: Cell) -> Outcome:
    cell.serve()
    cell.publish(ONE)
    plan = cell.plan(FIVE)
    cell.server.stop()
    seen = cell.refused(
        lambda: cell.publisher(patience=0.5).publish(plan), REFUSED if cell.setup.by_update else BROUGHT_BACK
    )
    cell.server.start()
    assert cell.served() == answers(ONE)
    return seen


def broken_reload(cell: Cell) -> Outcome:
    cell.serve()
    cell.publish(ONE)
    seen = cell.refused(lambda: cell.publisher(reload=("true",), patience=0.5).publish(cell.plan(FIVE)), BROUGHT_BACK)
    assert cell.served() == answers(ONE)
    cell.server.restart()
    assert cell.served() == answers(ONE)
    return seen


def restarted(cell: Cell) -> Outcome:
    """The server goes and comes back between the change and poolmgr's look at it."""
    cell.serve()
    cell.publish(ONE)
    before = cell.serial()
    if cell.setup.by_update:

        def lost(wire: bytes) -> Iterable[bytes]:
            reply = forward(wire, cell.server.address, cell.server.port)
            if not is_update(wire):
                return [framed(reply)]
            cell.server.restart()
            return []

        with Scripted(lost) as relay:
            cell.publisher(at=relay).publish(cell.plan(FIVE))
    else:
        plan, file = cell.plan(FIVE), cell.server.zone_file  # type: ignore[union-attr]  # PowerDNS has none

        def restart() -> None:
            wait_until(lambda: f" {plan.next_serial} " in file.read_text(), "the new file is there")
            cell.server.restart()

        waiting = threading.Thread(target=restart)
        waiting.start()
        try:
            cell.publisher(reload=("true",)).publish(plan)
        finally:
            waiting.join()
    seen = cell.published(before, FIVE)
    cell.server.restart()
    assert cell.served() == answers(FIVE)
    return seen


def killed(cell: Cell) -> Outcome:
    """The server dies when it is told of the change, and comes back later."""
    cell.serve()
    cell.publish(ONE)
    pid = cell.server.pid
    if cell.setup.by_update:

        def die(wire: bytes) -> Iterable[bytes]:
            if not is_update(wire):
                return [framed(forward(wire, cell.server.address, cell.server.port))]
            os.kill(pid, signal.SIGKILL)
            cell.server.stop()
            return []

        with Scripted(die) as relay:
            seen = cell.refused(lambda: cell.publisher(at=relay, patience=0.5).publish(cell.plan(FIVE)))
    else:
        kill = (sys.executable, "-c", f"import os; os.kill({pid}, 9)")
        target, plan = cell.publisher(reload=kill, patience=0.5), cell.plan(FIVE)
        seen = cell.refused(lambda: target.publish(plan), BROUGHT_BACK)
        seen = Outcome(seen.kind, re.sub(r"\(/\S+ -c .*?\):? ", "", seen.sentence))
        cell.server.stop()
    cell.server.start()
    assert cell.served() == answers(ONE)
    cell.publish(FIVE)
    return seen


def frozen(cell: Cell) -> Outcome:
    cell.serve()
    if isinstance(cell.server, Named):
        cell.server.rndc("freeze", "example.org")
    elif isinstance(cell.server, Knot):
        cell.server.control("zone-freeze", "example.org")
    seen = cell.refused(lambda: cell.publisher(patience=1).publish(cell.plan(FIVE)))
    assert cell.served() == answers("")
    if isinstance(cell.server, Named):
        cell.server.rndc("thaw", "example.org")
    elif isinstance(cell.server, Knot):
        cell.server.control("zone-thaw", "example.org")
    cell.publish(FIVE)
    return seen


def hundred(cell: Cell) -> Outcome:
    cell.serve()
    return cell.publish(many(100))


def hundred_and_one(cell: Cell) -> Outcome:
    cell.serve()
    seen = cell.refused(lambda: cell.publish(many(101)))
    assert (cell.served(), cell.serial()) == (answers(""), SERIAL)
    return seen


def half_way(cell: Cell) -> Outcome:
    cell.serve(serial=2**31)
    return cell.publish(FIVE, Scheme.INCREMENT)


def all_the_way(cell: Cell) -> Outcome:
    cell.serve(serial=2**32 - 1)
    return cell.publish(FIVE, Scheme.INCREMENT)


def scheme_switched(cell: Cell) -> Outcome:
    """The serial was a date, which is greater than the seconds since 1970 that now count."""
    if cell.setup.by_update:
        cell.serve(serial=2026112300, clocked=True)
    else:
        cell.serve()
        cell.publish(ONE, Scheme.DATE)
    before = cell.serial()
    assert before == 2026112300 > NOW.timestamp()
    try:
        return cell.publish(FIVE, Scheme.UNIXTIME)
    except PoolmgrError as error:
        assert cell.served() == answers(FIVE)
        return cell.told(str(error).replace(str(cell.serial()), "one of its clock"), UNSEEN)


CASES = (
    Case("create", "A pool is created", created),
    Case("change", "A member goes and another comes", changed),
    Case("shrink", "A pool shrinks to one member", shrunk),
    Case("empty", "A pool would become empty", emptied),
    Case("same", "Nothing has changed", repeated),
    Case("foreign", "Records of others, at the pool's name and elsewhere, are left alone", foreign_kept),
    Case("alias", "A CNAME is where the pool is to be", alias),
    Case("meanwhile", "Somebody else changes the pool between plan and update", meanwhile, UPDATES),
    Case("key", "The key is not known there", wrong_name, UPDATES),
    Case("secret", "The key has another secret there", wrong_secret, UPDATES),
    Case("algorithm", "The key has another algorithm there", wrong_algorithm, UPDATES),
    Case("clock", "The clock here is an hour ahead", wrong_clock, UPDATES),
    Case("down", "The server is not running", not_running),
    Case("reload", "The reload does nothing, and says that all is well", broken_reload, FILES),
    Case("restart", "The server restarts between the change and the look at it", restarted),
    Case("killed", "The server is killed when it is told of the change", killed),
    Case("frozen", "The zone is frozen", frozen, (BIND_UPDATE, KNOT_UPDATE)),
    Case("hundred", "A pool of 100 records", hundred),
    Case("hundred-and-one", "A pool of 101 records", hundred_and_one),
    Case("half-way", "The serial is 2147483648", half_way),
    Case("all-the-way", "The serial is 4294967295, the last one", all_the_way),
    Case("scheme", "The serial was a date, and is to be the time since 1970", scheme_switched),
    *CALAMITIES,
)

CELLS = tuple((case, setup) for case in CASES for setup in case.setups)


def see(case: Case, setup: Setup) -> Outcome:
    """Return what is seen of `case` on a server of its own."""
    # A control socket's path may have 107 octets: a folder right under /tmp keeps it short.
    with tempfile.TemporaryDirectory(prefix="cell-", dir="/tmp") as folder, opened(setup, Path(folder)) as cell:
        return case.see(cell)


def recorded() -> Mapping[str, Any]:
    """Return what was seen last: the version of each product, and kind and sentence by case and setup."""
    seen: Mapping[str, Any] = json.loads(SEEN.read_text("utf-8"))
    return seen


def page(seen: Mapping[str, Any]) -> Mapping[str, str]:
    """Return the generated parts of docs/servers.md: the versions, the table, and the sentences below it."""
    cells = seen["cells"]
    versions = ", ".join(f"{product} {version}" for product, version in sorted(seen["versions"].items()))
    lines = [f"| | {' | '.join(setup.name for setup in SETUPS)} |", f"|---{'|---' * len(SETUPS)}|"]
    told = []
    for case in CASES:
        kinds = [cells[case.name][setup.name][0] if setup in case.setups else "" for setup in SETUPS]
        lines.append(f"| {case.title} | {' | '.join(kinds)} |")
        told.append(f"### {case.title}\n\n{_told(cells[case.name])}")
    return {"versions": f"Seen on {versions}.", "table": "\n".join(lines), "sentences": "\n\n".join(told)}


def _told(of_case: Mapping[str, list[str]]) -> str:
    """Return each sentence once, after the setups that it is of."""
    by_sentence: dict[str, list[str]] = {}
    for name, (kind, sentence) in of_case.items():
        by_sentence.setdefault(f"{kind}: {sentence}", []).append(name)
    return "\n".join(f"- {', '.join(names)}: {sentence}" for sentence, names in by_sentence.items())


def _version(setup: Setup) -> str:
    program, option = setup.version
    # Some of them exit with an error after that.
    said = subprocess.run(
        [find_program(program) or program, option], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    found = re.search(r"\d+(\.\d+)+", re.sub(r"\S+:\S+", "", said.stdout + said.stderr))
    assert found is not None
    return found[0]


def main() -> None:
    """See everything anew, and write it into tests/data/servers.json."""
    cells: dict[str, dict[str, list[str]]] = {}
    for case, setup in CELLS:
        seen = see(case, setup)
        print(f"{case.name:16} {setup.name:18} {seen.kind}: {seen.sentence}", flush=True)
        cells.setdefault(case.name, {})[setup.name] = [seen.kind, seen.sentence]
    versions = {setup.product: _version(setup) for setup in SETUPS}
    SEEN.write_text(json.dumps({"versions": versions, "cells": cells}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
