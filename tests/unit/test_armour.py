from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from poolmgr.crawl.armour import count_index, find_key
from poolmgr.errors import ParseError
from tests.build import NOW
from tests.lab.pages import CANARY

DATA = Path(__file__).parent.parent / "data" / "stats"
KEYS = DATA.parent / "keys"

FINGERPRINT = "09BE3731F70943A8DD8119371455854896B25036"
"""Of the key in the captures."""

SIGNED = datetime(2026, 11, 23, 10, 35, 57, tzinfo=UTC)
"""When that key was made."""

V6_FINGERPRINT = "CB186C4F0609A697E4D52DFA6C722B0C1F1E27C18A56708F6525EC27BAD9ACC9"
V6_KEY = bytes.fromhex("0663877fe31b00000020f94da7bb48d60a61e567706a6587d0331999bb9d891a08242ead84543df895a3")
"""The primary key of RFC 9580 appendix A.3, and its fingerprint there."""

V4_KEY = b"\x04" + bytes(300)
V4_FINGERPRINT = hashlib.sha1(b"\x99\x01\x2d" + V4_KEY).hexdigest().upper()
SUBKEY = b"\x04" + bytes(40)


def holds_key(body: bytes, fingerprint: str) -> bool:
    return find_key(body, fingerprint, NOW) is not None


def version(body: bytes, fingerprint: str, now: datetime = NOW) -> datetime | None:
    held = find_key(body, fingerprint, now)
    assert held is not None
    return held.version


def captured(name: str) -> bytes:
    return (DATA / name).read_bytes().partition(b"\r\n\r\n")[2]


def packet(key: bytes, tag: int = 6) -> bytes:
    return bytes([0xC0 | tag, 255]) + len(key).to_bytes(4, "big") + key


def armoured(packets: bytes, *, headers: bytes = b"", checksum: bytes = b"") -> bytes:
    return b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n%s\n%s%s-----END PGP PUBLIC KEY BLOCK-----\n" % (
        headers,
        base64.encodebytes(packets),
        checksum,
    )


@pytest.mark.parametrize(
    "name",
    [
        "sks/get.http",
        "sks/get_fpr.http",
        "sks/get_short.http",
        "sks/get_mr.http",
        "sks/hget.http",
        "sks/hget_mr.http",
        "hockeypuck/v2.2.4-get.http",
        "hockeypuck/v2.2.4-get_mr.http",
    ],
)
def test_the_key_is_found_in_real_answers_and_no_other(name: str) -> None:
    assert holds_key(captured(name), FINGERPRINT)
    assert holds_key(captured(name), FINGERPRINT.lower())
    assert not holds_key(captured(name), FINGERPRINT[:-1] + "7")


@pytest.mark.parametrize("name", ["sks/get_mr.http", "sks/get.http", "hockeypuck/v2.2.4-get_mr.http"])
def test_the_version_in_real_answers_is_when_the_key_was_signed(name: str) -> None:
    assert version(captured(name), FINGERPRINT) == SIGNED
    assert version(captured(name), FINGERPRINT, SIGNED) == SIGNED
    assert version(captured(name), FINGERPRINT, SIGNED - timedelta(seconds=1)) is None


def test_the_version_of_a_real_key_is_its_newest_signature_by_itself() -> None:
    """gpg signed it on the 1st and anew on the 5th, its subkey on the 7th; another key signed it in December."""
    body = (KEYS / "signed-by-another.asc").read_bytes()
    assert version(body, CANARY) == datetime(2025, 11, 7, 12, tzinfo=UTC)
    assert version(body, CANARY, datetime(2025, 11, 6, tzinfo=UTC)) == datetime(2025, 11, 5, 12, tzinfo=UTC)
    assert version(body, CANARY, datetime(2025, 11, 4, tzinfo=UTC)) is None
    assert version((KEYS / f"{CANARY}.asc").read_bytes(), CANARY) == datetime(2025, 11, 1, 12, tzinfo=UTC)


