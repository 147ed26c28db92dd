"""The commands as a user runs them, on a mesh of HTTP keyservers."""

from __future__ import annotations

import csv
import fcntl
import io
import ipaddress
import json
import os
import pty
import re
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from poolmgr.cli import main
from poolmgr.model import Service
from tests.lab.killing import KEYSERVERS, ORIGIN, add_keyservers
from tests.lab.mesh import Fault, Mesh
from tests.lab.nameserver import Nameserver
from tests.lab.pages import Dialect
from tests.lab.process import PATIENCE, wait_until
from tests.lab.site import Site, mesh_site

POOL = "pool.keys.example.test"

PROMPTLY = 2.0
"""Seconds within which a command obeys a signal; what it waits for would take a minute."""


@dataclass
class World:
    """A site that keeps the zone file `pool.zone`, and the mesh that it crawls."""

    mesh: Mesh
    nameserver: Nameserver
    site: Site

    @property
    def zone_file(self) -> Path:
        return self.site.folder / "pool.zone"

    def follow(self) -> None:
        """Have the names of all keyservers found, and those that were added listed as gossip peers of the first."""
        self.nameserver.records.update(self.mesh.records())
        self.mesh.keyservers[0].peers = [keyserver.hostname for keyserver in self.mesh.keyservers]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with Mesh() as mesh, Nameserver() as nameserver:
        add_keyservers(mesh)
        target = {"type": "zonefile", "file": str(tmp_path / "pool.zone")}
        yield World(mesh, nameserver, mesh_site(tmp_path, ORIGIN, mesh, nameserver, [target]))


def test_check_config_names_the_pools_and_targets_of_a_good_file(world: World) -> None:
    done = world.site.poolmgr("check-config")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"config.yaml: ok\npool {POOL}\npublished as zone file {world.zone_file}\n"


def test_check_config_warns_of_answers_that_full_pools_make_too_large(world: World) -> None:
    world.site.pool |= {"max_records": 80, "families": ["ipv4"], "min_members": 1}
    done = world.site.poolmgr("check-config")
    assert (done.returncode, done.stderr) == (0, "")
    (warning,) = [line for line in done.stdout.splitlines() if line.startswith("warning: ")]
    assert re.fullmatch(
        rf"warning: with all its members, {re.escape(POOL)} A: the answer has 1\d\d\d octets, over 1232 .*", warning
    )


def test_check_config_reports_every_problem_of_a_bad_file(world: World) -> None:
    world.site.config["crawl"]["deadline"] = 3
    world.site.config["policy"] = {"min_cohort": 0}
    world.site.config["polls"] = []
    done = world.site.poolmgr("check-config")
    assert (done.returncode, done.stdout) == (2, "")
    problems = [re.fullmatch(r"poolmgr: config\.yaml:\d+:\d+: ([\w.]+): .+", line) for line in done.stderr.splitlines()]
    assert [problem and problem[1] for problem in problems] == ["crawl.deadline", "policy.min_cohort", "polls"]


def test_check_config_reports_every_problem_of_the_files_that_it_names(world: World) -> None:
    (world.site.folder / "membership").write_text("ks1.mesh.test 11370\nks2.mesh.test\nks3.mesh.test 0\n")
    (world.site.folder / "skeleton.zone").write_text("@ SOA ns1\n")
    world.site.config["crawl"]["membership"] = "membership"
    world.site.config["publish"].append({"type": "rfc2136", "server": "127.0.0.1", "key": {"file": "no.key"}})
    done = world.site.poolmgr("check-config")
    assert (done.returncode, done.stdout) == (2, "")
    membership, again, skeleton, key = done.stderr.splitlines()
    folder = world.site.folder
    assert membership.startswith(f"poolmgr: {folder}/membership")
    assert ":2: " in membership
    assert again.startswith(f"poolmgr: {folder}/membership")
    assert ":3: " in again
    assert skeleton.startswith(f"poolmgr: {folder}/skeleton.zone:1: ")
    assert key == f"poolmgr: cannot read the TSIG key file {folder}/no.key: No such file or directory"


def test_every_command_refuses_a_bad_file(world: World) -> None:
    world.site.config["polls"] = []
    for name, command in main.commands.items():
        arguments = ["ks1.mesh.test" for each in command.params if isinstance(each, click.Argument)]
        done = world.site.poolmgr(name, *arguments)
        assert (name, done.returncode, done.stdout) == (name, 2, "")
        assert done.stderr.startswith("poolmgr: config.yaml:")


