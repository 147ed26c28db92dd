from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import timedelta

import dns.name
import dns.rdatatype
import pytest

from poolmgr.hosts import IPAddress, host_text
from poolmgr.judge.history import History, Judgement, judge_next
from poolmgr.judge.policy import Policy
from poolmgr.judge.selection import select
from poolmgr.model import Family, Keyserver, KeyserverAddress, Outcome, Probe, Selection, Service
from poolmgr.pools import Pool, SrvKind, WhenShort
from poolmgr.zone.companions import companions
from poolmgr.zone.desired import pool_records
from poolmgr.zone.naming import companion_keys, further_keys, label_key, labelled, srv_key
from poolmgr.zone.plan import Plan, limits_of, make_plan
from poolmgr.zone.records import Records
from tests.build import NOW, ORIGIN, POOL, crawls, judged, keyserver, pool, snapshot

HKP = pool(srv=frozenset({SrvKind.PGPKEY_HTTP}))
KEY = srv_key(POOL, SrvKind.PGPKEY_HTTP)
ONE, TWO, SIX = "198.51.100.1", "198.51.100.2", "2001:db8::1"


def labelled_target(address: str) -> str:
    return label_key(POOL, ipaddress.ip_address(address))[0].to_text()


def beside(
    keyservers: Iterable[Keyserver],
    of: Pool = HKP,
    published: Records | None = None,
    doubts: Mapping[Family, str] | None = None,
) -> Records:
    """Return the addresses that stay published after a crawl of `keyservers`, and what goes with them."""
    _, judgement = judged([snapshot(keyservers)], Policy(min_cohort=1), [of])
    found = select(judgement.verdicts, [of], {}, judgement.history.reliability, NOW)
    return placed(of, judgement, found, published or {}, doubts or {})


def placed(
    of: Pool, judgement: Judgement, found: Selection, published: Records, doubts: Mapping[Family, str]
) -> Records:
    """Return the addresses of `found` that the limits let through, and what goes with them."""
    settled = settled_plan(of, found, published, doubts)
    kinds = {dns.rdatatype.A, dns.rdatatype.AAAA}
    own = {key: rrset for key, rrset in settled.records.items() if key[0] == of.name and key[1] in kinds}
    reliability = judgement.history.reliability
    return {**own, **companions([of], settled, published, judgement.snapshot, found, reliability)}


def settled_plan(of: Pool, found: Selection, published: Records, doubts: Mapping[Family, str]) -> Plan:
    return make_plan(
        origin=ORIGIN,
        published=published,
        desired=pool_records(found, [of]),
        limits=limits_of([of], doubts),
        serial=None,
        next_serial=None,
        provenance="",
        at=NOW,
        holds={},
    )


def srv(records: Records, kind: SrvKind = SrvKind.PGPKEY_HTTP) -> set[str]:
    key = srv_key(POOL, kind)
    return {rdata.to_text() for rdata in records[key].rdatas} if key in records else set()


def slowed(one: Keyserver, latency: float) -> Keyserver:
    def all_of(each: KeyserverAddress) -> tuple[Probe, ...]:
        return tuple(replace(probe, total=timedelta(seconds=latency)) for probe in each.probes)

    return replace(one, addresses=tuple(replace(each, probes=all_of(each)) for each in one.addresses))


def mesh(**fields: object) -> list[Keyserver]:
    """Return two keyservers: the first has IPv4 and IPv6, the second IPv4."""
    two = [keyserver("ks1.example.net", ONE, SIX), keyserver("ks2.example.net", TWO)]
    return [replace(one, **fields) for one in two]  # type: ignore[arg-type]


def test_without_canonical_names_each_address_has_a_label() -> None:
    records = beside(mesh())
    assert srv(records) == {f"0 512 11371 {labelled_target(one)}" for one in (ONE, TWO, SIX)}
    labels = {key: [rdata.to_text() for rdata in rrset.rdatas] for key, rrset in records.items() if key[0] != POOL}
    del labels[KEY]
    assert labels == {label_key(POOL, ipaddress.ip_address(one)): [one] for one in (ONE, TWO, SIX)}
    assert further_keys(records, companion_keys(HKP)) == set(labels)


def test_a_canonical_name_is_the_target_of_all_its_addresses() -> None:
    records = beside(mesh(is_canonical=True))
    assert srv(records) == {"0 512 11371 ks1.example.net.", "0 512 11371 ks2.example.net."}
    assert further_keys(records, companion_keys(HKP)) == set()


