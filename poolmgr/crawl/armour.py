"""Answers to a lookup: whether the key that was asked for is there, how many keys an index lists.

Nothing is verified but that the key is there: the fingerprint is computed from the key material itself, so a page that
only mentions it does not pass.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import re
from collections.abc import Iterator

from poolmgr.errors import ParseError

_BEGIN = b"-----BEGIN PGP PUBLIC KEY BLOCK-----"
_END = b"-----END PGP PUBLIC KEY BLOCK-----"

_PRIMARY_KEY = 6
"""The packet type of a primary public key (RFC 9580 section 5)."""

_HEADERS_END = re.compile(rb"\n[ \t\r]*\n")
_CHECKSUM = re.compile(rb"\n=[A-Za-z0-9+/]{4}\s*\Z")
_INFO = re.compile(rb"info:1:(\d{1,9})[ \t]*\r?(?:\n|\Z)")
_KEY = re.compile(rb"^pub:", re.MULTILINE)


def holds_key(body: bytes, fingerprint: str) -> bool:
    """Return whether a primary key of the first armoured key block in `body` has this fingerprint.

    `fingerprint` is 40 (version 4) or 64 (version 6) hex digits. The block may stand inside an HTML page. Its checksum
    is not looked at, as RFC 9580 section 6.1 asks.

    Raises ParseError where there is no whole, readable public key block before the key is found.
    """
    wanted = fingerprint.upper()
    return any(tag == _PRIMARY_KEY and _fingerprint(key) == wanted for tag, key in _packets(_dearmour(body)))


def count_index(body: bytes) -> int:
    """Return how many keys the machine-readable index `body` lists (draft-shaw-openpgp-hkp-00 section 5.2).

    Raises ParseError for anything else, and for an index that says it has keys and lists none.
    """
    index = body.lstrip()
    info = _INFO.match(index)
    if info is None:
        start = f"it starts with {index[:32].decode('utf-8', 'replace')!a}" if index else "it is empty"
        raise ParseError(f"not a machine-readable index: {start}")
    listed = len(_KEY.findall(index))
    if int(info[1]) and not listed:
        raise ParseError(f"not a machine-readable index: it says it has keys and lists none: {int(info[1])}")
    return listed


def _dearmour(body: bytes) -> bytes:
    """Return the packets of the first public key block in `body` (RFC 9580 section 6.2)."""
    start = body.find(_BEGIN)
    if start < 0:
        raise ParseError("no public key block in the answer")
    end = body.find(_END, start)
    if end < 0:
        raise ParseError("the public key block has no end: the answer was cut off")
    block = body[start + len(_BEGIN) : end]
    headers = _HEADERS_END.search(block)
    if headers is None:
        raise ParseError("the public key block has no empty line after its headers")
    text = _CHECKSUM.sub(b"", block[headers.end() - 1 :])
    try:
        return base64.b64decode(b"".join(text.split()), validate=True)
    except binascii.Error as error:
        raise ParseError(f"the public key block is not base64: {error}") from error


def _packets(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield type and body of each packet (RFC 9580 section 4.2), or raise ParseError where the framing breaks.

    Partial and indeterminate lengths count as broken: no packet of a key may have them.
    """
    stream = io.BytesIO(data)
    while first := stream.read(1):
        octet = first[0]
        if not octet & 0x80:
            raise ParseError("the public key block holds something that is no OpenPGP packet")
        if octet & 0x40:
            yield octet & 0x3F, _take(stream, _length(stream))
        else:
            yield octet >> 2 & 0x0F, _take(stream, _legacy_length(stream, octet & 0x03))


def _length(stream: io.BytesIO) -> int:
    """Read a length of the OpenPGP packet format (RFC 9580 section 4.2.1)."""
    first = _number(stream, 1)
    if first < 192:
        return first
    if first < 224:
        return (first - 192 << 8) + _number(stream, 1) + 192
    if first < 255:
        raise ParseError("the public key block has a packet of partial length")
    return _number(stream, 4)


def _legacy_length(stream: io.BytesIO, kind: int) -> int:
    """Read a length of the legacy packet format (RFC 9580 section 4.2.2)."""
    if kind == 3:
        raise ParseError("the public key block has a packet of indeterminate length")
    return _number(stream, 1 << kind)


def _number(stream: io.BytesIO, octets: int) -> int:
    return int.from_bytes(_take(stream, octets), "big")


def _take(stream: io.BytesIO, octets: int) -> bytes:
    taken = stream.read(octets)
    if len(taken) < octets:
        raise ParseError("the public key block ends inside a packet")
    return taken


def _fingerprint(key: bytes) -> str | None:
    """Return the fingerprint of a version 4 or 6 key packet (RFC 9580 sections 5.5.4.2, 5.5.4.3), None for others."""
    if key[:1] == b"\x04" and len(key) < 1 << 16:
        return hashlib.sha1(b"\x99" + len(key).to_bytes(2, "big") + key, usedforsecurity=False).hexdigest().upper()
    if key[:1] == b"\x06":
        return hashlib.sha256(b"\x9b" + len(key).to_bytes(4, "big") + key).hexdigest().upper()
    return None