def test_crawl_starts_from_the_membership_file_and_says_what_it_found(world: World) -> None:
    (world.site.folder / "membership").write_text(f"# of ours\n{world.mesh.keyservers[-1].hostname} 11370\n")
    world.site.config["crawl"] |= {"seeds": [], "membership": "membership"}
    world.mesh.stop(world.mesh.keyservers[0])
    done = world.site.poolmgr("crawl")
    assert (done.returncode, done.stderr) == (0, "")
    found = f"{KEYSERVERS} keyservers with {KEYSERVERS} addresses, {KEYSERVERS - 1} of them gave their stats"
    assert re.fullmatch(rf"{found}, in \d+\.\d s\n", done.stdout)
    assert not world.zone_file.exists()


def test_crawl_says_which_bound_cut_it_short(world: World) -> None:
    world.site.config["crawl"]["max_keyservers"] = 2
    done = world.site.poolmgr("crawl")
    assert done.returncode == 0
    assert done.stdout.startswith("2 keyservers with 2 addresses")
    assert done.stderr.startswith("poolmgr: cut short: crawl.max_keyservers (2) was reached")


@pytest.fixture
def crawled(world: World) -> World:
    """A crawl with one keyserver that is out, and a second pool that asks for a version that none has."""
    world.mesh.stop(world.mesh.keyservers[-1])
    strict = {"name": f"strict.{POOL.partition('.')[2]}", "minimum_versions": {"sks": "1.2"}}
    world.site.config["pools"].append(strict)
    assert world.site.poolmgr("crawl").returncode == 0
    return world


def test_report_shows_every_address_of_every_pool(crawled: World) -> None:
    done = crawled.site.poolmgr("report")
    assert (done.returncode, done.stderr) == (0, "")
    first, second = done.stdout.split("\n\n")
    assert first.startswith(f"{POOL}: 4 members (4 A, 0 AAAA), 0 eligible, 1 out\nSTATE ")
    assert second.startswith("strict.keys.example.test: 0 members (0 A, 0 AAAA), 0 eligible, 5 out\nSTATE ")
    for keyserver in crawled.mesh.keyservers[:-1]:
        row = rf"^member +{keyserver.hostname} +{keyserver.address} +now +hkp:ok,http:ok +SKS 1\.1\.6 +1000 +\+0$"
        assert re.search(row, first, re.MULTILINE)
    assert re.search(r"^out +ks5\.mesh\.test .* no stats page: refused \(connection refused\)$", first, re.MULTILINE)
    assert second.count("SKS 1.1.6 is older than 1.2") == 4


def csv_rows(site: Site, *words: str) -> list[dict[str, str]]:
    done = site.poolmgr("report", "--format", "csv", *words)
    assert (done.returncode, done.stderr) == (0, "")
    return list(csv.DictReader(io.StringIO(done.stdout)))


def test_report_says_the_same_as_csv_and_json(crawled: World) -> None:
    table = [
        (row["pool"], row["keyserver"], row["address"], row["state"], row["codes"].split())
        for row in csv_rows(crawled.site)
    ]
    document = json.loads(crawled.site.poolmgr("report", "--format", "json").stdout)
    assert table == [
        (pool["name"], row["keyserver"], row["address"], row["state"], [reason["code"] for reason in row["reasons"]])
        for pool in document["pools"]
        for row in pool["addresses"]
    ]
    assert len(table) == 2 * KEYSERVERS
    assert (POOL, "ks5.mesh.test", str(crawled.mesh.keyservers[-1].address), "out", ["stats"]) in table


def test_report_shows_one_pool_or_the_members_or_the_excluded(crawled: World) -> None:
    def shown(*words: str) -> list[tuple[str, str]]:
        return [(row["pool"], row["keyserver"]) for row in csv_rows(crawled.site, *words)]

    names = [keyserver.hostname for keyserver in crawled.mesh.keyservers]
    assert shown("--pool", f"{POOL.upper()}.") == [(POOL, name) for name in names]
    assert shown("--members") == [(POOL, name) for name in names[:-1]]
    assert shown("--excluded", "--pool", POOL) == [(POOL, names[-1])]
    assert shown("--members", "--excluded") == shown()