def test_a_name_that_leads_to_an_address_that_is_not_published_is_no_target() -> None:
    only_ipv4 = replace(HKP, families=frozenset({Family.IPV4}))
    records = beside(mesh(is_canonical=True), only_ipv4)
    assert srv(records) == {f"0 512 11371 {labelled_target(ONE)}", "0 512 11371 ks2.example.net."}


@pytest.mark.parametrize("is_canonical", [False, None])
def test_a_published_name_stays_until_it_is_known_to_be_an_alias(is_canonical: bool | None) -> None:
    published = beside(mesh(is_canonical=True))
    again = beside(mesh(is_canonical=is_canonical), published=published)
    assert (again == published) is (is_canonical is None)


def test_a_keyserver_named_as_the_pool_or_below_it_is_led_to_by_label() -> None:
    below = [keyserver("ks.pool.example.org", ONE), keyserver("pool.example.org", TWO)]
    records = beside([replace(one, is_canonical=True) for one in below])
    assert srv(records) == {f"0 512 11371 {labelled_target(one)}" for one in (ONE, TWO)}


def test_a_pool_of_another_service_leads_to_its_port() -> None:
    of = replace(HKP, services=frozenset({Service.HTTP}), srv=frozenset({SrvKind.HKP, SrvKind.HKPS}))
    records = beside(mesh(), of)
    assert {text.split()[2] for text in srv(records, SrvKind.HKP)} == {"80"}
    assert srv(records, SrvKind.HKPS) == set()


def test_a_service_that_the_pool_does_not_promise_is_led_to_where_it_answered() -> None:
    of = replace(HKP, srv=frozenset({SrvKind.HKPS}))
    good = {Service.HKP: Outcome.OK, Service.HKPS: Outcome.OK}
    bad = {Service.HKP: Outcome.OK, Service.HKPS: Outcome.REFUSED}
    records = beside(
        [keyserver("a.example.net", ONE, outcomes=good), keyserver("b.example.net", TWO, outcomes=bad)], of
    )
    assert srv(records, SrvKind.HKPS) == {f"0 512 443 {labelled_target(ONE)}"}


@pytest.mark.parametrize(
    ("latency", "weight"), [(0.01, 1024), (0.1, 1024), (0.2, 512), (0.4, 256), (0.8, 128), (1.6, 64), (3.9, 32)]
)
def test_the_weight_halves_with_each_doubling_of_the_latency(latency: float, weight: int) -> None:
    records = beside([slowed(keyserver("a.example.net", ONE), latency)])
    assert srv(records) == {f"0 {weight} 11371 {labelled_target(ONE)}"}


def test_a_weight_stays_until_it_is_two_classes_away() -> None:
    one = keyserver("a.example.net", ONE)
    published = beside([slowed(one, 0.2)])
    for latency, weight in ((0.05, 512), (0.5, 512), (0.9, 128)):
        assert srv(beside([slowed(one, latency)], published=published)) == {f"0 {weight} 11371 {labelled_target(ONE)}"}


def after_rounds(
    *rounds: Iterable[Keyserver], of: Pool = HKP, every: timedelta = timedelta(minutes=15)
) -> list[tuple[Records, Selection]]:
    """Return what is published after each of these crawls, each judged and chosen by those before, and the choice."""
    history = History()
    published: Records = {}
    found = []
    current: dict[tuple[dns.name.Name, Family], tuple[IPAddress, ...]] = {}
    for crawl in crawls(*rounds, every=every):
        judgement = judge_next(history, crawl, Policy(min_cohort=1), [of])
        history = judgement.history
        chosen = select(judgement.verdicts, [of], current, history.reliability, crawl.finished)
        current = dict(chosen.members)
        published = placed(of, judgement, chosen, published, {})
        found.append((published, chosen))
    return found


def failing(one: Keyserver) -> Keyserver:
    """Return `one` refusing all lookups."""
    outcomes = {Service.HKP: Outcome.REFUSED, Service.HTTP: Outcome.REFUSED}
    return keyserver(host_text(one.name), *(str(each.address) for each in one.addresses), outcomes=outcomes)


def mute(one: Keyserver) -> Keyserver:
    """Return `one` without a stats page, so that nothing else is asked."""
    return keyserver(host_text(one.name), *(str(each.address) for each in one.addresses), stats_outcome=Outcome.TIMEOUT)


