"""The sections of the config file: keys, kinds, defaults and what each means, for validation and for editors.

Defaults are those of the stages' own dataclasses wherever a stage has the value.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import dns.name
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ModelWrapValidatorHandler, ValidationError
from pydantic import model_validator as validates_model
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import ErrorDetails, InitErrorDetails, core_schema

from poolmgr.config import fields as kind
from poolmgr.config.document import Place, Problem
from poolmgr.crawl.frontier import Bounds
from poolmgr.crawl.known import FORGET_AFTER
from poolmgr.crawl.politeness import Politeness
from poolmgr.crawl.probe import Exchange
from poolmgr.crawl.resolve import Nameservers
from poolmgr.crawl.spider import PORTS, Crawl
from poolmgr.errors import ParseError
from poolmgr.hosts import Host, HostName, IPAddress, IPNetwork
from poolmgr.judge.quality import Quality
from poolmgr.judge.steadiness import Steadiness
from poolmgr.judge.verdict import Policy
from poolmgr.model import Family, Outcome, Pool, Service, Vhost, WhenShort
from poolmgr.publish.rfc2136 import Primary
from poolmgr.publish.tsig import ALGORITHMS
from poolmgr.publish.zonefile import Checker, Verify, ZoneFile
from poolmgr.version import Version
from poolmgr.zone.plan import MAX_AGE
from poolmgr.zone.serial import Scheme

_NONE, _SECOND, _DAY = timedelta(0), timedelta(seconds=1), timedelta(days=1)

EXCHANGE_TIME = kind.duration(_SECOND, timedelta(minutes=10))
ALGORITHM = kind.choice(*ALGORITHMS)
VARIABLE = kind.matching(
    "[A-Za-z_][A-Za-z0-9_]{0,99}",
    "is not the name of an environment variable, such as TSIG_SECRET; the secret itself does not belong here",
)
FAMILY = kind.choice(*Family)
TTL = kind.duration(60 * _SECOND, 7 * _DAY)
MAX_RECORDS = kind.number(1, 100)
MIN_MEMBERS = kind.number(0, 100)
ALLOWED = kind.number(1, 100)
WHEN_SHORT = kind.choice(*WhenShort)
PER_NETWORK = kind.number(1, 100)
LAG = kind.duration(timedelta(hours=1), 14 * _DAY)
LOOKS = kind.number(1, 100)
FAILURE = kind.choice(*(outcome for outcome in Outcome if outcome is not Outcome.OK))
PORT = kind.number(1, 65535)

Timeout = Annotated[timedelta, EXCHANGE_TIME]
FilePath = Annotated[Path, kind.PATH]
DomainName = Annotated[dns.name.Name, kind.NAME]
Socket = Annotated[kind.Socket, kind.SOCKET]
Overrides = tuple[Annotated[kind.Override, kind.OVERRIDE], ...]
MinimumVersions = dict[Annotated[str, kind.SOFTWARE], Annotated[Version, kind.VERSION]]

_SENTENCES = {
    "missing": "is missing: add it",
    "extra_forbidden": "is not a key of this section{closest}",
    "model_type": "{value} is not a mapping: write `key: value` lines under it",
    "model_attributes_type": "{value} is not a mapping: write `key: value` lines under it",
    "dict_type": "{value} is not a mapping: write `key: value` lines under it",
    "tuple_type": "{value} is not a list: write it as [one, two], or one a line behind a dash",
    "union_tag_not_found": "says no type: add `type: zonefile` or `type: rfc2136`",
    "union_tag_invalid": "{tag} is no type of target: give zonefile or rfc2136",
}


def _filled(value: object) -> object:
    if value in ([], {}):
        raise kind.problem("is empty: give at least one")
    return value


FILLED = BeforeValidator(_filled)


def _default(stage: type[Any], name: str) -> Any:  # noqa: ANN401 -- of whatever type the stage's field has
    """Return the default of a stage's field."""
    field = next(field for field in dataclasses.fields(stage) if field.name == name)
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def _written(default: object) -> Any:  # noqa: ANN401 -- the field's type, once validated
    """Declare a default as the file would have it, so that editors show it and validation reads it."""
    return Field(default, validate_default=True)


def _in_own_words(error: ErrorDetails, known: Collection[str]) -> InitErrorDetails:
    sentence = error["msg"]
    if error["type"] != "problem":
        closest = kind.closest("".join(map(str, error["loc"][-1:])), known) or f": it has {', '.join(known)}"
        value, tag = kind.shown(error["input"]), kind.shown(error.get("ctx", {}).get("tag"))
        sentence = _SENTENCES[error["type"]].format(value=value, tag=tag, closest=closest)
    return {"type": kind.problem(sentence), "loc": error["loc"], "input": error["input"]}


