"""The rules between fields: each is asked where the fields that it needs are valid by themselves."""

from __future__ import annotations

import os.path
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

from poolmgr.config import fields as kind
from poolmgr.config.document import Place, Problem
from poolmgr.config.schema import (
    FAMILY,
    MAX_RECORDS,
    MIN_MEMBERS,
    WHEN_SHORT,
    FloorSection,
    PolicySection,
    PoolSection,
)
from poolmgr.errors import ParseError
from poolmgr.hosts import name_text
from poolmgr.model import Family, WhenShort

T = TypeVar("T")


def broken_rules(file: object, folder: Path) -> tuple[Problem, ...]:
    """Return every problem between fields of the plain values in `file`; relative paths are in `folder`."""
    found = (
        *_crawl(file),
        *_pool_names(file),
        *_floors(file),
        *_fallbacks(file),
        *_minimum_versions(file),
        *_zone_files(file, folder),
        *_keys(file),
    )
    return tuple(dict.fromkeys(found))


def _at(value: object, *place: str | int) -> object:
    """Return what is at `place` below `value`, None where nothing is (the file has no null)."""
    for step in place:
        if isinstance(value, dict):
            value = value.get(step)
        elif isinstance(value, list) and isinstance(step, int):
            value = value[step]
        else:
            return None
    return value


def _places(value: object, *place: str | int) -> Iterator[Place]:
    """Yield the place of every entry of the list or mapping at `place`."""
    found = _at(value, *place)
    if isinstance(found, list | dict):
        yield from ((*place, step) for step in (range(len(found)) if isinstance(found, list) else found))


def _read(scalar: kind.Scalar[T], value: object, *place: str | int, default: T | None = None) -> T | None:
    """Return the value at `place`, `default` where there is none, and None where it is not valid."""
    found = _at(value, *place)
    try:
        return default if found is None else scalar.parse(found)
    except ParseError:
        return None


def _crawl(file: object) -> Iterator[Problem]:
    crawl = _at(file, "crawl")
    if not isinstance(crawl, dict):
        return
    if len({"canary", "search"} & crawl.keys()) != 1:
        yield Problem(("crawl",), "needs exactly one of canary and search, which say what every keyserver is asked for")
    if crawl.get("seeds", []) == [] and "membership" not in crawl:
        yield Problem(("crawl",), "has no seeds and no membership file: give a keyserver to start from")


def _pool_names(file: object) -> Iterator[Problem]:
    origin = _read(kind.NAME, file, "zone", "origin")
    first: dict[object, Place] = {}
    for pool in _places(file, "pools"):
        place = (*pool, "name")
        name = _read(kind.NAME, file, *place)
        if name is None:
            continue
        text = name_text(name)
        if origin is not None and not name.is_subdomain(origin):
            zone = name_text(origin)
            yield Problem(place, f"{text} is not in the zone {zone}: give a name at or below zone.origin")
        if first.setdefault(name, pool) != pool:
            yield Problem(place, f"{text} is the name of pools[{first[name][-1]}] too: give another, or remove one")


def _floors_of(file: object, pool: Place) -> Iterator[tuple[Place, Family, int]]:
    """Yield place, family and floor of each family that the pool at `pool` promises, where it is valid."""
    place = (*pool, "min_members")
    families = {_read(FAMILY, file, *entry) for entry in _places(file, *pool, "families")} or set(Family)
    for family, field in FloorSection.model_fields.items():
        here = (*place, family) if isinstance(_at(file, *place), dict) else place
        floor = _read(MIN_MEMBERS, file, *here, default=field.default)
        if family in families and floor is not None:
            yield here, Family(family), floor


def _floors(file: object) -> Iterator[Problem]:
    for pool in _places(file, "pools"):
        place = (*pool, "min_members")
        given = _at(file, *place)
        cap = _read(MAX_RECORDS, file, *pool, "max_records", default=PoolSection.model_fields["max_records"].default)
        floors = list(_floors_of(file, pool))
        for here, _, floor in floors:
            if cap is not None and floor > cap:
                yield Problem(here, f"{floor} is over max_records, {cap}: lower it, or raise max_records")
        families = {family for _, family, _ in floors}
        if families == {Family.IPV6} and (given is None or (isinstance(given, dict) and Family.IPV6 not in given)):
            yield Problem(place, "does not say ipv6, whose floor is 0, but the pool has only IPv6: give it, such as 3")


def _fallbacks(file: object) -> Iterator[Problem]:
    for pool in _places(file, "pools"):
        place = (*pool, "fallback")
        addresses = [_read(kind.ADDRESS, file, *entry) for entry in _places(file, *place)]
        when_short = _read(WHEN_SHORT, file, *pool, "when_short", default=WhenShort.HOLD)
        if addresses and when_short in {WhenShort.HOLD, WhenShort.RELAX}:
            yield Problem(place, "is never published: add `when_short: fallback`, or remove it")
        if when_short is not WhenShort.FALLBACK:
            continue
        for _, family, floor in _floors_of(file, pool):
            given = len({one for one in addresses if one is not None and Family.of(one) is family})
            if given < floor and None not in addresses:
                yield Problem(place, f"has {given} {family} addresses, and min_members is {floor}: give as many")


def _minimum_versions(file: object) -> Iterator[Problem]:
    default = PolicySection.model_fields["minimum_versions"].default
    known = _at(file, "policy", "minimum_versions") or default
    for pool in _places(file, "pools"):
        for place in _places(file, *pool, "minimum_versions"):
            software = _read(kind.SOFTWARE, place[-1])
            if isinstance(known, dict) and software is not None and software not in known:
                asked = f"is not in policy.minimum_versions, so it cannot serve{kind.closest(software, known)}"
                yield Problem(place, f"{asked}: add it there, or remove it here")


def _zone_files(file: object, folder: Path) -> Iterator[Problem]:
    zone = _at(file, "zone")
    skeleton = _read(kind.PATH, file, "zone", "skeleton")
    first: dict[str, Place] = {}
    for target in _places(file, "publish"):
        place = (*target, "file")
        if _at(file, *target, "type") == "zonefile" and isinstance(zone, dict) and "skeleton" not in zone:
            yield Problem(("zone", "skeleton"), "is missing: zone file targets need it, for all but the pools' records")
        path = _read(kind.PATH, file, *place)
        if path is None:
            continue
        absolute = os.path.normpath(folder / path)
        if skeleton is not None and absolute == os.path.normpath(folder / skeleton):
            yield Problem(place, "is the skeleton itself, which would be overwritten: give another file")
        if first.setdefault(absolute, target) != target:
            yield Problem(place, f"is the file of publish[{first[absolute][-1]}] too: give another, or remove one")


def _keys(file: object) -> Iterator[Problem]:
    for target in _places(file, "publish"):
        place = (*target, "key")
        key = _at(file, *place)
        if not isinstance(key, dict):
            continue
        if len({"file", "environment", "secret_file"} & key.keys()) != 1:
            yield Problem(place, "needs exactly one of file, environment and secret_file, the places of its secret")
        for field in ("name", "algorithm"):
            if "file" in key and field in key:
                yield Problem((*place, field), "is said by the key file: remove it here")
            if "file" not in key and field not in key:
                yield Problem((*place, field), "is missing: add it, since only a key file says it")
