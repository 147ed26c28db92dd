"""The rules between fields: each is asked where the fields that it needs are valid by themselves."""

from __future__ import annotations

import os.path
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeVar

import dns.name

from poolmgr.config import fields as kind
from poolmgr.config.document import Place, Problem
from poolmgr.config.judging import PolicySection
from poolmgr.config.pools import FAMILY, MAX_RECORDS, MIN_MEMBERS, WHEN_SHORT, FloorSection, PoolSection
from poolmgr.config.targets import zone_of
from poolmgr.errors import ParseError
from poolmgr.hosts import name_text
from poolmgr.model import Family
from poolmgr.pools import WhenShort
from poolmgr.zone.naming import LONGEST_POOL
from poolmgr.zone.sizes import MAX_RECORDS as SRV_RECORDS

T = TypeVar("T")


def broken_rules(file: object, folder: Path) -> tuple[Problem, ...]:
    """Return every problem between fields of the plain values in `file`; relative paths are in `folder`."""
    found = (
        *_crawl(file),
        *_pool_names(file),
        *_floors(file),
        *_fallbacks(file),
        *_srv(file),
        *_minimum_versions(file),
        *_kinds(file),
        *_zones(file),
        *_zone_files(file, folder),
        *_keys(file),
        *_primaries(file),
        *_secondaries(file),
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


def _zone_places(file: object) -> tuple[Place, ...]:
    """Return the place of every zone: the file has one mapping or a list of them."""
    return (("zone",),) if isinstance(_at(file, "zone"), dict) else tuple(_places(file, "zone"))


def _origins(file: object) -> Mapping[Place, dns.name.Name | None]:
    """Return the origin of each zone, None where it is not valid."""
    return {zone: _read(kind.NAME, file, *zone, "origin") for zone in _zone_places(file)}


def _zones(file: object) -> Iterator[Problem]:
    origins = _origins(file)
    known = [origin for origin in origins.values() if origin is not None]
    names = [_read(kind.NAME, file, *pool, "name") for pool in _places(file, "pools")]
    filled = {zone_of(name, known) for name in names if name is not None}
    first: dict[object, Place] = {}
    for zone, origin in origins.items():
        if origin is None:
            continue
        text = name_text(origin)
        if first.setdefault(origin, zone) != zone:
            yield Problem((*zone, "origin"), f"{text} is the origin of zone[{first[origin][-1]}] too: remove one")
        has_fallback = any(
            _at(file, *pool, "fallback") for pool in _places(file, "pools") if _zone_of(file, pool) == zone
        )
        if _at(file, *zone, "fallback_after") is not None and not has_fallback:
            yield Problem((*zone, "fallback_after"), "is of no use: no pool of the zone has a fallback, give it one")
        if len(origins) > 1 and None not in (*names, *origins.values()) and origin not in filled:
            yield Problem((*zone, "origin"), f"no pool is in {text}: give one a name there, or remove the zone")
    for target in _places(file, "publish"):
        place = (*target, "zone")
        asked = _read(kind.NAME, file, *place)
        if _at(file, *place) is None:
            if len(origins) > 1:
                yield Problem(place, "is missing: with several zones each target says the origin of the one it is for")
        elif asked is not None and asked not in known and None not in origins.values():
            which = ", ".join(map(name_text, known)) or "none"
            yield Problem(place, f"{name_text(asked)} is the origin of no zone: give one of {which}")


def _pool_names(file: object) -> Iterator[Problem]:
    origins = tuple(_origins(file).values())
    known = [origin for origin in origins if origin is not None]
    first: dict[object, Place] = {}
    for pool in _places(file, "pools"):
        place = (*pool, "name")
        name = _read(kind.NAME, file, *place)
        if name is None:
            continue
        text = name_text(name)
        if known and None not in origins and zone_of(name, known) is None:
            where = f"the zone {name_text(known[0])}" if len(known) == 1 else "any zone"
            yield Problem(place, f"{text} is not in {where}: give a name at or below zone.origin")
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


def _srv(file: object) -> Iterator[Problem]:
    for pool in _places(file, "pools"):
        if not _at(file, *pool, "srv"):
            continue
        name = _read(kind.NAME, file, *pool, "name")
        if name is not None and len(name.to_wire() or b"") > LONGEST_POOL:
            limit = f"at most {LONGEST_POOL} octets leave room for the names of SRV records"
            yield Problem((*pool, "srv"), f"{name_text(name)} is too long, {limit}: shorten it, or remove srv")
        cap = _read(MAX_RECORDS, file, *pool, "max_records", default=PoolSection.model_fields["max_records"].default)
        families = {_read(FAMILY, file, *entry) for entry in _places(file, *pool, "families")} or set(Family)
        if cap is not None and cap * len(families) > SRV_RECORDS:
            most = f"{cap} of each family may be {cap * len(families)} SRV records, name servers load {SRV_RECORDS}"
            yield Problem((*pool, "srv"), f"{most}: lower max_records to {SRV_RECORDS // len(families)}, or remove srv")


def _zone_of(file: object, pool: Place) -> Place | None:
    """Return the place of the zone that the pool at `pool` is in, None where that is not known."""
    name = _read(kind.NAME, file, *pool, "name")
    zones = {origin: zone for zone, origin in _origins(file).items() if origin is not None}
    origin = None if name is None else zone_of(name, zones)
    return None if origin is None else zones[origin]


def _fallbacks(file: object) -> Iterator[Problem]:
    for pool in _places(file, "pools"):
        place = (*pool, "fallback")
        addresses = [_read(kind.ADDRESS, file, *entry) for entry in _places(file, *place)]
        when_short = _read(WHEN_SHORT, file, *pool, "when_short", default=WhenShort.HOLD)
        zone = _zone_of(file, pool)
        is_last_resort = zone is not None and _at(file, *zone, "fallback_after") is not None
        if addresses and when_short in {WhenShort.HOLD, WhenShort.RELAX} and not is_last_resort:
            yield Problem(place, "is never published: add `when_short: fallback` or zone.fallback_after, or remove it")
        if when_short is not WhenShort.FALLBACK and not (addresses and is_last_resort):
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


def _kinds(file: object) -> Iterator[Problem]:
    """Yield where a pool asks for what nobody can have."""
    policy = PolicySection.model_fields
    known = _at(file, "policy", "minimum_versions") or policy["minimum_versions"].default
    longest = _read(kind.DURATION, file, "policy", "max_lag", default=kind.DURATION.parse(policy["max_lag"].default))
    crawl = _at(file, "crawl")
    for pool in _places(file, "pools"):
        for place in _places(file, *pool, "software"):
            software = _read(kind.SOFTWARE, file, *place)
            if isinstance(known, dict) and software is not None and software not in known:
                asked = f"{software} is not in policy.minimum_versions, so it cannot serve"
                yield Problem(place, f"{asked}{kind.closest(software, known)}: add it there, or remove it here")
        lag = _read(kind.DURATION, file, *pool, "max_lag")
        if lag is not None and longest is not None and lag > longest:
            least = kind.duration_text(longest)
            yield Problem((*pool, "max_lag"), f"is over policy.max_lag, {least}, which holds for all pools: give less")
        for key in ("countries", "continents"):
            if (
                _at(file, *pool, key)
                and isinstance(crawl, dict)
                and not crawl.get("geo")
                and not crawl.get("countries")
            ):
                yield Problem((*pool, key), "needs to know countries: add crawl.geo, a GeoIP file, or crawl.countries")
        families = {_read(FAMILY, file, *entry) for entry in _places(file, *pool, "families")} or set(Family)
        if _at(file, *pool, "dual_stack") is True and families != set(Family) and None not in families:
            yield Problem((*pool, "dual_stack"), "needs both families in this pool: add the other one, or remove it")


def _zone_files(file: object, folder: Path) -> Iterator[Problem]:
    zones = _origins(file)
    skeletons = {
        os.path.normpath(folder / skeleton)
        for zone in zones
        if (skeleton := _read(kind.PATH, file, *zone, "skeleton")) is not None
    }
    first: dict[str, Place] = {}
    for target in _places(file, "publish"):
        place = (*target, "file")
        origin = _read(kind.NAME, file, *target, "zone")
        for zone in zones if _at(file, *target, "type") == "zonefile" else ():
            is_its = len(zones) == 1 if origin is None else zones[zone] == origin
            if is_its and _at(file, *zone, "skeleton") is None and isinstance(_at(file, *zone), dict):
                yield Problem(
                    (*zone, "skeleton"), "is missing: zone file targets need it, for all but the pools' records"
                )
        path = _read(kind.PATH, file, *place)
        if path is None:
            continue
        absolute = os.path.normpath(folder / path)
        if absolute in skeletons:
            yield Problem(place, "is the skeleton itself, which would be overwritten: give another file")
        if first.setdefault(absolute, target) != target:
            yield Problem(place, f"is the file of publish[{first[absolute][-1]}] too: give another, or remove one")


def _primaries(file: object) -> Iterator[Problem]:
    for target in _places(file, "publish"):
        section = _at(file, *target)
        if not isinstance(section, dict) or section.get("type") != "rfc2136":
            continue
        if "server" not in section and _at(section, "tls") is not None and _at(section, "tls", "name") is None:
            yield Problem(
                (*target, "tls"), "needs the name in the certificate where server is not given: add tls.name, or server"
            )


def _secondaries(file: object) -> Iterator[Problem]:
    for target in _places(file, "publish"):
        if _at(file, *target, "secondaries_required") is True and not _at(file, *target, "secondaries"):
            yield Problem((*target, "secondaries_required"), "has nobody to wait for: list some in `secondaries`")


def _keys(file: object) -> Iterator[Problem]:
    for place in ((*target, field) for target in _places(file, "publish") for field in ("key", "read_key")):
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