class Section(BaseModel):
    """A mapping with known keys. Its errors carry sentences of our own instead of pydantic's."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    @validates_model(mode="wrap")
    @classmethod
    def _validate(cls, value: object, validate: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return validate(value)
        except ValidationError as refusal:
            errors = [_in_own_words(error, cls.model_fields) for error in refusal.errors(include_url=False)]
            raise ValidationError.from_exception_data(cls.__name__, errors) from refusal


class StateSection(Section):
    """Where poolmgr keeps what it remembers."""

    folder: FilePath = _written("/var/lib/poolmgr")
    """Folder of the store and the lock."""
    keep: Annotated[timedelta, kind.duration(_DAY, 3650 * _DAY)] = _written("90d")
    """How long crawls are kept."""
    keep_thinned: Annotated[timedelta, kind.duration(_DAY, 3650 * _DAY)] = _written("730d")
    """How long the first crawl of each day is kept after that."""


class PortsSection(Section):
    """Where the services are. Pool clients know only the defaults: others are for labs."""

    hkp: Annotated[int, PORT] = PORTS[Service.HKP]
    """TCP port of HKP."""
    http: Annotated[int, PORT] = PORTS[Service.HTTP]
    """TCP port of HKP on the web's port."""
    hkps: Annotated[int, PORT] = PORTS[Service.HKPS]
    """TCP port of HKP over TLS."""


class SelfCheckSection(Section):
    """What must be reachable while the crawler's own network is up."""

    ipv4: tuple[Annotated[kind.Socket, kind.check_target(Family.IPV4)], ...] = ()
    """IPv4 addresses with a TCP port that takes connections whenever the network is up."""
    ipv6: tuple[Annotated[kind.Socket, kind.check_target(Family.IPV6)], ...] = ()
    """The same for IPv6."""
    name: Annotated[HostName, kind.HOST_NAME] | None = None
    """Name that has an address whenever DNS is up."""


class PolitenessSection(Section):
    """What one keyserver gets of requests, all its addresses together."""

    in_flight: Annotated[int, kind.number(1, 100)] = _default(Politeness, "in_flight")
    """Requests under way at once."""
    per_crawl: Annotated[int, kind.number(1, 10_000)] = _default(Politeness, "per_crawl")
    """Requests in one crawl."""


class CrawlSection(Section):
    """How the keyserver mesh is found and probed."""

    seeds: tuple[Annotated[Host, kind.HOST], ...] = ()
    """Names or addresses of the keyservers where the crawl starts."""
    membership: FilePath | None = None
    """An SKS membership file: its peers are seeds too."""
    canary: Annotated[str, kind.FINGERPRINT] | None = None
    """Fingerprint of a key that every keyserver must answer with. Either this or `search`."""
    search: Annotated[str, kind.SEARCH] | None = None
    """Text that every keyserver's index must find a key for. Either this or `canary`."""
    nameservers: tuple[Socket, ...] = ()
    """Name servers to ask for addresses, port 53 where none is given; none: those of the system."""
    dns_timeout: Timeout = _written(kind.duration_text(_default(Nameservers, "timeout")))
    """Bound of all look-ups of one name."""
    deadline: Timeout = _written(kind.duration_text(_default(Exchange, "deadline")))
    """Bound of one exchange with one address, from connect to the last byte."""
    max_bytes: Annotated[int, kind.size(1024, 64 * 1024**2)] = _written(kind.size_text(_default(Exchange, "max_bytes")))
    """Bound of one reply's body."""
    max_depth: Annotated[int, kind.number(0, 1000)] = _default(Bounds, "max_depth")
    """Gossip links followed from a seed."""
    max_keyservers: Annotated[int, kind.number(1, 100_000)] = _default(Bounds, "max_keyservers")
    """Keyserver names resolved in one crawl."""
    max_peers: Annotated[int, kind.number(0, 10_000)] = _default(Bounds, "max_peers")
    """Gossip peers believed of one stats page."""
    max_addresses: Annotated[int, kind.number(1, 100)] = _default(Bounds, "max_addresses")
    """Addresses probed of one name."""
    workers: Annotated[int, kind.number(1, 4096)] = _default(Crawl, "workers")
    """Exchanges and look-ups under way at once."""
    retries: Annotated[int, kind.number(0, 3)] = _default(Crawl, "retries")
    """How often a probe that failed in passing is made again, after all others."""
    samples: Annotated[int, kind.number(1, 5)] = _default(Crawl, "samples")
    """How often the stats page of each address is fetched."""
    politeness: PolitenessSection = Field(default_factory=PolitenessSection)
    forget_after: Annotated[timedelta, kind.duration(_SECOND, 3650 * _DAY)] = _written(kind.duration_text(FORGET_AFTER))
    """How long a keyserver that nobody lists any more is crawled all the same."""
    ca_file: FilePath | None = None
    """File with the roots, in PEM form, that the certificates of hkps are verified by; by default the system's."""
    contact: Annotated[str, kind.CONTACT] | None = None
    """URL or mail address for the operators of keyservers; it goes into the User-Agent."""
    allow_networks: tuple[Annotated[IPNetwork, kind.NETWORK], ...] = ()
    """Special-purpose networks, such as 10.0.0.0/8, that may be connected to and published all the same."""
    self_check: SelfCheckSection = Field(default_factory=SelfCheckSection)
    ports: PortsSection = Field(default_factory=PortsSection)


