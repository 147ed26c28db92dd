"""A crawl that was stopped for a while and goes on loses no keyserver that serves."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import socket
import subprocess
import threading
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from poolmgr.config import load_config
from poolmgr.crawl.line import Line
from poolmgr.model import Ask, Outcome, Service, Snapshot
from poolmgr.report.snapshot import from_json
from tests.conftest import Need
from tests.lab.authority import Authority
from tests.lab.crawls import GOOD, Lab, by_name, crawl_in_time, only_address, outcomes
from tests.lab.pages import CANARY, armoured
from tests.lab.process import PATIENCE, wait_until
from tests.lab.secure import Talker, raw_server
from tests.lab.site import Site

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

DEADLINE = 2.0
LATENCY = 0.5
AWAY = 2.5
"""Seconds that the crawl is stopped: longer than its deadline."""

NAMES = [f"ks{number}.test" for number in range(1, 5)]


def crawling(site: Site) -> AbstractContextManager[subprocess.Popen[str]]:
    """Start a crawl whose snapshot goes to standard output."""
    return site.started("crawl", "--output", "-")


def stop(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED)


def resume(process: subprocess.Popen[str]) -> Snapshot:
    """Let the crawl go on, and return what it saw in the end."""
    process.send_signal(signal.SIGCONT)
    output, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, errors
    return from_json(output)


def seen(snapshot: Snapshot) -> dict[str, dict[tuple[Ask, Service], Outcome]]:
    """Return how each probe of each keyserver ended."""
    return {name: outcomes(only_address(each)) for name, each in by_name(snapshot).items()}


@pytest.fixture
def site(lab: Lab, tmp_path: Path) -> Site:
    """Keyservers that answer slowly, and a site that crawls them and asks nobody twice."""
    for name in NAMES:
        lab.add(name, peers=NAMES, latency=LATENCY)
    return lab.site(tmp_path, *NAMES, deadline=f"{DEADLINE:g}s", retries=0)


def test_a_crawl_that_is_stopped_for_longer_than_its_deadline_loses_nobody(lab: Lab, site: Site) -> None:
    with crawling(site) as process:
        wait_until(lambda: all(each.requests for each in lab.mesh.keyservers), "every keyserver is asked")
        stop(process)
        time.sleep(AWAY)
        snapshot = resume(process)
    assert seen(snapshot) == dict.fromkeys(NAMES, GOOD)


def test_one_that_is_stopped_in_its_handshakes_loses_nobody_either(
    lab: Lab, site: Site, tmp_path: Path, need: Need
) -> None:
    """What comes while it is stopped is there to be read; here it has as much again to send and to wait for."""
    need("openssl")
    authority = Authority(tmp_path / "authority")
    context = authority.identity("pool.keys.test").context()
    site.config["crawl"]["ca_file"] = str(authority.ca_file)
    site.pool["services"] = list(map(str, Service))
    hellos: list[bytes] = []
    is_stopped = threading.Event()

    def answers_slowly(line: socket.socket) -> None:
        hellos.append(line.recv(1, socket.MSG_PEEK))
        is_stopped.wait(PATIENCE)
        talker = Talker(line, context)
        talker.shake_hands()
        talker.hear()
        time.sleep(LATENCY)
        talker.say(b"HTTP/1.1 200 OK\r\n\r\n" + armoured(CANARY).encode())

    def is_at_rest() -> bool:
        return len(hellos) == len(NAMES) and all(len(each.requests) == len(GOOD) for each in lab.mesh.keyservers)

    with contextlib.ExitStack() as running:
        for keyserver in lab.mesh.keyservers:
            port = lab.mesh.ports[Service.HKPS]
            running.enter_context(raw_server(answers_slowly, address=keyserver.address, port=port))
        process = running.enter_context(crawling(site))
        wait_until(is_at_rest, "everything is asked, and every handshake has begun")
        stop(process)
        is_stopped.set()
        time.sleep(AWAY)
        snapshot = resume(process)
    good = {**GOOD, (Ask.LOOKUP, Service.HKPS): Outcome.OK}
    assert seen(snapshot) == dict.fromkeys(NAMES, good)


def test_one_that_is_stopped_in_the_middle_of_a_turn_loses_nobody_either(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if it were stopped just when an exchange has its connection and has not asked yet."""
    say = Line.sendall
    calls = itertools.count()

    def sendall(line: Line, data: ReadableBuffer, flags: int = 0) -> None:
        if next(calls) == len(NAMES) - 1:
            time.sleep(AWAY)
        say(line, data, flags)

    monkeypatch.setattr(Line, "sendall", sendall)
    site.command()
    plan = load_config(site.path).crawl
    assert seen(crawl_in_time(plan)) == dict.fromkeys(NAMES, GOOD)