def moved(one: Keyserver) -> Keyserver:
    """Return `one` with all its services at ports of its own."""

    def elsewhere(each: Probe) -> Probe:
        return replace(each, endpoint=replace(each.endpoint, port=each.endpoint.port + 10_000))

    found = (replace(each, probes=tuple(map(elsewhere, each.probes))) for each in one.addresses)
    return replace(one, addresses=tuple(found))


@pytest.mark.parametrize("every", [timedelta(minutes=15), timedelta(hours=1)])
@pytest.mark.parametrize("good", [1, 8])
@pytest.mark.parametrize("worsened", [failing, mute])
@pytest.mark.parametrize("is_canonical", [True, False])
def test_one_bad_look_changes_nothing_now_or_later(
    good: int, every: timedelta, worsened: Callable[[Keyserver], Keyserver], *, is_canonical: bool
) -> None:
    of = replace(HKP, srv=frozenset(SrvKind), txt=True, txt_refresh=timedelta(days=9))
    well = [moved(replace(one, is_canonical=is_canonical)) for one in hkps_too()]
    bad = [moved(replace(worsened(well[0]), is_canonical=is_canonical)), well[1]]
    rounds = [records for records, _ in after_rounds(*[well] * good, bad, well, well, of=of, every=every)]
    assert len(srv(rounds[0], SrvKind.HKPS)) == 2
    assert all(records == rounds[0] for records in rounds)


def hkps_too() -> list[Keyserver]:
    """Return two keyservers that answer at hkps, which no pool here promises."""
    outcomes = dict.fromkeys((Service.HKP, Service.HTTP, Service.HKPS), Outcome.OK)
    return [keyserver("ks1.example.net", ONE, outcomes=outcomes), keyserver("ks2.example.net", TWO, outcomes=outcomes)]


def test_a_name_server_that_fails_once_changes_nothing_either() -> None:
    well = [replace(one, is_canonical=True) for one in mesh()]
    unresolved = replace(keyserver("ks1.example.net"), problem="the nameservers failed (SERVFAIL)")
    rounds = [records for records, _ in after_rounds(well, well, [unresolved, well[1]], well)]
    assert all(records == rounds[0] for records in rounds)


def test_who_is_falling_is_tried_after_the_others_until_it_is_good_again() -> None:
    well = mesh()
    bad = [well[0], failing(well[1])]
    rounds = after_rounds(well, bad, bad, bad, well)
    priorities = [
        {text.split()[0] for text in srv(records) if text.endswith(labelled_target(TWO))} for records, _ in rounds
    ]
    assert priorities == [{"0"}, {"0"}, {"10"}, {"10"}, {"0"}]
    assert all({"0"} == {text.split()[0] for text in srv(records)} - {"10"} for records, _ in rounds)


def test_a_service_that_is_not_promised_goes_when_it_failed_for_long() -> None:
    of = replace(HKP, srv=frozenset({SrvKind.HKPS}))
    well = hkps_too()
    refused = {Service.HKP: Outcome.OK, Service.HKPS: Outcome.REFUSED}
    bad = [well[0], keyserver("ks2.example.net", TWO, outcomes=refused)]
    rounds = after_rounds(well, well, *[bad] * 6, of=of)
    assert [len(srv(records, SrvKind.HKPS)) for records, _ in rounds] == [2, 2, 2, 2, 2, 2, 2, 1]


def test_members_for_want_of_others_are_tried_last() -> None:
    of = replace(HKP, when_short=WhenShort.RELAX, min_members={Family.IPV4: 2}, families=frozenset({Family.IPV4}))
    few = [mesh()[0], keyserver("ks2.example.net", TWO, keys=None)]
    ((records, chosen),) = after_rounds(few, of=of)
    assert len(chosen.members[POOL, Family.IPV4]) == 2
    assert srv(records) == {f"0 512 11371 {labelled_target(ONE)}", f"20 512 11371 {labelled_target(TWO)}"}


@pytest.mark.parametrize(("service", "port"), [(Service.HKP, 11371), (Service.HTTP, 80)])
def test_a_fallback_is_tried_last_and_at_the_usual_port_where_nobody_looked(service: Service, port: int) -> None:
    known, *strangers = (ipaddress.ip_address(one) for one in (ONE, "203.0.113.8", "203.0.113.9"))
    of = replace(
        HKP,
        when_short=WhenShort.FALLBACK,
        fallback=(known, *strangers),
        min_members={Family.IPV4: 3},
        families=frozenset({Family.IPV4}),
        services=frozenset({service}),
    )
    ((records, _),) = after_rounds(mesh(), of=of)
    assert srv(records) == {
        f"20 512 {port} {labelled_target(ONE)}",
        *(f"20 32 {port} {labelled_target(str(stranger))}" for stranger in strangers),
    }