def test_a_page_that_only_mentions_the_fingerprint_does_not_pass() -> None:
    with pytest.raises(ParseError, match="no public key block"):
        holds_key(captured("sks/index_fp.http") + FINGERPRINT.encode(), FINGERPRINT)


def test_a_real_version_6_key_is_found() -> None:
    assert holds_key(armoured(packet(V6_KEY)), V6_FINGERPRINT)


@pytest.mark.parametrize(
    "head",
    [b"\xc6\xff\x00\x00\x01\x2d", b"\xc6\xc0\x6d", b"\x99\x01\x2d", b"\x9a\x00\x00\x01\x2d"],
    ids=["five octets", "two octets", "legacy two octets", "legacy four octets"],
)
def test_a_key_is_found_under_each_kind_of_length(head: bytes) -> None:
    assert holds_key(armoured(head + V4_KEY), V4_FINGERPRINT)


@pytest.mark.parametrize("head", [b"\xc6\x29", b"\x98\x29"], ids=["one octet", "legacy one octet"])
def test_a_short_key_is_found_under_each_kind_of_length(head: bytes) -> None:
    fingerprint = hashlib.sha1(b"\x99\x00\x29" + SUBKEY).hexdigest()
    assert holds_key(armoured(head + SUBKEY), fingerprint)


def test_a_later_primary_key_is_found_and_a_subkey_is_not() -> None:
    body = armoured(packet(SUBKEY) + packet(b"user", 13) + packet(V4_KEY) + packet(V6_KEY, 14))
    assert holds_key(body, V4_FINGERPRINT)
    assert not holds_key(body, V6_FINGERPRINT)


def test_a_packet_of_type_38_is_no_primary_key() -> None:
    assert not holds_key(armoured(packet(V4_KEY, 38)), V4_FINGERPRINT)


def test_the_end_of_something_before_the_block_does_not_matter() -> None:
    assert holds_key(b"-----END PGP PUBLIC KEY BLOCK-----\n" + armoured(packet(V4_KEY)), V4_FINGERPRINT)


@pytest.mark.parametrize("key", [b"", b"\x03" + bytes(20), b"\x05" + bytes(20), b"\x04" + bytes(1 << 16)])
def test_a_key_of_another_version_or_size_has_no_fingerprint_to_match(key: bytes) -> None:
    assert not holds_key(armoured(packet(key)), FINGERPRINT)


def test_headers_line_endings_and_a_wrong_checksum_do_not_matter() -> None:
    body = armoured(packet(V4_KEY), headers=b"Version: x\nComment: y\n", checksum=b"=AAAA\n")
    assert holds_key(body, V4_FINGERPRINT)
    assert holds_key(b"<pre>\r\n" + body.replace(b"\n", b"\r\n") + b"</pre>", V4_FINGERPRINT)


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"", "no public key block in the answer"),
        (b"-----BEGIN PGP PRIVATE KEY BLOCK-----\n\n", "no public key block in the answer"),
        (captured("sks/get_mr.http")[:-20], "the public key block has no end: the answer was cut off"),
        (armoured(b"").replace(b"\n\n", b"\n"), "the public key block has no empty line after its headers"),
        (armoured(b"").replace(b"\n\n", b"\n\n=====\n"), "the public key block is not base64"),
        (armoured(b"").replace(b"\n\n", b"\n\nmDM-\n"), "the public key block is not base64"),
        (armoured(b"").replace(b"\n\n", b"\n\nmDM\n"), "the public key block is not base64"),
        (armoured(b"\x06abc"), "the public key block holds something that is no OpenPGP packet"),
        (armoured(b"\xc6\xe0" + V4_KEY), "the public key block has a packet of partial length"),
        (armoured(b"\xc6\xfe" + V4_KEY), "the public key block has a packet of partial length"),
        (armoured(b"\x9b" + V4_KEY), "the public key block has a packet of indeterminate length"),
        (armoured(packet(V4_KEY)[:-1]), "the public key block ends inside a packet"),
        (armoured(b"\xc6"), "the public key block ends inside a packet"),
        (armoured(b"\xc6\xff\x00"), "the public key block ends inside a packet"),
    ],
)
def test_what_is_no_whole_public_key_block_is_refused(body: bytes, sentence: str) -> None:
    with pytest.raises(ParseError) as refused:
        holds_key(body, FINGERPRINT)
    assert str(refused.value).startswith(sentence)


