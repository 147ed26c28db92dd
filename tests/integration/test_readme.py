"""What the README shows is what happens."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import poolmgr.errors
from poolmgr.cli import main
from poolmgr.errors import PoolmgrError
from poolmgr.zone_commands import EXIT_TO_DO
from tests import reference
from tests.conftest import Need

TEXT = reference.README.read_text()
LINES = reference.shell_lines(TEXT)
CRONTAB = re.findall(r"^ *```crontab\n(.*?)^ *```$", TEXT, re.DOTALL | re.MULTILINE)
INSTALLED_BY_TEST_PACKAGE = ("python3 -m venv ", "/opt/poolmgr/bin/pip install ", "ln -s ", "poolmgr --version")


def commands(start: str) -> list[str]:
    found = [line for line in LINES if line.startswith(start) and not line.startswith(INSTALLED_BY_TEST_PACKAGE)]
    assert found
    return found


def assert_is_understood(line: str) -> None:
    """Let click read the words of a command of poolmgr, and stop before it is run."""
    result = CliRunner().invoke(main, [*shlex.split(line)[1:], "--help"])
    assert result.exit_code == 0, result.output


def test_the_console_blocks_are_what_the_demo_prints(need: Need) -> None:
    need("named", "named-checkzone", "dig")
    assert reference.filled(TEXT, reference.readme_parts()) == TEXT, "run: scripts/docs"
    assert TEXT.count("```console") == TEXT.count("<!-- generated: ") > 0


def test_every_command_is_of_a_kind_that_is_tested() -> None:
    kinds = ("scripts/", "poolmgr ", "install ", *INSTALLED_BY_TEST_PACKAGE)
    assert [line for line in LINES if not line.startswith(kinds)] == []


@pytest.mark.parametrize("line", commands("poolmgr "))
def test_its_commands_of_poolmgr_are_understood(line: str) -> None:
    assert_is_understood(line)


@pytest.mark.parametrize("line", commands("scripts/"))
def test_its_scripts_can_be_run(line: str) -> None:
    script = reference.ROOT / line.split(maxsplit=1)[0]
    assert os.access(script, os.X_OK)
    subprocess.run(["bash", "-n", script], check=True)


def test_its_first_steps_lead_to_a_config_that_is_in_order(tmp_path: Path) -> None:
    for line in commands("install "):
        words = shlex.split(line.replace("/etc/", f"{tmp_path}/etc/"))
        subprocess.run(words, cwd=reference.ROOT, check=True)
    config = tmp_path / "etc/poolmgr/config.yaml"
    result = CliRunner().invoke(main, ["check-config"], env={"POOLMGR_CONFIG": str(config)})
    assert result.exit_code == 0, result.output
    assert result.output.startswith(f"{config}: ok\n")


def test_its_line_for_cron_is_one() -> None:
    (line,) = (line.strip() for block in CRONTAB for line in block.splitlines())
    *times, user, command = line.split(maxsplit=6)
    assert len(times) == 5
    assert all(re.fullmatch(r"\*(/\d+)?", time) for time in times)
    assert user == "poolmgr"
    path, *_ = shlex.split(command)
    assert f"ln -s /opt/poolmgr/bin/poolmgr {path}" in LINES
    assert_is_understood(command)


def test_its_exit_codes_are_all_that_there_are() -> None:
    errors = [kind for kind in vars(poolmgr.errors).values() if isinstance(kind, type)]
    codes = {kind.exit_code for kind in errors if issubclass(kind, PoolmgrError)}
    codes |= {0, EXIT_TO_DO, click.UsageError.exit_code}
    codes |= {128 + number for number in (signal.SIGINT, signal.SIGTERM)}
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", TEXT, re.MULTILINE)} == codes
