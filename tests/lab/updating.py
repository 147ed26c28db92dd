"""Plans for the zone example.org, and updates of its pool, sent to servers of the lab."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, Protocol

import dns.name
import dns.rdatatype

from poolmgr.publish.rfc2136 import Primary, Rfc2136Publisher
from poolmgr.publish.target import Published, Publisher
from poolmgr.publish.tsig import KeyFile, load_key
from poolmgr.zone.plan import Plan, make_plan
from poolmgr.zone.records import Records, RRsetKey
from tests.build import NOW, ORIGIN, POOL, zone

OWNED: frozenset[RRsetKey] = frozenset((POOL, dns.rdatatype.from_text(kind)) for kind in ("A", "AAAA"))

FIRST = "pool 300 A 192.0.2.1\npool 300 A 192.0.2.2\npool 300 AAAA 2001:db8::1\n"
SECOND = "pool 300 A 192.0.2.2\npool 300 A 192.0.2.3\npool 60 AAAA 2001:db8::1\n"


class Target(Protocol):
    """A name server that an update is sent to."""

    address: IPv4Address
    port: int


def owned(text: str) -> Records:
    """Return the records of `text` that belong to the pool."""
    return {key: rrset for key, rrset in zone(text).items() if key in OWNED}


def publisher(
    server: Target,
    key_file: Path,
    /,
    *,
    timeout: float = 5,
    keys: frozenset[RRsetKey] = OWNED,
    pools: Sequence[dns.name.Name] = (POOL,),
    **fields: Any,  # noqa: ANN401  # those of Primary
) -> Rfc2136Publisher:
    """Return a publisher of `keys` to `server`, with `fields` of its Primary set otherwise."""
    source = KeyFile(key_file)
    common = {"server": server.address, "port": server.port, "key": source, "timeout": timedelta(seconds=timeout)}
    primary = Primary(**{**common, **fields})
    read_key = None if primary.read_key is None else load_key(primary.read_key, {})
    return Rfc2136Publisher(primary, ORIGIN, keys, load_key(source, {}), pools=pools, read_key=read_key)


def plan(published: Published, desired: Records, serial: int | None = None) -> Plan:
    """Return the plan that makes `desired` of `published`, with that serial and without limits."""
    return make_plan(
        origin=ORIGIN,
        published=published.records,
        desired=desired,
        limits={},
        serial=published.serial,
        next_serial=serial,
        provenance="a test",
        at=NOW,
    )


def publish(target: Publisher, desired: Records) -> int:
    """Make `target` serve `desired`, and return the serial."""
    return target.publish(plan(target.read(), desired)).serial
