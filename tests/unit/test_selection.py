from __future__ import annotations

import ipaddress
from dataclasses import replace

from poolmgr.hosts import IPAddress
from poolmgr.judge.selection import Members, select
from poolmgr.judge.verdict import Policy, judge
from poolmgr.model import Family, Pool, Reason, ReasonCode, Selection, State
from tests.build import POOL, keyserver, mesh, named, pool, snapshot


def selection(count: int, of: Pool, current: Members | None = None) -> Selection:
    judgement = judge(snapshot(mesh(count)), Policy(), [of])
    return select(judgement.verdicts, [of], current or {})


def members(result: Selection, family: Family = Family.IPV4) -> tuple[IPAddress, ...]:
    return result.members[POOL, family]


def test_all_eligible_are_members_in_address_order_below_and_at_the_cap() -> None:
    for count in (9, 10):
        chosen = selection(count, pool(max_records=10))
        assert members(chosen) == tuple(ipaddress.ip_address(f"198.51.100.{number}") for number in range(1, count + 1))
        assert {verdict.state for verdict in chosen.verdicts} == {State.MEMBER}


def test_above_the_cap_the_rest_is_eligible_with_the_cap_as_reason() -> None:
    chosen = selection(11, pool(max_records=10))
    assert len(members(chosen)) == 10
    (waiting,) = [verdict for verdict in chosen.verdicts if verdict.state is State.ELIGIBLE]
    assert [(reason.code, reason.limit) for reason in waiting.reasons] == [(ReasonCode.CAP, "10")]
    assert waiting.address not in members(chosen)


def test_current_members_stay_while_eligible() -> None:
    current = tuple(ipaddress.ip_address(f"198.51.100.{number}") for number in (3, 7, 15, 19))
    chosen = selection(20, pool(max_records=4), {(POOL, Family.IPV4): current})
    assert members(chosen) == current


def test_one_that_leaves_is_replaced_by_one() -> None:
    of = pool(max_records=5)
    before = members(selection(20, of))
    keyservers = [one for one in mesh(20) if one.addresses[0].address != before[2]]
    judgement = judge(snapshot(keyservers), Policy(), [of])
    after = members(select(judgement.verdicts, [of], {(POOL, Family.IPV4): before}))
    assert len(set(before) - set(after)) == 1
    assert len(set(after) - set(before)) == 1


def test_the_choice_does_not_depend_on_the_order_of_input() -> None:
    of = pool(max_records=5)
    judgement = judge(snapshot(reversed(mesh(20))), Policy(), [of])
    assert members(select(judgement.verdicts, [of], {})) == members(selection(20, of))


def test_two_pools_do_not_choose_the_same_few() -> None:
    first, second = pool("a.example.org.", max_records=3), pool("b.example.org.", max_records=3)
    host = named("pool.example.org")
    verdicts = judge(
        snapshot(mesh(40)), Policy(), [pool("a.example.org.", host=host), pool("b.example.org.", host=host)]
    ).verdicts
    chosen = select(verdicts, [first, second], {})
    assert chosen.members[first.name, Family.IPV4] != chosen.members[second.name, Family.IPV4]


def test_each_family_has_its_own_cap() -> None:
    both = [keyserver(f"ks{n}.example.net", f"198.51.100.{n}", f"2001:db8::{n}") for n in range(1, 6)]
    of = pool(max_records=3)
    chosen = select(judge(snapshot(both), Policy(), [of]).verdicts, [of], {})
    assert (len(members(chosen)), len(members(chosen, Family.IPV6))) == (3, 3)


def test_warnings_stay_with_members_and_with_those_over_the_cap() -> None:
    of = pool(max_records=1)
    warning = Reason(ReasonCode.CERTIFICATE, "3 days", "more than 14 days", "its certificate ends soon")
    verdicts = [replace(verdict, warnings=(warning,)) for verdict in judge(snapshot(mesh(2)), Policy(), [of]).verdicts]
    chosen = select(verdicts, [of], {}).verdicts
    assert {verdict.state for verdict in chosen} == {State.MEMBER, State.ELIGIBLE}
    assert [verdict.warnings for verdict in chosen] == [(warning,), (warning,)]
