"""A History as versioned JSON, and back: how it is kept between runs.

An object with ``format`` "poolmgr-history" and ``version`` 1. Times are seconds since the epoch, standings and
reliabilities are arrays, since there are thousands.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from operator import index
from typing import Any

import dns.name
from dns.exception import DNSException

from poolmgr.errors import ParseError
from poolmgr.hosts import IPAddress, host_text, name_text, parse_address, parse_host
from poolmgr.judge.answering import Answering
from poolmgr.judge.history import History
from poolmgr.judge.reliability import WINDOWS, Reliability
from poolmgr.judge.steadiness import Standing
from poolmgr.model import Family, Service
from poolmgr.report import paces

FORMAT = "poolmgr-history"
VERSION = 1

_NOT_ONE = (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError, OSError)


def to_json(history: History) -> str:
    """Return `history` as one line of JSON in ASCII."""
    document = {
        "format": FORMAT,
        "version": VERSION,
        "crawls": [[_name(pool), family, count] for (pool, family), count in history.crawls.items()],
        "standings": [
            [_name(pool), str(address), *_from_standing(standing)]
            for pool, standings in history.standings.items()
            for address, standing in standings.items()
        ],
        "reliability": [
            [str(address), service, each.at.timestamp(), each.good, each.seen]
            for (address, service), each in history.reliability.items()
        ],
        "addresses": {
            host_text(host): [str(address) for address in addresses] for host, addresses in history.addresses.items()
        },
        "answering": {family: [each.at.timestamp(), each.mean] for family, each in history.answering.items()},
        "paces": paces.to_document(history.paces),
    }
    return json.dumps(document, separators=(",", ":"))


def from_json(text: str | bytes) -> History:
    """Return the History that `to_json` wrote, equal to it. Raises ParseError for anything else."""
    try:
        document = json.loads(text)
        if document["format"] != FORMAT or document["version"] != VERSION:
            raise ParseError(f"not a {FORMAT} of version {VERSION}")
        return History(
            crawls={(_to_name(pool), Family(family)): index(count) for pool, family, count in document["crawls"]},
            standings=_to_standings(document["standings"]),
            reliability={
                (parse_address(address), Service(service)): _to_reliability(values)
                for address, service, *values in document["reliability"]
            },
            addresses={
                parse_host(host): tuple(parse_address(address) for address in addresses)
                for host, addresses in document["addresses"].items()
            },
            answering={Family(family): _to_answering(values) for family, values in document["answering"].items()},
            paces=paces.from_document(document["paces"]),
        )
    except (*_NOT_ONE, DNSException) as error:
        raise ParseError(f"not a {FORMAT} of version {VERSION}: {type(error).__name__}: {error}") from error


def _to_standings(rows: list[list[Any]]) -> Mapping[dns.name.Name, Mapping[IPAddress, Standing]]:
    standings: dict[str, dict[IPAddress, Standing]] = {}
    for pool, address, *values in rows:
        standings.setdefault(pool, {})[parse_address(address)] = _to_standing(values)
    return {_to_name(pool): of_pool for pool, of_pool in standings.items()}


def _from_standing(standing: Standing) -> list[Any]:
    is_up, streak, since, first, fell, falls = standing
    return [is_up, streak, since.timestamp(), first.timestamp(), None if fell is None else fell.timestamp(), falls]


def _to_standing(values: list[Any]) -> Standing:
    is_up, streak, since, first, fell, falls = values
    return Standing(
        bool(is_up),
        index(streak),
        _to_time(since),
        _to_time(first),
        None if fell is None else _to_time(fell),
        _number(falls),
    )


def _to_answering(values: list[Any]) -> Answering:
    at, mean = values
    return Answering(_to_time(at), _number(mean))


def _to_reliability(values: list[Any]) -> Reliability:
    at, good, seen = values
    if not len(good) == len(seen) == len(WINDOWS):
        raise ValueError(f"{len(WINDOWS)} windows are expected, not {len(good)} and {len(seen)}")
    return Reliability(_to_time(at), tuple(map(_number, good)), tuple(map(_number, seen)))


def _number(value: float) -> float:
    """Return `value`. NaN, which Python's JSON has, would come out of a judgement much later."""
    if not math.isfinite(value):
        raise ValueError(f"{value} is no number")
    return value


def _name(pool: dns.name.Name) -> str:
    return name_text(pool)


def _to_name(pool: str) -> dns.name.Name:
    # dnspython takes a list for octets, and fails in ways of its own.
    if not isinstance(pool, str):
        raise TypeError(f"{type(pool).__name__} is no name")
    return dns.name.from_text(pool)


def _to_time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
