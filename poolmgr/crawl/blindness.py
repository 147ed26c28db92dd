"""Whether a crawl could see: what it measured of a family that the crawler itself could not reach proves nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from poolmgr.hosts import Host, HostName, IPAddress, host_text
from poolmgr.model import Ask, Family, Keyserver, KeyserverAddress, Outcome, Snapshot

NEARLY_ALL = 0.9
"""The share of what served before that no outage of the keyservers' own takes at once."""

LEAST = 4
"""Addresses or names below which a share says nothing: of three, all may well fail by themselves."""

_NO_CONNECTION = frozenset({Outcome.REFUSED, Outcome.UNREACHABLE, Outcome.CONNECT_TIMEOUT})

CheckTarget = tuple[IPAddress, int]
"""Address and TCP port of something that is up whenever the crawler's own network is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfCheck:
    """What must be reachable while the crawler's own network is up: targets by family, and a name with an address."""

    targets: Mapping[Family, tuple[CheckTarget, ...]] = field(default_factory=dict)
    name: HostName | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkup:
    """One look at what a SelfCheck names.

    `moment` says when that was, as "before the crawl". `failures` has why each target that failed did so, and
    `name_problem` why the name gave no address, None where it did.
    """

    moment: str
    failures: Mapping[CheckTarget, str] = field(default_factory=dict)
    name_problem: str | None = None


def blindness(
    check: SelfCheck, checkups: Iterable[Checkup], snapshot: Snapshot, sighted: Mapping[Family, Snapshot]
) -> Mapping[Family, str]:
    """Return the families that were blind in the crawl `snapshot`, each with a sentence that says how that is seen.

    A family is blind when most of its targets failed in one of `checkups`; one without targets when of at least LEAST
    addresses that gave their stats before, NEARLY_ALL could not be connected to. Both are when the name gave no
    address, or when of at least LEAST names that had addresses before, NEARLY_ALL have none. What was before is in
    `sighted`: for each family the newest earlier crawl in which it was not blind, left out where there is none.
    """
    checkups = tuple(checkups)
    blind = {}
    for family in Family:
        targets = check.targets.get(family, ())
        before = sighted.get(family)
        signs = [*_unresolved(check, checkups), *_out_of_reach(family, targets, checkups)]
        if before is not None:
            signs += _names_gone(before, snapshot)
            signs += [] if targets else _addresses_gone(family, before, snapshot)
        if signs:
            blind[family] = signs[0]
    return blind


def _unresolved(check: SelfCheck, checkups: Iterable[Checkup]) -> Iterator[str]:
    for checkup in checkups:
        if check.name is not None and checkup.name_problem is not None:
            name = host_text(check.name)
            yield f"{checkup.moment} DNS gave no address for {name}, crawl.self_check.name ({checkup.name_problem})"


def _out_of_reach(family: Family, targets: tuple[CheckTarget, ...], checkups: Iterable[Checkup]) -> Iterator[str]:
    for checkup in checkups:
        failed = {target: checkup.failures[target] for target in targets if target in checkup.failures}
        if 2 * len(failed) > len(targets):
            listed = ", ".join(f"{_text(target)}: {why}" for target, why in failed.items())
            yield (
                f"{checkup.moment} {len(failed)} of {len(targets)} targets of crawl.self_check.{family} were out of "
                f"reach ({listed})"
            )


def _names_gone(before: Snapshot, snapshot: Snapshot) -> Iterator[str]:
    had = {host for keyserver in before.keyservers if keyserver.addresses for host in _names(keyserver)}
    now = {host: keyserver for keyserver in snapshot.keyservers for host in _names(keyserver) if host in had}
    gone = sum(not keyserver.addresses for keyserver in now.values())
    if _is_nearly_all(gone, len(now)):
        yield f"{gone} of the {len(now)} names that had addresses in the crawl of {_time(before)} have none"


def _addresses_gone(family: Family, before: Snapshot, snapshot: Snapshot) -> Iterator[str]:
    served = {address.address for address in _addresses(before, family) if address.stats is not None}
    now = [address for address in _addresses(snapshot, family) if address.address in served]
    gone = sum(map(_is_unconnected, now))
    if _is_nearly_all(gone, len(now)):
        yield (
            f"{gone} of the {len(now)} {family} addresses that gave their stats in the crawl of {_time(before)} could "
            f"not be connected to, and crawl.self_check.{family} has no targets that would tell whose outage that is"
        )


def _names(keyserver: Keyserver) -> Iterator[Host]:
    return (host for host in keyserver.hosts if isinstance(host, HostName))


def _addresses(snapshot: Snapshot, family: Family) -> Iterator[KeyserverAddress]:
    for keyserver in snapshot.keyservers:
        for address in keyserver.addresses:
            if Family.of(address.address) is family:
                yield address


def _is_unconnected(address: KeyserverAddress) -> bool:
    outcomes = [probe.outcome for probe in address.probes if probe.ask is Ask.STATS]
    return bool(outcomes) and all(outcome in _NO_CONNECTION for outcome in outcomes)


def _is_nearly_all(gone: int, known: int) -> bool:
    return known >= LEAST and gone >= NEARLY_ALL * known


def _text(target: CheckTarget) -> str:
    address, port = target
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"


def _time(snapshot: Snapshot) -> str:
    return f"{snapshot.finished:%Y-%m-%dT%H:%M:%SZ}"
