"""What one value of the config may be: plain value to typed value, with its limits, sentences and JSON Schema."""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Generic, TypeVar

import dns.name
from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from poolmgr.countries import CONTINENTS, parse_country
from poolmgr.errors import ParseError
from poolmgr.hosts import Host, HostName, IPAddress, IPNetwork, parse_host
from poolmgr.model import Family, Service
from poolmgr.version import Version

T = TypeVar("T")
S = TypeVar("S", bound=str)

_DURATION = r"(?=[0-9])(?:([0-9]{1,6})d)?(?:([0-9]{1,6})h)?(?:([0-9]{1,6})m)?(?:([0-9]{1,6})s)?"
_LATENCY = r"([0-9]{1,6})(ms|s)"
_SIZE = r"([0-9]{1,6})(B|KiB|MiB)"
_PERCENT = r"([0-9]{1,2}|100)%"
_SOCKET = r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+))(?::([0-9]{1,5}))?"
_ANY_TEXT: Mapping[str, object] = {"type": "string", "minLength": 1}
_BYTES = {"B": 1, "KiB": 1024, "MiB": 1024 * 1024}
_SECONDS = {"d": 86400, "h": 3600, "m": 60, "s": 1}

Socket = tuple[IPAddress, int]
"""Address and port."""
Override = HostName | IPNetwork
"""What names a keyserver in `exclude` and `include_only`; an address is the network that holds only it."""


@dataclass(frozen=True, slots=True, eq=False)
class Scalar(Generic[T]):
    """One kind of value. `parse` returns it or raises ParseError; `schema` is its JSON Schema for editors.

    As metadata of an annotated field it replaces pydantic's own validation of the field's type.
    """

    parse: Callable[[object], T]
    schema: Mapping[str, object]

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self.validate)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, object]:
        return dict(self.schema)

    def validate(self, value: object) -> T:
        """Return what `parse` does, with its refusals as pydantic needs them."""
        try:
            return self.parse(value)
        except ParseError as error:
            raise problem(str(error)) from error


def problem(sentence: str) -> PydanticCustomError:
    """Return the error by which `sentence` travels through pydantic as it is."""
    return PydanticCustomError("problem", "{sentence}", {"sentence": sentence})


def shown(value: object) -> str:
    """Return `value` as a sentence shows it: bounded, in ASCII."""
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    if value == "":
        return "an empty value"
    if isinstance(value, str):
        return ascii(value) if len(value) <= 60 else f"{value[:60]!a}..."
    return str(value).lower()


def closest(word: str, known: Iterable[str]) -> str:
    """Return ", did you mean ...?" where one of `known` is like `word`, else nothing."""
    matches = difflib.get_close_matches(word, list(known), n=1)
    return f", did you mean {matches[0]}?" if matches else ""


def duration_text(duration: timedelta) -> str:
    """Return whole seconds as the config writes them, such as ``1h30m``."""
    left, parts = int(duration.total_seconds()), []
    for unit, seconds in _SECONDS.items():
        count, left = divmod(left, seconds)
        parts += [f"{count}{unit}"] if count else []
    return "".join(parts) or "0s"


def size_text(size: int) -> str:
    """Return bytes as the config writes them, in the largest unit that divides them, such as ``1MiB``."""
    unit = max((unit for unit, size_of in _BYTES.items() if size % size_of == 0), key=_BYTES.__getitem__)
    return f"{size // _BYTES[unit]}{unit}"


def percent_text(share: float) -> str:
    """Return a share from 0 to 1 as the config writes it, such as ``50%``."""
    return f"{share:.0%}"


