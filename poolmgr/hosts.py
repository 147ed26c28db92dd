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
Host = dns.name.Name | ipaddress.IPv4Address | ipaddress.IPv6Address
"""How a keyserver is reached: an absolute DNS name or an address literal."""

_REMEMBERED_HOSTS = 16_384
"""Hosts parsed once: in a mesh each name is on twenty pages. The largest take 10 MiB."""

_ADDRESS = re.compile(r"[0-9A-Fa-f:.]+")
_LABEL = re.compile(rb"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")


class _HostName(dns.name.Name):
    """A name that works its hash out once: a crawl needs it a hundred times, and dnspython's takes 2 µs each."""

    __slots__ = ("_hash",)
    _hash: int

    def __hash__(self) -> int:
        try:
            return self._hash
        except AttributeError:
            # dnspython's names refuse every assignment.
            object.__setattr__(self, "_hash", super().__hash__())
            return self._hash


@functools.lru_cache(maxsize=_REMEMBERED_HOSTS)
def parse_host(text: str) -> Host:
    """Return the address or absolute DNS name that `text` stands for.

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
            return ipaddress.ip_address(literal)
    except ValueError:
        pass
    try:
        labels = [dns.name.IDNA_2008.encode(label) for label in text.lower().removesuffix(".").split(".")]
        name = _HostName([*labels, b""])
    except dns.exception.DNSException as error:
        raise ParseError(f"{text!a} is neither an address nor a DNS name") from error
    if not all(map(_LABEL.fullmatch, labels)):
        raise ParseError(f"{text!a} is neither an address nor a host name of letters, digits and hyphens")
    if labels[-1].isdigit():
        raise ParseError(f"{text!a} ends in a number but is no address")
    return name


def host_text(host: Host) -> str:
    """Return `host` as people write it: without the root's dot, addresses without brackets."""
    if isinstance(host, dns.name.Name):
        return host.to_text(omit_final_dot=True)
    return str(host)


def host_order(host: Host) -> tuple[int, tuple[bytes, ...], int]:
    """Return a sort key: names in DNSSEC canonical order (RFC 4034 section 6.1), then IPv4, then IPv6."""
    if isinstance(host, dns.name.Name):
        return (0, tuple(label.lower() for label in reversed(host.labels)), 0)
    return (host.version, (), int(host))


def address_order(address: IPAddress) -> tuple[int, int]:
    """Return a sort key: IPv4 before IPv6, each by number."""
    return (address.version, int(address))
