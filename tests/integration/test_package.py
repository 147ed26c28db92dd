"""The wheel, built and installed alone as the README says."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from poolmgr import __version__
from poolmgr.config import json_schema
from tests import reference


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    words = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(words, cwd=reference.ROOT, check=True, capture_output=True)
    (built,) = folder.iterdir()
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Do what the README says to install poolmgr, with the wheel in place of the checkout; return the command."""
    folder = tmp_path_factory.mktemp("installed")
    (block,) = re.findall(r"^```sh\n(python3 -m venv .*?)^```$", reference.README.read_text(), re.DOTALL | re.MULTILINE)
    script = (
        block.replace("install .", f"install --quiet --disable-pip-version-check {wheel}")
        .replace("/usr/local/bin", str(folder))
        .replace("/opt/poolmgr", str(folder / "venv"))
    )
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    environ["PATH"] = f"{folder}:{environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euc", script], cwd=folder, env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"poolmgr, version {__version__}\n"
    return folder / "poolmgr"


def output(command: Path, *words: str) -> str:
    """Return what the installed command prints, away from the checkout."""
    done = subprocess.run(
        [command, *words], cwd=command.parent, env={}, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stderr == ""
    return done.stdout


def test_the_wheel_holds_the_package_its_types_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert "poolmgr/py.typed" in names
    tops = {name.partition("/")[0] for name in names}
    assert tops == {"poolmgr", f"poolmgr-{__version__}.dist-info"}
    sources = {str(path.relative_to(reference.ROOT)) for path in (reference.ROOT / "poolmgr").rglob("*.py")}
    assert {name for name in names if name.endswith(".py")} == sources


def test_the_installed_command_says_what_it_can_do(installed: Path) -> None:
    shown = output(installed, "--help")
    assert "Keep a DNS name pointing at the OpenPGP keyservers" in shown
    assert "check-config" in shown


def test_the_installed_command_prints_the_schema(installed: Path) -> None:
    assert json.loads(output(installed, "check-config", "--schema")) == json_schema()
