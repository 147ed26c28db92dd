from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import replace

import pytest

from poolmgr.judge.reliability import WINDOWS, Reliability, ServiceKey
from poolmgr.model import Ask, Keyserver, Outcome, Reason, ReasonCode, Service, State, Verdict
from poolmgr.pools import Vhost
from poolmgr.zone.offers import LEAVING, MAKESHIFT, STEADY, Offer, offers_of
from tests.build import NOW, POOL, keyserver, named, pool, probe, snapshot

ADDRESS = ipaddress.ip_address("198.51.100.1")
OWN, OTHER = "ks1.example.net", "pool.example.org"
NOTHING = Reason(ReasonCode.SERVICE, "hkp refused", "hkp ok", "it does not answer")


def offer(
    of: Keyserver,
    *verdicts: Verdict,
    reliability: Mapping[ServiceKey, Reliability] | None = None,
    vhost: Vhost = Vhost.POOL,
) -> Offer:
    """Return the offer of ADDRESS, which `of` has."""
    offers = offers_of(pool(vhost=vhost), [ADDRESS], snapshot([of]), verdicts, reliability or {}, [POOL])
    return offers[ADDRESS]


def verdict(state: State, **fields: object) -> Verdict:
    reasons = (NOTHING,) if state is State.OUT else ()
    common = {"pool": POOL, "keyserver": named(f"{OWN}."), "address": ADDRESS, "state": state, "reasons": reasons}
    return Verdict(**{**common, **fields})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("vhost", "own", "others"), [(Vhost.POOL, False, True), (Vhost.OWN, True, False), (Vhost.EITHER, True, True)]
)
def test_an_answer_counts_under_the_names_that_the_clients_ask_for(vhost: Vhost, *, own: bool, others: bool) -> None:
    for host, counts in ((OWN, own), (OTHER, others)):
        one = keyserver(OWN, str(ADDRESS))
        measured = replace(one.addresses[0], probes=(probe(str(ADDRESS), host=host),))
        found = offer(replace(one, addresses=(measured,)), vhost=vhost)
        assert found.answers == ({Service.HKP} if counts else set())


def test_the_port_of_a_service_is_where_it_was_asked_for_whatever_it_said() -> None:
    one = keyserver(OWN, str(ADDRESS))
    stats, lookup = (probe(str(ADDRESS), ask=ask, outcome=Outcome.REFUSED) for ask in (Ask.STATS, Ask.LOOKUP))
    lookup = replace(lookup, endpoint=replace(lookup.endpoint, port=8080))
    for probes, ports in (((stats, lookup), {Service.HKP: 8080}), ((stats,), {})):
        measured = replace(one.addresses[0], probes=probes)
        assert offer(replace(one, addresses=(measured,))).ports == ports


@pytest.mark.parametrize(
    ("told", "priority"),
    [
        (verdict(State.MEMBER), STEADY),
        (verdict(State.MEMBER, progress=(1, 4)), STEADY),
        (verdict(State.MEMBER, progress=(2, 4), is_falling=True), LEAVING),
        (verdict(State.ELIGIBLE), STEADY),
        (verdict(State.ELIGIBLE, progress=(2, 4), is_falling=True), LEAVING),
        (verdict(State.OUT), MAKESHIFT),
        (verdict(State.MEMBER, warnings=(NOTHING,)), STEADY),
        (verdict(State.MEMBER, warnings=(replace(NOTHING, code=ReasonCode.RELAXED),)), MAKESHIFT),
        (verdict(State.MEMBER, warnings=(replace(NOTHING, code=ReasonCode.FALLBACK),)), MAKESHIFT),
    ],
)
def test_the_priority_tells_what_is_made_of_the_address(told: Verdict, priority: int) -> None:
    elsewhere = replace(verdict(State.OUT), pool=named("other.example.org.").to_name())
    assert offer(keyserver(OWN, str(ADDRESS)), told, elsewhere).priority == priority
    assert offer(keyserver(OWN, str(ADDRESS))).priority == MAKESHIFT


@pytest.mark.parametrize(("good", "classes"), [(1.0, 0), (0.5, 8), (0.25, 16), (0.0, 53)])
def test_who_failed_half_of_the_time_is_eight_classes_worse(good: float, classes: int) -> None:
    seen = Reliability(NOW, (good,) * len(WINDOWS), (1.0,) * len(WINDOWS))
    by = offer(keyserver(OWN, str(ADDRESS)), reliability={(ADDRESS, Service.HKP): seen})
    without = offer(keyserver(OWN, str(ADDRESS)))
    assert round(by.handicap[Service.HKP] - without.handicap[Service.HKP]) == classes
