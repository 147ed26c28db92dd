"""What stands beside the addresses of the pools: SRV records, the labels that they lead to, and TXT."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping

import dns.rdatatype

from poolmgr.hosts import HostName, IPAddress
from poolmgr.judge.reliability import Reliability, ServiceKey
from poolmgr.model import Family, Selection, Service, Snapshot
from poolmgr.pools import Pool
from poolmgr.zone.desired import RDTYPES, members_of, pool_records
from poolmgr.zone.naming import companion_keys, further_keys
from poolmgr.zone.offers import Offer, offers_of
from poolmgr.zone.plan import Plan
from poolmgr.zone.records import Records
from poolmgr.zone.srv import Siblings, srv_records
from poolmgr.zone.status import status_record


def companions(
    pools: Iterable[Pool],
    settled: Plan,
    published: Records,
    snapshot: Snapshot,
    selection: Selection,
    reliability: Mapping[ServiceKey, Reliability],
) -> Records:
    """Return the RRsets that go with the addresses which the plan `settled` leaves published.

    That plan was made without them: what a limit holds is held with all that leads to it, and nothing else is.
    """
    pools = tuple(pools)
    names = [pool.name for pool in pools]
    members = members_of(settled.records, pools)
    held = {one.change.key for one in settled.held}
    changed = {one.key for one in settled.changes}
    siblings: Siblings = {
        keyserver.name.to_name(): frozenset(address.address for address in keyserver.addresses)
        for keyserver in snapshot.keyservers
        if isinstance(keyserver.name, HostName)
    }
    found: Records = {}
    for pool in pools:
        stuck = [family for family in Family if (pool.name, RDTYPES[family]) in held]
        addresses: list[IPAddress] = [one for family in Family for one in members.get((pool.name, family), ())]
        own: Records = {}
        if pool.srv is not None:
            offers = offers_of(pool, addresses, snapshot, selection.verdicts, reliability, names)
            own = srv_records(pool, addresses, stuck, offers, siblings, published)
        if pool.txt:
            is_changed = any((pool.name, rdtype) in changed for rdtype in RDTYPES.values())
            is_changed = is_changed or _of_srv(own, pool) != _of_srv(published, pool)
            text = status_record(pool, settled.records, stuck, snapshot.finished, published, is_changed=is_changed)
            own = {**own, text.key: text}
        found = {**found, **own}
    return found


def most_records(pools: Iterable[Pool]) -> Records:
    """Return RRsets as large as those of `pools` may be: each family full, and a label for every address."""
    pools = tuple(pools)
    nets = {Family.IPV4: ipaddress.ip_network("192.0.2.0/24"), Family.IPV6: ipaddress.ip_network("2001:db8::/32")}
    members = {
        (pool.name, family): tuple(nets[family][number] for number in range(pool.max_records))
        for pool in pools
        for family in pool.families
    }
    records = pool_records(Selection(members, ()), pools)
    for pool in pools:
        addresses = [one for family in sorted(pool.families) for one in members[pool.name, family]]
        offer = Offer(answers=frozenset(Service))
        records = {**records, **srv_records(pool, addresses, (), dict.fromkeys(addresses, offer), {}, {})}
    return records


def _of_srv(records: Records, pool: Pool) -> Records:
    """Return the SRV records of `pool` and the labels that they lead to."""
    owned = {key for key in companion_keys(pool) if key[1] == dns.rdatatype.SRV}
    return {key: records[key] for key in owned | further_keys(records, owned) if key in records}