class PolicySection(Section):
    """What is asked of every keyserver, whatever the pool."""

    minimum_versions: Annotated[MinimumVersions, FILLED] = _written(
        {software: str(version) for software, version in _default(Policy, "minimum_versions").items()}
    )
    """The software that may serve at all, each with its oldest version, in quotes."""
    max_keys_behind: Annotated[int, kind.number(0, 10**9)] = _default(Policy, "max_keys_behind")
    """Keys that a keyserver may lack of its cohort's reference."""
    max_keys_ahead: Annotated[int, kind.number(0, 10**9)] = _default(Policy, "max_keys_ahead")
    """Keys that a keyserver may have over its cohort's reference."""
    max_lag: Annotated[timedelta, LAG] = _written(kind.duration_text(_default(Policy, "max_lag")))
    """Time by which the count of a keyserver that is in may lag the frontier of its cohort."""
    enter_lag: Annotated[timedelta, LAG] = _written(kind.duration_text(_default(Policy, "enter_lag")))
    """The same for a keyserver that is to come in."""
    max_lead: Annotated[timedelta, LAG] = _written(kind.duration_text(_default(Policy, "max_lead")))
    """Time by which a count may be ahead of that frontier."""
    lag_tolerance: Annotated[int, kind.number(0, 10**9)] = _default(Policy, "lag_tolerance")
    """Keys that a count may be off whatever time that is."""
    min_cohort: Annotated[int, kind.number(1, 1000)] = _default(Policy, "min_cohort")
    """Keyservers from which on a cohort is judged by itself."""
    min_reliability: Annotated[float, kind.PERCENT] = _written(kind.percent_text(_default(Quality, "min_reliability")))
    """Share of the last week in which an address must not have been seen to fail."""
    enter_reliability: Annotated[float, kind.PERCENT] = _written(
        kind.percent_text(_default(Quality, "enter_reliability"))
    )
    """The same for an address that is to come in."""
    max_latency: Timeout = _written(kind.duration_text(_default(Quality, "max_latency")))
    """Time within which a lookup must be answered."""
    enter_latency: Timeout = _written(kind.duration_text(_default(Quality, "enter_latency")))
    """The same for an address that is to come in."""
    min_seen: Annotated[float, kind.PERCENT] = _written(kind.percent_text(_default(Policy, "min_seen")))
    """Share of a family's addresses answering lately that a crawl must see answering, or it counts for nothing."""
    certificate_warning: Annotated[timedelta, kind.duration(_DAY, 365 * _DAY)] = _written(
        kind.duration_text(_default(Policy, "certificate_warning"))
    )
    """Time before the end of an hkps certificate from which on the report warns of it."""
    rise: Annotated[int, LOOKS] = _default(Steadiness, "rise")
    """Good crawls in a row after which an address comes in."""
    fall: Annotated[int, LOOKS] = _default(Steadiness, "fall")
    """Bad crawls in a row after which an address gives its place to another that is eligible."""
    drop: Annotated[int, LOOKS] = _default(Steadiness, "drop")
    """Bad crawls in a row after which an address goes out and has to come in anew."""
    fast_fall: tuple[Annotated[Outcome, FAILURE], ...] = _written(
        tuple(sorted(map(str, _default(Policy, "fast_fall"))))
    )
    """Outcomes of a probe after which an address goes out at once."""
    probation: Annotated[timedelta, kind.duration(_NONE, 30 * _DAY)] = _written(
        kind.duration_text(_default(Steadiness, "probation"))
    )
    """How long an address must be known before it comes in for the first time."""
    flap_wait: Annotated[timedelta, kind.duration(_NONE, 7 * _DAY)] = _written(
        kind.duration_text(_default(Steadiness, "flap_wait"))
    )
    """How long an address that went out stays out at least, twice as long each time it goes out again."""
    flap_limit: Annotated[timedelta, kind.duration(_NONE, 30 * _DAY)] = _written(
        kind.duration_text(_default(Steadiness, "flap_limit"))
    )
    """The longest such wait."""
    forgive_after: Annotated[timedelta, kind.duration(60 * _SECOND, 365 * _DAY)] = _written(
        kind.duration_text(_default(Steadiness, "forgive_after"))
    )
    """Time constant by which it is forgiven that an address went out."""
    exclude: Overrides = ()
    """Names, addresses and networks that are never published."""
    include_only: Overrides = ()
    """Names, addresses and networks that alone may be published; none: everybody."""


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
        return _filled(value)
    for key, scalar in (("count", ALLOWED), ("share", kind.PERCENT)):
        try:
            scalar.parse(value)
        except ParseError:
            continue
        return {key: value}
    refusal = f"{kind.shown(value)} is neither a share like 50% nor a whole number from 1 to 100"
    raise kind.problem(f"{refusal}; both: {{share: 50%, count: 5}}")


