from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import pytest

from poolmgr.crawl.armour import count_index, holds_key
from poolmgr.errors import ParseError

DATA = Path(__file__).parent.parent / "data" / "stats"

FINGERPRINT = "09BE3731F70943A8DD8119371455854896B25036"
"""Of the key in the captures."""

V6_FINGERPRINT = "CB186C4F0609A697E4D52DFA6C722B0C1F1E27C18A56708F6525EC27BAD9ACC9"
V6_KEY = bytes.fromhex("0663877fe31b00000020f94da7bb48d60a61e567706a6587d0331999bb9d891a08242ead84543df895a3")
"""The primary key of RFC 9580 appendix A.3, and its fingerprint there."""

V4_KEY = b"\x04" + bytes(300)
V4_FINGERPRINT = hashlib.sha1(b"\x99\x01\x2d" + V4_KEY).hexdigest().upper()
SUBKEY = b"\x04" + bytes(40)


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
