from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from poolmgr.judge.policy import Policy
from poolmgr.model import (
    Ask,
    Certificate,
    Family,
    Keyserver,
    KeyserverAddress,
    Outcome,
    ReasonCode,
    Service,
    State,
    Verdict,
)
from poolmgr.pools import Pool, Vhost
from poolmgr.version import Version
from tests.build import NOW, judge, keyserver, mesh, overrides, pool, probe, snapshot

POLICY = Policy(max_keys_behind=100, max_keys_ahead=100)


def verdict_on(one: Keyserver, *, policy: Policy = POLICY, of: Pool | None = None, others: int = 5) -> Verdict:
    """Judge `one` among healthy others, and return its first verdict."""
    verdicts, _ = judge(snapshot([one, *mesh(others, first=100)]), policy, [of or pool()])
    return verdicts[0]


def only_reason(verdict: Verdict) -> tuple[ReasonCode, str, str, str]:
    assert verdict.state is State.OUT
    (reason,) = verdict.reasons
    return (reason.code, reason.measured, reason.limit, reason.sentence)


def test_a_healthy_address_is_eligible_without_reasons() -> None:
    verdict = verdict_on(keyserver("ks.example.net", "203.0.113.1"))
    assert (verdict.state, verdict.reasons) == (State.ELIGIBLE, ())


def test_every_address_is_judged_by_itself() -> None:
    one = keyserver("ks.example.net", "203.0.113.1", "2001:db8::1")
    broken = KeyserverAddress(
        one.addresses[1].address, None, (probe("2001:db8::1", ask=Ask.STATS, outcome=Outcome.REFUSED),)
    )
    both = replace(one, addresses=(one.addresses[0], broken))
    verdicts, _ = judge(snapshot([both, *mesh(3)]), POLICY, [pool()])
    assert [verdict.state for verdict in verdicts[:2]] == [State.ELIGIBLE, State.OUT]


def test_a_name_without_address_is_out_for_what_dns_said() -> None:
    verdict = verdict_on(keyserver("gone.example.net"))
    assert verdict.address is None
    assert only_reason(verdict)[0] is ReasonCode.NO_ADDRESS
    assert "NXDOMAIN" in only_reason(verdict)[3]


@pytest.mark.parametrize("entry", ["ks.example.net", "203.0.113.1", "203.0.113.0/24"])
@pytest.mark.parametrize("where", ["policy", "pool"])
def test_exclude_puts_out_by_name_address_and_network(entry: str, where: str) -> None:
    policy = Policy(exclude=overrides(entry)) if where == "policy" else POLICY
    of = pool(exclude=overrides(entry)) if where == "pool" else pool()
    verdict = verdict_on(keyserver("ks.example.net", "203.0.113.1"), policy=policy, of=of)
    code, measured, _, sentence = only_reason(verdict)
    assert (code, measured) == (ReasonCode.EXCLUDED, entry)
    assert where in sentence


def test_include_only_puts_out_all_others() -> None:
    verdict = verdict_on(
        keyserver("ks.example.net", "203.0.113.1"), of=pool(include_only=overrides("other.example.net"))
    )
    assert only_reason(verdict)[0] is ReasonCode.NOT_INCLUDED
    named = verdict_on(keyserver("ks.example.net", "203.0.113.1"), of=pool(include_only=overrides("203.0.113.0/28")))
    assert named.state is State.ELIGIBLE


def test_an_address_of_another_family_is_out() -> None:
    verdict = verdict_on(keyserver("ks.example.net", "203.0.113.1"), of=pool(families=frozenset({Family.IPV6})))
    assert only_reason(verdict)[:3] == (ReasonCode.FAMILY, "ipv4", "ipv6")


def test_an_address_that_was_not_allowed_is_out_with_the_registry_entry() -> None:
    one = keyserver("ks.example.net", "10.0.0.1", stats_outcome=Outcome.NOT_ALLOWED, detail="private use (RFC 1918)")
    assert only_reason(verdict_on(one)) == (
        ReasonCode.SPECIAL_PURPOSE, "10.0.0.1", "a public address", "private use (RFC 1918)"
    )  # fmt: skip


