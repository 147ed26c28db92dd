"""poolmgr, killed by SIGKILL right before one of the steps with which it changes what others see.

    python -P stepping.py 3 -c config.yaml publish

kills itself before the third one. With fewer steps than that it ends as ever.
"""

from __future__ import annotations

import os
import signal
import sys

from poolmgr.cli import main as poolmgr

STEPS = frozenset({"os.rename", "socket.connect", "subprocess.Popen", "tempfile.mkstemp"})
"""A file made, a file put in another's place, a program started, a server asked: Python's names of these events."""


def kill_before(number: int) -> None:
    """Kill this process right before its step `number`, counted from 1."""
    left = number

    def look(event: str, _: object) -> None:
        nonlocal left
        if event in STEPS:
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(look)


def main() -> None:
    """Run poolmgr with all words but the first, which is the number of the step."""
    number = int(sys.argv.pop(1))
    kill_before(number)
    poolmgr(prog_name="poolmgr")


if __name__ == "__main__":
    main()
