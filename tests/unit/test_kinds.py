"""What kinds of pools ask for: each rule below, at and above its limit, and in the words that people read."""

from __future__ import annotations

import ipaddress
from dataclasses import replace
from datetime import timedelta
from itertools import permutations

import pytest

from poolmgr.judge.findings import Finding, findings
from poolmgr.judge.freshness import references
from poolmgr.judge.kinds import companion, newest_versions
from poolmgr.judge.policy import Policy
from poolmgr.judge.verdict import Case
from poolmgr.model import Ask, Keyserver, Outcome, Probe, ReasonCode, Service, State, Verdict
from poolmgr.pools import Pool
from poolmgr.report.remedies import remedies
from tests.build import crawls, judge, judged, keyserver, mesh, pool, snapshot

POLICY = Policy(max_keys_behind=100, max_keys_ahead=100)
ONE = keyserver("ks.example.net", "203.0.113.1")
DUAL = "ks.example.net", "203.0.113.1", "2001:db8::1"


def found_of(one: Keyserver, of: Pool, code: ReasonCode, others: list[Keyserver] | None = None) -> list[Finding]:
    """Return what the rules with `code` find of the first address of `one` among five healthy keyservers."""
    crawled = snapshot([one, *(mesh(5, first=100) if others is None else others)])
    known = references(crawled.keyservers, POLICY.window)
    versions = newest_versions(crawled.keyservers, POLICY.min_cohort)
    case = Case(of, POLICY, one, one.addresses[0], known, crawled.finished, versions=versions)
    return [finding for finding in findings(case) if finding.code is code]


def the_finding(one: Keyserver, of: Pool, code: ReasonCode) -> Finding:
    """Return the one finding with `code`, which is what judging says too."""
    (found,) = found_of(one, of, code)
    verdicts, _ = judge(snapshot([one, *mesh(5, first=100)]), POLICY, [of])
    told = [reason.sentence for reason in verdicts[0].reasons if reason.code is code]
    assert told == ([] if found.is_passed else [found.sentence])
    return found


def served(one: Keyserver, **reply: object) -> Keyserver:
    """Return `one` with `reply` in all its probes."""
    addresses = (
        replace(address, probes=tuple(replace(each, **reply) for each in address.probes))  # type: ignore[arg-type]
        for address in one.addresses
    )
    return replace(one, addresses=tuple(addresses))


def at(country: str | None) -> Keyserver:
    """Return ONE in that country."""
    return replace(ONE, addresses=(replace(ONE.addresses[0], country=country),))


# Proxy


@pytest.mark.parametrize(
    ("server", "via", "is_passed", "measured"),
    [
        ("sks_www/1.1.6", None, False, "Server: sks_www/1.1.6, no Via"),
        ("SKS_WWW/1.1.6", None, False, "Server: SKS_WWW/1.1.6, no Via"),
        ("gnuks/1.1.6", None, False, "Server: gnuks/1.1.6, no Via"),
        ("Hockeypuck/2.2.4", None, False, "Server: Hockeypuck/2.2.4, no Via"),
        ("hockeypuck", None, False, "Server: hockeypuck, no Via"),
        (None, None, False, "no Server, no Via"),
        ("nginx/1.18.0", None, True, "Server: nginx/1.18.0"),
        ("nginx", None, True, "Server: nginx"),
        ("sks_www2/1.1.6", None, True, "Server: sks_www2/1.1.6"),
        ("sks_www/1.1.6", "1.1 name (Hockey stick)", True, "Via: 1.1 name (Hockey stick)"),
        (None, "1.1 name", True, "Via: 1.1 name"),
    ],
)
def test_a_proxy_is_told_by_via_or_a_server_header_that_is_no_keyservers(
    server: str | None, via: str | None, *, is_passed: bool, measured: str
) -> None:
    found = the_finding(served(ONE, server=server, via=via), pool(proxied=True), ReasonCode.PROXY)
    how = "is behind a proxy" if is_passed else "shows no proxy"
    assert (found.is_passed, found.measured) == (is_passed, measured)
    assert found.sentence == f"hkp on port 11371 {how}: {measured}"


def test_each_service_needs_a_proxy_of_its_own() -> None:
    def behind(service: Service) -> Keyserver:
        probes = tuple(
            replace(each, server="nginx" if each.endpoint.service is service else "sks_www/1.1.6")
            for each in ONE.addresses[0].probes
        )
        return replace(ONE, addresses=(replace(ONE.addresses[0], probes=probes),))

    of = pool(proxied=True, services=frozenset({Service.HKP, Service.HTTP}))
    for service in (Service.HKP, Service.HTTP):
        found = {each.limit: each.is_passed for each in found_of(behind(service), of, ReasonCode.PROXY)}
        assert found == {"hkp behind a proxy": service is Service.HKP, "http behind a proxy": service is Service.HTTP}


