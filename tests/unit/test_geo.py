from __future__ import annotations

import ipaddress
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from poolmgr.crawl.geo import Atlas, Geography, check_geography
from poolmgr.errors import PoolmgrError
from poolmgr.model import Snapshot
from tests.build import keyserver, named, snapshot
from tests.lab.geoip import write_geoip

ADDRESSES = ("192.0.2.1", "192.0.2.129", "198.51.100.1", "2001:db8::1")


def located(geography: Geography) -> list[str | None]:
    """Return the country of each of ADDRESSES."""
    crawled = snapshot([replace(keyserver("ks.example.net", *ADDRESSES), aliases=(named("alias.example.net"),))])
    with Atlas(geography) as atlas:
        return countries(atlas.locate(crawled))


def countries(crawled: Snapshot) -> list[str | None]:
    return [each.country for each in crawled.keyservers[0].addresses]


def test_nothing_is_known_where_nothing_says_it() -> None:
    assert located(Geography()) == [None] * 4
    check_geography(Geography())


def test_the_file_says_where_an_address_is(tmp_path: Path) -> None:
    path = write_geoip(tmp_path / "geo.mmdb", {"192.0.2.0/25": "DE", "192.0.2.128/25": "FR", "2001:db8::/32": "US"})
    assert located(Geography(file=path)) == ["de", "fr", None, "us"]


def test_a_file_of_ipv4_alone_knows_nothing_of_ipv6(tmp_path: Path) -> None:
    path = write_geoip(tmp_path / "geo.mmdb", {"192.0.2.0/24": "DE"}, ip_version=4)
    assert located(Geography(file=path)) == ["de", "de", None, None]


def test_where_an_address_is_comes_before_where_it_is_registered(tmp_path: Path) -> None:
    records: dict[str, str | dict[str, Any]] = {
        "192.0.2.0/25": {"country": {"iso_code": "DE"}, "registered_country": {"iso_code": "US"}},
        "192.0.2.128/25": {"continent": {"code": "EU"}, "registered_country": {"iso_code": "US"}},
        "198.51.100.0/24": {"country": {"iso_code": "\x1b[31m"}, "registered_country": "nowhere"},
        "2001:db8::/32": {"country": "DE"},
    }
    assert located(Geography(file=write_geoip(tmp_path / "geo.mmdb", records))) == ["de", "us", None, None]


def test_what_is_set_by_hand_wins_and_the_smaller_network_over_the_larger(tmp_path: Path) -> None:
    path = write_geoip(tmp_path / "geo.mmdb", {"192.0.2.0/24": "DE", "2001:db8::/32": "DE"})
    networks = {
        ipaddress.ip_network("192.0.2.0/24"): "fr",
        ipaddress.ip_network("192.0.2.129"): "es",
        ipaddress.ip_network("0.0.0.0/0"): "se",
    }
    for order in (networks, dict(reversed(networks.items()))):
        assert located(Geography(file=path, networks=order)) == ["fr", "es", "se", "de"]


@pytest.mark.parametrize("name", ["ks.example.net", "alias.example.net"])
def test_a_name_beats_a_network(name: str) -> None:
    networks = {ipaddress.ip_network("192.0.2.1"): "fr"}
    assert located(Geography(names={named(name): "de"}, networks=networks)) == ["de"] * 4


def test_a_file_that_is_absent_is_refused_with_its_cause(tmp_path: Path) -> None:
    with pytest.raises(PoolmgrError, match=r"^crawl\.geo: cannot read .*/absent\.mmdb: No such file or directory$"):
        check_geography(Geography(file=tmp_path / "absent.mmdb"))


@pytest.mark.parametrize("content", [b"", b"no database", b"\xab\xcd\xefMaxMind.com", b"x" * 5000])
def test_a_file_of_another_kind_is_refused_with_the_remedy(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "geo.mmdb"
    path.write_bytes(content)
    with pytest.raises(PoolmgrError, match=r"^crawl\.geo: .*/geo\.mmdb is no MaxMind DB file: give one"):
        check_geography(Geography(file=path))


def test_a_file_that_is_damaged_inside_is_refused_when_it_is_read(tmp_path: Path) -> None:
    path = write_geoip(tmp_path / "geo.mmdb", {"192.0.2.0/24": "DE", "2001:db8::/32": "US"})
    content = path.read_bytes()
    start = content.index(b"Gcountry"[1:]) - 2
    path.write_bytes(content[:start] + b"\xff" * 16 + content[start + 16 :])
    check_geography(Geography(file=path))
    with pytest.raises(PoolmgrError, match=r"geo\.mmdb is damaged where it has 192\.0\.2\.1: fetch it again"):
        located(Geography(file=path))


def test_without_the_package_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "maxminddb", None)
    with pytest.raises(PoolmgrError, match=r"maxminddb, which is not installed: pip install 'poolmgr\[geo\]'"):
        check_geography(Geography(file=tmp_path / "geo.mmdb"))
    check_geography(Geography(networks={ipaddress.ip_network("192.0.2.1"): "de"}))