def test_report_of_an_unknown_pool_is_a_mistake_of_the_user(crawled: World) -> None:
    done = crawled.site.poolmgr("report", "--pool", "pole.keys.example.test")
    assert (done.returncode, done.stdout) == (2, "")
    assert f"no pool 'pole.keys.example.test'; configured: {POOL}, strict.keys.example.test" in done.stderr


@pytest.mark.parametrize("command", ["report", "plan"])
def test_what_needs_a_crawl_says_so_before_the_first(world: World, command: str) -> None:
    done = world.site.poolmgr(command)
    assert (done.returncode, done.stdout) == (1, "")
    state = world.site.folder / "state"
    assert done.stderr == f"poolmgr: no crawl is stored in {state} yet: run `poolmgr crawl` or `poolmgr run` first\n"
    assert not state.exists()


def test_a_second_run_says_nothing_and_writes_nothing(world: World) -> None:
    first = world.site.poolmgr("run")
    assert (first.returncode, first.stderr) == (0, "")
    assert first.stdout.count("\n+ pool.") == KEYSERVERS
    written = world.zone_file.stat()
    second = world.site.poolmgr("run")
    assert (second.returncode, second.stdout, second.stderr) == (0, "", "")
    again = world.zone_file.stat()
    assert (again.st_ino, again.st_mtime_ns) == (written.st_ino, written.st_mtime_ns)


def test_while_another_run_holds_the_lock_nothing_is_crawled_and_the_rest_works(world: World) -> None:
    assert world.site.poolmgr("run").returncode == 0
    connections = sum(world.mesh.connections.values())
    lock = world.site.folder / "state" / "poolmgr.lock"
    with lock.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        for command in ("crawl", "run"):
            done = world.site.poolmgr(command)
            assert (done.returncode, done.stdout) == (4, "")
            assert done.stderr == f"poolmgr: another run holds {lock}: nothing was done, the next one will\n"
        assert sum(world.mesh.connections.values()) == connections
        assert world.site.poolmgr("report").returncode == 0
        assert world.site.poolmgr("plan").returncode == 0
    assert world.site.poolmgr("run").returncode == 0


@pytest.mark.parametrize("command", ["crawl", "run"])
def test_a_crawl_that_is_interrupted_ends_at_once_and_keeps_nothing(world: World, command: str) -> None:
    silent = world.mesh.add("silent.mesh.test", faults={Service.HKP: Fault.SILENT})
    world.follow()
    world.site.config["crawl"]["deadline"] = "1m"
    with world.site.started(command) as process:
        wait_until(lambda: world.mesh.connections[silent.address] > 0, "the crawl waits for an answer")
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=PROMPTLY)
    assert (process.returncode, output) == (128 + signal.SIGINT, "")
    said = r"poolmgr: the crawl was stopped after \d+ probes, with \d+ waiting: nothing was stored\n"
    assert re.fullmatch(said, errors)
    assert "no crawl is stored" in world.site.poolmgr("report").stderr
    world.mesh.stop(silent)
    assert world.site.poolmgr("run").returncode == 0


def test_a_keyserver_with_ipv6_is_published_with_its_aaaa_record(world: World) -> None:
    world.mesh.add("six.mesh.test", address=ipaddress.IPv6Address("::1"))
    world.follow()
    world.site.config["crawl"]["allow_networks"].append("::1/128")
    done = world.site.poolmgr("run")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"+ {POOL}. 300 IN AAAA ::1  ; six.mesh.test: member" in done.stdout
    assert "pool\t300\tIN\tAAAA\t::1\n" in world.zone_file.read_text()


def on_a_terminal(site: Site, *words: str, columns: int = 120) -> tuple[int, str]:
    """Run poolmgr with a terminal of so many columns for all that it says; return its exit code and that."""
    terminal, theirs = pty.openpty()
    try:
        process = subprocess.Popen(
            site.command(*words),
            cwd=site.folder,
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            stderr=theirs,
            env={"PATH": os.environ["PATH"], "TERM": "xterm", "COLUMNS": str(columns)},
        )
    finally:
        os.close(theirs)
    said = b""
    with process, os.fdopen(terminal, "rb", buffering=0) as screen:
        while chunk := _read(screen):
            said += chunk
        return process.wait(PATIENCE), said.decode()


def _read(screen: io.FileIO) -> bytes:
    """Return what comes next, nothing once no process has the terminal any more."""
    try:
        return screen.read(4096) or b""
    except OSError:
        return b""