def test_a_service_that_does_not_answer_is_not_said_to_lack_a_proxy() -> None:
    down = keyserver("ks.example.net", "203.0.113.1", outcomes={Service.HTTP: Outcome.REFUSED})
    assert found_of(down, pool(proxied=True, services=frozenset({Service.HTTP})), ReasonCode.PROXY) == []


def test_a_failed_reply_shows_no_proxy() -> None:
    (address,) = ONE.addresses
    page, lookup, *_ = (replace(each, server="sks_www/1.1.6") for each in address.probes)
    lookup = replace(lookup, outcome=Outcome.NO_KEY, server="nginx")
    one = replace(ONE, addresses=(replace(address, probes=(page, lookup)),))
    assert not the_finding(one, pool(proxied=True), ReasonCode.PROXY).is_passed


# Place


@pytest.mark.parametrize(
    ("country", "is_passed", "measured"),
    [("de", True, "de (eu)"), ("us", True, "us (na)"), ("gl", True, "gl (na)"), ("fr", False, "fr (eu)")],
)
def test_a_country_or_a_continent_is_enough(country: str, *, is_passed: bool, measured: str) -> None:
    of = pool(countries=frozenset({"de"}), continents=frozenset({"na"}))
    found = the_finding(at(country), of, ReasonCode.COUNTRY)
    assert (found.is_passed, found.measured, found.limit) == (is_passed, measured, "de, na")


def test_a_country_that_is_not_known_is_not_guessed() -> None:
    found = the_finding(at(None), pool(continents=frozenset({"eu"})), ReasonCode.COUNTRY)
    assert (found.is_passed, found.measured) == (False, "unknown")
    assert "crawl.countries" in found.sentence
    unassigned = the_finding(at("zz"), pool(continents=frozenset({"eu"})), ReasonCode.COUNTRY)
    assert (unassigned.is_passed, unassigned.measured) == (False, "zz")


def test_a_name_that_could_not_be_looked_up_once_puts_nobody_out_for_its_country() -> None:
    of = pool(countries=frozenset({"de"}))
    here = [replace(one, addresses=(replace(one.addresses[0], country="de"),)) for one in mesh(5)]
    lost = replace(here[0], addresses=(), problem="SERVFAIL")
    _, judgement = judged(crawls(here, [lost, *here[1:]]), POLICY, [of])
    assert [each.state for each in judgement.verdicts] == [State.ELIGIBLE] * 5


def test_the_operators_word_on_a_country_needs_no_second_look() -> None:
    there, here = ([at(country), *mesh(3)] for country in ("us", "de"))
    for of, rounds in ((pool(countries=frozenset({"de"})), (here, there)), (pool(), (here, there))):
        _, judgement = judged(crawls(*rounds), POLICY, [of])
        states = {each.keyserver: each.state for each in judgement.verdicts}
        assert states[ONE.name] is (State.OUT if of.countries else State.ELIGIBLE)


def test_networks_are_a_list_of_those_allowed() -> None:
    networks = tuple(map(ipaddress.ip_network, ("198.51.100.0/24", "203.0.113.0/31")))
    inside = the_finding(ONE, pool(networks=networks), ReasonCode.NOT_INCLUDED)
    assert (inside.is_passed, inside.measured) == (True, "203.0.113.0/31")
    outside = the_finding(keyserver("ks.example.net", "203.0.113.2"), pool(networks=networks), ReasonCode.NOT_INCLUDED)
    assert (outside.is_passed, outside.limit) == (False, "in networks")
    assert remedies([outside]) == ("be named in networks, by the operator of the pool",)


# Software and version


def test_software_of_the_pool_narrows_that_of_the_policy() -> None:
    of = pool(software=frozenset({"hockeypuck"}))
    (general, special) = found_of(ONE, of, ReasonCode.SOFTWARE)[::-1]
    assert (general.is_passed, special.is_passed) == (True, False)
    assert special.sentence == "the pool does not admit SKS: only hockeypuck"
    other = keyserver("ks.example.net", "203.0.113.1", software="Hockeypuck", version="2.1")
    assert all(each.is_passed for each in found_of(other, of, ReasonCode.SOFTWARE))


def versions(*told: tuple[str, str]) -> list[Keyserver]:
    """Return a SKS keyserver for each (address, version)."""
    return [
        keyserver(f"ks{number}.example.net", address, version=version) for number, (address, version) in enumerate(told)
    ]


