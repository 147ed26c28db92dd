"""Members per pool: which of the eligible are published."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

import dns.name

from poolmgr.hosts import IPAddress, address_order
from poolmgr.model import Family, Pool, Reason, ReasonCode, Selection, State, Verdict

Members = Mapping[tuple[dns.name.Name, Family], Collection[IPAddress]]
"""The published addresses by pool and family."""


def select(verdicts: Iterable[Verdict], pools: Iterable[Pool], current: Members) -> Selection:
    """Return the members of each pool: its eligible addresses, at most `max_records` of a family.

    Where more are eligible, those in `current` stay and the others follow in an order that is fixed per pool and
    address: the same on every machine, and independent of who else is eligible, so that one that leaves makes room for
    exactly one. The verdicts come back in their order, the eligible ones as members or with the cap as their reason.
    """
    verdicts, pools = tuple(verdicts), tuple(pools)
    eligible: dict[tuple[dns.name.Name, Family], set[IPAddress]] = defaultdict(set)
    for verdict in verdicts:
        if verdict.state is State.ELIGIBLE and verdict.address is not None:
            eligible[verdict.pool, Family.of(verdict.address)].add(verdict.address)
    members = {}
    caps = {}
    for pool in pools:
        caps[pool.name] = pool.max_records
        for family in sorted(pool.families):
            staying = frozenset(current.get((pool.name, family), ()))
            ranked = sorted(eligible[pool.name, family], key=lambda address: _rank(pool.name, address, staying))
            members[pool.name, family] = tuple(sorted(ranked[: pool.max_records], key=address_order))
    final = tuple(_final(verdict, members, caps) for verdict in verdicts)
    return Selection(members, final)


def _rank(pool: dns.name.Name, address: IPAddress, staying: frozenset[IPAddress]) -> tuple[bool, bytes]:
    return (address not in staying, hashlib.sha256(f"{pool} {address}".encode()).digest())


def _final(
    verdict: Verdict,
    members: Mapping[tuple[dns.name.Name, Family], tuple[IPAddress, ...]],
    caps: Mapping[dns.name.Name, int],
) -> Verdict:
    if verdict.state is not State.ELIGIBLE or verdict.address is None:
        return verdict
    family = Family.of(verdict.address)
    if verdict.address in members[verdict.pool, family]:
        return replace(verdict, state=State.MEMBER)
    cap = caps[verdict.pool]
    reason = Reason(
        ReasonCode.CAP, f"more than {cap}", str(cap), f"eligible: the pool publishes {cap} {family.rdtype} at most"
    )
    return replace(verdict, reasons=(reason,))
