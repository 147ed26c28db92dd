"""What must hold of who is published, whoever is eligible."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from poolmgr.hosts import IPAddress, parse_host
from poolmgr.judge.reliability import Reliability, ServiceKey
from poolmgr.judge.selection import Members, select
from poolmgr.judge.shortage import MILDNESS
from poolmgr.model import Family, Reason, ReasonCode, Selection, Service, State, Verdict
from poolmgr.pools import Allowance, Pool, WhenShort
from tests.build import NOW, POOL, pool

WEEK = timedelta(days=7)
IPV4 = [ipaddress.ip_address(f"{network}.{number}.0.1") for network in (20, 21) for number in range(1, 4)]
IPV4 += [ipaddress.ip_address(f"30.1.{number}.1") for number in range(1, 9)]
IPV6 = [ipaddress.ip_address(f"2001:{network}::{number}") for network in (1, 2, 3) for number in range(1, 4)]
FALLBACK = (*IPV4[:2], *IPV6[:2], ipaddress.ip_address("192.0.2.1"), ipaddress.ip_address("192.0.2.2"))


@st.composite
def all_verdicts(draw: st.DrawFn, *, codes: Collection[ReasonCode] = tuple(ReasonCode)) -> tuple[Verdict, ...]:
    """Return verdicts of addresses of few networks and keyservers, about half of them out."""
    found = []
    for address in draw(st.lists(st.sampled_from([*IPV4, *IPV6]), unique=True)):
        failed = draw(st.lists(st.sampled_from(sorted(codes)), unique=True, max_size=2)) if codes else []
        reasons = tuple(Reason(code, "measured", "limit", f"it is {code}", excess=draw(EXCESS)) for code in failed)
        found.append(
            Verdict(
                pool=POOL,
                keyserver=parse_host(f"ks{draw(st.integers(1, 8))}.example.net"),
                address=address,
                state=State.OUT if reasons else State.ELIGIBLE,
                reasons=reasons,
            )
        )
    return tuple(found)


EXCESS = st.floats(0, 100)
ELIGIBLE = all_verdicts(codes=())
CURRENT = st.sets(st.sampled_from([*IPV4, *IPV6, *FALLBACK]))
SCORES = st.dictionaries(st.sampled_from([*IPV4, *IPV6]), st.floats(0, 1))
ALLOWANCES = st.builds(
    Allowance, share=st.none() | st.sampled_from([0.0, 0.3, 0.5, 1.0]), count=st.none() | st.integers(1, 5)
)


@st.composite
def pools(draw: st.DrawFn, /, **fields: object) -> Pool:
    cap = draw(st.integers(1, 10))
    of = pool(
        max_records=cap,
        min_members={family: draw(st.integers(0, cap)) for family in Family},
        per_network=draw(st.integers(1, 3)),
        when_short=draw(st.sampled_from(WhenShort)),
        max_removed=draw(ALLOWANCES),
        max_added=draw(st.none() | ALLOWANCES),
        rotate_every=draw(st.sampled_from([None, WEEK])),
        fallback=FALLBACK,
    )
    return replace(of, **fields)  # type: ignore[arg-type]


def reliability(scores: Mapping[IPAddress, float]) -> Mapping[ServiceKey, Reliability]:
    return {(address, Service.HKP): Reliability(NOW, (score,) * 5, (1.0,) * 5) for address, score in scores.items()}


def current(addresses: Iterable[IPAddress]) -> Members:
    addresses = tuple(addresses)
    return {(POOL, family): [one for one in addresses if Family.of(one) is family] for family in Family}


def members(selection: Selection) -> set[IPAddress]:
    return {address for found in selection.members.values() for address in found}


def settled(verdicts: tuple[Verdict, ...], of: Pool, scores: Mapping[IPAddress, float]) -> set[IPAddress]:
    """Return the members once nothing moves any more: crowded ones give way one a run."""
    held: set[IPAddress] = set()
    for _ in range(2 * of.max_records + 2):
        before, held = held, members(select(verdicts, [of], current(held), reliability(scores), NOW))
        if held == before:
            return held
    raise AssertionError("it never settles")


@given(all_verdicts(), pools(), CURRENT, SCORES, st.booleans())
def test_members_are_eligible_but_where_the_operator_would_rather_have_others(
    verdicts: tuple[Verdict, ...], of: Pool, before: set[IPAddress], scores: Mapping[IPAddress, float], is_new: bool
) -> None:
    since = NOW - (WEEK if is_new else timedelta(0))
    selection = select(verdicts, [of], current(before), reliability(scores), NOW, chosen=since)
    for (_, family), found in selection.members.items():
        of_family = [one for one in verdicts if one.address is not None and Family.of(one.address) is family]
        eligible = {one.address for one in of_family if one.state is State.ELIGIBLE}
        assert len(found) <= of.max_records
        if len(eligible) >= of.min_members[family] or of.when_short is WhenShort.HOLD:
            assert set(found) <= eligible
            assert len(found) == min(of.max_records, len(eligible))
        elif of.when_short is WhenShort.RELAX:
            mild = {one.address for one in of_family if {reason.code for reason in one.reasons} <= set(MILDNESS)}
            assert eligible <= set(found) <= mild
            assert len(found) == min(of.min_members[family], len(mild))
        else:
            assert set(found) <= set(FALLBACK)
    told = {one.address: one for one in selection.verdicts}
    assert {address for address, one in told.items() if one.state is State.MEMBER} == members(selection)
    assert all(one.reasons for one in selection.verdicts if one.state is not State.MEMBER)


@given(ELIGIBLE, pools(), CURRENT, CURRENT, SCORES, st.booleans())
def test_steady_ones_come_first_and_falling_ones_only_stay(
    verdicts: tuple[Verdict, ...],
    of: Pool,
    before: set[IPAddress],
    falling: set[IPAddress],
    scores: Mapping[IPAddress, float],
    is_new: bool,
) -> None:
    verdicts = tuple(replace(one, is_falling=one.address in falling, progress=(2, 4)) for one in verdicts)
    since = NOW - (WEEK if is_new else timedelta(0))
    selection = select(verdicts, [of], current(before), reliability(scores), NOW, chosen=since)
    for (_, family), found in selection.members.items():
        eligible = {one.address for one in verdicts if one.address and Family.of(one.address) is family}
        steady, staying = eligible - falling, eligible & falling & before
        if len(steady | staying) < of.min_members[family] and of.when_short is WhenShort.FALLBACK:
            continue
        assert falling.intersection(found) <= staying
        assert steady <= set(found) or falling.isdisjoint(found)
        assert len(found) == min(of.max_records, len(steady | staying))
        for one in selection.verdicts:
            if one.address in eligible & falling - set(found):
                assert [reason.code for reason in one.reasons] == [ReasonCode.FALLING]


@given(all_verdicts(), pools(), CURRENT, SCORES, st.randoms())
def test_the_order_of_input_never_matters(
    verdicts: tuple[Verdict, ...],
    of: Pool,
    before: set[IPAddress],
    scores: Mapping[IPAddress, float],
    random: object,
) -> None:
    shuffled = list(verdicts)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    orders = (verdicts, sorted(before, key=str)), (shuffled, sorted(before, key=str, reverse=True))
    first, second = (
        select(order, [of], current(held), reliability(scores), NOW, chosen=NOW - WEEK) for order, held in orders
    )
    assert first.members == second.members
    assert set(first.verdicts) == set(second.verdicts)


@given(ELIGIBLE, pools(when_short=WhenShort.HOLD), SCORES, SCORES)
def test_members_stay_whatever_their_scores_become(
    verdicts: tuple[Verdict, ...], of: Pool, scores: Mapping[IPAddress, float], later: Mapping[IPAddress, float]
) -> None:
    held = settled(verdicts, of, scores)
    assert members(select(verdicts, [of], current(held), reliability(later), NOW, chosen=NOW)) == held


@given(ELIGIBLE, pools(when_short=WhenShort.HOLD), SCORES, st.data())
def test_one_that_leaves_is_replaced_by_at_most_one_and_nobody_by_one_that_waited(
    verdicts: tuple[Verdict, ...], of: Pool, scores: Mapping[IPAddress, float], data: st.DataObject
) -> None:
    held = settled(verdicts, of, scores)
    if not verdicts:
        return
    leaving = data.draw(st.sampled_from(verdicts))
    left = tuple(one for one in verdicts if one is not leaving)
    after = members(select(left, [of], current(held), reliability(scores), NOW, chosen=NOW))
    assert held - after == held & {leaving.address}
    assert len(after - held) <= len(held - after)


@given(ELIGIBLE, pools(when_short=WhenShort.HOLD), SCORES)
def test_no_member_is_crowded_while_another_would_not_be(
    verdicts: tuple[Verdict, ...], of: Pool, scores: Mapping[IPAddress, float]
) -> None:
    held = settled(verdicts, of, scores)
    keyservers = {one.address: one.keyserver for one in verdicts}

    def network(address: IPAddress) -> int:
        return int(address) >> (16 if address.version == 4 else 96)

    def fits(address: IPAddress, among: set[IPAddress]) -> bool:
        beside = [one for one in among if one != address and one.version == address.version]
        is_first = all(keyservers[one] != keyservers[address] for one in beside)
        return is_first and sum(network(one) == network(address) for one in beside) < of.per_network

    crowded = [one for one in held if not fits(one, held)]
    for address in keyservers.keys() - held:
        assert address is not None
        assert not any(one.version == address.version and fits(address, held - {one}) for one in crowded)


@given(ELIGIBLE, pools(when_short=WhenShort.HOLD, rotate_every=WEEK), CURRENT, SCORES)
def test_an_epoch_moves_no_more_than_one_run_may(
    verdicts: tuple[Verdict, ...], of: Pool, before: set[IPAddress], scores: Mapping[IPAddress, float]
) -> None:
    selection = select(verdicts, [of], current(before), reliability(scores), NOW, chosen=NOW - WEEK)
    eligible = {one.address for one in verdicts}
    for family in Family:
        old = {address for address in before if Family.of(address) is family}
        new = set(selection.members[POOL, family])
        allowed = of.max_removed.of(len(old))
        # What is no longer eligible, or over a cap that was lowered, goes in any case.
        forced = max(len(old - eligible), len(old) - len(new))
        if allowed is not None and len(old) <= of.max_records:
            assert len(old - new) <= max(allowed, forced)
