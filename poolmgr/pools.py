"""What is promised under the names of the pools, as every stage takes it."""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

import dns.name

from poolmgr.hosts import Host, HostName, IPAddress, IPNetwork, host_text
from poolmgr.model import Family, Service
from poolmgr.version import Version


class Vhost(enum.StrEnum):
    """Under which name an address must answer a pool's clients: they ask for the pool's, SRV may lead to its own."""

    POOL = "pool"
    OWN = "own"
    EITHER = "either"


@dataclass(frozen=True, slots=True, kw_only=True)
class Overrides:
    """Keyservers that the operator names, by name or alias, by address, or by network."""

    names: frozenset[HostName] = frozenset()
    networks: tuple[IPNetwork, ...] = ()

    def match(self, hosts: tuple[Host, ...], address: IPAddress | None) -> str | None:
        """Return the entry that names one of `hosts` or holds `address`, as text, or None."""
        for host in hosts:
            if host in self.names:
                return host_text(host)
        for network in self.networks:
            if address is not None and address in network:
                single = network.prefixlen == network.max_prefixlen
                return str(network.network_address if single else network)
        return None

    def __bool__(self) -> bool:
        return bool(self.names or self.networks)


class WhenShort(enum.StrEnum):
    """What is published where fewer than the floor are eligible: the last good records, a list, or the least bad."""

    HOLD = "hold"
    FALLBACK = "fallback"
    RELAX = "relax"


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """How many of one RRset's records may change at once: a share (0 to 1) of the published ones, a count, or both."""

    share: float | None = None
    count: int | None = None

    def of(self, published: int) -> int | None:
        """Return how many of `published` that is, None where there is no limit: the stricter, but one always may."""
        counts = [] if self.share is None else [math.floor(self.share * published)]
        counts += [] if self.count is None else [self.count]
        return max(1, min(counts)) if counts else None

    def __str__(self) -> str:
        share = [] if self.share is None else [f"{self.share:.0%}"]
        return " and ".join(share if self.count is None else [*share, str(self.count)])


class SrvKind(enum.StrEnum):
    """What SRV records of a pool are asked for, by the label that stands before ``_tcp`` and the pool's name.

    GnuPG's dirmngr asks for the last two: `pgpkey-http` where it was given hkp, and `pgpkey-https` for hkps.
    """

    HKP = "hkp"
    HKPS = "hkps"
    PGPKEY_HTTP = "pgpkey-http"
    PGPKEY_HTTPS = "pgpkey-https"

    @property
    def services(self) -> tuple[Service, ...]:
        """The services that such a record may lead to: the first that an address answers."""
        is_tls = self in {SrvKind.HKPS, SrvKind.PGPKEY_HTTPS}
        return (Service.HKPS,) if is_tls else (Service.HKP, Service.HTTP)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """What is promised under one owner name.

    `host` is the Host header that this pool's clients send; an address must answer every one of `services` under it,
    under the keyserver's own name, or under either, as `vhost` says.
    `minimum_versions` (software, lower case) are asked for beside the policy's, and `max_lag` is how late a key count
    may be here, where that is less. Only `software` (lower case) is admitted, addresses in `networks`, and those in
    `countries` or in `continents` (codes in lower case); each of these where it is not empty. `proxied` asks for a
    proxy before each service, `newest` for the newest version of each software. A lookup may take `max_latency`. With
    `dual_stack` an IPv6 address comes in only beside an IPv4 address of the same keyserver. `min_members` is the floor
    and `max_records` the cap per family, of which at most `per_network` are of one network (/16 or /32) where others
    are eligible. With `rotate_every` the members are drawn anew that often, None: never. `max_removed` and `max_added`
    are what one run may remove from, and add to, the published addresses of one family. `when_short` says what is
    published with fewer than the floor, `fallback` the addresses that it may name. The TTL is in whole seconds.
    `srv` are the SRV records to publish, and `txt` says whether a TXT record tells of the last crawl, at most
    `txt_refresh` late; where either is None, such records at the pool belong to the operator.
    """

    name: dns.name.Name
    host: HostName
    families: frozenset[Family]
    services: frozenset[Service]
    vhost: Vhost = Vhost.POOL
    minimum_versions: Mapping[str, Version] = field(default_factory=dict)
    exclude: Overrides = Overrides()
    include_only: Overrides = Overrides()
    software: frozenset[str] = frozenset()
    networks: tuple[IPNetwork, ...] = ()
    countries: frozenset[str] = frozenset()
    continents: frozenset[str] = frozenset()
    proxied: bool = False
    newest: bool = False
    max_lag: timedelta | None = None
    max_latency: timedelta | None = None
    dual_stack: bool = False
    max_records: int = 10
    min_members: Mapping[Family, int] = field(default_factory=dict)
    max_removed: Allowance = Allowance(share=0.5)
    max_added: Allowance | None = None
    per_network: int = 2
    rotate_every: timedelta | None = None
    when_short: WhenShort = WhenShort.HOLD
    fallback: tuple[IPAddress, ...] = ()
    ttl: timedelta = timedelta(seconds=300)
    srv: frozenset[SrvKind] | None = None
    txt: bool | None = None
    txt_refresh: timedelta = timedelta(hours=1)