def test_what_is_published_without_being_chosen_has_its_records_too() -> None:
    """As in place of what was held for too long, and after a rollback: as good as they are known to be."""
    third = keyserver("ks3.example.net", "198.51.100.3")
    _, judgement = judged([snapshot([*mesh(), third, failing(keyserver("ks4.example.net", "198.51.100.4"))])])
    chosen = select(judgement.verdicts, [replace(HKP, max_records=2)], {}, judgement.history.reliability, NOW)
    (waiting,) = {ipaddress.ip_address(one) for one in (ONE, TWO, "198.51.100.3")} - {
        *chosen.members[POOL, Family.IPV4]
    }
    others = [waiting, ipaddress.ip_address("198.51.100.4"), ipaddress.ip_address("203.0.113.9")]
    settled = replace(chosen, members={(POOL, Family.IPV4): tuple(others)})
    plan = settled_plan(HKP, settled, {}, {})
    records = companions([HKP], plan, {}, judgement.snapshot, chosen, judgement.history.reliability)
    assert {text.split()[3]: text.split()[0] for text in srv(records)} == dict(
        zip(map(labelled_target, map(str, others)), ("0", "20", "20"), strict=True)
    )


def test_what_is_held_keeps_its_records_and_the_other_family_goes_on() -> None:
    published = beside(mesh())
    after = beside([keyserver("ks1.example.net", ONE)], published=published, doubts={Family.IPV6: "it was blind"})
    assert srv(after) == {f"0 512 11371 {labelled_target(one)}" for one in (ONE, SIX)}
    assert label_key(POOL, ipaddress.ip_address(SIX)) in after
    assert label_key(POOL, ipaddress.ip_address(TWO)) not in after


@pytest.mark.parametrize("told", [True, False, None])
def test_an_own_name_is_held_with_its_family_and_goes_where_it_was_seen_to_go(told: bool | None) -> None:
    published = beside(mesh(is_canonical=True))
    gone = beside([], published=published, doubts=dict.fromkeys(Family, "it was blind"))
    assert gone == published
    one = replace(keyserver("ks1.example.net", ONE, SIX), is_canonical=told)
    out = replace(keyserver("ks2.example.net", TWO, outcomes={Service.HKP: Outcome.REFUSED}), is_canonical=told)
    after = beside([one, out], published=published, doubts={Family.IPV6: "it was blind"})
    assert srv(after) == {"0 512 11371 ks1.example.net."}


def test_a_name_that_the_crawl_did_not_meet_stays_only_while_a_held_address_may_be_its_own() -> None:
    one, two = (replace(each, is_canonical=True) for each in mesh())
    doubts = {Family.IPV6: "it was blind"}
    published = beside([one, two], published={})
    assert len(srv(published)) == 2
    assert srv(beside([one], published=published, doubts=doubts)) == {"0 512 11371 ks1.example.net."}
    # Of whom the held address is, nobody knows.
    assert {text.split()[3] for text in srv(beside([two], published=published, doubts=doubts))} == {
        "ks1.example.net.",
        "ks2.example.net.",
    }
    labels = beside(mesh(), published={})
    assert {text.split()[3] for text in srv(beside([two], published=labels, doubts=doubts))} == {
        labelled_target(SIX),
        "ks2.example.net.",
    }


def test_the_same_crawl_changes_nothing() -> None:
    of = replace(HKP, txt=True)
    published = beside(mesh(is_canonical=True), of)
    assert beside(mesh(is_canonical=True), of, published) == published


@pytest.mark.parametrize(
    "text", ["zz.hosts", "c633640.hosts", "c6336401", "c6336401.host", "0xc63364.hosts", "1.2.hosts"]
)
def test_only_labels_are_read_as_such(text: str) -> None:
    assert labelled(POOL, dns.name.from_text(text, POOL)) is None


def test_srv_is_owned_where_the_config_says_so() -> None:
    assert companion_keys(pool()) == set()
    assert companion_keys(pool(srv=frozenset())) == {srv_key(POOL, kind) for kind in SrvKind}
    assert companion_keys(pool(txt=False)) == {(POOL, dns.rdatatype.TXT)}


