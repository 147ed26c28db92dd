"""The sections of the config file about the zones, and where they go."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Annotated, Any, Literal

import dns.name
from pydantic import BeforeValidator, Field

from poolmgr.config import fields as kind
from poolmgr.config.section import (
    DAY,
    SECOND,
    DomainName,
    FilePath,
    Section,
    Socket,
    Timeout,
    default_of,
    or_else,
    written,
)
from poolmgr.errors import ParseError
from poolmgr.hosts import HostName, IPAddress
from poolmgr.publish.checkers import Checker
from poolmgr.publish.rfc2136 import Primary
from poolmgr.publish.tsig import ALGORITHMS
from poolmgr.publish.zonefile import Verify, ZoneFile
from poolmgr.zone.plan import MAX_AGE
from poolmgr.zone.serial import Scheme

ALGORITHM = kind.choice(*ALGORITHMS)


def _parse_algorithm(value: object) -> str:
    if str(value).lower() == "gss-tsig":
        raise ParseError(f"{kind.shown(value)} is not supported: give the primary a key of {', '.join(ALGORITHMS)}")
    return ALGORITHM.parse(value)


VARIABLE = kind.matching(
    "[A-Za-z_][A-Za-z0-9_]{0,99}",
    "is not the name of an environment variable, such as TSIG_SECRET; the secret itself does not belong here",
)


class ZoneSection(Section):
    """A zone. A pool belongs to the zone with the longest origin that its name is at or below."""

    origin: DomainName
    """Name of the zone."""
    skeleton: FilePath | None = None
    """Zone file with everything in the zone but the pools. Needed by zone file targets."""
    serial: Annotated[Scheme, kind.choice(*Scheme)] = written(str(Scheme.UNIXTIME))
    """What the SOA serial says, beside being newer than the last one."""
    max_age: Annotated[timedelta, kind.duration(60 * SECOND, 30 * DAY)] = written(kind.duration_text(MAX_AGE))
    """Age of a crawl beyond which it changes nothing."""
    fallback_after: Annotated[timedelta, kind.duration(timedelta(hours=1), 30 * DAY)] | None = None
    """How long records may be held, or no crawl be made, until the `fallback` of their pool is published instead."""


def zone_of(name: dns.name.Name, origins: Iterable[dns.name.Name]) -> dns.name.Name | None:
    """Return which of `origins` is that of the zone that `name` is in: the longest; None for a name outside."""
    return max((origin for origin in origins if name.is_subdomain(origin)), key=len, default=None)


def _as_checkers(value: object) -> object:
    if isinstance(value, str):
        if value != Checker.AUTO:
            raise kind.problem(f"{kind.shown(value)} is neither auto nor a list of programs, such as [named-checkzone]")
        return [value]
    return value


def _or_auto(schema: dict[str, Any]) -> None:
    schema["anyOf"] = [{"const": str(Checker.AUTO)}, {"type": schema.pop("type"), "items": schema.pop("items")}]


class VerifySection(Section):
    """The name server that must answer with the new serial after the reload."""

    server: Socket
    """Its address, port 53 where none is given."""
    timeout: Timeout = written(kind.duration_text(default_of(Verify, "timeout")))
    """How long it may take."""


class ZoneFileSection(Section):
    """A zone file to keep."""

    type: Literal["zonefile"]
    zone: DomainName | None = None
    """Origin of the zone that goes there; with one zone that one."""
    file: FilePath
    """The file that the name server reads."""
    check: Annotated[
        tuple[Annotated[Checker, kind.choice(*Checker)], ...],
        BeforeValidator(_as_checkers),
    ] = Field((), json_schema_extra=_or_auto)
    """Programs that must accept the new file before it takes the old one's place; auto: all that are installed."""
    reload: tuple[Annotated[str, kind.WORD], ...] = ()
    """Command that makes the name server read the file, as a list of words; no shell is used."""
    reload_timeout: Timeout = written(kind.duration_text(default_of(ZoneFile, "reload_timeout")))
    """Bound of the reload command."""
    verify: VerifySection | None = None
    secondaries: tuple[Socket, ...] = ()
    """Secondaries that are asked for the new serial, port 53 where none is given."""
    secondaries_timeout: Timeout = written(kind.duration_text(default_of(ZoneFile, "secondaries_timeout")))
    """How long they may take."""
    secondaries_required: Annotated[bool, kind.FLAG] = default_of(ZoneFile, "secondaries_required")
    """Whether it is a failure that one is behind then."""
    marker: Annotated[str, kind.MARKER] | None = None
    """Id that is written beside each pool; a pool that has another one is left alone."""


class KeySection(Section):
    """The TSIG key: a `tsig-keygen` file, or name and algorithm with the place of the secret. Never the secret."""

    file: FilePath | None = None
    """A file as tsig-keygen writes it."""
    name: Annotated[dns.name.Name, kind.NAME] | None = None
    """Name of the key."""
    algorithm: Annotated[str, kind.Scalar(_parse_algorithm, ALGORITHM.schema)] | None = None
    """Algorithm of the key."""
    environment: Annotated[str, VARIABLE] | None = None
    """Environment variable that holds the secret, in base64."""
    secret_file: FilePath | None = None
    """File that holds the secret, in base64, and nothing else."""


class TlsSection(Section):
    """How the primary proves itself over TLS."""

    name: Annotated[HostName, kind.HOST_NAME] | None = None
    """Name that its certificate is for; without it the address in `server`."""
    ca_file: FilePath | None = None
    """File with the roots, in PEM form, that its certificate is verified by; by default the system's."""


def _as_tls(value: object) -> object:
    if not isinstance(value, dict) and value is not True:
        raise kind.problem(
            f"{kind.shown(value)} is neither true nor a mapping: give true, or `name` and `ca_file` keys"
        )
    return {} if value is True else value


class Rfc2136Section(Section):
    """A primary that takes dynamic updates (RFC 2136)."""

    type: Literal["rfc2136"]
    zone: DomainName | None = None
    """Origin of the zone that goes there; with one zone that one."""
    server: Annotated[tuple[IPAddress, int | None], kind.PRIMARY] | None = None
    """Its address, port 53 or for TLS 853 where none is given; without it the one that the zone's SOA names."""
    key: KeySection
    read_key: KeySection | None = None
    """Another key for what is only read."""
    tls: Annotated[TlsSection, BeforeValidator(_as_tls)] | None = Field(
        None, json_schema_extra=or_else({"const": True})
    )
    """Whether it is asked over TLS: true, or how it proves itself."""
    timeout: Timeout = written(kind.duration_text(default_of(Primary, "timeout")))
    """Bound of each exchange with it."""
    soa_prerequisite: Annotated[bool, kind.FLAG] = default_of(Primary, "soa_prerequisite")
    """Whether any change of the zone since the plan was made stops the update, which is then planned again."""
    secondaries: tuple[Socket, ...] = ()
    """Secondaries that are asked for the new serial afterwards, port 53 where none is given."""
    secondaries_timeout: Timeout = written(kind.duration_text(default_of(Primary, "secondaries_timeout")))
    """How long they may take."""
    secondaries_required: Annotated[bool, kind.FLAG] = default_of(Primary, "secondaries_required")
    """Whether one that is behind then is a failure, and not only a warning."""
    marker: Annotated[str, kind.MARKER] | None = None
    """Id that is written beside each pool; a pool that has another one is left alone."""


TargetSection = Annotated[ZoneFileSection | Rfc2136Section, Field(discriminator="type")]
