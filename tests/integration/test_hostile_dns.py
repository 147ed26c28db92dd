"""Addresses that lead into the operator's own network, and names whose DNS lies, loops, floods or keeps silent."""

from __future__ import annotations

import ipaddress
from collections import Counter
from dataclasses import replace

import pytest

from poolmgr.crawl.frontier import Bounds
from poolmgr.model import Ask, Outcome, ReasonCode, Service, Snapshot
from tests.lab.crawls import DEADLINE, GOOD, Lab, by_name, crawl_in_time, only_address, outcomes, verdicts
from tests.lab.hostile import GOOD_NAMES, LIAR, SEED, assert_unharmed
from tests.lab.nameserver import NameFault
from tests.lab.process import PATIENCE

NOT_ALLOWED = {(Ask.STATS, Service.HKP): Outcome.NOT_ALLOWED}

OWN_NETWORK = (
    "0.0.0.0",
    "10.0.0.1",
    "100.64.0.1",
    "127.0.0.1",
    "169.254.0.1",
    "169.254.169.254",
    "172.16.0.1",
    "192.168.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "fe80::1",
    "fc00::1",
    "fd00:ec2::254",
    "64:ff9b::10.0.0.1",
    "64:ff9b::127.0.0.1",
    "64:ff9b::169.254.169.254",
    "::ffff:10.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "2002:7f00:1::",
)
"""Addresses that mean this machine or one near it, the clouds' metadata services among them."""


def assert_not_allowed(snapshot: Snapshot, name: str, address: str) -> None:
    """The address was not connected to, and it is told why."""
    at = only_address(by_name(snapshot)[name])
    assert (at.address, outcomes(at)) == (ipaddress.ip_address(address), NOT_ALLOWED)
    assert "special-purpose addresses are neither connected to nor published" in at.probes[0].detail
    assert verdicts(snapshot)[name] == {ReasonCode.SPECIAL_PURPOSE}


def test_no_peer_leads_into_the_own_network(good: Lab) -> None:
    plan = good.plan(SEED)
    trap = good.mesh.add("trap.test")
    traps = (str(trap.address), f"::ffff:{trap.address}", f"64:ff9b::{trap.address}")
    liar = good.add(LIAR, peers=[*traps, *OWN_NETWORK])
    allowed = (*plan.bounds.allow_networks, ipaddress.ip_network(liar.address))
    snapshot = crawl_in_time(replace(plan, bounds=Bounds(allow_networks=allowed)))
    for address in (*traps, *OWN_NETWORK):
        assert_not_allowed(snapshot, str(ipaddress.ip_address(address)), address)
    assert good.mesh.connections[trap.address] == 0
    assert_unharmed(snapshot, LIAR)


def test_no_name_leads_into_the_own_network(good: Lab) -> None:
    plan = good.plan(SEED)
    trap = good.mesh.add("trap.test")
    addresses = (str(trap.address), f"::ffff:{trap.address}", f"64:ff9b::{trap.address}", *OWN_NETWORK)
    names = {f"inside{number}.test": address for number, address in enumerate(addresses)}
    liar = good.add(LIAR, peers=list(names))
    good.nameserver.records |= {name: [address] for name, address in names.items()}
    allowed = (*plan.bounds.allow_networks, ipaddress.ip_network(liar.address))
    snapshot = crawl_in_time(replace(plan, bounds=Bounds(allow_networks=allowed)))
    for name, address in names.items():
        assert_not_allowed(snapshot, name, address)
    assert good.mesh.connections[trap.address] == 0
    assert_unharmed(snapshot, LIAR)


def test_a_forbidden_address_beside_a_good_one_harms_neither(good: Lab) -> None:
    plan = good.plan(SEED)
    liar = good.add(LIAR)
    good.nameserver.records[LIAR] += ["169.254.169.254", "::1"]
    allowed = (*plan.bounds.allow_networks, ipaddress.ip_network(liar.address))
    snapshot = crawl_in_time(replace(plan, bounds=Bounds(allow_networks=allowed)))
    seen = {str(at.address): outcomes(at) for at in by_name(snapshot)[LIAR].addresses}
    assert seen == {str(liar.address): GOOD, "169.254.169.254": NOT_ALLOWED, "::1": NOT_ALLOWED}


