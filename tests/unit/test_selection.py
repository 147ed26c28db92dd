from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from poolmgr.hosts import IPAddress, parse_host
from poolmgr.judge.reliability import UNSEEN, Reliability, ServiceKey
from poolmgr.judge.selection import LEAST, POWER, Members, select
from poolmgr.judge.shortage import MILDNESS
from poolmgr.model import Family, Reason, ReasonCode, Selection, Service, State, Verdict
from poolmgr.pools import Allowance, Pool, WhenShort
from tests.build import NOW, POOL, pool

WEEK = timedelta(days=7)
EPOCH = datetime.fromtimestamp(2900 * WEEK.total_seconds(), UTC)
"""When an epoch of a week begins."""


def ip(text: str) -> IPAddress:
    return ipaddress.ip_address(text)


def verdict(address: str, /, *reasons: Reason, keyserver: str | None = None, of: Pool | None = None) -> Verdict:
    return Verdict(
        pool=POOL if of is None else of.name,
        keyserver=parse_host(keyserver or f"ks-{address.replace('.', '-').replace(':', '-')}.example.net"),
        address=ip(address),
        state=State.OUT if reasons else State.ELIGIBLE,
        reasons=reasons,
    )


def apart(count: int, of: Pool | None = None) -> list[Verdict]:
    """Return the verdicts of `count` eligible addresses, each in a network of its own."""
    return [verdict(f"20.{number}.0.1", of=of) for number in range(1, count + 1)]


def against(code: ReasonCode, excess: float = 0.0) -> Reason:
    return Reason(code, "what was measured", "the limit", f"{code} is against it", excess=excess)


def scored(scores: Mapping[str, float], service: Service = Service.HKP) -> Mapping[ServiceKey, Reliability]:
    """Return reliabilities that amount to these scores."""
    return {(ip(address), service): Reliability(NOW, (score,) * 5, (1.0,) * 5) for address, score in scores.items()}


def chosen_of(
    verdicts: Iterable[Verdict],
    of: Pool,
    current: Iterable[IPAddress] = (),
    reliability: Mapping[ServiceKey, Reliability] | None = None,
    at: datetime = NOW,
    since: datetime | None = None,
) -> Selection:
    before: Members = {(of.name, family): [one for one in current if Family.of(one) is family] for family in Family}
    return select(verdicts, [of], before, reliability or {}, at, chosen=since)


def members(selection: Selection, family: Family = Family.IPV4) -> tuple[IPAddress, ...]:
    return selection.members[POOL, family]


def reason_of(selection: Selection, address: str) -> Reason:
    (found,) = [one for one in selection.verdicts if one.address == ip(address)]
    assert found.state is State.ELIGIBLE
    (reason,) = found.reasons
    return reason


@pytest.mark.parametrize("count", [9, 10])
def test_all_eligible_are_members_in_address_order_below_and_at_the_cap(count: int) -> None:
    selection = chosen_of(reversed(apart(count)), pool(max_records=10))
    assert members(selection) == tuple(ip(f"20.{number}.0.1") for number in range(1, count + 1))
    assert {one.state for one in selection.verdicts} == {State.MEMBER}


def test_above_the_cap_the_rest_is_eligible_with_the_cap_as_reason() -> None:
    selection = chosen_of(apart(11), pool(max_records=10))
    assert len(members(selection)) == 10
    (waiting,) = [one for one in selection.verdicts if one.state is State.ELIGIBLE]
    assert waiting.address not in members(selection)
    (reason,) = waiting.reasons
    assert (reason.code, reason.measured, reason.limit) == (ReasonCode.CAP, "more than 10", "10")
    assert reason.sentence == "eligible: the pool publishes 10 A at most"


def test_current_members_stay_while_eligible() -> None:
    current = tuple(ip(f"20.{number}.0.1") for number in (3, 7, 15, 19))
    assert members(chosen_of(apart(20), pool(max_records=4), current)) == current


def test_with_a_lower_cap_those_that_stay_are_members() -> None:
    current = [ip(f"20.{number}.0.1") for number in (3, 7, 15, 19)]
    assert set(members(chosen_of(apart(20), pool(max_records=3), current))) < set(current)


def test_one_that_leaves_is_replaced_by_one() -> None:
    of = pool(max_records=5)
    before = members(chosen_of(apart(20), of))
    left = [one for one in apart(20) if one.address != before[2]]
    after = members(chosen_of(left, of, before))
    assert set(before) - set(after) == {before[2]}
    assert len(set(after) - set(before)) == 1


