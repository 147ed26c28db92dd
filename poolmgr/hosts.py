"""How a keyserver is reached: DNS names and address literals, read strictly, written and ordered in one way."""

from __future__ import annotations

import functools
import ipaddress
import re

import dns.exception
import dns.name

from poolmgr.errors import ParseError

MAX_TEXT = 255
"""Characters kept of any one text that a keyserver says: a DNS name fits, a novel does not."""

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

_KNOWN_ADDRESSES = 65_536
"""Addresses that are kept, so that one which is read again is the same object: 10 MiB."""

_MAX_NAME = 253
_MAX_LABEL = 63
"""Characters of a name without the root's dot, 255 octets on the wire, and of a label (RFC 1035 section 2.3.4)."""

_ADDRESS = re.compile(r"[0-9A-Fa-f:.]+")
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")


class HostName(str):
    """The canonical text of a DNS host name: lower-case ASCII (A-labels), absolute, without the root's dot.

    Made by `parse_host` and `host_name` only. It is text and no dns.name.Name because keyservers choose the names that
    they list: dnspython's hash of a name is a sum that anybody can steer, so that a page of names which all hash alike
    makes every dict of them quadratic. The hash of text is keyed with a secret of this process (SipHash).
    """

    __slots__ = ()

    def to_name(self) -> dns.name.Name:
        """Return the name as DNS has it."""
        return dns.name.Name([*self.encode().split(b"."), b""])


Host = HostName | ipaddress.IPv4Address | ipaddress.IPv6Address
"""How a keyserver is reached: a DNS host name or an address literal."""


def parse_host(text: str) -> Host:
    """Return the address or DNS host name that `text` stands for.

    Accepts IPv4 and IPv6 literals (brackets allowed, zone ids not), and host names of letters, digits, hyphens and
    underscores (RFC 1123 section 2.1; underscores because some keyservers have them), with or without the root's dot.
    Other scripts are taken through IDNA 2008 (RFC 5891).

    Raises ParseError for anything else, whatever its length or content.
    """
    if len(text) > MAX_TEXT:
        raise ParseError(f"a host name has at most {MAX_TEXT} characters, this has {len(text)}")
    literal = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    try:
        if _ADDRESS.fullmatch(literal):
            return parse_address(literal)
    except ValueError:
        pass
    name = text.lower().removesuffix(".")
    try:
        labels = name.split(".") if name.isascii() else _a_labels(name)
    except dns.exception.DNSException as error:
        raise ParseError(f"{text!a} is neither an address nor a DNS name") from error
    name = ".".join(labels)
    if "" in labels or len(name) > _MAX_NAME or max(map(len, labels)) > _MAX_LABEL:
        raise ParseError(f"{text!a} is neither an address nor a DNS name")
    if not all(map(_LABEL.fullmatch, labels)):
        raise ParseError(f"{text!a} is neither an address nor a host name of letters, digits and hyphens")
    if labels[-1].isdigit():
        raise ParseError(f"{text!a} ends in a number but is no address")
    return HostName(name)


class _IPv4Address(ipaddress.IPv4Address):
    """An address that hashes as the same one of `ipaddress` does, and reckons that only once.

    That one makes its hash from text at each look into a dict: some twenty for each address of a crawl that is judged.
    """

    __slots__ = ("_known_hash",)

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._known_hash = super().__hash__()

    def __hash__(self) -> int:
        return self._known_hash


class _IPv6Address(ipaddress.IPv6Address):
    """The same for IPv6."""

    __slots__ = ("_known_hash",)

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._known_hash = super().__hash__()

    def __hash__(self) -> int:
        return self._known_hash


@functools.lru_cache(maxsize=_KNOWN_ADDRESSES)
def parse_address(text: str) -> IPAddress:
    """Return the address that `text` is, without brackets. Raises ValueError for anything else."""
    return _IPv6Address(text) if ":" in text else _IPv4Address(text)


def _a_labels(name: str) -> list[str]:
    return [dns.name.IDNA_2008.encode(label).decode() for label in name.split(".")]


def host_name(name: dns.name.Name) -> HostName:
    """Return the host name that `name` is. Raises ParseError for one that is relative or no host name."""
    host = parse_host(name.to_text())
    if not name.is_absolute() or not isinstance(host, HostName):
        raise ParseError(f"{name} is a relative name: give it in full")
    return host


def host_text(host: Host) -> str:
    """Return `host` as people write it: without the root's dot, addresses without brackets."""
    return str(host)


def name_text(name: dns.name.Name) -> str:
    """Return a DNS name as people write it: without the root's dot."""
    return name.to_text(omit_final_dot=True)


def host_order(host: Host) -> tuple[int, tuple[str, ...], int]:
    """Return a sort key: names in DNSSEC canonical order (RFC 4034 section 6.1), then IPv4, then IPv6."""
    if isinstance(host, HostName):
        return (0, tuple(reversed(host.split("."))), 0)
    return (host.version, (), int(host))


def address_order(address: IPAddress) -> tuple[int, int]:
    """Return a sort key: IPv4 before IPv6, each by number."""
    return (address.version, int(address))
