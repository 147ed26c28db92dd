"""The frozen values that flow from stage to stage.

Nothing here touches the world. Text that a keyserver said is kept as it was parsed, bounded in length; it is escaped
where it is shown (report, web, log), because only there is known for what.
"""

from __future__ import annotations

import enum
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import dns.exception
import dns.name

from poolmgr.hosts import Host, IPAddress


class Family(enum.StrEnum):
    """An address family, by the name that config and reports use."""

    IPV4 = "ipv4"
    IPV6 = "ipv6"

    @classmethod
    def of(cls, address: IPAddress) -> Family:
        """Return the family of `address`."""
        return _IPV4 if isinstance(address, ipaddress.IPv4Address) else _IPV6

    @property
    def rdtype(self) -> str:
        """The record type that holds an address of this family."""
        return "A" if self is Family.IPV4 else "AAAA"


_IPV4, _IPV6 = Family.IPV4, Family.IPV6
# To look a member of an enum up by its class takes CPython 3.11 as long as five names.


class Service(enum.StrEnum):
    """What a pool's client may ask an address for."""

    HKP = "hkp"
    HTTP = "http"
    HKPS = "hkps"


@dataclass(frozen=True, slots=True, order=True)
class Endpoint:
    """One port of one address. No name is looked up to reach it."""

    service: Service
    address: IPAddress
    port: int

    def __str__(self) -> str:
        """Return ``hkp 192.0.2.1:11371`` or ``hkp [2001:db8::1]:11371``."""
        address = f"[{self.address}]" if self.address.version == 6 else str(self.address)
        return f"{self.service} {address}:{self.port}"


@dataclass(frozen=True, slots=True)
class Peer:
    """A gossip peer as a stats page lists it.

    `recon_port` is None where the page does not say, and so is `stats_path`, the path and query of the peer's own stats
    page, which Hockeypuck tells since 2.2.4.
    """

    host: Host
    recon_port: int | None = None
    stats_path: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """What one op=stats page says. Every field but `software` may be missing: None is "unknown", which is not 0.

    `keys` is never negative. `taken_at` is when the keyserver counted its keys, aware UTC: up to a day ago for SKS.
    `rejected_peers` counts the peers that were masked, malformed or over the limit.
    """

    software: str
    version: str | None = None
    hostname: str | None = None
    nodename: str | None = None
    contact: str | None = None
    keys: int | None = None
    taken_at: datetime | None = None
    peers: tuple[Peer, ...] = ()
    rejected_peers: int = 0
    mailsync: tuple[str, ...] = ()


class Ask(enum.StrEnum):
    """What a probe asks for."""

    STATS = "stats"
    LOOKUP = "lookup"


class Outcome(enum.StrEnum):
    """How a probe ended. OK is the only good one."""

    OK = "ok"
    NOT_ALLOWED = "not-allowed"
    REFUSED = "refused"
    UNREACHABLE = "unreachable"
    CONNECT_TIMEOUT = "connect-timeout"
    FIRST_BYTE_TIMEOUT = "first-byte-timeout"
    TIMEOUT = "timeout"
    RESET = "reset"
    TRUNCATED = "truncated"
    TOO_BIG = "too-big"
    NOT_HTTP = "not-http"
    HTTP_STATUS = "http-status"
    REDIRECT = "redirect"
    NOT_KEYSERVER = "not-keyserver"
    NO_KEY = "no-key"
    WRONG_KEY = "wrong-key"
    BAD_TLS = "bad-tls"
    UNRESOLVED = "unresolved"


_OK = Outcome.OK