def _or_share_or_number(schema: dict[str, Any]) -> None:
    of = schema.pop("anyOf", None) or [{"$ref": schema.pop("$ref")}]
    schema["anyOf"] = [one for one in of if "$ref" in one] + [dict(kind.PERCENT.schema), dict(ALLOWED.schema)]


AllowanceField = Annotated[AllowanceSection, BeforeValidator(_as_allowance)]


def _by_family(value: object) -> object:
    return value if isinstance(value, dict) else dict.fromkeys(map(str, Family), MIN_MEMBERS.validate(value))


def _or_number(schema: dict[str, Any]) -> None:
    schema["anyOf"] = [{"$ref": schema.pop("$ref")}, dict(MIN_MEMBERS.schema)]


class PoolSection(Section):
    """What is promised under one owner name."""

    name: DomainName
    """Owner name of the pool, written in full."""
    host: Annotated[HostName, kind.HOST_NAME] | None = None
    """Name that the pool's clients ask keyservers for; by default the pool's."""
    families: Annotated[tuple[Annotated[Family, FAMILY], ...], FILLED] = _written(tuple(map(str, Family)))
    """Address families to publish."""
    services: Annotated[tuple[Annotated[Service, kind.SERVICE], ...], FILLED] = _written((str(Service.HKP),))
    """Services that each address must answer."""
    vhost: Annotated[Vhost, kind.choice(*Vhost)] = _written(str(_default(Pool, "vhost")))
    """Under which name it must: the pool's host name, the keyserver's own, or either."""
    minimum_versions: MinimumVersions = _written({})
    """Versions that this pool asks for beyond the policy's."""
    exclude: Overrides = ()
    """Names, addresses and networks that are kept out of this pool."""
    include_only: Overrides = ()
    """Names, addresses and networks that alone may be in this pool; none: everybody."""
    max_records: Annotated[int, MAX_RECORDS] = _default(Pool, "max_records")
    """Cap of published addresses per family."""
    min_members: Annotated[FloorSection, BeforeValidator(_by_family)] = Field(
        default_factory=FloorSection, json_schema_extra=_or_number
    )
    """Floor of members, one number for each family or by family: below it the last good records stay."""
    max_removed: AllowanceField = Field(
        str(_default(Pool, "max_removed")), validate_default=True, json_schema_extra=_or_share_or_number
    )
    """What one run may remove of one family's published addresses: a share, a number, or both; one always may go."""
    max_added: AllowanceField | None = Field(None, json_schema_extra=_or_share_or_number)
    """What one run may add to one family's published addresses; without it any number."""
    per_network: Annotated[int, PER_NETWORK] = _default(Pool, "per_network")
    """Published addresses of one network, /16 or /32, where there are others."""
    rotate_every: Annotated[timedelta, kind.duration(timedelta(minutes=10), 3650 * _DAY)] | None = None
    """How often the members are drawn anew; without it never."""
    when_short: Annotated[WhenShort, WHEN_SHORT] = _written(str(_default(Pool, "when_short")))
    """What is published where fewer than `min_members` are eligible."""
    fallback: tuple[Annotated[IPAddress, kind.ADDRESS], ...] = ()
    """Addresses to publish then, with `when_short: fallback`."""
    ttl: Annotated[timedelta, TTL] = _written(kind.duration_text(_default(Pool, "ttl")))
    """TTL of the records."""