def test_two_pools_do_not_choose_the_same_few() -> None:
    first, second = pool("a.example.org.", max_records=3), pool("b.example.org.", max_records=3)
    selection = select([*apart(40, first), *apart(40, second)], [first, second], {}, {}, NOW)
    assert selection.members[first.name, Family.IPV4] != selection.members[second.name, Family.IPV4]


def test_each_family_has_its_own_cap() -> None:
    both = [*apart(5), *(verdict(f"2001:{number}::1") for number in range(1, 6))]
    selection = chosen_of(both, pool(max_records=3))
    assert (len(members(selection)), len(members(selection, Family.IPV6))) == (3, 3)


def test_warnings_stay_with_members_and_with_those_over_the_cap() -> None:
    warning = against(ReasonCode.CERTIFICATE)
    warned = [
        Verdict(pool=POOL, keyserver=one.keyserver, address=one.address, state=State.ELIGIBLE, warnings=(warning,))
        for one in apart(2)
    ]
    found = chosen_of(warned, pool(max_records=1)).verdicts
    assert {one.state for one in found} == {State.MEMBER, State.ELIGIBLE}
    assert [one.warnings for one in found] == [(warning,), (warning,)]


# Who is taken in


def test_the_choice_is_the_same_everywhere() -> None:
    # Computed once: another machine, or a later version, must draw the same.
    assert members(chosen_of(apart(20), pool(max_records=3))) == tuple(map(ip, ("20.11.0.1", "20.15.0.1", "20.20.0.1")))


def test_the_reliable_are_taken_in_first() -> None:
    scores = {f"20.{number}.0.1": 0.99 if number % 2 else 0.85 for number in range(1, 41)}
    taken = members(chosen_of(apart(40), pool(max_records=10), reliability=scored(scores)))
    assert sum(scores[str(address)] == 0.99 for address in taken) >= 9


def test_of_bad_ones_the_less_bad_are_taken_in_first() -> None:
    scores = {f"20.{number}.0.1": 0.4 if number % 2 else 0.1 for number in range(1, 41)}
    taken = members(chosen_of(apart(40), pool(max_records=10), reliability=scored(scores)))
    assert {scores[str(address)] for address in taken} == {0.4}


def test_one_that_was_never_observed_is_taken_for_one_like_most() -> None:
    of, others = pool(max_records=10), {f"20.{number}.0.1": UNSEEN for number in range(2, 41)}
    assert members(chosen_of(apart(40), of, reliability=scored(others))) == members(chosen_of(apart(40), of))


def test_the_score_is_that_of_the_worst_service_that_the_pool_promises() -> None:
    scores = {f"20.{number}.0.1": 0.99 for number in range(1, 41)}
    web = scored(scores | {f"20.{number}.0.1": 0.5 for number in range(1, 21)}, Service.HTTP)
    known = {**scored(scores), **web}
    hkp = members(chosen_of(apart(40), pool(max_records=10), reliability=known))
    assert hkp == members(chosen_of(apart(40), pool(max_records=10), reliability=scored(scores)))
    of = pool(max_records=10, services=frozenset({Service.HKP, Service.HTTP}))
    assert min(map(int, members(chosen_of(apart(40), of, reliability=known)))) > int(ip("20.20.0.1"))


@pytest.mark.parametrize("score", [0.0, 1e-300, 1.0])
def test_every_score_has_a_rank(score: float) -> None:
    scores = {f"20.{number}.0.1": score for number in range(1, 21)}
    assert len(members(chosen_of(apart(20), pool(max_records=3), reliability=scored(scores)))) == 3


def test_weights_are_in_proportion_to_the_power_of_what_failed() -> None:
    ratio = 3.0
    scores = {"20.1.0.1": 0.9, "20.2.0.1": 1 + LEAST - (0.1 + LEAST) * ratio ** (1 / POWER)}
    first = 0
    for number in range(2000):
        of = pool(f"p{number}.example.org.", max_records=1)
        selection = chosen_of(apart(2, of), of, reliability=scored(scores))
        first += selection.members[of.name, Family.IPV4] == (ip("20.1.0.1"),)
    assert abs(first / 2000 - ratio / (ratio + 1)) < 0.04