@pytest.mark.parametrize(
    ("told", "newest"),
    [
        # Two votes at least, and a quarter of all.
        (["1.1.6", "1.1.7"], "1.1.6"),
        (["1.1.6", "1.1.7", "1.1.7"], "1.1.7"),
        (["1.1.6"] * 6 + ["1.1.7"] * 2, "1.1.7"),
        (["1.1.6"] * 7 + ["1.1.7"] * 2, "1.1.6"),
        (["1.1.6"] * 7 + ["99"] * 2, "1.1.6"),
        # Who has an even newer one is for the older ones too.
        (["1.1.6"] * 4 + ["1.1.7", "1.1.8"], "1.1.7"),
        (["1.1.6", "1.1.6", "unknown"], "1.1.6"),
        (["1.1.6"], None),
    ],
)
def test_the_newest_version_is_what_enough_votes_are_for(told: list[str], newest: str | None) -> None:
    of = versions(*((f"203.0.{number}.1", version) for number, version in enumerate(told)))
    assert {software: str(version) for software, version in newest_versions(of, 2).items()} == (
        {} if newest is None else {"sks": newest}
    )


def test_keyservers_in_one_block_have_one_vote_for_their_version() -> None:
    honest = [(f"8.8.{number}.1", "1.1.6") for number in range(4)]
    crowd = [(f"9.9.9.{number}", "99") for number in range(1, 20)]
    assert str(newest_versions(versions(*honest, *crowd), 2)["sks"]) == "1.1.6"


def test_the_newest_version_does_not_depend_on_the_order() -> None:
    of = versions(("8.8.1.1", "2.2"), ("8.8.2.1", "2.2.0"), ("8.8.3.1", "2.1"))
    assert {str(newest_versions(each, 2)["sks"]) for each in permutations(of)} == {"2.2"}


def test_only_the_newest_version_of_each_software_is_in() -> None:
    of = pool(newest=True)
    old = keyserver("ks.example.net", "203.0.113.1", version="1.1.6")
    others = [*mesh(3, version="1.1.7"), *(replace(each) for each in hockeypucks("2.1", "2.2", "2.2", "2.3"))]
    verdicts, _ = judge(snapshot([old, *others]), POLICY, [of])
    out = {each.keyserver: [reason.sentence for reason in each.reasons] for each in verdicts if each.reasons}
    assert {name: reasons for name, reasons in out.items() if "newest" in " ".join(reasons)} == {
        old.name: ["SKS 1.1.6 is older than 1.1.7, the newest that is in use"],
        others[3].name: ["Hockeypuck 2.1 is older than 2.2, the newest that is in use"],
    }


def hockeypucks(*told: str) -> list[Keyserver]:
    return [
        keyserver(f"hp{number}.example.net", f"192.0.2.{number + 1}", software="Hockeypuck", version=version)
        for number, version in enumerate(told)
    ]


# Lag and latency


def test_a_pool_may_ask_for_less_lag_than_the_policy() -> None:
    hours = 49  # the frontier is known, and gains 1,000 keys an hour
    rounds = [mesh(4, keys=5_000_000 + 1000 * hour) for hour in range(hours)]
    late = [
        keyserver("late.example.net", "203.0.113.1", keys=5_000_000 + 1000 * max(hour - 10, 0)) for hour in range(hours)
    ]
    snapshots = crawls(*([*each, one] for each, one in zip(rounds, late, strict=True)), every=timedelta(hours=1))
    pools = [pool(), pool("fast.example.org.", host=pool().host, max_lag=timedelta(hours=6))]
    _, judgement = judged(snapshots, Policy(), pools)
    by_pool = {each.pool: each for each in judgement.verdicts if each.keyserver == late[0].name}
    general, fast = (by_pool[each.name] for each in pools)
    assert general.state is State.ELIGIBLE
    assert [reason.code for reason in fast.reasons] == [ReasonCode.BEHIND]
    assert "at most 6 h or 50 keys" in fast.reasons[0].sentence


def test_a_longer_lag_than_the_policys_is_the_policys() -> None:
    window = Policy(max_lag=timedelta(hours=6)).window
    assert window.within(timedelta(hours=7)) is window
    assert window.within(None) is window
    assert window.within(timedelta(hours=5)).max_lag == timedelta(hours=5)


@pytest.mark.parametrize(("took", "is_passed"), [(499, True), (500, True), (501, False)])
def test_a_lookup_may_take_as_long_as_the_pool_allows(took: int, *, is_passed: bool) -> None:
    one = served(ONE, total=timedelta(milliseconds=took))
    found = the_finding(one, pool(max_latency=timedelta(milliseconds=500)), ReasonCode.SLOW)
    assert (found.is_passed, found.limit) == (is_passed, "hkp 500 ms")
    assert found.margin is not None
    assert found.margin.amount == pytest.approx((500 - took) / 1000)