def test_no_stats_page_is_the_only_reason_and_says_how_the_probe_ended() -> None:
    one = keyserver("ks.example.net", "203.0.113.1", stats_outcome=Outcome.HTTP_STATUS, detail="503")
    assert only_reason(verdict_on(one)) == (ReasonCode.STATS, "http-status", "ok", "no stats page: http-status (503)")


@pytest.mark.parametrize(
    ("version", "is_in"), [("1.1.5", False), ("1.1.6", True), ("1.1.6+", True), ("1.1.6-beta1", False)]
)
def test_minimum_version_below_at_and_above(version: str, *, is_in: bool) -> None:
    verdict = verdict_on(keyserver("ks.example.net", "203.0.113.1", version=version))
    assert (verdict.state is State.ELIGIBLE) is is_in
    if not is_in:
        assert only_reason(verdict)[:3] == (ReasonCode.VERSION, version, "1.1.6")


def test_the_stricter_of_policy_and_pool_asks_for_the_version() -> None:
    one = keyserver("ks.example.net", "203.0.113.1", version="1.1.6")
    strict = pool(minimum_versions={"sks": Version.parse("1.1.7")})
    lax = pool(minimum_versions={"sks": Version.parse("1.0")})
    assert only_reason(verdict_on(one, of=strict))[:3] == (ReasonCode.VERSION, "1.1.6", "1.1.7")
    assert verdict_on(one, of=lax).state is State.ELIGIBLE


def test_a_version_that_cannot_be_ordered_is_out() -> None:
    one = keyserver("ks.example.net", "203.0.113.1", software="Hockeypuck", version="~unreleased")
    assert only_reason(verdict_on(one))[:3] == (ReasonCode.VERSION, "~unreleased", "2.1.0")


def test_software_that_is_not_admitted_is_out() -> None:
    one = keyserver("ks.example.net", "203.0.113.1", software="GnuKS", version="1.1.6")
    code, measured, limit, _ = only_reason(verdict_on(one))
    assert (code, measured, limit) == (ReasonCode.SOFTWARE, "GnuKS", "hockeypuck, sks")


@pytest.mark.parametrize(("keys", "told"), [(None, "unknown"), (0, "0"), (1, "1")])
def test_a_count_that_says_nothing_is_out(keys: int | None, told: str) -> None:
    one = keyserver("ks.example.net", "203.0.113.1", keys=keys)
    assert only_reason(verdict_on(one))[:2] == (ReasonCode.NO_COUNT, told)


@pytest.mark.parametrize(
    ("keys", "code"),
    [
        (5_000_000 - 101, ReasonCode.BEHIND),
        (5_000_000 - 100, None),
        (5_000_000 + 100, None),
        (5_000_000 + 101, ReasonCode.AHEAD),
        (2**63 - 1, ReasonCode.AHEAD),
    ],
)
def test_freshness_below_at_and_above_both_limits(keys: int, code: ReasonCode | None) -> None:
    verdict = verdict_on(keyserver("ks.example.net", "203.0.113.1", keys=keys))
    assert [reason.code for reason in verdict.reasons] == ([] if code is None else [code])
    if code is ReasonCode.BEHIND:
        sentence = "101 keys behind: 4999899 of the 5000000 of sks 1.1, at most 100 may be missing"
        assert verdict.reasons[0].sentence == sentence


def test_one_that_nobody_of_its_cohort_agrees_with_is_out_unless_another_cohort_does() -> None:
    agreeing = keyserver("ks.example.net", "203.0.113.1", software="Hockeypuck", version="2.3")
    assert verdict_on(agreeing).state is State.ELIGIBLE
    alone = keyserver("ks.example.net", "203.0.113.1", software="Hockeypuck", version="2.3", keys=6_000_000)
    assert only_reason(verdict_on(alone))[:3] == (ReasonCode.COHORT, "1", "2")


