from __future__ import annotations

import base64
import contextlib
import hashlib
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from poolmgr.crawl.armour import count_index, find_key
from poolmgr.errors import ParseError
from tests.build import NOW

DATA = Path(__file__).parent.parent / "data" / "stats"
CAPTURES = [path.read_bytes().partition(b"\r\n\r\n")[2] for path in sorted(DATA.glob("*/*get*.http"))]
FINGERPRINT = "09BE3731F70943A8DD8119371455854896B25036"

TAGS = st.integers(0, 15).filter(lambda tag: tag != 6)


def armoured(packets: bytes) -> bytes:
    begin, end = b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n", b"-----END PGP PUBLIC KEY BLOCK-----\n"
    return begin + base64.encodebytes(packets) + end


@st.composite
def packets(draw: st.DrawFn, tags: st.SearchStrategy[int], bodies: st.SearchStrategy[bytes]) -> bytes:
    """One packet under a length of any kind that is wide enough for it."""
    tag, body = draw(tags), draw(bodies)
    heads = [
        bytes([0xC0 | tag, 255]) + len(body).to_bytes(4, "big"),
        bytes([0x82 | tag << 2]) + len(body).to_bytes(4, "big"),
        bytes([0x81 | tag << 2]) + len(body).to_bytes(2, "big"),
    ]
    if len(body) < 192:
        heads.append(bytes([0xC0 | tag, len(body)]))
    if len(body) < 256:
        heads.append(bytes([0x80 | tag << 2, len(body)]))
    if 192 <= len(body) < 8384:
        heads.append(bytes([0xC0 | tag]) + (len(body) - 192 + 0xC000).to_bytes(2, "big"))
    return draw(st.sampled_from(heads)) + body


OTHERS = st.lists(packets(TAGS, st.binary(max_size=300)), max_size=3).map(b"".join)
KEYS = st.integers(0, 600).flatmap(lambda size: st.just(b"\x04" + bytes(size)))


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    body = draw(st.sampled_from(CAPTURES) | OTHERS.map(armoured))
    start = draw(st.integers(0, len(body)))
    stop = draw(st.integers(start, min(len(body), start + 20)))
    return body[:start] + draw(st.binary(max_size=10)) + body[stop:]


@given(st.binary() | st.binary().map(armoured) | damaged())
def test_any_answer_holds_the_key_or_not_or_is_refused(body: bytes) -> None:
    with contextlib.suppress(ParseError):
        held = find_key(body, FINGERPRINT, NOW)
        assert held is None or held.version is None or held.version <= NOW


SIGNATURES = st.one_of(
    st.binary(max_size=60),
    st.tuples(st.sampled_from([b"\x03\x05", b"\x04\x13\x16\x08", b"\x06\x13\x16\x08"]), st.binary(max_size=60)).map(
        b"".join
    ),
    st.tuples(st.sampled_from([4, 6]), st.binary(max_size=60), st.binary(max_size=60)).map(
        lambda told: bytes([told[0], 0x13, 22, 8]) + b"".join(_area(told[0], each) for each in told[1:])
    ),
)


def _area(version: int, body: bytes) -> bytes:
    return len(body).to_bytes(2 if version == 4 else 4, "big") + body


@given(st.lists(SIGNATURES, max_size=3))
def test_whatever_signatures_say_the_key_is_held_in_some_version_or_none(signatures: list[bytes]) -> None:
    key = b"\x04" + bytes(10)
    packed = [b"\xc6" + bytes([len(key)]) + key, *(b"\xc2" + bytes([len(each)]) + each for each in signatures)]
    fingerprint = hashlib.sha1(b"\x99" + len(key).to_bytes(2, "big") + key).hexdigest()
    held = find_key(armoured(b"".join(packed)), fingerprint, NOW)
    assert held is not None
    assert held.version is None or held.version <= NOW


@given(OTHERS, KEYS.flatmap(lambda key: st.tuples(st.just(key), packets(st.just(6), st.just(key)))), OTHERS)
def test_a_primary_key_is_found_among_any_packets(before: bytes, key: tuple[bytes, bytes], after: bytes) -> None:
    body, packet = key
    fingerprint = hashlib.sha1(b"\x99" + len(body).to_bytes(2, "big") + body).hexdigest()
    assert find_key(armoured(before + packet + after), fingerprint, NOW) is not None
    assert find_key(armoured(before + after), fingerprint, NOW) is None


@given(st.binary() | st.binary().map(lambda rest: b"info:1:2\n" + rest))
def test_any_answer_is_an_index_or_refused(body: bytes) -> None:
    with contextlib.suppress(ParseError):
        assert count_index(body) >= 0
