from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from poolmgr.crawl.stats import parse_stats
from poolmgr.errors import ParseError
from poolmgr.hosts import parse_host
from poolmgr.model import Peer, Stats

DATA = Path(__file__).parent.parent / "data" / "stats"


def captured(name: str) -> bytes:
    return (DATA / name).read_bytes().partition(b"\r\n\r\n")[2]


def written(name: str) -> Stats:
    return parse_stats((DATA / "written" / name).read_bytes(), max_peers=100)


def peer(host: str, recon_port: int | None = 11370, path: str | None = None) -> Peer:
    return Peer(parse_host(host), recon_port, path)


def test_a_real_sks_page_is_read_whole() -> None:
    assert parse_stats(captured("sks/stats.http"), max_peers=100) == Stats(
        software="SKS",
        version="1.1.6+",
        hostname="localhost",
        nodename="sks1.pool.example.test",
        contact="0x1455854896B25036",
        keys=7,
        taken_at=datetime(2026, 11, 23, 10, 37, 26, tzinfo=UTC),
        peers=(peer("127.0.0.2"),),
    )


def test_a_real_sks_page_without_count_yet_has_settings_and_peers_and_no_key_count() -> None:
    said = parse_stats(captured("sks/nostats_yet_stats.http"), max_peers=100)
    assert (said.nodename, said.peers) == ("sks2.pool.example.test", (peer("127.0.0.1"),))
    assert (said.keys, said.taken_at) == (None, None)


def test_a_real_sks_page_of_an_empty_database_counts_zero_keys() -> None:
    said = parse_stats(captured("sks/emptydb_stats.http"), max_peers=100)
    assert (said.keys, said.contact, said.peers) == (0, None, ())


def test_a_real_sks_page_of_odd_settings_keeps_them_as_said_and_its_good_peers() -> None:
    said = parse_stats(captured("sks/odd_ipv6_stats.http"), max_peers=100)
    assert (said.hostname, said.nodename) == ('we<ird>&"host.example.test', "<b>node</b>&amp;x")
    assert said.contact == "mailto:a<b>@example.test"
    assert said.peers == (
        peer("xn--bcher-kva.example.test"),
        peer("keys.example.test"),
        peer("badport.example.test", None),
        peer("127.0.0.2", None),
        peer("trailing.example.test"),
    )
    assert said.rejected_peers == 1
    assert said.mailsync == ("pgp-public-keys@pks.example.test",)


@pytest.mark.parametrize(
    ("name", "peers", "keys"),
    [
        ("sks/stats_mr.http", 1, 7),
        ("sks/stats_http10.http", 1, 7),
        ("sks/stats_after_recon_sks3.http", 2, 7),
        ("sks/minimal_conf_stats.http", 0, 7),
        ("sks/nostats_yet_stats_mr.http", 1, None),
        ("sks/odd_membership_stats.http", 5, 7),
        ("sks/proxied_nginx_plain_stats.http", 8, 7),
        ("sks/proxied_nginx_via_stats.http", 8, 7),
    ],
)
def test_every_other_real_sks_page_is_read(name: str, peers: int, keys: int | None) -> None:
    said = parse_stats(captured(name), max_peers=100)
    assert (said.software, said.version, len(said.peers), said.keys) == ("SKS", "1.1.6+", peers, keys)


STATS_PATH = "/pks/lookup?op=stats"


@pytest.mark.parametrize(
    ("name", "path"),
    [("v2.2.4-stats.http", None), ("v2.2.4-stats_json.http", STATS_PATH), ("v2.2.4-stats_mr.http", STATS_PATH)],
)
def test_a_real_hockeypuck_says_the_same_in_html_and_json_but_for_the_paths(name: str, path: str | None) -> None:
    assert parse_stats(captured(f"hockeypuck/{name}"), max_peers=100) == Stats(
        software="Hockeypuck",
        version="2.2.4",
        hostname="hkp13.pool.example.test",
        nodename="hkp13.pool.example.test",
        contact="0x1455854896B25036",
        keys=4,
        taken_at=datetime(2026, 11, 23, 11, 30, 36, tzinfo=UTC),
        peers=(peer("127.0.0.11", path=path), peer("127.0.0.2", path=path)),
    )


OTHER_CAPTURES = [
    path.relative_to(DATA).as_posix()
    for path in sorted(DATA.glob("*/*.http"))
    if "stats" not in path.name or path.stem in {"stats_upper", "post_stats"}
]