class ZoneSection(Section):
    """The zone that the pools are in."""

    origin: DomainName
    """Name of the zone."""
    skeleton: FilePath | None = None
    """Zone file with everything in the zone but the pools. Needed by zone file targets."""
    serial: Annotated[Scheme, kind.choice(*Scheme)] = _written(str(Scheme.UNIXTIME))
    """What the SOA serial says, beside being newer than the last one."""
    max_age: Annotated[timedelta, kind.duration(60 * _SECOND, 30 * _DAY)] = _written(kind.duration_text(MAX_AGE))
    """Age of a crawl beyond which it changes nothing."""


class VerifySection(Section):
    """The name server that must answer with the new serial after the reload."""

    server: Socket
    """Its address, port 53 where none is given."""
    timeout: Timeout = _written(kind.duration_text(_default(Verify, "timeout")))
    """How long it may take."""


class ZoneFileSection(Section):
    """A zone file to keep."""

    type: Literal["zonefile"]
    file: FilePath
    """The file that the name server reads."""
    check: tuple[Annotated[Checker, kind.choice(*Checker)], ...] = ()
    """Programs that must accept the new file before it takes the old one's place."""
    reload: tuple[Annotated[str, kind.WORD], ...] = ()
    """Command that makes the name server read the file, as a list of words; no shell is used."""
    reload_timeout: Timeout = _written(kind.duration_text(_default(ZoneFile, "reload_timeout")))
    """Bound of the reload command."""
    verify: VerifySection | None = None


class KeySection(Section):
    """The TSIG key: a `tsig-keygen` file, or name and algorithm with the place of the secret. Never the secret."""

    file: FilePath | None = None
    """A file as tsig-keygen writes it."""
    name: Annotated[dns.name.Name, kind.NAME] | None = None
    """Name of the key."""
    algorithm: Annotated[str, ALGORITHM] | None = None
    """Algorithm of the key."""
    environment: Annotated[str, VARIABLE] | None = None
    """Environment variable that holds the secret, in base64."""
    secret_file: FilePath | None = None
    """File that holds the secret, in base64, and nothing else."""


class Rfc2136Section(Section):
    """A primary that takes dynamic updates (RFC 2136)."""

    type: Literal["rfc2136"]
    server: Socket
    """Its address, port 53 where none is given."""
    key: KeySection
    timeout: Timeout = _written(kind.duration_text(_default(Primary, "timeout")))
    """Bound of each exchange with it."""


Target = Annotated[ZoneFileSection | Rfc2136Section, Field(discriminator="type")]


class ConfigFile(Section):
    """Configuration of poolmgr. Relative paths start at the folder of the config file."""

    state: StateSection = Field(default_factory=StateSection)
    crawl: CrawlSection
    policy: PolicySection = Field(default_factory=PolicySection)
    pools: Annotated[tuple[PoolSection, ...], FILLED]
    """The pools, at least one."""
    zone: ZoneSection
    publish: tuple[Target, ...] = ()
    """Where the zone goes; nowhere: poolmgr only reports."""


def validate(value: object) -> tuple[ConfigFile | None, tuple[Problem, ...]]:
    """Return the config that plain values stand for, or None and every problem with a single field of it."""
    try:
        return ConfigFile.model_validate(value), ()
    except ValidationError as refusal:
        errors = refusal.errors(include_url=False)
        return None, tuple(Problem(_place(error["loc"]), error["msg"]) for error in errors)


def _place(steps: Place) -> Place:
    """Return `steps` without what pydantic adds: the type behind a target's index, "[key]" behind a refused key."""
    if steps[:1] == ("publish",):
        steps = steps[:2] + steps[3:]
    return steps[:-1] if steps[-1:] == ("[key]",) else steps


class _ForEditors(GenerateJsonSchema):
    """JSON Schema without null, which the file cannot hold, and without titles that repeat the keys."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        if schema.get("default") is None:
            return self.generate_inner(schema["schema"])
        return super().default_schema(schema)

    def field_title_should_be_set(self, schema: object) -> bool:  # noqa: ARG002 -- the signature is pydantic's
        return False


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of the config file, for editors."""
    return {"$schema": _ForEditors.schema_dialect, **ConfigFile.model_json_schema(schema_generator=_ForEditors)}