def test_progress_is_shown_on_a_terminal_and_nowhere_else(world: World) -> None:
    code, said = on_a_terminal(world.site, "crawl")
    assert code == 0
    assert "crawling" in said
    assert f"{KEYSERVERS} keyservers with {KEYSERVERS} addresses" in said
    assert "crawling" not in (piped := world.site.poolmgr("crawl")).stdout + piped.stderr


EVIL = "=cmd()\x1b]0;title\x07\x1b[2J\n\u202e"
"""A formula for a spreadsheet, and what would set a terminal's title, clear it, break a line and turn text around."""


@pytest.fixture
def hostile(world: World) -> World:
    """Keyservers that were good when the pool was published and say EVIL since, crawled once more."""
    sks = world.mesh.add("sks.mesh.test")
    hockeypuck = world.mesh.add("hockeypuck.mesh.test", dialect=Dialect.HOCKEYPUCK_JSON, headers={"Server": "nginx"})
    world.follow()
    assert world.site.poolmgr("run").returncode == 0
    hockeypuck.version = hockeypuck.hostname = EVIL
    hockeypuck.peers = [EVIL, "=cmd().test", "\x1b[2J.test"]
    sks.headers = {"Server": "nginx"}
    sks.version = f"1.1.6</td></tr>\n<tr><td>Software:</td><td>{EVIL}</td></tr>"
    world.mesh.add("redirect.mesh.test", faults={Service.HKP: Fault.REDIRECT})
    world.follow()
    assert world.site.poolmgr("crawl").returncode == 0
    return world


def unsafe(text: str) -> set[str]:
    """Return the characters of `text` that could do something, but for the line's end."""
    return {char for char in text if not char.isprintable() and char != "\n"}


def test_what_a_hostile_keyserver_says_is_shown_and_harmless(hostile: World) -> None:
    for words in ("report", "report --format json", "report --format csv", "plan", "plan --format json"):
        done = hostile.site.poolmgr(*words.split())
        assert (words, done.returncode, done.stderr) == (words, 0, "")
        assert "=cmd()" in done.stdout, words
        assert unsafe(done.stdout) == set(), words


def test_no_cell_of_the_csv_is_a_formula(hostile: World) -> None:
    cells = [cell for row in csv_rows(hostile.site) for cell in row.values()]
    assert any(cell.startswith("'=cmd()") for cell in cells)
    assert [cell for cell in cells if re.match(r"[=@\t\r]|[+-](?!\d+$)", cell)] == []


def test_a_terminal_gets_colours_and_nothing_of_what_a_hostile_keyserver_says(hostile: World) -> None:
    code, said = on_a_terminal(hostile.site, "report")
    assert code == 0
    assert "\x1b[32mmember" in said
    assert unsafe(re.sub(r"\x1b\[[\d;]*m|\r", "", said)) == set()


def commands(command: click.Command, *words: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Yield `command` and all below it, each with the words that it is run with."""
    yield words, command
    if isinstance(command, click.Group):
        for name, below in command.commands.items():
            yield from commands(below, *words, name)


@pytest.mark.parametrize(("words", "command"), list(commands(main)))
def test_the_help_of_every_command_fits_and_tells_every_option(words: tuple[str, ...], command: click.Command) -> None:
    done = CliRunner(env={"COLUMNS": "200"}).invoke(main, [*words, "--help"])
    assert done.exit_code == 0
    assert max(map(len, done.stdout.splitlines())) <= 100
    assert "\\" not in done.stdout, "a mark for click is shown"
    assert all(param.help for param in command.params if isinstance(param, click.Option))


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_what_a_plan_says_is_folded_on_a_terminal_and_whole_in_a_pipe(world: World, columns: int) -> None:
    site = world.site
    site.pool |= {"srv": ["pgpkey-http"], "txt": True, "min_members": 9}
    site.config["zone"]["serial"] = "increment"
    assert site.call("crawl").returncode == 0
    for words in (["plan"], ["status"], ["check-config"]):
        piped = site.poolmgr(*words)
        whole = [*piped.stdout.splitlines(), *piped.stderr.splitlines()]
        code, text = on_a_terminal(site, *words, columns=columns)
        shown = text.splitlines()
        assert code == piped.returncode
        assert "".join("".join(shown).split()) == "".join("".join(whole).split())
        assert all(len(line) <= columns or " " not in line.strip() for line in shown)
        assert words != ["plan"] or max(map(len, whole)) > 80, "there is something to fold"