@pytest.mark.parametrize("name", OTHER_CAPTURES)
def test_no_other_real_answer_of_a_keyserver_is_a_stats_page(name: str) -> None:
    with pytest.raises(ParseError, match=r"^not a keyserver's stats page: "):
        parse_stats(captured(name), max_peers=100)


def test_sks_before_closing_tags() -> None:
    assert written("sks-1.0.10.html") == Stats(
        software="SKS",
        version="1.0.10",
        hostname="old.example.test",
        keys=2712345,
        taken_at=datetime(2009, 3, 1, 3, 0, 12, tzinfo=UTC),
        peers=(peer("keys.example.test"), peer("2001:db8::7"), peer("192.0.2.7")),
        mailsync=("pgp-public-keys@keys.example.test", "pgp-public-keys@mail.example.test"),
    )


def test_sks_before_nodename_without_statistics_heading_and_in_a_local_time_that_has_no_known_zone() -> None:
    assert written("sks-1.1.3.html") == Stats(
        software="SKS",
        version="1.1.3",
        hostname="mid.example.test",
        keys=3000001,
        peers=(peer("keys.example.test"),),
    )


def test_gnuks_names_its_software() -> None:
    assert written("gnuks.html") == Stats(
        software="GnuKS",
        version="0.9.2",
        hostname="gnuks.example.test",
        keys=2900000,
        taken_at=datetime(2010, 11, 12, 3, 0, 5, tzinfo=UTC),
    )


def test_hockeypuck_1_html() -> None:
    assert written("hockeypuck-1.0.html") == Stats(
        software="Hockeypuck",
        version="1.0",
        hostname="first.example.test",
        keys=3456789,
        mailsync=("pgp-public-keys@keys.example.test",),
    )


def test_hockeypuck_html_is_unescaped_and_its_masked_peers_are_counted() -> None:
    assert written("hockeypuck-2.4.html") == Stats(
        software="Hockeypuck",
        version="2.4-beta2",
        hostname="new.example.test:11371",
        nodename="R&D <new>",
        contact="0x1455854896B25036",
        keys=6543210,
        taken_at=datetime(2026, 11, 23, 11, 30, 36, tzinfo=UTC),
        peers=(peer("a.example.test"), peer("2001:db8::6", 11380)),
        rejected_peers=1,
    )


def test_hockeypuck_1_json() -> None:
    assert written("hockeypuck-1.0.json") == Stats(
        software="hockeypuck",
        version="1.0",
        hostname="first.example.test",
        keys=3456789,
        taken_at=datetime(2014, 2, 3, 9, 5, 6, tzinfo=UTC),
        mailsync=("pgp-public-keys@keys.example.test",),
    )


def test_hockeypuck_2_0_json() -> None:
    assert written("hockeypuck-2.0.json") == Stats(
        software="Hockeypuck",
        version="2.0",
        hostname="two.example.test",
        nodename="two",
        contact="0x1455854896B25036",
        keys=5000000,
        taken_at=datetime(2017, 1, 2, 3, 4, 5, tzinfo=UTC),
        peers=(peer("a.example.test"), peer("b.example.test")),
    )


def test_hockeypuck_2_1_json_with_null_lists_empty_texts_and_both_spellings() -> None:
    assert written("hockeypuck-2.1.0.json") == Stats(
        software="Hockeypuck",
        version="2.1.0-104-gabcdef",
        contact="admin@example.test",
        keys=5100000,
        taken_at=datetime(2021, 1, 2, 3, 4, 5, tzinfo=UTC),
    )


def test_hockeypuck_2_3_json_with_masked_peers_a_time_of_never_and_folded_duplicates() -> None:
    assert written("hockeypuck-2.3.json") == Stats(
        software="Hockeypuck",
        version="2.3.3",
        hostname="three.example.test:11371",
        nodename="three.example.test",
        contact="0x1455854896B25036",
        keys=5200000,
        peers=(peer("192.0.2.9"), peer("b.example.test", None), peer("e.example.test", None)),
        rejected_peers=2,
    )


def test_hockeypuck_2_4_json() -> None:
    assert written("hockeypuck-2.4.json") == Stats(
        software="Hockeypuck",
        version="2.4.0",
        hostname="four.example.test",
        nodename="four.example.test",
        contact="0x1455854896B25036",
        keys=5300000,
        taken_at=datetime(2026, 11, 23, 11, 30, 36, tzinfo=UTC),
        peers=(peer("2001:db8::6", path=STATS_PATH),),
    )