def test_no_score_moves_a_member() -> None:
    of = pool(max_records=5)
    before = members(chosen_of(apart(20), of))
    scores = {f"20.{number}.0.1": 0.01 if ip(f"20.{number}.0.1") in before else 1.0 for number in range(1, 21)}
    assert members(chosen_of(apart(20), of, before, scored(scores))) == before


# Those that are falling


def falling(address: str, bad: int = 2) -> Verdict:
    return replace(verdict(address), is_falling=True, progress=(bad, 4))


def test_the_place_of_one_that_is_falling_goes_to_another() -> None:
    of = pool(max_records=3)
    before = members(chosen_of(apart(6), of))
    fails = str(before[0])
    left = [falling(fails) if str(one.address) == fails else one for one in apart(6)]
    selection = chosen_of(left, of, before)
    assert set(before) - set(members(selection)) == {ip(fails)}
    assert len(members(selection)) == 3
    reason = reason_of(selection, fails)
    assert (reason.code, reason.measured, reason.limit) == (ReasonCode.FALLING, "2", "4")
    assert reason.sentence == "its last 2 crawls were bad, and others have its place; after 4 it is out"


@pytest.mark.parametrize(("others", "stays"), [(1, True), (2, True), (3, False)])
def test_one_that_is_falling_stays_while_there_is_nobody_for_its_place(others: int, *, stays: bool) -> None:
    selection = chosen_of([falling("30.1.0.1"), *apart(others)], pool(max_records=3), [ip("30.1.0.1")])
    assert (ip("30.1.0.1") in members(selection)) is stays
    assert len(members(selection)) == min(others + 1, 3)


@pytest.mark.parametrize("since", [EPOCH, EPOCH - WEEK])
@pytest.mark.parametrize("when_short", [WhenShort.HOLD, WhenShort.RELAX])
def test_one_that_is_falling_never_comes_in_not_even_where_there_is_room(
    since: datetime, when_short: WhenShort
) -> None:
    of = pool(max_records=5, rotate_every=WEEK, min_members={Family.IPV4: 4}, when_short=when_short)
    found = [falling("30.1.0.1"), falling("30.2.0.1"), *apart(2)]
    selection = chosen_of(found, of, [ip("30.1.0.1")], at=EPOCH, since=since)
    assert members(selection) == (ip("20.1.0.1"), ip("20.2.0.1"), ip("30.1.0.1"))
    assert reason_of(selection, "30.2.0.1").code is ReasonCode.FALLING


def test_who_is_falling_and_not_in_counts_for_no_floor() -> None:
    of = short(10, when_short=WhenShort.FALLBACK, fallback=FALLBACK)
    found = [*apart(2), falling("30.1.0.1")]
    assert ip("192.0.2.3") in members(chosen_of(found, of))
    assert ip("192.0.2.3") not in members(chosen_of(found, of, [ip("30.1.0.1")]))
    assert reason_of(chosen_of(found, of), "30.1.0.1").code is ReasonCode.FALLING


def test_one_that_is_falling_is_not_drawn_again_in_a_new_epoch() -> None:
    of = pool(max_records=5, rotate_every=WEEK, max_removed=Allowance(count=1))
    before = members(chosen_of(apart(40), of, at=EPOCH - WEEK))
    fails = str(before[0])
    left = [falling(fails) if str(one.address) == fails else one for one in apart(40)]
    after = members(chosen_of(left, of, before, at=EPOCH, since=EPOCH - WEEK))
    assert set(before) - set(after) == {ip(fails)}


# Epochs


def test_members_are_drawn_anew_when_an_epoch_begins_and_not_before_or_after() -> None:
    of = pool(max_records=5, rotate_every=WEEK, max_removed=Allowance(share=1.0))
    second = timedelta(seconds=1)
    before = members(chosen_of(apart(40), of, at=EPOCH - second))
    assert members(chosen_of(apart(40), of, before, at=EPOCH - second, since=EPOCH - WEEK)) == before
    fresh = members(chosen_of(apart(40), of, before, at=EPOCH, since=EPOCH - second))
    assert fresh == members(chosen_of(apart(40), of, at=EPOCH)) != before
    assert members(chosen_of(apart(40), of, before, at=EPOCH + second, since=EPOCH)) == before


