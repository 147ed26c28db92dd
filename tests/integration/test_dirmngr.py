"""GnuPG's own client gets keys from a pool that poolmgr keeps, in a network of its own with the real ports."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Need
from tests.lab.dirmngr import KEYSERVERS, NAMESERVER, POOL, PROGRAMS
from tests.lab.netns import NoNetwork, run_apart

ROOT = Path(__file__).resolve().parents[2]
SRV = f"_pgpkey-http._tcp.{POOL}"


@pytest.fixture
def see(need: Need, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Returns what a client sees of a pool with the SRV services that it is given, before and after a member dies."""
    need(*PROGRAMS)

    def seen(*services: str) -> dict[str, Any]:
        words = (sys.executable, "-m", "tests.lab.dirmngr", str(tmp_path), *services)
        try:
            done = run_apart(*words, addresses=KEYSERVERS, nameserver=NAMESERVER, folder=ROOT, timeout=240)
        except NoNetwork as error:
            if os.environ.get("CI") == "true":
                raise
            pytest.skip(f"no network of its own is to be had here: {error}")
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout))

    return seen


def test_gpg_gets_keys_from_the_pool_and_still_does_when_a_member_has_died(see: Callable[..., dict[str, Any]]) -> None:
    seen = see()
    (before,) = seen["before"]
    assert not before["has_key"], "nothing but the pool leads to the key"
    assert f"{SRV} SRV" in before["asked"]
    first, second = seen["first run"], seen["second run"]
    assert (first["exit_code"], first["errors"], first["addresses"]) == (0, "", list(KEYSERVERS))
    assert (second["exit_code"], second["errors"]) == (0, "")
    assert second["addresses"] == [address for address in KEYSERVERS if address != KEYSERVERS[1]]
    for received in (*seen["published"], *seen["without one"]):
        assert received["has_key"], received
        assert {f"{POOL} A", f"{POOL} AAAA"} <= set(received["asked"])


def test_gpg_follows_the_srv_records_of_the_pool(see: Callable[..., dict[str, Any]]) -> None:
    seen = see("pgpkey-http")
    first, second = seen["first run"], seen["second run"]
    assert (first["exit_code"], second["exit_code"]) == (0, 0), (first["errors"], second["errors"])
    assert len(first["targets"]) == len(KEYSERVERS)
    assert len(second["targets"]) == len(KEYSERVERS) - 1
    for received in (*seen["published"], *seen["without one"]):
        assert received["has_key"], received
        asked = {question.split()[0].rstrip(".") for question in received["asked"]}
        targets = {target.split()[-1].rstrip(".") for target in first["targets"]}
        assert asked & targets, "dirmngr went where an SRV record leads"
