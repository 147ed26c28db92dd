"""A keyserver that was probed by itself, judged among those that an earlier crawl saw."""

from __future__ import annotations

from dataclasses import replace

from poolmgr.model import Keyserver, ReasonCode, Snapshot, Verdict

_UNSERVED = frozenset(
    {
        ReasonCode.NO_ADDRESS,
        ReasonCode.FAMILY,
        ReasonCode.SPECIAL_PURPOSE,
        ReasonCode.STATS,
        ReasonCode.SERVICE,
    }
)
"""Reasons that keep a pool's clients from being served; all others are of policy."""


def among(probed: Snapshot, stored: Snapshot | None) -> Snapshot:
    """Return `probed` with the keyservers of `stored` beside it, less the names and addresses that it measured itself.

    Its key counts then have something to be compared with.
    """
    hosts = {host for keyserver in probed.keyservers for host in keyserver.hosts}
    others = () if stored is None else stored.keyservers
    kept = (_without(other, probed) for other in others if hosts.isdisjoint(other.hosts))
    return replace(probed, keyservers=(*probed.keyservers, *kept))


def _without(keyserver: Keyserver, probed: Snapshot) -> Keyserver:
    measured = {address.address for one in probed.keyservers for address in one.addresses}
    return replace(
        keyserver, addresses=tuple(address for address in keyserver.addresses if address.address not in measured)
    )


def is_serving(verdict: Verdict) -> bool:
    """Return whether the address answers the pool's clients, whatever else is held against it."""
    return _UNSERVED.isdisjoint(reason.code for reason in verdict.reasons)