def test_without_epochs_or_without_knowing_when_they_were_chosen_members_stay() -> None:
    rotating = pool(max_records=5, rotate_every=WEEK)
    before = members(chosen_of(apart(40), rotating, at=EPOCH - WEEK))
    assert members(chosen_of(apart(40), pool(max_records=5), before, at=EPOCH, since=EPOCH - WEEK)) == before
    assert members(chosen_of(apart(40), rotating, before, at=EPOCH)) == before


@pytest.mark.parametrize(
    ("fields", "gone", "expected"),
    [
        ({"max_removed": Allowance(share=0.5)}, 0, 5),
        ({"max_removed": Allowance(count=2)}, 0, 2),
        ({"max_removed": Allowance(count=2)}, 1, 2),
        ({"max_removed": Allowance(count=2)}, 3, 3),
        ({"max_removed": Allowance(share=1.0), "max_added": Allowance(count=1)}, 0, 1),
    ],
)
def test_a_new_epoch_replaces_no_more_than_one_run_may(fields: dict[str, object], gone: int, expected: int) -> None:
    of = pool(max_records=10, rotate_every=WEEK, **fields)
    before = members(chosen_of(apart(200), of, at=EPOCH - WEEK))
    drawn = members(chosen_of(apart(200), of, at=EPOCH))
    assert not set(before) & set(drawn)
    left = [one for one in apart(200) if one.address not in before[:gone]]
    after = members(chosen_of(left, of, before, at=EPOCH, since=EPOCH - WEEK))
    assert len(after) == 10
    assert len(set(before) - set(after)) == expected


def test_of_those_that_may_not_go_at_once_the_reliable_stay() -> None:
    of = pool(max_records=10, rotate_every=WEEK, max_removed=Allowance(share=0.5))
    before = members(chosen_of(apart(200), of, at=EPOCH - WEEK))
    scores = {f"20.{number}.0.1": 0.99 for number in range(1, 201)}
    scores |= {str(address): 0.5 if number % 2 else 0.3 for number, address in enumerate(before)}
    after = members(chosen_of(apart(200), of, before, scored(scores), at=EPOCH, since=EPOCH - WEEK))
    assert set(before) & set(after) == set(before[1::2])


# Networks and keyservers


def test_at_most_per_network_members_are_of_one_network_where_others_are_eligible() -> None:
    crowd = [verdict(f"30.1.{number}.1") for number in range(1, 31)]
    for limit in (1, 2, 3):
        taken = members(chosen_of([*crowd, *apart(8)], pool(max_records=8, per_network=limit)))
        assert len(taken) == 8
        assert sum(address in ipaddress.ip_network("30.1.0.0/16") for address in taken) <= limit
    few = members(chosen_of([*crowd, *apart(6)], pool(max_records=8, per_network=2)))
    assert sum(address in ipaddress.ip_network("30.1.0.0/16") for address in few) == 2


def test_networks_of_ipv6_have_32_bits() -> None:
    crowd = [verdict(f"2001:db8:{number:x}::1") for number in range(1, 31)]
    others = [verdict(f"2001:{number:x}::1") for number in range(1, 5)]
    taken = members(chosen_of([*crowd, *others], pool(max_records=5, per_network=1)), Family.IPV6)
    assert sum(address in ipaddress.ip_network("2001:db8::/32") for address in taken) == 1


def test_a_pool_is_filled_from_one_network_where_there_are_no_others() -> None:
    crowd = [verdict(f"30.1.{number}.1") for number in range(1, 31)]
    selection = chosen_of([*crowd, *apart(3)], pool(max_records=8, per_network=2))
    assert len(members(selection)) == 8
    assert {ip("20.1.0.1"), ip("20.2.0.1"), ip("20.3.0.1")} < set(members(selection))
    # The network has more than its share already: it is the cap that keeps the rest out.
    codes = {reason.code for one in selection.verdicts for reason in one.reasons}
    assert codes == {ReasonCode.CAP}


def test_who_waits_for_the_network_is_told_so() -> None:
    crowd = [verdict("30.1.1.1"), verdict("30.1.2.1")]
    of = pool(max_records=4, per_network=1)
    selection = chosen_of([*crowd, *apart(9)], of, [ip("30.1.1.1"), ip("20.1.0.1"), ip("20.2.0.1"), ip("20.3.0.1")])
    reason = reason_of(selection, "30.1.2.1")
    assert (reason.code, reason.measured, reason.limit) == (ReasonCode.NETWORK, "1 of 30.1.0.0/16", "1")
    assert reason.sentence == "eligible: 1 of its network 30.1.0.0/16 are published, which has 1 at most"
    assert reason_of(selection, "20.9.0.1").code is ReasonCode.CAP


