"""The votes on a cohort's key count and on the canary key, so that liars in the minority and crowds do not count."""

from __future__ import annotations

import functools
import ipaddress
from collections import Counter
from collections.abc import Collection, Iterable
from datetime import datetime
from typing import NamedTuple

from poolmgr.hosts import IPAddress, IPNetwork
from poolmgr.judge.pace import Count

_NEARLY = 1e-9
"""Thirds of a vote add up to a whole one only nearly."""

_BLOCK = {4: 24, 6: 48}
"""Prefix lengths of what one operator is given at the least."""

_PRIVATE = tuple(
    ipaddress.ip_network(network)
    for network in (
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.2.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "::/3",
        "2001:db8::/32",
        "fc00::/7",
        "fe80::/10",
    )
)
"""Networks that a crawl enters only where the pool's operator has allowed it: whoever is there is known to them."""


class Vote(NamedTuple):
    """What one keyserver `told`. Its `weight` is at most 1, and less where others are in the same address block."""

    told: Count
    weight: float


class Ballot(NamedTuple):
    """What one keyserver `told` before it is weighed, and at which `addresses`."""

    told: Count
    addresses: Collection[IPAddress]


def weighed(ballots: Iterable[Ballot]) -> tuple[Vote, ...]:
    """Return the vote of each ballot, with its weight."""
    ballots = tuple(ballots)
    return tuple(
        Vote(ballot.told, weight)
        for ballot, weight in zip(ballots, weights(ballot.addresses for ballot in ballots), strict=True)
    )


def weights(voters: Iterable[Iterable[IPAddress]]) -> tuple[float, ...]:
    """Return what the vote of each keyserver weighs, given the addresses where it told what it did.

    All that are in one address block (/24 or /48) have one vote between them. What others put into a keyserver's block
    takes a share of its vote, and adds no more than that share.
    """
    blocks = [{block for each in addresses if (block := _block_number(each))} for addresses in voters]
    crowd = Counter(block for own in blocks for block in own)
    return tuple(1 / max((crowd[block] for block in own), default=1) for own in blocks)


@functools.lru_cache(maxsize=16_384)
def _block_number(address: IPAddress) -> tuple[int, int] | None:
    """Return the block that `address` is in as numbers, which are faster to count."""
    block = block_of(address)
    return None if block is None else (block.version, int(block.network_address))


def block_of(address: IPAddress) -> IPNetwork | None:
    """Return the block that `address` is in, None in a network that is not public."""
    if any(address.version == network.version and address in network for network in _PRIVATE):
        return None
    return ipaddress.ip_network((address, _BLOCK[address.version]), strict=False)


def middle(offsets: Iterable[tuple[float, float]]) -> float:
    """Return the upper median of `offsets`, each with its weight; there is one at least."""
    ranked = sorted(offsets)
    # Of two keyservers the one with fewer keys is the one that lags.
    half, below = sum(weight for _, weight in ranked) / 2, 0.0
    for offset, weight in ranked:
        below += weight
        if below > half + _NEARLY:
            return offset
    return ranked[-1][0]


def reached(times: Iterable[tuple[datetime, float]], least: int) -> datetime | None:
    """Return the latest of `times`, each with its weight, that most have reached: more than half, and at least `least`.

    None where there are not as many.
    """
    ranked = sorted(times, reverse=True)
    half, so_far = sum(weight for _, weight in ranked) / 2, 0.0
    for time, weight in ranked:
        so_far += weight
        if so_far > half + _NEARLY and so_far >= least - _NEARLY:
            return time
    return None


def total(votes: Iterable[Vote]) -> int:
    """Return how many whole votes there are, by weight."""
    return int(sum(sorted(vote.weight for vote in votes)) + _NEARLY)


def second_largest(votes: Collection[Vote]) -> Count:
    """Return the count that two votes reach; of less than three votes the largest. There is one at least."""
    ranked = sorted(votes, reverse=True)
    needed, above = 2 if total(votes) > 2 else 0, 0.0
    for vote in ranked:
        above += vote.weight
        if above >= needed - _NEARLY:
            return vote.told
    return ranked[-1].told
