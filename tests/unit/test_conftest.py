from __future__ import annotations

import os
import socket
from collections.abc import Callable

import pytest


@pytest.mark.parametrize("address", [("192.0.2.1", 53), ("example.org", 53), ("0.0.0.0", 53)])
def test_no_test_reaches_an_address_beyond_loopback(address: tuple[str, int]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for reach in (sock.connect, sock.connect_ex):
            with pytest.raises(RuntimeError, match="tests stay on loopback"):
                reach(address)
        with pytest.raises(RuntimeError, match="tests stay on loopback"):
            sock.sendto(b"", address)
        with pytest.raises(RuntimeError, match="tests stay on loopback"):
            sock.sendto(b"", 0, address)


def test_no_test_reaches_an_ipv6_address_beyond_loopback() -> None:
    with (
        socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as sock,
        pytest.raises(RuntimeError, match="tests stay on loopback"),
    ):
        sock.connect(("2001:db8::1", 53, 0, 0))


def test_loopback_is_reached() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as connection:
        assert connection.getpeername() == server.getsockname()


def test_a_missing_program_skips_at_home_and_fails_in_ci(
    need: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.lab.process.SYSTEM_FOLDERS", ())
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="apt-get install bind9"):
        need("named")
    monkeypatch.setitem(os.environ, "CI", "true")
    with pytest.raises(pytest.fail.Exception, match="apt-get install bind9"):
        need("named")