def test_a_keyserver_has_one_address_of_each_family_where_others_are_eligible() -> None:
    two = [verdict("30.1.0.1", keyserver="two.example.net"), verdict("30.2.0.1", keyserver="two.example.net")]
    both = [*two, verdict("2001:db8::1", keyserver="two.example.net")]
    of = pool(max_records=4)
    selection = chosen_of([*both, *apart(3)], of)
    assert len(set(members(selection)) & {ip("30.1.0.1"), ip("30.2.0.1")}) == 1
    assert members(selection, Family.IPV6) == (ip("2001:db8::1"),)
    waiting = next(iter({"30.1.0.1", "30.2.0.1"} - set(map(str, members(selection)))))
    reason = reason_of(selection, waiting)
    assert (reason.code, reason.limit) == (ReasonCode.NETWORK, "one address of a keyserver")
    assert reason.sentence == (f"eligible: two.example.net is published with {reason.measured}, one A of each may be")
    assert len(members(chosen_of([*both, *apart(2)], of))) == 4


def test_a_crowded_member_gives_way_to_one_from_elsewhere_one_a_run() -> None:
    crowd = [verdict(f"30.1.{number}.1") for number in range(1, 5)]
    of = pool(max_records=4, per_network=1)
    held = members(chosen_of(crowd, of))
    assert len(held) == 4
    for left in (3, 2, 1, 1):
        held = members(chosen_of([*crowd, *apart(9)], of, held))
        assert sum(address in ipaddress.ip_network("30.1.0.0/16") for address in held) == left


def test_a_crowded_member_stays_in_a_run_in_which_another_leaves() -> None:
    crowd = [verdict(f"30.1.{number}.1") for number in range(1, 5)]
    of = pool(max_records=4, per_network=1)
    held = members(chosen_of(crowd, of))
    after = members(chosen_of([*crowd[1:], *apart(9)], of, held))
    assert set(held) - set(after) == {ip("30.1.1.1")}


# Too few


def short(count: int, **fields: object) -> Pool:
    return pool(min_members={Family.IPV4: 3, Family.IPV6: 0}, max_records=count, **fields)


OUT = [
    verdict("40.1.0.1", against(ReasonCode.BEHIND, 7.0)),
    verdict("40.2.0.1", against(ReasonCode.BEHIND, 5.0)),
    verdict("40.3.0.1", against(ReasonCode.JOINING), against(ReasonCode.PROBATION)),
    verdict("40.4.0.1", against(ReasonCode.PROBATION)),
    verdict("40.5.0.1", against(ReasonCode.JOINING)),
    verdict("40.6.0.1", against(ReasonCode.JOINING), against(ReasonCode.NO_COUNT)),
]
FROM_LEAST_BAD = ["40.5.0.1", "40.4.0.1", "40.3.0.1", "40.2.0.1", "40.1.0.1", "40.6.0.1"]


def test_by_default_nobody_else_is_let_in_where_too_few_are_eligible() -> None:
    selection = chosen_of([*apart(2), *OUT], short(10))
    assert members(selection) == (ip("20.1.0.1"), ip("20.2.0.1"))


def test_the_least_bad_are_let_in_up_to_the_floor_in_their_order() -> None:
    for count in range(len(OUT) + 1):
        of = pool(min_members={Family.IPV4: count}, when_short=WhenShort.RELAX)
        assert set(members(chosen_of(OUT, of))) == set(map(ip, FROM_LEAST_BAD[:count]))


def test_who_was_let_in_is_a_member_with_what_is_against_it_as_warnings() -> None:
    selection = chosen_of([*apart(2), *OUT], short(10, when_short=WhenShort.RELAX))
    assert members(selection) == (ip("20.1.0.1"), ip("20.2.0.1"), ip("40.5.0.1"))
    (let_in,) = [one for one in selection.verdicts if one.address == ip("40.5.0.1")]
    assert let_in.state is State.MEMBER
    relaxed, against_it = let_in.warnings
    assert (relaxed.code, relaxed.measured, relaxed.limit) == (ReasonCode.RELAXED, "2", "3")
    assert relaxed.sentence == "let in all the same: 2 of at least 3 A are eligible (when_short: relax)"
    assert against_it.code is ReasonCode.JOINING
    assert all(not one.warnings for one in selection.verdicts if one.address != let_in.address)


