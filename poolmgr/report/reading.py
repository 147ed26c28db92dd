"""JSON from outside, read field by field: each a value of the type and in the range it must have, or a ParseError.

A reader takes what `json.loads` gave for one field and returns the value. What it refuses is named by its place, such
as ``keyservers[3].addresses[0].probes[2].port``, with the limit.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn, TypeVar

from poolmgr.countries import parse_country
from poolmgr.errors import ParseError
from poolmgr.hosts import Host, IPAddress, parse_host

T = TypeVar("T")
E = TypeVar("E", bound=enum.StrEnum)

Json = Mapping[str, Any]
Reader = Callable[[Any], T]

MAX_SENTENCE = 10_000
"""Characters of any one text: what keyservers say is cut to 255, and a sentence of ours names several such."""

FIRST = datetime(1970, 1, 1, tzinfo=UTC)
LAST = datetime(3000, 1, 1, tzinfo=UTC)
"""When anything may have been measured: from FIRST to before LAST. Judging counts months back and forth from there."""

_MAX_SECONDS = 10**9
_SHOWN = 60


class Wrong(ParseError):
    """A field is not what it must be: `place` is how it is reached, empty for the whole, `sentence` what is wrong."""

    def __init__(self, sentence: str, place: str = "") -> None:
        super().__init__(f"{place.removeprefix('.')}: {sentence}" if place else sentence)
        self.sentence = sentence
        self.place = place


def parse_json(text: str | bytes) -> Json:
    """Return the JSON object that `text`, in UTF-8 where it is bytes, consists of. Raises ParseError for all else."""
    try:
        told = text.decode() if isinstance(text, bytes) else text
        document = json.loads(told, object_pairs_hook=_object, parse_constant=_no_number)
    except UnicodeDecodeError as error:
        raise ParseError(f"not UTF-8 text (octet {error.start})") from error
    except json.JSONDecodeError as error:
        raise ParseError(f"not JSON: {error.msg} (character {error.pos})") from error
    except RecursionError as error:
        raise ParseError("not JSON that can be read: it is nested too deep") from error
    except ValueError as error:
        raise ParseError(f"not JSON that can be read: {error}") from error
    return mapping(document)


def mapping(value: object) -> Json:
    """Read an object."""
    return value if isinstance(value, dict) else _refuse(value, "an object")


def text(value: object) -> str:
    """Read a text."""
    if not isinstance(value, str):
        _refuse(value, "a text")
    if len(value) > MAX_SENTENCE:
        raise Wrong(f"has {len(value)} characters, a text has at most {MAX_SENTENCE}")
    return value


def sentence(value: object) -> str:
    """Read a text that is shown as it is: it may have printable characters only."""
    told = text(value)
    return told if told.isprintable() else _refuse(value, "a text of printable characters")


def country(value: object) -> str:
    """Read a country code in lower case."""
    try:
        code = parse_country(text(value))
    except ParseError:
        code = ""
    return code if code == value else _refuse(value, "a country code in lower case")


def boolean(value: object) -> bool:
    """Return a truth value."""
    if not isinstance(value, bool):
        _refuse(value, "true or false")
    return value


def whole(low: int, high: int) -> Reader[int]:
    """Return a reader of the whole numbers from `low` to `high`."""

    def read(value: object) -> int:
        if type(value) is int and low <= value <= high:
            return value
        return _refuse(value, f"a whole number from {low} to {high}")

    return read


def one_of(kind: type[E]) -> Reader[E]:
    """Return a reader of the values of `kind`."""
    values = {str(each): each for each in kind}

    def read(value: object) -> E:
        if isinstance(value, str) and (found := values.get(value)) is not None:
            return found
        return _refuse(value, f"one of {', '.join(values)}")

    return read


def exactly(wanted: str | int) -> Reader[str | int]:
    """Return a reader of `wanted` and nothing else."""

    def read(value: object) -> str | int:
        return wanted if type(value) is type(wanted) and value == wanted else _refuse(value, repr(wanted))

    return read


def list_of(read_one: Reader[T]) -> Reader[tuple[T, ...]]:
    """Return a reader of lists of what `read_one` reads."""

    def read(value: object) -> tuple[T, ...]:
        if not isinstance(value, list):
            _refuse(value, "a list")
        return tuple([_at(f"[{number}]", one, read_one) for number, one in enumerate(value)])

    return read


def moment(value: object) -> datetime:
    """Read a time with its offset, from 1970 on, and return it in UTC."""
    try:
        time = datetime.fromisoformat(text(value))
        if time.tzinfo is None:
            raise Wrong(f"{_shown(value)} is a time without an offset from UTC")
        if time.tzinfo is not UTC:
            time = time.astimezone(UTC)
    except (ValueError, OverflowError):
        return _refuse(value, "an ISO 8601 time")
    return time if time >= FIRST else _refuse(value, "a time from 1970 on")


def measured(value: object) -> datetime:
    """Read when something was measured."""
    time = moment(value)
    return time if time < LAST else _refuse(value, f"a time before the year {LAST.year}")


def seconds(value: object) -> timedelta:
    """Read a duration in seconds."""
    if type(value) in {int, float} and 0 <= value <= _MAX_SECONDS:  # type: ignore[operator]  # a number, as was asked
        return timedelta(seconds=value)  # type: ignore[arg-type]  # the same
    return _refuse(value, f"a number of seconds from 0 to {_MAX_SECONDS}")


def host(value: object) -> Host:
    """Read a host name or an address."""
    try:
        return parse_host(text(value))
    except Wrong:
        raise
    except ParseError as error:
        raise Wrong(str(error)) from error


def address(value: object) -> IPAddress:
    """Read an address."""
    found = host(value)
    return found if isinstance(found, IPAddress) else _refuse(value, "an address")


def field(document: Json, name: str, read: Reader[T]) -> T:
    """Return the field `name` of `document`, which must be there."""
    if name not in document:
        raise Wrong("is missing", f".{name}")
    return _at(f".{name}", document[name], read)


def maybe(document: Json, name: str, read: Reader[T]) -> T | None:
    """Return the field `name` of `document`, None where it is null or missing."""
    value = document.get(name)
    return None if value is None else _at(f".{name}", value, read)


def _at(place: str, value: object, read: Reader[T]) -> T:
    try:
        return read(value)
    except Wrong as error:
        raise Wrong(error.sentence, place + error.place) from error


def _refuse(value: object, wanted: str) -> NoReturn:
    raise Wrong(f"{_shown(value)} is not {wanted}")


def _shown(value: object) -> str:
    """Return the beginning of `value`, whatever its size and depth."""
    if isinstance(value, str):
        return f"{value[:_SHOWN]!a}{'...' if len(value) > _SHOWN else ''}"
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    shown = json.dumps(value)
    return f"{shown[:_SHOWN]}{'...' if len(shown) > _SHOWN else ''}"


def _object(pairs: list[tuple[str, Any]]) -> Json:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ParseError(f"an object has the field {_shown(name)} twice")
        found[name] = value
    return found


def _no_number(name: str) -> NoReturn:
    raise ParseError(f"{name} is not a number")
