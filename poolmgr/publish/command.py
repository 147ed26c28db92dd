"""Programs that the operator names: run to their end, bounded, never through a shell."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from datetime import timedelta

from poolmgr.errors import PublishError

SYSTEM_FOLDERS = ("/usr/local/sbin", "/usr/sbin", "/sbin")
"""Searched after PATH: cron's PATH leaves out where Debian has rndc, nsd-control and nsd-checkzone."""

MAX_OUTPUT = 2000
"""Octets of a program's output that are quoted in an error."""


def find_program(name: str) -> str | None:
    """Return the path of the program `name`, None where it is not installed."""
    return shutil.which(name, path=os.pathsep.join((os.environ.get("PATH", os.defpath), *SYSTEM_FOLDERS)))


def run(words: Sequence[str], timeout: timedelta) -> None:
    """Run the program `words[0]` with the other words as arguments, until it ends.

    Raises PublishError where it is not there, exits with anything but 0 (its output is quoted), or runs longer than
    `timeout`: then it is killed with all it started, where this user may do that.
    """
    shown = shlex.join(words)
    program = find_program(words[0])
    if program is None:
        raise PublishError(f"{words[0]} is not installed: install it, or take it out of the config")
    # The output goes to a file: a pipe would have to be read until the last process that inherited it ends.
    with tempfile.TemporaryFile() as output:
        code = _exit_code([program, *words[1:]], timeout, output.fileno())
        output.seek(0)
        said = _one_line(output.read(MAX_OUTPUT))
    if code is None:
        raise PublishError(f"{shown} ran longer than {timeout.total_seconds():g} s and was given up; it said: {said}")
    if code != 0:
        raise PublishError(f"{shown} failed with exit code {code}: {said}")


def _exit_code(words: Sequence[str], timeout: timedelta, output: int) -> int | None:
    """Return the exit code, None where the time was over."""
    try:
        process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    except OSError as error:
        raise PublishError(f"cannot run {words[0]}: {error.strerror}") from error
    try:
        return process.wait(timeout.total_seconds())
    except subprocess.TimeoutExpired:
        return None
    finally:
        if process.returncode is None:
            _kill(process)


def _kill(process: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except PermissionError:
        # What sudo runs belongs to another user: it can only be left alone, and nobody is to wait for it.
        return
    process.wait()


def _one_line(output: bytes) -> str:
    lines = output.decode("utf-8", "replace").splitlines()
    text = "; ".join(line.strip() for line in lines if line.strip())
    return ascii(text)[1:-1] if text else "nothing"
