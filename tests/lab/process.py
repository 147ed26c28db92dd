"""Programs in the background, and the loopback addresses and ports that they get."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from types import TracebackType
from typing import Self

PATIENCE = 20.0
"""Seconds that a server may take to come up or to go: it needs a tenth of one, a busy machine more."""

SYSTEM_FOLDERS = ("/usr/sbin", "/sbin")
"""Where servers are, also for a user whose PATH leaves that out."""


class LabError(Exception):
    """A program of the lab does not do what it should."""


def find_program(name: str) -> str | None:
    """Return the path of the program `name`, also where only root has its folder in PATH; None where it is missing."""
    return shutil.which(name, path=os.pathsep.join((os.environ.get("PATH", os.defpath), *SYSTEM_FOLDERS)))


def wait_until(is_done: Callable[[], bool], what: str, seconds: float = PATIENCE) -> None:
    """Return when `is_done`; raise LabError, with `what`, when it is not within `seconds`."""
    deadline = time.monotonic() + seconds
    while not is_done():
        if time.monotonic() > deadline:
            raise LabError(f"{what}: not within {seconds:g} s")
        time.sleep(0.01)


def run(*words: str | Path) -> str:
    """Run a program to its end and return what it wrote; raise LabError, with that, when it fails."""
    done = subprocess.run(
        [find_program(str(words[0])) or words[0], *words[1:]],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=PATIENCE,
        check=False,
    )
    output = done.stdout.decode(errors="replace")
    if done.returncode != 0:
        raise LabError(f"{' '.join(map(str, words))}: exit code {done.returncode}: {output}")
    return output


def unused_address(*ports: int) -> IPv4Address:
    """Return an address of 127.64.0.0/10 on which all `ports` are free for UDP and TCP.

    It is drawn by lot among 4 million, so that test runs at the same time do not meet.
    """
    for _ in range(100):
        address = IPv4Address("127.64.0.0") + 1 + secrets.randbelow(2**22 - 2)
        if all(_is_free(address, port) for port in ports):
            return address
    raise LabError(f"no loopback address has the ports {ports} free: something listens there on all addresses")


def unused_port(address: IPv4Address | IPv6Address) -> int:
    """Return a port that is free for UDP and TCP on `address`.

    It is drawn by lot below the ports that the kernel gives to outgoing connections, so that none takes it before the
    server does.
    """
    for _ in range(100):
        port = 10_240 + secrets.randbelow(20_000)
        if _is_free(address, port):
            return port
    raise LabError(f"no port is free on {address}")


def _is_free(address: IPv4Address | IPv6Address, port: int) -> bool:
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(family, kind) as probe:
            try:
                probe.bind((str(address), port))
            except OSError:
                return False
    return True


class Daemon:
    """One program in the background; what it says goes to the file `log`."""

    def __init__(self, words: Sequence[str | Path], log: Path) -> None:
        self._words = words
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id. Raises LabError where the program does not run."""
        if self._process is None:
            raise LabError(f"{self._words[0]} does not run")
        return self._process.pid

    def start(self, is_ready: Callable[[], bool]) -> None:
        """Start the program and return when it `is_ready`; raise LabError, with its log, when it ends before that."""
        program = find_program(str(self._words[0]))
        if program is None:
            raise LabError(f"{self._words[0]} is not installed")
        with self._log.open("ab") as log:
            process = subprocess.Popen(
                [program, *self._words[1:]],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._process = process

        def is_settled() -> bool:
            return process.poll() is not None or is_ready()

        try:
            wait_until(is_settled, f"{self._words[0]} answers")
        except LabError as error:
            self.stop()
            raise LabError(f"{error}; its log: {self.log()[-2000:]}") from error
        if process.poll() is not None:
            self.stop()
            raise LabError(f"{self._words[0]} ended with {process.returncode}; its log: {self.log()[-2000:]}")

    def stop(self) -> None:
        """End the program, by force where it does not obey. Without a running one, nothing."""
        if self._process is None:
            return
        with self._process as process:
            process.terminate()
            try:
                process.wait(PATIENCE / 4)
            except subprocess.TimeoutExpired:
                process.kill()
        self._process = None

    def log(self) -> str:
        """Return what the program has said so far."""
        with contextlib.suppress(FileNotFoundError):
            return self._log.read_text(errors="replace")
        return ""


class Running(ABC):
    """A server of the lab while it runs: what all of them can do. A context manager."""

    _daemon: Daemon

    @property
    def pid(self) -> int:
        """The process id of the server. Raises LabError where it does not run."""
        return self._daemon.pid

    @abstractmethod
    def start(self) -> None:
        """Start the server and return when it answers."""

    def stop(self) -> None:
        """Stop the server."""
        self._daemon.stop()

    def restart(self) -> None:
        """Stop the server and start it again."""
        self.stop()
        self.start()

    def log(self) -> str:
        """Return what the server has said so far."""
        return self._daemon.log()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
