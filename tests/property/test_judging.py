"""What must hold of judging, selecting and planning whatever the mesh is like."""

from __future__ import annotations

import ipaddress
import math
from datetime import UTC, datetime

import dns.rdatatype
from hypothesis import given
from hypothesis import strategies as st

from poolmgr.errors import ZoneError
from poolmgr.judge.freshness import Cohort, Window, references
from poolmgr.judge.selection import Members, select
from poolmgr.judge.verdict import Policy, judge
from poolmgr.model import Family, Keyserver, Outcome, Pool, Service, State
from poolmgr.zone.desired import from_text, members_of, pool_records, to_text, whole_zone
from poolmgr.zone.plan import limits_of, make_plan
from poolmgr.zone.serial import Scheme, is_newer, next_serial
from tests.build import ORIGIN, POOL, keyserver, pool, snapshot, zone

POLICY = Policy(max_keys_behind=1000, max_keys_ahead=1000)
COUNTS = st.one_of(st.none(), st.integers(0, 3), st.integers(4_998_000, 5_002_000), st.integers(0, 2**63 - 1))


@st.composite
def keyservers(draw: st.DrawFn) -> list[Keyserver]:
    return [
        keyserver(
            f"ks{number}.example.net",
            f"198.51.100.{number}",
            *([f"2001:db8::{number}"] if draw(st.booleans()) else []),
            keys=draw(COUNTS),
            software=draw(st.sampled_from(["SKS", "Hockeypuck", "GnuKS"])),
            version=draw(st.sampled_from(["1.1.6", "1.1.6+", "2.1.0", "2.2.4", "1.0.9", "~x", None])),
            outcomes={Service.HKP: draw(st.sampled_from([Outcome.OK, Outcome.REFUSED]))},
            stats_outcome=draw(st.sampled_from([Outcome.OK, Outcome.OK, Outcome.TIMEOUT])),
        )
        for number in range(1, draw(st.integers(0, 25)) + 1)
    ]


@st.composite
def pools(draw: st.DrawFn) -> Pool:
    cap = draw(st.integers(1, 12))
    return pool(
        max_records=cap,
        min_members={family: draw(st.integers(0, cap)) for family in Family},
        max_removed=draw(st.sampled_from([0.0, 0.3, 0.5, 1.0])),
        families=draw(st.sampled_from([frozenset(Family), frozenset({Family.IPV4})])),
    )


@st.composite
def published_members(draw: st.DrawFn) -> Members:
    numbers = st.sets(st.integers(1, 40), max_size=12)
    return {
        (POOL, Family.IPV4): tuple(ipaddress.ip_address(f"198.51.100.{n}") for n in sorted(draw(numbers))),
        (POOL, Family.IPV6): tuple(ipaddress.ip_address(f"2001:db8::{n}") for n in sorted(draw(numbers))),
    }


@given(keyservers(), st.randoms())
def test_the_order_of_keyservers_never_matters(mesh: list[Keyserver], random: object) -> None:
    shuffled = list(mesh)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    first, second = (judge(snapshot(order), POLICY, [pool()]) for order in (mesh, shuffled))
    assert first.references == second.references
    assert set(first.verdicts) == set(second.verdicts)


@given(keyservers())
def test_whoever_is_out_has_a_reason_and_whoever_has_one_is_out(mesh: list[Keyserver]) -> None:
    for verdict in judge(snapshot(mesh), POLICY, [pool()]).verdicts:
        assert (verdict.state is State.OUT) is bool(verdict.reasons)
        assert all(reason.sentence and reason.measured and reason.limit for reason in verdict.reasons)


@given(st.lists(st.integers(4_999_500, 5_000_500), min_size=3, max_size=9), st.data())
def test_a_minority_of_liars_cannot_move_the_reference_out_of_the_honest_ones(
    honest: list[int], data: st.DataObject
) -> None:
    lies = data.draw(st.lists(st.integers(0, 2**63 - 1), max_size=len(honest) - 1))
    mesh = [keyserver(f"ks{n}.example.net", f"198.51.100.{n}", keys=keys) for n, keys in enumerate(honest + lies, 1)]
    window = Window(1000, 1000, 3)
    reference = references(mesh, window)[Cohort("sks", (1, 1))]
    assert min(honest) - window.behind <= reference.keys <= max(honest) + window.ahead


@given(keyservers(), pools(), published_members())
def test_members_are_eligible_within_the_cap_and_stay_while_they_are(
    mesh: list[Keyserver], of: Pool, current: Members
) -> None:
    verdicts = judge(snapshot(mesh), POLICY, [of]).verdicts
    selection = select(verdicts, [of], current)
    eligible = {verdict.address for verdict in verdicts if verdict.state is State.ELIGIBLE}
    for (_, family), members in selection.members.items():
        fit = {address for address in eligible if address is not None and Family.of(address) is family}
        assert set(members) <= fit
        assert len(members) == min(of.max_records, len(fit))
        staying = fit & set(current.get((POOL, family), ()))
        assert len(staying & set(members)) == min(len(staying), of.max_records)
    assert {v.address for v in selection.verdicts if v.state is State.MEMBER} == {
        address for members in selection.members.values() for address in members
    }


@given(keyservers(), pools(), published_members())
def test_no_plan_publishes_below_the_floor_or_removes_more_than_allowed(
    mesh: list[Keyserver], of: Pool, current: Members
) -> None:
    selection = select(judge(snapshot(mesh), POLICY, [of]).verdicts, [of], current)
    lines = "".join(
        f"pool IN {family.rdtype} {address}\n" for (_, family), members in current.items() for address in members
    )
    published = zone(lines)
    plan = make_plan(
        origin=ORIGIN,
        published=published,
        desired=whole_zone(zone(), pool_records(selection, [of]), (), ORIGIN),
        limits=limits_of([of], {}),
        serial=1,
        next_serial=2,
        provenance="a test",
    )
    before, after = members_of(published, [of]), members_of(plan.records, [of])
    for family in of.families:
        old, new = set(before.get((POOL, family), ())), set(after.get((POOL, family), ()))
        if old == new:
            continue
        assert len(new) >= of.min_members[family]
        assert len(old - new) <= max(1, math.floor(of.max_removed * len(old)))
    assert from_text(to_text(plan.records, ORIGIN, "a test"), ORIGIN, "again") == plan.records
    assert (ORIGIN, dns.rdatatype.NS) in plan.records


@given(
    st.sampled_from(Scheme),
    st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001  # given below
    st.lists(st.integers(0, 2**32 - 1), max_size=3),
)
def test_a_serial_is_newer_than_all_or_refused(scheme: Scheme, now: datetime, last: list[int]) -> None:
    try:
        serial = next_serial(scheme, now, last)
    except ZoneError:
        assert len(last) > 1
    else:
        assert 0 < serial < 2**32
        assert all(is_newer(serial, one) for one in last)