def test_a_held_family_without_addresses_keeps_no_name_that_is_gone() -> None:
    published = beside([replace(keyserver("a.example.net", ONE), is_canonical=True)])
    after = beside(mesh(is_canonical=False)[1:], published=published, doubts={Family.IPV6: "it was blind"})
    assert srv(after) == {f"0 512 11371 {labelled_target(TWO)}"}


def test_a_name_is_no_new_target_while_one_of_its_addresses_is_held() -> None:
    published = beside(mesh(is_canonical=False))
    after = beside(mesh(is_canonical=True), published=published, doubts={Family.IPV6: "it was blind"})
    assert srv(after) == {
        f"0 512 11371 {labelled_target(ONE)}",
        f"0 512 11371 {labelled_target(SIX)}",
        "0 512 11371 ks2.example.net.",
    }


def apart(one: Keyserver, second: Callable[[Keyserver], Keyserver]) -> Keyserver:
    """Return `one`, which has two addresses, with the second changed."""
    return replace(one, addresses=(one.addresses[0], second(one).addresses[1]))


def test_a_name_whose_addresses_have_the_service_at_different_ports_is_no_target() -> None:
    one = apart(replace(mesh()[0], is_canonical=True), moved)
    assert srv(beside([one])) == {f"0 512 11371 {labelled_target(ONE)}", f"0 512 21371 {labelled_target(SIX)}"}


def test_a_name_is_as_good_as_its_worst_address() -> None:
    well = replace(mesh()[0], is_canonical=True)
    slow = apart(well, lambda one: slowed(one, 1.6))
    assert srv(beside([slow])) == {"0 64 11371 ks1.example.net."}
    half = apart(well, failing)
    records, _ = after_rounds([well], [half], [half])[-1]
    assert srv(records) == {"10 512 11371 ks1.example.net."}


def test_a_service_at_another_port_does_not_take_the_place_of_the_published_one() -> None:
    of = replace(HKP, services=frozenset({Service.HKPS}), srv=frozenset({SrvKind.HKP}))
    outcomes = {Service.HKPS: Outcome.OK, Service.HTTP: Outcome.OK, Service.HKP: Outcome.REFUSED}
    one = keyserver("ks1.example.net", ONE, outcomes=outcomes)
    for records, _ in after_rounds([one], [one], of=of):
        assert srv(records, SrvKind.HKP) == {f"0 512 80 {labelled_target(ONE)}"}


def test_the_ttl_is_the_one_of_the_pool() -> None:
    of = replace(HKP, ttl=timedelta(minutes=1), txt=True)
    assert {rrset.ttl for rrset in beside(mesh(), of).values()} == {60}


def crawled(records: Records) -> str:
    """Return the end of the crawl that TXT tells of."""
    (rdata,) = records[POOL, dns.rdatatype.TXT].rdatas
    return rdata.to_text().split()[1]


def test_txt_is_made_anew_with_a_change_of_addresses_or_srv_alone_and_is_gone_where_it_is_not_wanted() -> None:
    of = replace(HKP, txt=True)
    one, two = mesh()
    unchanged = [records for records, _ in after_rounds([one, two], [one, two], of=of)]
    assert crawled(unchanged[0]) == crawled(unchanged[1])
    srv_alone = [records for records, _ in after_rounds([one, two], [one, slowed(two, 1.6)], of=of)]
    assert srv_alone[0][POOL, dns.rdatatype.A] == srv_alone[1][POOL, dns.rdatatype.A]
    assert crawled(srv_alone[0]) < crawled(srv_alone[1])
    # One that takes the place of another leaves all the rest of the text as it was.
    full = replace(of, srv=None, max_records=2, families=frozenset({Family.IPV4}))
    swap = [one, failing(two), keyserver("ks3.example.net", "198.51.100.3")]
    before, *_, after = [records for records, _ in after_rounds([one, two], swap, swap, swap, of=full)]
    assert [len(each[POOL, dns.rdatatype.A].rdatas) for each in (before, after)] == [2, 2]
    assert before[POOL, dns.rdatatype.A] != after[POOL, dns.rdatatype.A]
    assert crawled(before) < crawled(after)
    assert (POOL, dns.rdatatype.TXT) not in beside(mesh(), replace(of, txt=False))
