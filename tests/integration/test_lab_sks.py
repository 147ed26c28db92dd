from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

from tests.lab.sks import RECON_PORT, Sks, unused_sks_address


def stats(keyserver: Sks) -> str:
    status, body = keyserver.get("/pks/lookup?op=stats")
    assert status == 200
    return body.decode()


def test_keyservers_hold_their_keys_and_list_their_peers(
    need: Callable[..., None], sks_keys: tuple[bytes, ...], tmp_path: Path
) -> None:
    need("sks")
    first, second = unused_sks_address(), unused_sks_address()
    with (
        Sks(tmp_path / "1", first, "sks1.example.test", sks_keys, peers=(second, "sks3.example.test")) as whole,
        Sks(tmp_path / "2", second, "sks2.example.test", sks_keys[:4], peers=(first,)) as laggard,
    ):
        assert "Total number of keys: 6" in stats(whole)
        assert f"{second} 11370" in stats(whole)
        assert "sks3.example.test 11370" in stats(whole)
        assert "Total number of keys: 4" in stats(laggard)
        status, index = whole.get("/pks/lookup?op=index&options=mr&search=user5@example.test")
        assert (status, index.count(b"user5@example.test")) == (200, 1)
        whole.restart()
        assert "sks1.example.test" in stats(whole)


def test_a_keyserver_that_gossips_listens_for_its_peers(
    need: Callable[..., None], sks_keys: tuple[bytes, ...], tmp_path: Path
) -> None:
    need("sks")
    with (
        Sks(tmp_path / "1", unused_sks_address(), "sks1.example.test", sks_keys, gossips=True) as keyserver,
        socket.create_connection((keyserver.address, RECON_PORT), timeout=5) as connection,
    ):
        assert connection.getpeername() == (keyserver.address, RECON_PORT)