@pytest.mark.parametrize("slow", Ask)
def test_a_slow_stats_page_is_no_slow_lookup_and_a_fast_one_is_no_fast_one(slow: Ask) -> None:
    (address,) = ONE.addresses
    probes = [replace(each, total=timedelta(seconds=9)) if each.ask is slow else each for each in address.probes]
    one = replace(ONE, addresses=(replace(address, probes=tuple(probes)),))
    found = the_finding(one, pool(max_latency=timedelta(milliseconds=500)), ReasonCode.SLOW)
    assert found.is_passed is (slow is Ask.STATS)


# AAAA and A


def over_ipv6(one: Keyserver, outcome: Outcome) -> Keyserver:
    """Return `one` with lookups that ended so at its IPv6 addresses."""

    def ended(each: Probe) -> Probe:
        return replace(each, outcome=outcome) if each.ask is Ask.LOOKUP else each

    addresses = (
        replace(address, probes=tuple(map(ended, address.probes))) if address.address.version == 6 else address
        for address in one.addresses
    )
    return replace(one, addresses=tuple(addresses))


def test_an_ipv6_address_is_in_only_where_it_answered_over_ipv6() -> None:
    for outcome, state in ((Outcome.OK, State.ELIGIBLE), (Outcome.CONNECT_TIMEOUT, State.OUT)):
        verdicts, _ = judge(snapshot([over_ipv6(keyserver(*DUAL), outcome), *mesh(3)]), POLICY, [pool()])
        assert [each.state for each in verdicts[:2]] == [State.ELIGIBLE, state]
    (address4, address6) = keyserver(*DUAL).addresses
    unasked = replace(keyserver(*DUAL), addresses=(address4, replace(address6, probes=address6.probes[:1])))
    verdicts, _ = judge(snapshot([unasked, *mesh(3)]), POLICY, [pool()])
    assert [reason.code for reason in verdicts[1].reasons] == [ReasonCode.SERVICE]


def pair(judgement_of: list[Keyserver], *more: list[Keyserver], of: Pool) -> list[Verdict]:
    _, judgement = judged(crawls(*([*each, *mesh(3)] for each in (judgement_of, *more))), POLICY, [of])
    return [each for each in judgement.verdicts if str(each.keyserver).startswith("ks.")]


def test_a_dual_stack_pool_has_an_aaaa_beside_an_a_only() -> None:
    both, alone = keyserver(*DUAL), keyserver("ks.example.net", "2001:db8::1")
    half = keyserver(*DUAL)
    half = replace(half, addresses=(replace(half.addresses[0], probes=half.addresses[0].probes[:1]), half.addresses[1]))
    of = pool(dual_stack=True)
    assert [each.state for each in pair([both], of=of)] == [State.ELIGIBLE, State.ELIGIBLE]
    (lonely,) = pair([alone], of=of)
    assert [reason.code for reason in lonely.reasons] == [ReasonCode.DUAL_STACK]
    assert lonely.reasons[0].sentence.startswith("it has no IPv4")
    four, six = pair([half], of=of)
    assert (four.state, six.state) == (State.OUT, State.OUT)
    assert six.reasons[0].sentence.startswith("its IPv4 address is out")
    assert [each.state for each in pair([alone], of=pool())] == [State.ELIGIBLE]


def test_an_a_needs_no_companion() -> None:
    of = pool(dual_stack=True)
    four, six = pair([keyserver(*DUAL)], of=of)
    assert companion(of, four, [four, six]) is None
    assert companion(pool(), six, [four, six]) is None
    found = companion(of, six, [four, six])
    assert found is not None
    assert (found.is_passed, found.measured) == (True, "203.0.113.1")


def test_an_aaaa_stays_for_as_long_as_its_a_does() -> None:
    """Three bad looks at the A take neither out, four take both, and they come back together."""
    of = pool(dual_stack=True)
    good = keyserver(*DUAL)
    address4, address6 = good.addresses
    failed = tuple(replace(each, outcome=Outcome.RESET) if each.ask is Ask.LOOKUP else each for each in address4.probes)
    bad = replace(good, addresses=(replace(address4, probes=failed), address6))
    rounds = [[good], *[[bad]] * 4, [good]]
    states = [[each.state for each in pair(*rounds[: number + 1], of=of)] for number in range(len(rounds))]
    assert states == [*[[State.ELIGIBLE, State.ELIGIBLE]] * 4, *[[State.OUT, State.OUT]] * 2]


def test_nothing_is_asked_of_a_plain_pool() -> None:
    one = served(at("de"), server="nginx", total=timedelta(seconds=9))
    kinds = {ReasonCode.PROXY, ReasonCode.COUNTRY, ReasonCode.DUAL_STACK, ReasonCode.NOT_INCLUDED}
    assert [each for code in kinds for each in found_of(one, pool(), code)] == []
    assert found_of(one, pool(), ReasonCode.SERVICE)[0].is_passed
