"""A network of its own for a program and all that it starts: any address, the ports of the real services, a resolver.

done = run_apart("python", "-m", "tests.lab.dirmngr", folder, addresses=["198.51.100.1"], nameserver="127.0.0.1")
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

# "$1" is what resolv.conf is to be. An address is taken at once, without looking for another machine that has it.
_SET_UP = """
ip link set lo up || exit 96
for address in $2; do
  case $address in
    *:*) ip -6 address add "$address/128" dev lo nodad || exit 96 ;;
    *) ip address add "$address/32" dev lo || exit 96 ;;
  esac
done
mount --bind "$1" /etc/resolv.conf || exit 96
shift 2
exec "$@"
"""

_NOT_SET_UP = 96
_UNSHARED = ("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")


class NoNetwork(Exception):
    """This machine does not let its users have a network of their own."""


def run_apart(
    *words: str | Path, addresses: Iterable[str], nameserver: str, folder: Path, timeout: float
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end where loopback has `addresses` too, and names are asked of `nameserver`.

    It sees no other network, and nothing of it stays: whatever it started is killed with it. Raises NoNetwork, with
    the reason, where this is not to be had.
    """
    unshared = _UNSHARED if os.geteuid() == 0 else (*_UNSHARED, "--map-root-user")
    with tempfile.NamedTemporaryFile("w", prefix="resolv-") as resolver:
        resolver.write(f"nameserver {nameserver}\n")
        resolver.flush()
        done = _run((*unshared, "true"), folder, timeout)
        if done.returncode != 0:
            raise NoNetwork(done.stderr.strip())
        done = _run((*unshared, "sh", "-c", _SET_UP, "sh", resolver.name, " ".join(addresses), *words), folder, timeout)
    if done.returncode == _NOT_SET_UP:
        raise NoNetwork(done.stderr.strip())
    return done


def _run(words: Iterable[str | Path], folder: Path, timeout: float) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        list(words), cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout, check=False
    )
