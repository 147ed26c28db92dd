"""What all tests stand on: no network but loopback, and the programs that a test needs."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import settings

from tests.lab.process import find_program
from tests.lab.sks import make_keys

# How long an example takes says more of the machine than of the code.
settings.register_profile("poolmgr", deadline=None)
settings.load_profile("poolmgr")

PACKAGES = {
    "dig": "bind9-dnsutils",
    "dirmngr": "dirmngr",
    "gpg": "gnupg",
    "ip": "iproute2",
    "knotd": "knot",
    "kzonecheck": "knot-dnssecutils",
    "mount": "mount",
    "named": "bind9",
    "named-checkconf": "bind9-utils",
    "named-checkzone": "bind9-utils",
    "named-compilezone": "bind9-utils",
    "nginx": "nginx-light",
    "nsd": "nsd",
    "nsd-checkconf": "nsd",
    "nsd-checkzone": "nsd",
    "nsenter": "util-linux",
    "nsupdate": "bind9-dnsutils",
    "openssl": "openssl",
    "pdns_server": "pdns-backend-sqlite3",
    "sks": "sks",
    "tsig-keygen": "bind9",
    "unshare": "util-linux",
}
"""The Debian package of each program that a test may need."""

Need = Callable[..., None]
"""Takes the names of programs, and skips the test where one is missing."""


def is_loopback(address: object) -> bool:
    """Return whether `address`, as a socket takes it, stays on this machine."""
    if not isinstance(address, tuple):
        return True
    host = str(address[0]).partition("%")[0]
    try:
        parsed = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    mapped = parsed.ipv4_mapped if parsed.version == 6 else None
    return (mapped or parsed).is_loopback


@pytest.fixture(autouse=True, scope="session")
def _only_loopback() -> Iterator[None]:
    """Refuse every way out of this machine, so that no test can depend on what lies there."""
    with pytest.MonkeyPatch.context() as patch:
        for verb in ("connect", "connect_ex", "sendto"):
            patch.setattr(socket.socket, verb, _guarded(getattr(socket.socket, verb)))
        yield


def _guarded(original: Callable[..., Any]) -> Callable[..., Any]:
    def guarded(connection: socket.socket, *words: Any) -> Any:  # noqa: ANN401  # what the guarded method takes and gives
        if not is_loopback(words[-1]):
            raise RuntimeError(f"a test wants to reach {words[-1]!r}: tests stay on loopback")
        return original(connection, *words)

    return guarded


@pytest.fixture(scope="session")
def need() -> Need:
    """Skip a test whose programs are not installed; fail it instead where CI is true, since CI has them all."""

    def check(*programs: str) -> None:
        for program in programs:
            if find_program(program) is None:
                sentence = f"{program} is not installed: apt-get install {PACKAGES[program]}"
                if os.environ.get("CI") == "true":
                    pytest.fail(sentence)
                pytest.skip(sentence)

    return check


@pytest.fixture(scope="session")
def sks_keys(need: Need) -> tuple[bytes, ...]:
    """Six OpenPGP keys, made once for all keyservers of a test run."""
    need("gpg")
    return make_keys(6)
