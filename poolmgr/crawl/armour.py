"""Answers to a lookup: whether the key that was asked for is there and how new it is, how many keys an index lists.

Nothing is verified but that the key is there: the fingerprint is computed from the key material itself, so a page that
only mentions it does not pass. Signatures are read and not checked: whoever uploads one can make a key look newer.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import takewhile

from poolmgr.errors import ParseError

_BEGIN = b"-----BEGIN PGP PUBLIC KEY BLOCK-----"
_END = b"-----END PGP PUBLIC KEY BLOCK-----"

_SIGNATURE, _PRIMARY_KEY = 2, 6
"""Packet types (RFC 9580 section 5)."""

_CREATED, _ISSUER_ID, _ISSUER_FINGERPRINT = 2, 16, 33
"""Types of signature subpackets (RFC 9580 section 5.2.3.7)."""

_SHORTEST = 15
"""Octets of a version 3 signature up to its issuer. A flood of shorter ones would take thrice the time if read."""

_HEADERS_END = re.compile(rb"\n[ \t\r]*\n")
_CHECKSUM = re.compile(rb"\n=[A-Za-z0-9+/]{4}\s*\Z")
_INFO = re.compile(rb"info:1:(\d{1,9})[ \t]*\r?(?:\n|\Z)")
_KEY = re.compile(rb"^pub:", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Held:
    """A key that an answer holds. `version` is when it was last signed by itself, aware UTC; None where unknown."""

    version: datetime | None


def find_key(body: bytes, fingerprint: str, now: datetime) -> Held | None:
    """Return what the first armoured key block in `body` has of the primary key with this fingerprint, if it does.

    `fingerprint` is 40 (version 4) or 64 (version 6) hex digits. The block may stand inside an HTML page. Its checksum
    is not looked at, as RFC 9580 section 6.1 asks.

    The key's version is the newest time, but not after `now`, of the signatures that say they are by the key itself:
    one for each user ID and subkey, of its revocation, and so on. It is unknown where the block breaks off behind the
    key, since the newest may be missing.

    Raises ParseError where there is no whole, readable public key block before the key is found.
    """
    wanted = fingerprint.upper()
    packets = _packets(_dearmour(body))
    if not any(tag == _PRIMARY_KEY and _fingerprint(key) == wanted for tag, key in packets):
        return None
    # The packets behind the key are its own, up to the next one.
    own = takewhile(lambda packet: packet[0] != _PRIMARY_KEY, packets)
    issuer = bytes.fromhex(wanted)
    try:
        times = [_signed(packet, issuer) for tag, packet in own if tag == _SIGNATURE and len(packet) >= _SHORTEST]
    except ParseError:
        return Held(None)
    return Held(max((time for time in times if time is not None and time <= now), default=None))


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


def _signed(signature: bytes, fingerprint: bytes) -> datetime | None:
    """Return when the key with `fingerprint` made `signature`, None where it is another's or cannot be read.

    Only what is signed itself tells the time (RFC 9580 sections 5.2.2, 5.2.3).
    """
    stream = io.BytesIO(signature)
    try:
        version = _number(stream, 1)
        if version == 3:
            _take(stream, 2)  # the length of what is hashed, and the type
            created, issuers = _take(stream, 4), {_take(stream, 8)}
        elif version in {4, 6}:
            _take(stream, 3)  # the type, and two algorithms
            width = 2 if version == 4 else 4
            hashed = list(_subpackets(_take(stream, _number(stream, width))))
            told = [*hashed, *_subpackets(_take(stream, _number(stream, width)))]
            created = next(body for kind, body in hashed if kind == _CREATED and len(body) == 4)
            # The fingerprint is behind the version of the key.
            issuers = {body[1:] for kind, body in told if kind == _ISSUER_FINGERPRINT}
            issuers = issuers or {body for kind, body in told if kind == _ISSUER_ID}
        else:
            return None
    except (ParseError, StopIteration):
        return None
    if issuers.isdisjoint({fingerprint, _key_id(fingerprint)}):
        return None
    return datetime.fromtimestamp(int.from_bytes(created, "big"), UTC)


def _subpackets(area: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield type and body of each subpacket (RFC 9580 section 5.2.3.7), or raise ParseError where one is cut off."""
    stream = io.BytesIO(area)
    while first := stream.read(1):
        size = first[0]
        if size == 255:
            size = _number(stream, 4)
        elif size >= 192:
            size = (size - 192 << 8) + _number(stream, 1) + 192
        subpacket = _take(stream, size)
        # The highest bit says that it is critical.
        yield subpacket[0] & 0x7F if subpacket else 0, subpacket[1:]


def _key_id(fingerprint: bytes) -> bytes:
    """Return the key ID of a version 4 or 6 key (RFC 9580 sections 5.5.4.2, 5.5.4.3)."""
    return fingerprint[-8:] if len(fingerprint) == 20 else fingerprint[:8]
