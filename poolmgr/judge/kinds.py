"""What some kinds of pools ask for beside a keyserver that serves: a proxy, a place, a version, a companion."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from poolmgr.countries import continent_of
from poolmgr.hosts import IPAddress
from poolmgr.judge.freshness import version_of
from poolmgr.judge.votes import weights
from poolmgr.model import Ask, Family, Keyserver, KeyserverAddress, Probe, Reason, ReasonCode, Service, State, Verdict
from poolmgr.pools import Pool
from poolmgr.version import Version

NEWEST_SHARE = 0.25
"""The share of a software's votes that must have a version, or a newer one, before a pool asks everybody for it.

Two that call themselves 99 must not put all others out, and the day after a release is no reason to either.
"""

OWN_SERVERS = frozenset({"sks_www", "gnuks", "hockeypuck"})
"""What keyservers call themselves in the Server header, in lower case and before the slash."""

_NEARLY = 1e-9
"""Shares of a vote add up to a whole one only nearly."""


class Trait(NamedTuple):
    """What one rule of a pool finds of an address, whether it passes or not."""

    code: ReasonCode
    is_passed: bool
    measured: str
    limit: str
    sentence: str

    def reason(self) -> Reason:
        """Return it as the reason by which an address is out."""
        return Reason(self.code, self.measured, self.limit, self.sentence)


def traits(
    pool: Pool, address: KeyserverAddress, names: Sequence[str], newest: Mapping[str, Version]
) -> Iterator[Trait]:
    """Yield what `pool` asks for beyond what all pools do; nothing for a pool that asks for nothing of the kind.

    `names` are those under which the pool's clients ask, `newest` has the newest version of each software.
    """
    if pool.networks:
        yield _network(pool, address.address)
    if pool.countries or pool.continents:
        yield from _country(pool, address)
    if address.stats is None:
        return  # the rule of the stats page says why; a look that saw nothing says no more
    if pool.software:
        yield _software(pool, address.stats.software)
    if pool.newest:
        version = version_of(address.stats)
        latest = newest.get(address.stats.software.lower())
        if version is not None and latest is not None:
            yield _newest(address.stats.software, version, latest)
    for service in sorted(pool.services) if pool.proxied else ():
        probes = [probe for probe in address.probes if _is_asked(probe, service, names)]
        if probes:
            yield _proxy(service, probes)


def newest_versions(keyservers: Iterable[Keyserver], least: int) -> Mapping[str, Version]:
    """Return the newest version of each software (lower case) that is believed; none where too few tell theirs.

    At least `least` votes, and NEWEST_SHARE of all, are for it or a newer one. Each keyserver has a vote for the newest
    version that it tells of a software, and shares it with those in the same address block.
    """
    ballots: dict[str, list[tuple[Version, list[IPAddress]]]] = defaultdict(list)
    for keyserver in keyservers:
        told: dict[str, list[tuple[Version, IPAddress]]] = defaultdict(list)
        for address in keyserver.addresses:
            version = None if address.stats is None else version_of(address.stats)
            if address.stats is not None and version is not None:
                told[address.stats.software.lower()].append((version, address.address))
        for software, of in told.items():
            ballots[software].append((max(version for version, _ in of), [address for _, address in of]))
    found = {}
    for software, of_software in ballots.items():
        newest = _believed(of_software, least)
        if newest is not None:
            found[software] = newest
    return found


def _believed(ballots: Sequence[tuple[Version, Sequence[IPAddress]]], least: int) -> Version | None:
    weighed = zip((version for version, _ in ballots), weights(addresses for _, addresses in ballots), strict=True)
    # Versions that are equal may be written in two ways: the text says which is told, whatever the order of the crawl.
    ranked = sorted(weighed, key=lambda vote: (vote[0], vote[0].text), reverse=True)
    needed, so_far = max(least, NEWEST_SHARE * sum(weight for _, weight in ranked)) - _NEARLY, 0.0
    for version, weight in ranked:
        so_far += weight
        if so_far >= needed:
            return version
    return None


def paired(verdicts: Iterable[Verdict], pools: Iterable[Pool]) -> tuple[Verdict, ...]:
    """Return `verdicts`, with each IPv6 address out that has no eligible companion where the pool asks for one.

    It comes in and goes out with its companion: that one's standing decides, and no look at either by itself.
    """
    verdicts = tuple(verdicts)
    asking = {pool.name: pool for pool in pools if pool.dual_stack}
    if not asking:
        return verdicts
    groups: dict[object, list[Verdict]] = defaultdict(list)
    for verdict in verdicts:
        groups[verdict.pool, verdict.keyserver].append(verdict)
    return tuple(
        _with_companion(verdict, companion(asking[verdict.pool], verdict, groups[verdict.pool, verdict.keyserver]))
        if verdict.pool in asking
        else verdict
        for verdict in verdicts
    )


def companion(pool: Pool, verdict: Verdict, others: Iterable[Verdict]) -> Trait | None:
    """Return whether the address of `verdict` has the companion that `pool` asks for, None where it asks for none.

    `others` are the verdicts of the same keyserver for the same pool.
    """
    if not pool.dual_stack or verdict.address is None or Family.of(verdict.address) is not Family.IPV6:
        return None
    ipv4 = [one for one in others if one.address is not None and Family.of(one.address) is Family.IPV4]
    eligible = [str(one.address) for one in ipv4 if one.state is not State.OUT]
    if eligible:
        sentence = f"its IPv4 address {eligible[0]} is eligible too"
        return Trait(ReasonCode.DUAL_STACK, bool(eligible), eligible[0], _COMPANION, sentence)
    measured = f"{len(ipv4)} out" if ipv4 else "none"
    what = "its IPv4 address is out" if len(ipv4) == 1 else "its IPv4 addresses are out" if ipv4 else "it has no IPv4"
    sentence = f"{what}, and the pool publishes an AAAA only where the keyserver has an eligible A"
    return Trait(ReasonCode.DUAL_STACK, bool(eligible), measured, _COMPANION, sentence)


_COMPANION = "an eligible IPv4 address of the same keyserver"


def _with_companion(verdict: Verdict, found: Trait | None) -> Verdict:
    if found is None or found.is_passed or verdict.state is State.OUT:
        return verdict
    return replace(verdict, state=State.OUT, reasons=(found.reason(),), since=None, progress=None)


def _network(pool: Pool, address: IPAddress) -> Trait:
    holding = next((str(network) for network in pool.networks if address in network), None)
    told = "in none of the pool's networks" if holding is None else f"in {holding}, one of the pool's networks"
    return Trait(
        ReasonCode.NOT_INCLUDED, holding is not None, holding or "in none", "in networks", f"its address is {told}"
    )


def _country(pool: Pool, address: KeyserverAddress) -> Iterator[Trait]:
    limit, country = ", ".join((*sorted(pool.countries), *sorted(pool.continents))), address.country
    if country is None and address.stats is None:
        return  # one that lingers after its name could not be looked up: nobody looked where it is
    continent = None if country is None else continent_of(country)
    is_passed = country in pool.countries or continent in pool.continents
    measured = country or "unknown"
    sentence = f"its country is not known (crawl.geo, crawl.countries), the pool is for {limit}"
    if country is not None:
        measured = country if continent is None else f"{country} ({continent})"
        sentence = f"its address is in {measured}, the pool is for {limit}"
    yield Trait(ReasonCode.COUNTRY, is_passed, measured, limit, sentence)


def _software(pool: Pool, software: str) -> Trait:
    limit, is_passed = ", ".join(sorted(pool.software)), software.lower() in pool.software
    told = f"the pool admits {software}" if is_passed else f"the pool does not admit {software}: only {limit}"
    return Trait(ReasonCode.SOFTWARE, is_passed, software, limit, told)


def _newest(software: str, version: Version, latest: Version) -> Trait:
    is_passed = version >= latest
    how = "not older than" if is_passed else "older than"
    sentence = f"{software} {version} is {how} {latest}, the newest that is in use"
    return Trait(ReasonCode.VERSION, is_passed, str(version), str(latest), sentence)


def _is_asked(probe: Probe, service: Service, names: Sequence[str]) -> bool:
    is_ours = probe.ask is Ask.STATS or probe.host in names
    return probe.endpoint.service is service and probe.is_good and is_ours


def _proxy(service: Service, probes: Sequence[Probe]) -> Trait:
    """Return whether a reply of `service` shows a proxy: a Via header, or a Server header that is no keyserver's."""
    mark = next(filter(None, map(_mark, probes)), None)
    server = next((probe.server for probe in probes if probe.server is not None), None)
    bare = "no Server, no Via" if server is None else f"Server: {server}, no Via"
    how = "shows no proxy" if mark is None else "is behind a proxy"
    sentence = f"{service} on port {probes[0].endpoint.port} {how}: {mark or bare}"
    return Trait(ReasonCode.PROXY, mark is not None, mark or bare, f"{service} behind a proxy", sentence)


def _mark(probe: Probe) -> str | None:
    """Return the header by which `probe` shows that a proxy passed the reply on, None where it shows none."""
    if probe.via is not None:
        return f"Via: {probe.via}"
    product = (probe.server or "").lower().partition(" ")[0].partition("/")[0]
    return f"Server: {probe.server}" if product and product not in OWN_SERVERS else None