def number(low: int, high: int) -> Scalar[int]:
    """Return the kind "whole number from `low` to `high`"."""

    def parse(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ParseError(f"{shown(value)} is not a whole number from {low} to {high}")
        return value

    return Scalar(parse, {"type": "integer", "minimum": low, "maximum": high})


def duration(low: timedelta, high: timedelta) -> Scalar[timedelta]:
    """Return the kind "duration from `low` to `high`"."""

    def parse(value: object) -> timedelta:
        if type(value) is int:
            raise ParseError(f"{value} has no unit: write it as {value}s, {value}m, {value}h or {value}d")
        match = re.fullmatch(_DURATION, str(value), re.ASCII)
        if match is None:
            raise ParseError(f"{shown(value)} is not a duration: write it like 15s, 5m, 8h, 90d or 1h30m")
        counts = (int(count or 0) for count in match.groups())
        length = timedelta(seconds=sum(map(int.__mul__, counts, _SECONDS.values())))
        if not low <= length <= high:
            raise ParseError(f"{shown(value)} is out of range: give {duration_text(low)} to {duration_text(high)}")
        return length

    return Scalar(parse, _pattern(_DURATION))


def latency(low: timedelta, high: timedelta) -> Scalar[timedelta]:
    """Return the kind "duration in whole milliseconds or seconds from `low` to `high`"."""

    def parse(value: object) -> timedelta:
        match = re.fullmatch(_LATENCY, str(value), re.ASCII)
        if match is None:
            raise ParseError(f"{shown(value)} is no latency: write it with its unit, like 800ms or 2s")
        count = int(match[1])
        length = timedelta(milliseconds=count) if match[2] == "ms" else timedelta(seconds=count)
        if not low <= length <= high:
            bounds = " to ".join(f"{bound / timedelta(milliseconds=1):.0f}ms" for bound in (low, high))
            raise ParseError(f"{shown(value)} is out of range: give {bounds}")
        return length

    return Scalar(parse, _pattern(_LATENCY))


def size(low: int, high: int) -> Scalar[int]:
    """Return the kind "size from `low` to `high` bytes"."""

    def parse(value: object) -> int:
        match = re.fullmatch(_SIZE, str(value), re.ASCII)
        if match is None:
            raise ParseError(f"{shown(value)} is not a size: write it with its unit, like 512KiB or 1MiB")
        in_bytes = int(match[1]) * _BYTES[match[2]]
        if not low <= in_bytes <= high:
            raise ParseError(f"{shown(value)} is out of range: give {size_text(low)} to {size_text(high)}")
        return in_bytes

    return Scalar(parse, _pattern(_SIZE))


def choice(*known: S) -> Scalar[S]:
    """Return the kind "one of `known`"."""

    def parse(value: object) -> S:
        for word in known:
            if value == str(word):
                return word
        raise ParseError(f"{shown(value)} is none of {', '.join(known)}{closest(str(value), known)}")

    return Scalar(parse, {"enum": [str(word) for word in known]})


def matching(pattern: str, refusal: str) -> Scalar[str]:
    """Return the kind "text that is all `pattern`"; `refusal` is the sentence for the rest, with ``{value}`` in it."""

    def parse(value: object) -> str:
        text = _text(value)
        if not re.fullmatch(pattern, text, re.ASCII):
            raise ParseError(refusal.format(value=shown(value)))
        return text

    return Scalar(parse, _pattern(pattern))


def _pattern(pattern: str) -> Mapping[str, object]:
    return {"type": "string", "pattern": f"^(?:{pattern})$"}


def _text(value: object) -> str:
    if not isinstance(value, str):
        remedy = "give one value" if isinstance(value, dict | list) else "put it in quotes"
        raise ParseError(f"{shown(value)} is not text: {remedy}")
    if not value:
        raise ParseError("is empty: give it a value, or remove the key")
    return value


def _parse_flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ParseError(f"{shown(value)} is neither true nor false")
    return value


def _parse_percent(value: object) -> float:
    match = re.fullmatch(_PERCENT, str(value), re.ASCII)
    if match is None:
        raise ParseError(f"{shown(value)} is not a share from 0% to 100%: write it like 50%")
    return int(match[1]) / 100


def _parse_host(value: object) -> Host:
    return parse_host(_text(value))


def _parse_host_name(value: object) -> HostName:
    host = _parse_host(value)
    if not isinstance(host, HostName):
        raise ParseError(f"{shown(value)} is an address: give a DNS name")
    return host


def _parse_address(value: object) -> IPAddress:
    host = _parse_host(value)
    if not isinstance(host, IPAddress):
        raise ParseError(f"{shown(value)} is a name: give an address, which needs no look-up to be published")
    return host


def _parse_name(value: object) -> dns.name.Name:
    return _parse_host_name(value).to_name()


def _parse_network(value: object) -> IPNetwork:
    text = _text(value)
    try:
        network = ipaddress.ip_network(text, strict=False)
        address = ipaddress.ip_interface(text).ip
    except ValueError as error:
        refusal = f"{shown(value)} is neither an address nor a network: write it like 192.0.2.0/24 or 2001:db8::/32"
        raise ParseError(refusal) from error
    if address != network.network_address:
        raise ParseError(f"{shown(value)} has bits set behind its prefix: write {network} or only the address")
    return network


def _parse_override(value: object) -> Override:
    text = _text(value)
    host = _parse_network(text) if "/" in text else parse_host(text)
    return ipaddress.ip_network(host) if isinstance(host, IPAddress) else host


def _socket_in(value: object, default_port: int) -> Socket | None:
    """Return the address and port that `value` is, None where it is none."""
    match = re.fullmatch(_SOCKET, _text(value), re.ASCII)
    address, port = (
        (match[1] or match[2], int(match[3] or default_port)) if match is not None else (value, default_port)
    )
    try:
        parsed = ipaddress.ip_address(str(address))
    except ValueError:
        return None
    return (parsed, port) if "%" not in str(parsed) and 1 <= port <= 65535 else None


def _parse_socket(value: object) -> Socket:
    found = _socket_in(value, 53)
    if found is None:
        refusal = f"{shown(value)} is not the address of a name server: write it like 192.0.2.53 or [2001:db8::53]:53"
        raise ParseError(f"{refusal}; names are not looked up here")
    return found


def _parse_primary(value: object) -> tuple[IPAddress, int | None]:
    address, port = _parse_socket(value)
    has_port = re.fullmatch(_SOCKET, _text(value), re.ASCII)
    return address, port if has_port is not None and has_port[3] else None


def check_target(family: Family) -> Scalar[Socket]:
    """Return the kind "address of `family` with a TCP port"."""
    like = {Family.IPV4: "192.0.2.1:443", Family.IPV6: "[2001:db8::1]:443"}[family]

    def parse(value: object) -> Socket:
        found = _socket_in(value, 443)
        if found is None or Family.of(found[0]) is not family:
            raise ParseError(f"{shown(value)} is no {family} address with a port: write it like {like}")
        return found

    return Scalar(parse, _ANY_TEXT)


def _parse_path(value: object) -> Path:
    text = _text(value)
    if "\0" in text:
        raise ParseError(f"{shown(value)} is not a path: it holds a zero byte")
    return Path(text)


def _parse_version(value: object) -> Version:
    return Version.parse(_text(value))


def _parse_country(value: object) -> str:
    return parse_country(_text(value))


def _parse_fingerprint(value: object) -> str:
    digits = "".join(_text(value).split()).upper().removeprefix("0X")
    if not re.fullmatch(r"[0-9A-F]{40}|[0-9A-F]{64}", digits):
        raise ParseError(f"{shown(value)} is not a fingerprint: give all its 40 (v4) or 64 (v6) hex digits")
    return digits


FLAG = Scalar(_parse_flag, {"type": "boolean"})
PERCENT = Scalar(_parse_percent, _pattern(_PERCENT))
HOST = Scalar(_parse_host, _ANY_TEXT)
HOST_NAME = Scalar(_parse_host_name, _ANY_TEXT)
NAME = Scalar(_parse_name, _ANY_TEXT)
ADDRESS = Scalar(_parse_address, _ANY_TEXT)
NETWORK = Scalar(_parse_network, _ANY_TEXT)
OVERRIDE = Scalar(_parse_override, _ANY_TEXT)
SOCKET = Scalar(_parse_socket, _ANY_TEXT)
PRIMARY = Scalar(_parse_primary, _ANY_TEXT)
PATH = Scalar(_parse_path, _ANY_TEXT)
WORD = Scalar(_text, _ANY_TEXT)
VERSION = Scalar(_parse_version, _ANY_TEXT)
COUNTRY = Scalar(_parse_country, _pattern("[A-Za-z]{2}"))
CONTINENT = choice(*CONTINENTS)
FINGERPRINT = Scalar(_parse_fingerprint, _ANY_TEXT)
DURATION = duration(timedelta(0), timedelta.max)
SERVICE = choice(*Service)
SOFTWARE = matching("[a-z0-9][a-z0-9._-]{0,59}", "{value} is not a software's name: write it in lower case")
SEARCH = matching("[ -~]{1,100}", "{value} is not a search text: give 1 to 100 printable ASCII characters")
MARKER = matching(
    "[A-Za-z0-9._-]{1,60}",
    "{value} is no id: give 1 to 60 letters, digits, dots, - and _, the same on all machines that publish these pools",
)
CONTACT = matching(
    "(?:https?://|[A-Za-z0-9._+-]{1,64}@)[A-Za-z0-9._~:/?#@!$&'*+,;=%-]{1,180}",
    "{value} is neither a URL nor a mail address: write it like https://example.org/crawler or admin@example.org",
)