def test_a_name_that_leads_elsewhere_when_asked_again_is_asked_once(good: Lab) -> None:
    plan = good.plan(SEED)
    liar = good.add(LIAR, peers=[LIAR, *GOOD_NAMES])
    trap = good.mesh.add(LIAR)
    good.nameserver.later[LIAR] = [str(trap.address)]
    allowed = (*plan.bounds.allow_networks, ipaddress.ip_network(liar.address))
    plan = replace(plan, bounds=Bounds(allow_networks=allowed))
    snapshot = crawl_in_time(plan)
    asked = Counter(question for question in good.nameserver.asked if question[0] == LIAR)
    assert asked == {(LIAR, "A"): 1, (LIAR, "AAAA"): 1}
    at = only_address(by_name(snapshot)[LIAR])
    assert (at.address, outcomes(at)) == (liar.address, GOOD)
    assert_unharmed(snapshot, LIAR)
    assert_not_allowed(crawl_in_time(plan), LIAR, str(trap.address))
    assert good.mesh.connections[trap.address] == 0


@pytest.mark.parametrize(
    ("fault", "problem"),
    [
        (NameFault.SERVFAIL, "the nameservers failed (SERVFAIL)"),
        (NameFault.REFUSED, "the nameservers failed (REFUSED)"),
        (NameFault.SILENT, "the nameservers did not answer within 1 s"),
    ],
)
def test_a_name_whose_dns_fails_is_told_and_bounded(good: Lab, fault: NameFault, problem: str) -> None:
    good.add(LIAR)
    good.nameserver.faults[LIAR] = fault
    plan = good.plan(SEED)
    snapshot = crawl_in_time(replace(plan, nameservers=replace(plan.nameservers, timeout=DEADLINE)))
    liar = by_name(snapshot)[LIAR]
    assert (liar.addresses, liar.problem) == ((), problem)
    assert verdicts(snapshot)[LIAR] == {ReasonCode.NO_ADDRESS}
    assert_unharmed(snapshot)


@pytest.mark.parametrize(
    "chain",
    [
        {LIAR: LIAR},
        {LIAR: "loop1.test", "loop1.test": "loop2.test", "loop2.test": LIAR},
        {LIAR: "<script>.test"},
        {LIAR: "$origin.test", "$origin.test": LIAR},
    ],
    ids=["to itself", "of three", "to no host name", "by way of no host name"],
)
def test_a_cname_that_leads_nowhere_is_told_and_bounded(good: Lab, chain: dict[str, str]) -> None:
    good.nameserver.records |= {name: [target] for name, target in chain.items()}
    plan = good.plan(SEED)
    snapshot = crawl_in_time(replace(plan, nameservers=replace(plan.nameservers, timeout=DEADLINE)))
    liar = by_name(snapshot)[LIAR]
    assert liar.addresses == ()
    assert liar.problem
    assert verdicts(snapshot)[LIAR] == {ReasonCode.NO_ADDRESS}
    assert_unharmed(snapshot)


def test_of_a_thousand_addresses_of_one_name_only_max_addresses_are_asked(good: Lab) -> None:
    liar = good.add(LIAR)
    # The mesh never uses 127.253/16: nobody listens there.
    crowd = [f"127.253.{number // 250}.{number % 250 + 1}" for number in range(999)]
    good.nameserver.records[LIAR] = [*crowd, str(liar.address)]
    plan = good.plan(SEED)
    allowed = (*good.mesh.networks, ipaddress.ip_network("127.253.0.0/16"))
    snapshot = crawl_in_time(replace(plan, bounds=Bounds(allow_networks=allowed)))
    limit = Bounds().max_addresses
    assert len(by_name(snapshot)[LIAR].addresses) == limit
    assert snapshot.cut_short == (f"crawl.max_addresses ({limit}) was reached: 1 names have more",)
    assert (snapshot.finished - snapshot.started).total_seconds() < PATIENCE
