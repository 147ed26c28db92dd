"""What the demo prints on a terminal, with all that differs from run to run made the same.

Loopback addresses and ports, the temporary folder, serials and times become those of an installation.
"""

from __future__ import annotations

import contextlib
import os
import pty
import re
import subprocess
import sys
from collections.abc import Mapping
from itertools import count
from pathlib import Path

from tests.lab.demo import FOLDER_PREFIX

ROOT = Path(__file__).parents[2]
COLUMNS = 120
"""Width of the terminal: what fits a page on the web."""

_FIRST_SERIAL = 1795435200
_SECONDS_PER_RUN = 900

_STEADY = (
    (rf"/\S*{FOLDER_PREFIX}\w+/named/pool\.zone", "/var/lib/bind/keys.example.org.zone"),
    (r"127\.1\d\d\.1\d\d\.(\d\d)\b", r"198.51.100.1\1"),
    (r"@127\.0\.0\.1 -p \d+", "@ns1.keys.example.org"),
    (r"(127\.0\.0\.1 port) \d+", r"\1 53"),
    (r"(hkp on port) \d{5}", r"\1 11371"),
    (r"in \d+\.\d s", "in 2.7 s"),
    (r" +(?=\n)", ""),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "2026-11-23T12:00:00Z"),
)


def record() -> str:
    """Run the demo on a terminal of COLUMNS columns without colours or movement, and return what it printed."""
    terminal, inside = pty.openpty()
    # A dumb terminal gets neither colours nor progress; rich believes its width only together with a height.
    environ = {"PATH": os.environ["PATH"], "TERM": "dumb", "COLUMNS": str(COLUMNS), "LINES": "50"}
    with subprocess.Popen(
        [sys.executable, "-m", "tests.lab.demo"],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=inside,
        stderr=inside,
        env=environ,
    ) as process:
        os.close(inside)
        output = _read(terminal)
    if process.returncode != 0:
        raise RuntimeError(f"the demo ended with {process.returncode}:\n{output}")
    return output


def _read(terminal: int) -> str:
    chunks = []
    # An error is how Linux says that nobody holds the other end any more.
    with open(terminal, "rb", buffering=0) as stream, contextlib.suppress(OSError):
        while chunk := stream.read(65536):
            chunks.append(chunk)
    return b"".join(chunks).decode().replace("\r\n", "\n")


def sections(output: str) -> Mapping[str, str]:
    """Return what the demo printed under each heading, steady; of two with the same heading, the first."""
    for pattern, replacement in _STEADY:
        output = re.sub(pattern, replacement, output)
    serials = dict(zip(dict.fromkeys(re.findall(r"\b1[78]\d{8}\b", output)), count(_FIRST_SERIAL, _SECONDS_PER_RUN)))
    output = re.sub(r"\b1[78]\d{8}\b", lambda match: str(serials[match[0]]), output)
    found: dict[str, str] = {}
    for section in re.split(r"^# ", output, flags=re.MULTILINE)[1:]:
        heading, _, body = section.partition("\n")
        found.setdefault(heading, _with_sorted_answers(body.strip()))
    return found


def _with_sorted_answers(body: str) -> str:
    """Return `body` with the answers of dig, which rotate, in order."""
    shown, command, answers = body.partition("$ dig ")
    words, *addresses = answers.splitlines() or [""]
    return "\n".join((f"{shown}{command}{words}", *sorted(addresses)))