@pytest.mark.parametrize(("eligible", "expected"), [(2, 3), (3, 3), (4, 4)])
def test_rules_are_relaxed_below_the_floor_only(eligible: int, expected: int) -> None:
    selection = chosen_of([*apart(eligible), *OUT], short(10, when_short=WhenShort.RELAX))
    assert len(members(selection)) == expected


@pytest.mark.parametrize("code", sorted(set(ReasonCode) - set(MILDNESS)))
def test_no_other_reason_is_ever_overlooked(code: ReasonCode) -> None:
    refused = verdict("40.9.0.1", against(ReasonCode.JOINING), against(code))
    assert members(chosen_of([refused], short(10, when_short=WhenShort.RELAX))) == ()


def test_who_gives_an_old_canary_key_comes_after_who_is_behind_and_before_who_is_stuck() -> None:
    codes = (ReasonCode.STUCK, ReasonCode.CANARY, ReasonCode.BEHIND)
    out = [verdict(f"40.{number}.0.1", against(code)) for number, code in enumerate(codes, 1)]
    for count, expected in ((1, {3}), (2, {2, 3}), (3, {1, 2, 3})):
        of = pool(min_members={Family.IPV4: count}, max_records=16, when_short=WhenShort.RELAX)
        assert {int(one) >> 16 & 255 for one in members(chosen_of(out, of))} == expected


def test_who_is_behind_by_the_least_comes_first() -> None:
    behind = [verdict(f"40.{number}.0.1", against(ReasonCode.BEHIND, number * 7 % 17)) for number in range(1, 17)]
    for count in range(1, 17):
        of = pool(min_members={Family.IPV4: count}, max_records=16, when_short=WhenShort.RELAX)
        assert {int(one) >> 16 & 255 for one in members(chosen_of(behind, of))} == {
            number for number in range(1, 17) if number * 7 % 17 <= count
        }


def test_of_the_equally_bad_those_that_were_let_in_stay() -> None:
    behind = [verdict(f"40.{number}.0.1", against(ReasonCode.BEHIND, float(number))) for number in range(1, 9)]
    current = [ip("40.5.0.1"), ip("40.6.0.1"), ip("40.7.0.1")]
    assert list(members(chosen_of(behind, short(10, when_short=WhenShort.RELAX), current))) == current


FALLBACK = tuple(map(ip, ("192.0.2.3", "40.5.0.1", "20.2.0.1", "2001:db8::1")))


def test_the_fallback_is_published_instead_below_the_floor_only() -> None:
    of = short(10, when_short=WhenShort.FALLBACK, fallback=FALLBACK)
    assert members(chosen_of([*apart(2), *OUT], of)) == (ip("20.2.0.1"), ip("40.5.0.1"), ip("192.0.2.3"))
    assert members(chosen_of([*apart(2), *OUT], of), Family.IPV6) == ()
    assert members(chosen_of([*apart(3), *OUT], of)) == tuple(ip(f"20.{number}.0.1") for number in (1, 2, 3))


def test_every_verdict_says_that_the_fallback_is_published() -> None:
    of = short(10, when_short=WhenShort.FALLBACK, fallback=FALLBACK)
    selection = chosen_of([*apart(2), *OUT], of)
    found = {str(one.address): one for one in selection.verdicts}
    said = "2 of at least 3 A are eligible, and the pool's fallback is published instead"
    assert [str(reason) for reason in found["20.1.0.1"].reasons] == [said]
    assert found["20.1.0.1"].state is State.ELIGIBLE
    assert [str(warning) for warning in found["20.2.0.1"].warnings] == [said]
    assert [str(warning) for warning in found["40.5.0.1"].warnings] == [said, "joining is against it"]
    stranger = selection.verdicts[-1]
    assert (stranger.keyserver, stranger.address, stranger.state) == (ip("192.0.2.3"),) * 2 + (State.MEMBER,)
    assert [warning.code for warning in stranger.warnings] == [ReasonCode.FALLBACK]
    assert len(selection.verdicts) == 9


def test_of_a_long_fallback_the_first_are_published() -> None:
    of = short(3, when_short=WhenShort.FALLBACK, fallback=tuple(ip(f"192.0.2.{number}") for number in (9, 2, 5, 1)))
    assert members(chosen_of([], of)) == (ip("192.0.2.2"), ip("192.0.2.5"), ip("192.0.2.9"))
