"""The section of the config file about the crawl.

Defaults are those of the stages' own dataclasses wherever a stage has the value.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from pydantic import Field

from poolmgr.config import fields as kind
from poolmgr.config.section import DAY, SECOND, FilePath, Section, Socket, Timeout, default_of, written
from poolmgr.crawl.frontier import Bounds
from poolmgr.crawl.known import FORGET_AFTER
from poolmgr.crawl.politeness import Politeness
from poolmgr.crawl.probe import Exchange
from poolmgr.crawl.resolve import Nameservers
from poolmgr.crawl.spider import PORTS, Crawl
from poolmgr.hosts import Host, HostName, IPNetwork
from poolmgr.model import Family, Service

PORT = kind.number(1, 65535)


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

    in_flight: Annotated[int, kind.number(1, 100)] = default_of(Politeness, "in_flight")
    """Requests under way at once."""
    per_crawl: Annotated[int, kind.number(1, 10_000)] = default_of(Politeness, "per_crawl")
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
    dns_timeout: Timeout = written(kind.duration_text(default_of(Nameservers, "timeout")))
    """Bound of all look-ups of one name."""
    deadline: Timeout = written(kind.duration_text(default_of(Exchange, "deadline")))
    """Bound of one exchange with one address, from connect to the last byte."""
    max_bytes: Annotated[int, kind.size(1024, 64 * 1024**2)] = written(
        kind.size_text(default_of(Exchange, "max_bytes"))
    )
    """Bound of one reply's body."""
    max_depth: Annotated[int, kind.number(0, 1000)] = default_of(Bounds, "max_depth")
    """Gossip links followed from a seed."""
    max_keyservers: Annotated[int, kind.number(1, 100_000)] = default_of(Bounds, "max_keyservers")
    """Keyserver names resolved in one crawl."""
    max_peers: Annotated[int, kind.number(0, 10_000)] = default_of(Bounds, "max_peers")
    """Gossip peers believed of one stats page."""
    max_addresses: Annotated[int, kind.number(1, 100)] = default_of(Bounds, "max_addresses")
    """Addresses probed of one name."""
    workers: Annotated[int, kind.number(1, 4096)] = default_of(Crawl, "workers")
    """Exchanges and look-ups under way at once."""
    retries: Annotated[int, kind.number(0, 3)] = default_of(Crawl, "retries")
    """How often a probe that failed in passing is made again, after all others."""
    samples: Annotated[int, kind.number(1, 5)] = default_of(Crawl, "samples")
    """How often the stats page of each address is fetched."""
    politeness: PolitenessSection = Field(default_factory=PolitenessSection)
    forget_after: Annotated[timedelta, kind.duration(SECOND, 3650 * DAY)] = written(kind.duration_text(FORGET_AFTER))
    """How long a keyserver that nobody lists any more is crawled all the same."""
    ca_file: FilePath | None = None
    """File with the roots, in PEM form, that the certificates of hkps are verified by; by default the system's."""
    geo: FilePath | None = None
    """A MaxMind DB file that says in which country an address is, for pools of countries and continents."""
    countries: dict[Annotated[kind.Override, kind.OVERRIDE], Annotated[str, kind.COUNTRY]] = Field({})
    """Countries of keyservers that are set by hand, by name, address or network."""
    contact: Annotated[str, kind.CONTACT] | None = None
    """URL or mail address for the operators of keyservers; it goes into the User-Agent."""
    allow_networks: tuple[Annotated[IPNetwork, kind.NETWORK], ...] = ()
    """Special-purpose networks, such as 10.0.0.0/8, that may be connected to and published all the same."""
    self_check: SelfCheckSection = Field(default_factory=SelfCheckSection)
    ports: PortsSection = Field(default_factory=PortsSection)