def test_two_of_a_cohort_that_disagree_are_both_out_and_two_that_agree_are_both_in() -> None:
    other = keyserver("ks2.example.net", "203.0.113.2", software="Hockeypuck", version="2.3", keys=7_000_000)
    for keys, state in ((6_000_000, State.OUT), (7_000_000, State.ELIGIBLE)):
        one = keyserver("ks.example.net", "203.0.113.1", software="Hockeypuck", version="2.3", keys=keys)
        verdicts, _ = judge(snapshot([one, other, *mesh(5, first=100)]), POLICY, [pool()])
        assert [verdict.state for verdict in verdicts[:2]] == [state, state]


def test_a_service_that_the_pool_requires_must_answer_under_its_host() -> None:
    one = keyserver("ks.example.net", "203.0.113.1", outcomes={Service.HKP: Outcome.OK, Service.HTTP: Outcome.REFUSED})
    assert verdict_on(one).state is State.ELIGIBLE
    both = pool(services=frozenset({Service.HKP, Service.HTTP}))
    code, measured, limit, sentence = only_reason(verdict_on(one, of=both))
    assert (code, measured, limit) == (ReasonCode.SERVICE, "http refused", "http ok")
    assert sentence == "http on port 80 as pool.example.org: refused"


def test_a_service_that_was_not_asked_under_the_pools_host_is_out() -> None:
    verdict = verdict_on(keyserver("ks.example.net", "203.0.113.1"), of=pool("other.example.org."))
    assert only_reason(verdict)[:2] == (ReasonCode.SERVICE, "hkp not asked")


def test_all_reasons_are_given_at_once() -> None:
    one = keyserver(
        "ks.example.net",
        "203.0.113.1",
        version="1.1.5",
        keys=4_000_000,
        outcomes={Service.HKP: Outcome.WRONG_KEY, Service.HTTP: Outcome.OK},
    )
    codes = [reason.code for reason in verdict_on(one).reasons]
    assert codes == [ReasonCode.VERSION, ReasonCode.BEHIND, ReasonCode.SERVICE]


def test_there_is_a_verdict_for_every_address_and_pool_in_order() -> None:
    pools = [pool("a.example.org."), pool("b.example.org.")]
    keyservers = [*mesh(3), keyserver("gone.example.net")]
    verdicts, _ = judge(snapshot(keyservers), POLICY, pools)
    assert [(verdict.pool, verdict.keyserver) for verdict in verdicts] == [
        (of.name, one.name) for of in pools for one in keyservers
    ]


SECURE = frozenset({Service.HKP, Service.HKPS})


def with_certificate(left: timedelta, host: str = "pool.example.org") -> Keyserver:
    """Return a keyserver whose certificate for `host` ends so long after the crawl."""
    one = keyserver("ks.example.net", "203.0.113.1")
    shown = probe("203.0.113.1", service=Service.HKPS, host=host, certificate=Certificate("Lab CA", NOW + left))
    (address,) = one.addresses
    return replace(one, addresses=(replace(address, probes=(*address.probes, shown)),))


@pytest.mark.parametrize(
    ("left", "days"),
    [
        (timedelta(days=14, seconds=1), None),
        (timedelta(days=14), "14 days"),
        (timedelta(days=1, hours=23), "1 day"),
        (timedelta(hours=1), "0 days"),
    ],
)
def test_a_certificate_that_ends_within_the_limit_is_a_warning_and_no_exclusion(
    left: timedelta, days: str | None
) -> None:
    verdict = verdict_on(with_certificate(left), of=pool(services=SECURE))
    assert (verdict.state, verdict.reasons) == (State.ELIGIBLE, ())
    if days is None:
        assert verdict.warnings == ()
        return
    (warning,) = verdict.warnings
    assert (warning.code, warning.measured, warning.limit) == (ReasonCode.CERTIFICATE, days, "more than 14 days")
    date = (NOW + left).date()
    assert warning.sentence == f"its certificate for pool.example.org ends in {days}, on {date}"


