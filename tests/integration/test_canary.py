"""The canary key signed anew, on real keyservers: who lacks it is late, and who has it is not."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Need
from tests.lab.nameserver import Nameserver
from tests.lab.site import Site
from tests.lab.sks import Sks, make_versions, unused_sks_address

NOW = datetime.now(UTC).replace(microsecond=0)
SIGNED = [NOW - timedelta(hours=hours) for hours in (400, 50, 5)]


@dataclass
class World:
    keyservers: list[Sks]
    site: Site

    def upload(self, key: bytes, *numbers: int) -> None:
        """Give `key` to these keyservers."""
        for number in numbers:
            self.keyservers[number].add(key)

    def judged(self) -> list[list[tuple[str, str, str]]]:
        """Crawl, and return what is held against each keyserver in turn: code, measured value and limit."""
        self.said("crawl")
        addresses = json.loads(self.said("report", "--format", "json"))["pools"][0]["addresses"]
        held = {
            address["keyserver"]: [
                (reason["code"], reason["measured"], reason["limit"]) for reason in address["reasons"]
            ]
            for address in addresses
        }
        return [held[keyserver.hostname] for keyserver in self.keyservers]

    def findings(self, number: int) -> Mapping[str, Mapping[str, Any]]:
        """Return what explain says of the rules for one keyserver, by code."""
        life = json.loads(self.said("explain", self.keyservers[number].hostname, "--format", "json"))
        return {finding["code"]: finding for finding in life["addresses"][0]["pools"][0]["findings"]}

    def said(self, *words: str) -> str:
        done = self.site.call(*words)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout


@pytest.fixture
def versions(need: Need) -> tuple[bytes, ...]:
    """A key as it was made, as it was signed anew 50 hours ago, and again five hours ago."""
    need("gpg")
    return make_versions(*SIGNED)


@pytest.fixture
def world(tmp_path: Path, need: Need, versions: tuple[bytes, ...], sks_keys: tuple[bytes, ...]) -> Iterator[World]:
    """Four keyservers that have the first version, the last of them three keys less than the others."""
    need("sks")
    with ExitStack() as running:
        nameserver = running.enter_context(Nameserver())
        names = [f"sks{number}.mesh.test" for number in range(1, 5)]
        keyservers = []
        for name in names:
            keys = (versions[0], *(sks_keys[1:] if name != names[-1] else sks_keys[1:3]))
            others = [other for other in names if other != name]
            folder = tmp_path / name.partition(".")[0]
            keyserver = running.enter_context(Sks(folder, unused_sks_address(), name, keys, peers=others))
            keyservers.append(keyserver)
            nameserver.records[name] = [keyserver.address]
        _, index = keyservers[0].get("/pks/lookup?op=index&options=mr&search=user0")
        address, port = nameserver.server
        crawl = {
            "seeds": names[:1],
            "canary": index.decode().split("pub:")[1].split(":")[0],
            "nameservers": [f"{address}:{port}"],
        }
        site = Site(tmp_path, "keys.example.test.", crawl, [])
        site.config["policy"] = {"max_keys_behind": 1, "max_keys_ahead": 1, "rise": 1, "flap_wait": "0s"}
        yield World(keyservers, site)


def test_who_lacks_the_newest_version_is_late_and_who_has_it_is_not(world: World, versions: tuple[bytes, ...]) -> None:
    made, older, newest = (f"{at:%Y-%m-%d %H:%M} UTC" for at in SIGNED)
    behind = ("behind", "3", "5")

    # All have the same version, and it is old: the count decides.
    assert world.judged() == [[], [], [], [behind]]
    assert world.findings(0)["canary"]["passed"]

    # Most have a newer one, which the last should have by now.
    world.upload(versions[1], 0, 1, 2)
    assert world.judged() == [[], [], [], [("canary", made, older), behind]]
    stale = world.findings(3)["canary"]
    assert not stale["passed"]
    assert "which was signed 50 h ago: at most 24 h may pass to come in" in stale["sentence"]
    assert stale["margin"]["unit"] == "seconds"

    # The last one gets the newest, and is fresh with all the keys that it lacks. There is time yet for the third.
    world.upload(versions[2], 0, 1, 3)
    assert world.judged() == [[], [], [], []]
    fresh, waiting = world.findings(3), world.findings(2)
    assert "behind" not in fresh
    assert (fresh["canary"]["passed"], fresh["canary"]["measured"], fresh["canary"]["limit"]) == (True, newest, newest)
    assert (waiting["canary"]["passed"], waiting["canary"]["measured"]) == (True, older)
    assert waiting["behind"]["passed"]
