"""What must hold of SRV records, whatever was measured, held and published."""

from __future__ import annotations

import ipaddress

import dns.name
from dns.rdtypes.IN.SRV import SRV
from hypothesis import given
from hypothesis import strategies as st

from poolmgr.hosts import IPAddress
from poolmgr.model import Family, Service
from poolmgr.pools import SrvKind
from poolmgr.zone.naming import label_key, srv_key
from poolmgr.zone.offers import Offer
from poolmgr.zone.records import Records
from poolmgr.zone.srv import WEIGHTS, srv_records
from tests.build import POOL, pool

ADDRESSES: list[IPAddress] = [ipaddress.ip_address(f"198.51.100.{number}") for number in range(1, 3)]
ADDRESSES += [ipaddress.ip_address(f"2001:db8::{number}") for number in range(1, 3)]
NAMES = {address: dns.name.from_text(f"ks{int(address) % 16}.example.net.") for address in ADDRESSES}
SIBLINGS = {name: frozenset(one for one in ADDRESSES if NAMES[one] == name) for name in NAMES.values()}
OF = pool(srv=frozenset(SrvKind))
SERVICES = st.frozensets(st.sampled_from(Service))


@st.composite
def offers(draw: st.DrawFn) -> dict[IPAddress, Offer]:
    # What is known of a name is the same for all of its addresses.
    leading = {name: draw(st.booleans()) for name in SIBLINGS}
    certain = {name: draw(st.booleans()) for name in SIBLINGS}
    return {
        address: Offer(
            priority=draw(st.sampled_from([0, 10, 20])),
            answers=(answers := draw(SERVICES)),
            lately=draw(SERVICES),
            handicap={service: draw(st.floats(0, 1e6)) for service in answers},
            name=NAMES[address] if leading[NAMES[address]] else None,
            siblings=SIBLINGS[NAMES[address]],
            is_certain=certain[NAMES[address]],
        )
        for address in ADDRESSES
    }


FACTS = st.tuples(st.sets(st.sampled_from(ADDRESSES)), st.sets(st.sampled_from(Family)), offers())


@given(FACTS, FACTS)
def test_every_target_has_an_address_and_nothing_changes_twice(
    first: tuple[set[IPAddress], set[Family], dict[IPAddress, Offer]],
    second: tuple[set[IPAddress], set[Family], dict[IPAddress, Offer]],
) -> None:
    published: Records = {}
    for addresses, held, measured in (first, second):
        records = srv_records(OF, addresses, held, measured, SIBLINGS, published)
        backwards = dict(reversed(measured.items()))
        assert srv_records(OF, list(addresses)[::-1], held, backwards, SIBLINGS, published) == records
        # Once more, from what was just published.
        assert srv_records(OF, addresses, held, measured, SIBLINGS, records) == records
        labels = {label_key(POOL, address) for address in addresses} & records.keys()
        assert records.keys() - labels <= {srv_key(POOL, kind) for kind in SrvKind}
        owners = {owner for owner, _ in labels}
        for kind in SrvKind:
            rrset = records.get(srv_key(POOL, kind))
            for rdata in () if rrset is None else rrset.rdatas:
                assert isinstance(rdata, SRV)
                assert rdata.weight in WEIGHTS
                assert rdata.target in owners or SIBLINGS[rdata.target] & addresses
                assert held or rdata.target in owners or SIBLINGS[rdata.target] <= addresses
        published = records
