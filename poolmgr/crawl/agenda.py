"""What is asked of one address, and when which answer makes another question worth asking."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from poolmgr.crawl.place import Place, Target
from poolmgr.hosts import Host, HostName, IPAddress
from poolmgr.model import Ask, Endpoint, Outcome, Probe, Service, Stats

STATS_PATH = "/pks/stats"
"""Where Hockeypuck has its stats page as well, and where proxies let through no query."""

_NO_STATS = frozenset({Outcome.HTTP_STATUS, Outcome.NOT_KEYSERVER, Outcome.REDIRECT})
"""Answers of a web server that may have a stats page elsewhere."""

_FLEETING = frozenset(
    {
        Outcome.REFUSED,
        Outcome.UNREACHABLE,
        Outcome.CONNECT_TIMEOUT,
        Outcome.FIRST_BYTE_TIMEOUT,
        Outcome.TIMEOUT,
        Outcome.RESET,
        Outcome.TRUNCATED,
    }
)
"""Failures that may be over a moment later; HTTP's 5xx are too."""

_UNCONNECTED = frozenset({Outcome.REFUSED, Outcome.UNREACHABLE, Outcome.CONNECT_TIMEOUT})
"""Failures before any name was said: another name changes nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What every address is asked.

    Its stats page is fetched `samples` times; one that gives a good page is looked up at each of `services` under each
    of `hosts`, and under its own name where one of these failed, or always with `own_name`. A probe that failed in
    passing is made again up to `retries` times. `ports` has the port of HKP and of every service; `max_peers` bounds
    the peers of one address.
    """

    hosts: tuple[HostName, ...]
    services: tuple[Service, ...]
    ports: Mapping[Service, int]
    max_peers: int
    samples: int = 1
    retries: int = 0
    own_name: bool = False


class Agenda:
    """Says what is to be asked of an address next; the place remembers what was."""

    def __init__(self, survey: Survey) -> None:
        self._survey = survey
        self._next_host: dict[Host, HostName] = dict(itertools.pairwise(survey.hosts))

    def endpoint(self, address: IPAddress, service: Service) -> Endpoint:
        """Return where `service` is at `address`."""
        return Endpoint(service, address, self._survey.ports[service])

    def next_try(self, place: Place) -> list[Target]:
        """Return the next place to look for a stats page, unless a good one is known or a try is under way.

        The port of the pool's clients and the usual path come first; other paths are tried where a web server
        answered that has no stats page there.
        """
        if place.refused is not None or place.stats is not None or place.is_tried:
            return []
        untried = next((target for target in self._tries(place) if target not in place.probes), None)
        place.is_tried = untried is not None
        return [] if untried is None else [untried]

    def answered(self, place: Place, target: Target, probe: Probe, stats: Stats | None) -> list[Target]:
        """Take in what `target` answered, with its stats page if it gave a good one, and return what follows."""
        if target.ask is Ask.LOOKUP:
            place.probes[target] = probe
            return self._under_next_host(target)
        if place.page is None:
            place.probes[target] = probe
            place.is_tried = False
            if stats is None:
                return self.next_try(place)
            place.page = target
            return [*self._sampled(place, stats), *self._lookups(place)]
        return self._sampled(place, stats) if target == place.page else []

    def again(self, target: Target, probe: Probe) -> Target | None:
        """Return the next attempt at what failed in passing, None where it did not, or was asked often enough."""
        is_fleeting = probe.outcome in _FLEETING or (
            probe.outcome is Outcome.HTTP_STATUS and (probe.status or 0) >= 500
        )
        if not is_fleeting or target.attempt > self._survey.retries:
            return None
        return replace(target, attempt=target.attempt + 1)

    def under_own_name(self, place: Place, name: Host) -> list[Target]:
        """Return the lookups under the keyserver's own name, which an address literal is not."""
        if place.stats is None or not isinstance(name, HostName) or name in self._survey.hosts:
            return []
        failed = {
            target.endpoint
            for target, probe in place.probes.items()
            if target.ask is Ask.LOOKUP and not probe.is_good and probe.outcome not in _UNCONNECTED
        }
        endpoints = (self.endpoint(place.address, service) for service in self._survey.services)
        return [
            Target(Ask.LOOKUP, endpoint, name) for endpoint in endpoints if self._survey.own_name or endpoint in failed
        ]

    def _tries(self, place: Place) -> Iterator[Target]:
        usual = self.endpoint(place.address, Service.HKP)
        for port in (usual.port, *place.hints.ports):
            first = Target(Ask.STATS, replace(usual, port=port), place.host)
            yield first
            if first in place.probes and place.probes[first].outcome in _NO_STATS:
                for path in (STATS_PATH, *place.hints.paths):
                    yield replace(first, path=path)

    def _sampled(self, place: Place, stats: Stats | None) -> list[Target]:
        """Take in one more answer of the good page, and return that once more while it was asked too seldom."""
        place.hits += 1
        if stats is not None:
            place.sample(stats, self._survey.max_peers)
        return [replace(place.page, attempt=1)] if place.page and place.hits < self._survey.samples else []

    def _lookups(self, place: Place) -> list[Target]:
        first = self._survey.hosts[:1]
        return [
            Target(Ask.LOOKUP, self.endpoint(place.address, service), host)
            for service in self._survey.services
            for host in first
        ]

    def _under_next_host(self, target: Target) -> list[Target]:
        following = self._next_host.get(target.host) if target.attempt == 1 else None
        return [] if following is None else [Target(Ask.LOOKUP, target.endpoint, following)]
