"""What a TLS handshake showed, for people: the certificate, or why there is none to trust."""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from poolmgr.hosts import MAX_TEXT
from poolmgr.model import Certificate

Shown = Mapping[str, Any]
"""A verified certificate as `ssl.SSLSocket.getpeercert` returns it."""

_MAX_NAMES = 3
_MAX_NAME = 64
"""Names of a certificate, and characters of each, that a sentence quotes."""

# X509_V_ERR_* of OpenSSL's x509_vfy.h
_UNTRUSTED: Mapping[int, str] = {
    2: "its issuer is not known: its chain leads to no trusted root (crawl.ca_file)",
    9: "it is not valid yet",
    10: "it has expired",
    18: "it is self-signed",
    19: "its issuer is not known: the root of its chain is not trusted (crawl.ca_file)",
    20: "its issuer is not known: its chain leads to no trusted root (crawl.ca_file)",
    21: "its issuer is not known: its chain leads to no trusted root (crawl.ca_file)",
}

_NOT_TLS = "the answer is not TLS"
_NO_PROTOCOL = "no common protocol: TLS 1.2 or later is asked for"
_NO_CIPHER = "no common cipher or protocol"
_BROKEN: Mapping[str, str] = {
    "WRONG_VERSION_NUMBER": _NOT_TLS,
    "RECORD_LAYER_FAILURE": _NOT_TLS,
    "UNSUPPORTED_PROTOCOL": _NO_PROTOCOL,
    "TLSV1_ALERT_PROTOCOL_VERSION": _NO_PROTOCOL,
    "SSLV3_ALERT_HANDSHAKE_FAILURE": _NO_CIPHER,
    "TLSV1_ALERT_INSUFFICIENT_SECURITY": _NO_CIPHER,
    "TLSV1_UNRECOGNIZED_NAME": "the server has no certificate for that name",
}
"""OpenSSL's reasons, those that have a better sentence than their name."""


def broken(error: ssl.SSLError) -> str:
    """Return why TLS failed, as OpenSSL says it."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate: {_UNTRUSTED.get(error.verify_code, error.verify_message)}"
    if isinstance(error, ssl.SSLEOFError):
        return "the connection was closed in the middle of TLS"
    reason = error.reason or "unknown"
    return _BROKEN.get(reason, f"TLS is broken ({reason})")


def misnamed(shown: Shown, name: str) -> str | None:
    """Return for which names the certificate is, None where `name` (a DNS name without the root's dot) is among them.

    A name matches as a whole, and ``*`` stands for a whole first label, one with at least two behind it (RFC 9525
    section 6.3). The subject's common name does not count (section 6.2 there).
    """
    asked = name.lower()
    parent = asked.partition(".")[2]
    matching = {asked, f"*.{parent}"} if "." in parent else {asked}
    names = [value for kind, value in shown.get("subjectAltName", ()) if kind == "DNS"]
    if any(value.lower() in matching for value in names):
        return None
    quoted = [f"{value[:_MAX_NAME]!a}" for value in names[:_MAX_NAMES]] or ["no DNS name"]
    more = f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
    return f"certificate: it is for {', '.join(quoted)}{more}, not for {name}"


def certificate_of(shown: Shown) -> Certificate:
    """Return issuer (organisation and common name, as far as it has them) and end of a certificate."""
    issuer = ", ".join(_attributes(shown, "organizationName", "commonName"))
    end = ssl.cert_time_to_seconds(shown["notAfter"])
    return Certificate(issuer=issuer[:MAX_TEXT], not_after=datetime.fromtimestamp(end, UTC))


def _attributes(shown: Shown, *kinds: str) -> Iterator[str]:
    for relative_name in shown.get("issuer", ()):
        for kind, value in relative_name:
            if kind in kinds:
                yield value
