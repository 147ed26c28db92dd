"""The section of the config file about a pool. Defaults are those of `Pool`."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from pydantic import BeforeValidator, Field

from poolmgr.config import fields as kind
from poolmgr.config.section import (
    DAY,
    FILLED,
    LAG,
    SECOND,
    DomainName,
    MinimumVersions,
    Overrides,
    Section,
    default_of,
    filled,
    or_else,
    written,
)
from poolmgr.errors import ParseError
from poolmgr.hosts import HostName, IPAddress, IPNetwork
from poolmgr.model import Family, Service
from poolmgr.pools import Pool, SrvKind, Vhost, WhenShort

FAMILY = kind.choice(*Family)
TTL = kind.duration(60 * SECOND, 7 * DAY)
MAX_RECORDS = kind.number(1, 100)
SRV_KIND = kind.choice(*SrvKind)
MIN_MEMBERS = kind.number(0, 100)
ALLOWED = kind.number(1, 100)
WHEN_SHORT = kind.choice(*WhenShort)
PER_NETWORK = kind.number(1, 100)
LATENCY = kind.latency(timedelta(milliseconds=1), timedelta(seconds=60))


class FloorSection(Section):
    """Members of each family below which the last good records stay.

    The default for IPv6 is 0: a pool whose few IPv6 members all go still serves over IPv4.
    """

    ipv4: Annotated[int, MIN_MEMBERS] = 3
    """Members of the A record set."""
    ipv6: Annotated[int, MIN_MEMBERS] = 0
    """Members of the AAAA record set."""


class AllowanceSection(Section):
    """How many of one family's addresses one run may change: the stricter of both counts, and one always may."""

    share: Annotated[float, kind.PERCENT] | None = None
    """Share of the published ones."""
    count: Annotated[int, ALLOWED] | None = None
    """Number of them."""


def _as_allowance(value: object) -> object:
    if isinstance(value, dict):
        return filled(value)
    for key, scalar in (("count", ALLOWED), ("share", kind.PERCENT)):
        try:
            scalar.parse(value)
        except ParseError:
            continue
        return {key: value}
    refusal = f"{kind.shown(value)} is neither a share like 50% nor a whole number from 1 to 100"
    raise kind.problem(f"{refusal}; both: {{share: 50%, count: 5}}")


AllowanceField = Annotated[AllowanceSection, BeforeValidator(_as_allowance)]


def _by_family(value: object) -> object:
    return value if isinstance(value, dict) else dict.fromkeys(map(str, Family), MIN_MEMBERS.validate(value))


class PoolSection(Section):
    """What is promised under one owner name."""

    name: DomainName
    """Owner name of the pool, written in full."""
    host: Annotated[HostName, kind.HOST_NAME] | None = None
    """Name that the pool's clients ask keyservers for; by default the pool's."""
    families: Annotated[tuple[Annotated[Family, FAMILY], ...], FILLED] = written(tuple(map(str, Family)))
    """Address families to publish."""
    services: Annotated[tuple[Annotated[Service, kind.SERVICE], ...], FILLED] = written((str(Service.HKP),))
    """Services that each address must answer."""
    vhost: Annotated[Vhost, kind.choice(*Vhost)] = written(str(default_of(Pool, "vhost")))
    """Under which name it must: the pool's host name, the keyserver's own, or either."""
    minimum_versions: MinimumVersions = written({})
    """Versions that this pool asks for beyond the policy's."""
    exclude: Overrides = ()
    """Names, addresses and networks that are kept out of this pool."""
    include_only: Overrides = ()
    """Names, addresses and networks that alone may be in this pool; none: everybody."""
    software: tuple[Annotated[str, kind.SOFTWARE], ...] = ()
    """Software that alone may be in this pool; none: all that the policy admits."""
    networks: tuple[Annotated[IPNetwork, kind.NETWORK], ...] = ()
    """Networks whose addresses alone may be in this pool; none: all."""
    countries: tuple[Annotated[str, kind.COUNTRY], ...] = ()
    """Countries whose addresses may be in this pool; with `continents` or by themselves they exclude all others."""
    continents: tuple[Annotated[str, kind.CONTINENT], ...] = ()
    """Continents whose addresses may be in this pool."""
    proxied: Annotated[bool, kind.FLAG] = default_of(Pool, "proxied")
    """Whether each service must be behind a proxy."""
    newest: Annotated[bool, kind.FLAG] = default_of(Pool, "newest")
    """Whether only the newest version of each software may be in this pool."""
    max_lag: Annotated[timedelta, LAG] | None = None
    """Time by which a key count may lag here, where that is less than the policy's."""
    max_latency: Annotated[timedelta, LATENCY] | None = None
    """Time that a lookup may take."""
    dual_stack: Annotated[bool, kind.FLAG] = default_of(Pool, "dual_stack")
    """Whether an IPv6 address comes in only where an IPv4 address of the same keyserver is eligible too."""
    max_records: Annotated[int, MAX_RECORDS] = default_of(Pool, "max_records")
    """Cap of published addresses per family."""
    min_members: Annotated[FloorSection, BeforeValidator(_by_family)] = Field(
        default_factory=FloorSection, json_schema_extra=or_else(MIN_MEMBERS.schema)
    )
    """Floor of members, one number for each family or by family: below it the last good records stay."""
    max_removed: AllowanceField = Field(
        str(default_of(Pool, "max_removed")),
        validate_default=True,
        json_schema_extra=or_else(kind.PERCENT.schema, ALLOWED.schema),
    )
    """What one run may remove of one family's published addresses: a share, a number, or both; one always may go."""
    max_added: AllowanceField | None = Field(None, json_schema_extra=or_else(kind.PERCENT.schema, ALLOWED.schema))
    """What one run may add to one family's published addresses; without it any number."""
    per_network: Annotated[int, PER_NETWORK] = default_of(Pool, "per_network")
    """Published addresses of one network, /16 or /32, where there are others."""
    rotate_every: Annotated[timedelta, kind.duration(timedelta(minutes=10), 3650 * DAY)] | None = None
    """How often the members are drawn anew; without it never."""
    when_short: Annotated[WhenShort, WHEN_SHORT] = written(str(default_of(Pool, "when_short")))
    """What is published where fewer than `min_members` are eligible."""
    fallback: tuple[Annotated[IPAddress, kind.ADDRESS], ...] = ()
    """Addresses to publish then, with `when_short: fallback`, or after the zone's `fallback_after`."""
    ttl: Annotated[timedelta, TTL] = written(kind.duration_text(default_of(Pool, "ttl")))
    """TTL of the records."""
    srv: tuple[Annotated[SrvKind, SRV_KIND], ...] | None = None
    """SRV records to publish too; without it such records at the pool are left alone."""
    txt: Annotated[bool, kind.FLAG] | None = None
    """Whether a TXT record at the pool's name tells of the last crawl; without it such records are left alone."""
    txt_refresh: Annotated[timedelta, kind.duration(60 * SECOND, 30 * DAY)] = written(
        kind.duration_text(default_of(Pool, "txt_refresh"))
    )
    """Age of that crawl from which on the TXT record is written anew by itself."""