def area(*subpackets: tuple[int, bytes], octets: int = 2) -> bytes:
    body = b"".join(bytes([len(value) + 1, kind]) + value for kind, value in subpackets)
    return len(body).to_bytes(octets, "big") + body


def at(seconds: int) -> bytes:
    return seconds.to_bytes(4, "big")


def signature(number: int, *areas: bytes) -> bytes:
    return bytes([number, 0x13, 22, 8]) + b"".join(areas) + bytes(8)


V4_RAW, V6_RAW = bytes.fromhex(V4_FINGERPRINT), bytes.fromhex(V6_FINGERPRINT)
V4_ID, V6_ID = V4_RAW[-8:], V6_RAW[:8]
BY_V4 = (33, b"\x04" + V4_RAW)
NONE = area()


@pytest.mark.parametrize(
    ("signed", "seconds"),
    [
        pytest.param(b"\x03\x05\x10" + at(7) + V4_ID + bytes(9), 7, id="version 3"),
        pytest.param(b"\x03\x05\x10" + at(7) + bytes(8) + bytes(9), None, id="version 3 of another"),
        pytest.param(b"\x03\x05\x10" + at(7) + V4_ID[:7], None, id="version 3 cut off"),
        pytest.param(signature(4, area((2, at(7)), BY_V4), NONE), 7, id="fingerprint"),
        pytest.param(signature(4, area((2, at(7))), area(BY_V4)), 7, id="fingerprint that is not hashed"),
        pytest.param(signature(4, area((2, at(7))), area((16, V4_ID))), 7, id="key ID"),
        pytest.param(signature(4, area((0x82, at(7)), (0xA1, BY_V4[1])), NONE), 7, id="critical"),
        pytest.param(signature(4, area((2, at(2**32 - 1)), BY_V4), NONE), None, id="in the far future"),
        pytest.param(signature(4, area((2, at(0)), BY_V4), NONE), 0, id="the first second"),
        pytest.param(signature(4, area(BY_V4), area((2, at(7)))), None, id="time that is not hashed"),
        pytest.param(signature(4, area((2, b"\x07"), BY_V4), NONE), None, id="short time"),
        pytest.param(signature(4, area((2, at(7))), NONE), None, id="nobody's"),
        pytest.param(signature(4, area((2, at(7))), area((16, bytes(8)))), None, id="key ID of another"),
        pytest.param(
            signature(4, area((2, at(7)), (33, b"\x04" + bytes(20))), area((16, V4_ID))),
            None,
            id="fingerprint of another and the same key ID",
        ),
        pytest.param(signature(4, b"\x00\x09" + area((2, at(7)))[2:]), None, id="area cut off"),
        pytest.param(signature(4, b"\x00\x02\x09\x02", NONE), None, id="subpacket cut off"),
        pytest.param(signature(4, b"\x00\x01\x00", NONE), None, id="subpacket without a type"),
        pytest.param(signature(5, area((2, at(7)), BY_V4), NONE), None, id="version 5"),
        pytest.param(b"", None, id="empty"),
    ],
)
def test_only_a_hashed_time_of_a_signature_by_the_key_itself_is_its_version(signed: bytes, seconds: int | None) -> None:
    expected = None if seconds is None else datetime.fromtimestamp(seconds, UTC)
    assert version(armoured(packet(V4_KEY) + packet(signed, 2)), V4_FINGERPRINT) == expected