@dataclass(frozen=True, slots=True)
class Certificate:
    """The certificate that an endpoint showed, chain and name verified: `not_after` is its end, aware UTC."""

    issuer: str
    not_after: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One bounded exchange with one endpoint and how it ended, after `attempts` tries.

    `host` is the name that was asked for: the Host header without its port, and the TLS server name. `detail` says more
    about the outcome, for people. `connect`, `first_byte` and `total` count from the start of the exchange; those not
    reached are None. `server` and `via` are the reply's headers, None where absent; `certificate` is there where TLS
    was asked for and verified. `version` is when the canary key of the reply was last signed by itself, unverified and
    not in the future, None where that is unknown.
    """

    ask: Ask
    endpoint: Endpoint
    host: str
    outcome: Outcome
    detail: str = ""
    status: int | None = None
    started: datetime
    connect: timedelta | None = None
    first_byte: timedelta | None = None
    total: timedelta | None = None
    server: str | None = None
    via: str | None = None
    certificate: Certificate | None = None
    version: datetime | None = None
    attempts: int = 1

    @property
    def is_good(self) -> bool:
        """Whether the endpoint did what a client needs."""
        return self.outcome is _OK


@dataclass(frozen=True, slots=True)
class KeyserverAddress:
    """One address of a keyserver: what it said of itself when asked there, and every probe of it.

    Where the stats page was sampled more than once, `stats` has the union of the peers and the largest count, and
    `spread` is that count less the smallest: a cluster shows other counts on each hit. `country` is where the address
    was said to be at the time, as a code of ISO 3166-1 in lower case, None where nothing said so.
    """

    address: IPAddress
    stats: Stats | None
    probes: tuple[Probe, ...]
    spread: int = 0
    country: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Keyserver:
    """A keyserver of the mesh under its canonical name.

    `depth` is the number of gossip links from the nearest seed (a seed has 0), None where nobody lists it any more:
    then it is known from earlier crawls. `listed` is when it was last listed by a seed or a peer. Each address belongs
    to exactly one keyserver. `peers` are the canonical names of the keyservers that its stats pages list, in order.
    `problem` says why a name gave no address, None where it did. `is_canonical` says whether the name has just these
    addresses and is no alias in DNS (CNAME), None where that could not be told.
    """

    name: Host
    aliases: tuple[Host, ...] = ()
    depth: int | None
    listed: datetime
    addresses: tuple[KeyserverAddress, ...] = ()
    peers: tuple[Host, ...] = ()
    problem: str | None = None
    is_canonical: bool | None = None

    @property
    def hosts(self) -> tuple[Host, ...]:
        """The name and its aliases."""
        return (self.name, *self.aliases)


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """One crawl of the mesh, ordered by keyserver name.

    `cut_short` has a sentence for each bound that was reached. `blind` has the families that the crawler itself could
    not reach in this round, each with a sentence that says how that was seen: what it measured there proves nothing.
    """

    started: datetime
    finished: datetime
    keyservers: tuple[Keyserver, ...]
    cut_short: tuple[str, ...] = ()
    blind: Mapping[Family, str] = field(default_factory=dict)


class ReasonCode(enum.StrEnum):
    """Why an address is out of a pool, or eligible and not published."""

    EXCLUDED = "excluded"
    NOT_INCLUDED = "not-included"
    NO_ADDRESS = "no-address"
    FAMILY = "family"
    SPECIAL_PURPOSE = "special-purpose"
    STATS = "stats"
    SOFTWARE = "software"
    VERSION = "version"
    NO_COUNT = "no-count"
    BEHIND = "behind"
    AHEAD = "ahead"
    STUCK = "stuck"
    CANARY = "canary"
    COHORT = "cohort"
    SERVICE = "service"
    UNRELIABLE = "unreliable"
    SLOW = "slow"
    CERTIFICATE = "certificate"
    PROXY = "proxy"
    COUNTRY = "country"
    DUAL_STACK = "dual-stack"
    JOINING = "joining"
    PROBATION = "probation"
    FLAPPING = "flapping"
    FALLING = "falling"
    CAP = "cap"
    NETWORK = "network"
    RELAXED = "relaxed"
    FALLBACK = "fallback"


@dataclass(frozen=True, slots=True)
class Reason:
    """One rule that an address fails: what was measured, what the rule asks for, and both in a sentence.

    `outcome` is that of the probe that failed, None where the rule is about something else. `excess` is how far past
    the limit it is, in whatever the rule counts, 0 where it counts nothing.
    """

    code: ReasonCode
    measured: str
    limit: str
    sentence: str
    outcome: Outcome | None = None
    excess: float = field(default=0.0, compare=False)

    def __str__(self) -> str:
        return self.sentence


class State(enum.StrEnum):
    """Where an address stands with one pool."""

    MEMBER = "member"
    ELIGIBLE = "eligible"
    OUT = "out"


_OUT, _MEMBER = State.OUT, State.MEMBER


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What was decided of one address for one pool.

    `address` is None for a keyserver whose name gave none. Only a member is without reasons. `warnings` are rules that
    it will fail unless something is done, such as a certificate that ends soon, or one that it fails now and for the
    first time. `since` is when it came in or went out, None where no earlier crawl was judged. `progress` counts crawls
    in a row towards the other side, and how many it takes: an address that is out is joining, another one is leaving.
    `is_falling` says that it failed so often in a row that others are to have its place.
    """

    pool: dns.name.Name
    keyserver: Host
    address: IPAddress | None
    state: State
    reasons: tuple[Reason, ...] = ()
    warnings: tuple[Reason, ...] = ()
    since: datetime | None = None
    progress: tuple[int, int] | None = None
    is_falling: bool = False

    def __post_init__(self) -> None:
        if not self.reasons and self.state is _OUT:
            raise ValueError(f"{self.address} is out of {self.pool} without a reason")
        if self.state is _MEMBER and (self.reasons or self.address is None):
            raise ValueError(f"{self.address} cannot be a member of {self.pool}: {self.reasons}")


@dataclass(frozen=True, slots=True)
class Selection:
    """The members of every pool and family, each in address order, and the final verdicts in the judge's order."""

    members: Mapping[tuple[dns.name.Name, Family], tuple[IPAddress, ...]]
    verdicts: tuple[Verdict, ...]
