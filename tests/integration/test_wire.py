"""Questions and updates over TLS and IPv6, to real named."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from poolmgr.errors import PublishError
from poolmgr.publish.rfc2136 import Tls
from poolmgr.publish.wire import Unreachable
from tests.lab.authority import Authority
from tests.lab.named import Named
from tests.lab.scripted import Scripted
from tests.lab.updating import FIRST, owned, publish, publisher

StartNamed = Callable[..., Named]


@pytest.fixture
def authority(need: Callable[..., None], tmp_path: Path) -> Authority:
    need("openssl")
    return Authority(tmp_path / "ca")


def test_what_is_read_and_written_goes_over_tls(start_named: StartNamed, authority: Authority) -> None:
    named = start_named(identity=authority.identity("ns1.example.org"))
    tls = Tls(name="ns1.example.org", ca_file=authority.ca_file)
    assert publish(publisher(named, named.key_file, port=named.tls_port, tls=tls), owned(FIRST)) == 2026010102
    assert publisher(named, named.key_file).read().records == owned(FIRST)


@pytest.mark.parametrize("wrong", ["name", "root", "time", "address"])
def test_a_certificate_that_does_not_count_stops_all(
    start_named: StartNamed, authority: Authority, tmp_path: Path, wrong: str
) -> None:
    days = (-90, -1) if wrong == "time" else (-1, 90)
    named = start_named(identity=authority.identity("ns1.example.org", days=days))
    root = Authority(tmp_path / "other").ca_file if wrong == "root" else authority.ca_file
    name = {"name": "ns2.example.org", "address": None}.get(wrong, "ns1.example.org")
    target = publisher(named, named.key_file, port=named.tls_port, tls=Tls(name=name, ca_file=root))
    shown = r"127\.0\.0\.1" if name is None else name
    sentence = rf"certificate that does not count for {shown} \(.+\), nothing was sent: mend tls\.name or tls\.ca_file"
    with pytest.raises(Unreachable, match=sentence):
        target.read()


def test_a_port_without_tls_is_told(named: Named, authority: Authority) -> None:
    tls = Tls(name="ns1.example.org", ca_file=authority.ca_file)
    target = publisher(named, named.key_file, timeout=1, tls=tls)
    with pytest.raises(Unreachable, match=r"does not speak TLS \(.+\), nothing was sent: is that its port for TLS"):
        target.read()


def test_a_handshake_that_does_not_end_is_given_up(named: Named, authority: Authority) -> None:
    tls = Tls(name="ns1.example.org", ca_file=authority.ca_file)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        target = publisher(named, named.key_file, timeout=0.3, port=silent.getsockname()[1], tls=tls)
        with pytest.raises(Unreachable, match="nothing was sent"):
            target.read()


@pytest.mark.parametrize("text", [None, "no certificate\n"])
def test_roots_that_cannot_be_had_are_told(named: Named, tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "roots.pem"
    if text is not None:
        path.write_text(text)
    with pytest.raises(PublishError, match=r"tls\.ca_file: .*roots\.pem"):
        publisher(named, named.key_file, tls=Tls(ca_file=path))


def test_a_primary_may_have_an_ipv6_address(start_named: StartNamed) -> None:
    named = start_named()
    target = publisher(named, named.key_file, server=ipaddress.ip_address("::1"))
    assert publish(target, owned(FIRST)) == 2026010102
    assert target.label == f"primary ::1 port {named.port}"


def test_a_server_that_goes_away_in_the_handshake_was_sent_nothing(named: Named, authority: Authority) -> None:
    def hang_up(_: bytes) -> Iterable[bytes]:
        return []

    tls = Tls(name="ns1.example.org", ca_file=authority.ca_file)
    with Scripted(hang_up) as server, pytest.raises(Unreachable, match="nothing was sent"):
        publisher(server, named.key_file, timeout=0.3, tls=tls).read()