@pytest.mark.parametrize("issuer", [(33, b"\x06" + V6_RAW), (16, V6_ID)])
def test_version_6_has_longer_areas_and_its_key_id_in_front(issuer: tuple[int, bytes]) -> None:
    signed = signature(6, area((2, at(7)), issuer, octets=4), area(octets=4))
    assert version(armoured(packet(V6_KEY) + packet(signed, 2)), V6_FINGERPRINT) == datetime.fromtimestamp(7, UTC)


@pytest.mark.parametrize("size", [191, 192, 300, 16_319, 16_320])
def test_a_subpacket_is_skipped_under_each_kind_of_length(size: int) -> None:
    heads = [b"\xff" + size.to_bytes(4, "big")]
    heads += [bytes([size])] if size < 192 else []
    heads += [(size - 192 + 0xC000).to_bytes(2, "big")] if 192 <= size < 16_320 else []
    for head in heads:
        known = area((2, at(7)), BY_V4)[2:]
        body = head + b"\x14" + bytes(size - 1) + known
        signed = signature(4, len(body).to_bytes(2, "big") + body, NONE)
        assert version(armoured(packet(V4_KEY) + packet(signed, 2)), V4_FINGERPRINT) == datetime.fromtimestamp(7, UTC)


def test_the_signatures_of_the_next_key_are_not_its_own() -> None:
    mine, later = (packet(signature(4, area((2, at(seconds)), BY_V4), NONE), 2) for seconds in (7, 9))
    other = packet(SUBKEY)
    assert version(armoured(other + later + packet(V4_KEY) + mine), V4_FINGERPRINT) == datetime.fromtimestamp(7, UTC)
    assert version(armoured(packet(V4_KEY) + mine + other + later), V4_FINGERPRINT) == datetime.fromtimestamp(7, UTC)
    assert version(armoured(packet(V4_KEY) + mine + later), V4_FINGERPRINT) == datetime.fromtimestamp(9, UTC)
    assert version(armoured(packet(V4_KEY)), V4_FINGERPRINT) is None


def test_a_block_that_breaks_off_behind_the_key_holds_it_in_an_unknown_version() -> None:
    mine = packet(signature(4, area((2, at(7)), BY_V4), NONE), 2)
    assert version(armoured(packet(V4_KEY) + mine + mine[:-1]), V4_FINGERPRINT) is None


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("sks/index_mr.http", 1),
        ("sks/index_many_mr.http", 6),
        ("sks/index_unicode_mr.http", 1),
        ("sks/vindex_mr.http", 1),
        ("hockeypuck/v2.2.4-index_mr.http", 1),
    ],
)
def test_the_keys_of_a_real_index_are_counted(name: str, keys: int) -> None:
    assert count_index(captured(name)) == keys


def test_an_empty_index_lists_no_key() -> None:
    assert count_index(b"\r\ninfo:1:0\r\n") == 0


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"", "not a machine-readable index: it is empty"),
        (b"Not Found\n", "not a machine-readable index: it starts with 'Not Found\\n'"),
        (captured("sks/index.http"), "not a machine-readable index: it starts with '<?xml version"),
        (captured("sks/index_notfound_mr.http"), "not a machine-readable index: it starts with '<?xml version"),
        (b"info:2:1\npub:A:::::\n", "not a machine-readable index: it starts with 'info:2:1\\npub:A:::::\\n'"),
        (b"info:1:x\npub:A:::::\n", "not a machine-readable index: it starts with 'info:1:x\\npub:A:::::\\n'"),
        (b"info:1:1:1\npub:A:::::\n", "not a machine-readable index: it starts with 'info:1:1:1\\npub:A"),
        (b"info:1:3\nuid:pub::\n", "not a machine-readable index: it says it has keys and lists none: 3"),
    ],
)
def test_what_is_no_index_is_refused(body: bytes, sentence: str) -> None:
    with pytest.raises(ParseError) as refused:
        count_index(body)
    assert str(refused.value).startswith(sentence)