def test_a_certificate_matters_only_to_pools_that_ask_for_hkps_under_its_name() -> None:
    ending = with_certificate(timedelta(days=1))
    assert verdict_on(ending).warnings == ()
    under_its_own = with_certificate(timedelta(days=1), "ks.example.net")
    assert verdict_on(under_its_own, of=pool(services=SECURE)).warnings == ()
    assert verdict_on(under_its_own, of=pool(services=SECURE, vhost=Vhost.OWN)).warnings != ()
    policy = replace(POLICY, certificate_warning=timedelta(hours=23))
    assert verdict_on(ending, policy=policy, of=pool(services=SECURE)).warnings == ()


def test_bad_tls_puts_out_of_a_pool_that_asks_for_hkps_only() -> None:
    outcomes = {Service.HKP: Outcome.OK, Service.HKPS: Outcome.BAD_TLS}
    one = keyserver("ks.example.net", "203.0.113.1", outcomes=outcomes)
    assert only_reason(verdict_on(one, of=pool(services=SECURE)))[:2] == (ReasonCode.SERVICE, "hkps bad-tls")
    assert verdict_on(one).state is State.ELIGIBLE


def under(own: Outcome | None, pools: Outcome) -> Keyserver:
    """Return a keyserver that answered lookups of HKP so under its own and under the pool's name."""
    one = keyserver("ks.example.net", "203.0.113.1", outcomes={Service.HKP: pools})
    (address,) = one.addresses
    asked = () if own is None else (probe("203.0.113.1", host="ks.example.net", outcome=own),)
    return replace(one, addresses=(replace(address, probes=(*address.probes, *asked)),))


@pytest.mark.parametrize(
    ("vhost", "own", "pools", "is_in"),
    [
        (Vhost.POOL, Outcome.NO_KEY, Outcome.OK, True),
        (Vhost.POOL, Outcome.OK, Outcome.NO_KEY, False),
        (Vhost.OWN, Outcome.OK, Outcome.NO_KEY, True),
        (Vhost.OWN, Outcome.NO_KEY, Outcome.OK, False),
        (Vhost.EITHER, Outcome.OK, Outcome.NO_KEY, True),
        (Vhost.EITHER, Outcome.NO_KEY, Outcome.OK, True),
        (Vhost.EITHER, Outcome.NO_KEY, Outcome.NO_KEY, False),
    ],
)
def test_an_address_must_answer_under_the_name_that_the_pool_asks_for(
    vhost: Vhost, own: Outcome, pools: Outcome, *, is_in: bool
) -> None:
    verdict = verdict_on(under(own, pools), of=pool(vhost=vhost))
    assert (verdict.state is State.ELIGIBLE) is is_in


def test_one_that_answers_under_its_own_name_only_is_told_apart_from_one_that_is_down() -> None:
    assert only_reason(verdict_on(under(Outcome.OK, Outcome.NO_KEY))) == (
        ReasonCode.SERVICE,
        "hkp no-key",
        "hkp ok",
        "hkp on port 11371 answers under its own name ks.example.net only, as pool.example.org: no-key",
    )
    down = only_reason(verdict_on(under(Outcome.NO_KEY, Outcome.NO_KEY)))
    assert down[3] == "hkp on port 11371 as pool.example.org: no-key"


def test_where_either_name_would_do_the_reason_has_both() -> None:
    sentence = only_reason(verdict_on(under(Outcome.RESET, Outcome.NO_KEY), of=pool(vhost=Vhost.EITHER)))[3]
    assert sentence == "hkp on port 11371 as pool.example.org: no-key; as ks.example.net: reset"


def test_a_literal_cannot_answer_under_its_own_name() -> None:
    one = keyserver("203.0.113.1", "203.0.113.1")
    sentence = only_reason(verdict_on(one, of=pool(vhost=Vhost.OWN)))[3]
    assert sentence == "hkp must answer under the keyserver's own name, and no name leads to this address"


def test_an_address_whose_stats_page_was_not_asked_for_is_out() -> None:
    one = keyserver("ks.example.net", "203.0.113.1")
    unasked = replace(one, addresses=(KeyserverAddress(one.addresses[0].address, None, ()),))
    assert only_reason(verdict_on(unasked))[:3] == (ReasonCode.STATS, "not asked", "ok")
