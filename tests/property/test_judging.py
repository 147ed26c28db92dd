"""What must hold of judging, selecting and planning whatever the mesh is like."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from poolmgr.errors import ZoneError
from poolmgr.judge.freshness import Cohort, Window, references
from poolmgr.judge.policy import Policy
from poolmgr.model import Keyserver, Outcome, Service, State
from poolmgr.zone.serial import Scheme, is_newer, next_serial
from tests.build import judge, keyserver, pool, snapshot

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


@given(keyservers(), st.randoms())
def test_the_order_of_keyservers_never_matters(mesh: list[Keyserver], random: object) -> None:
    shuffled = list(mesh)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    first, second = (judge(snapshot(order), POLICY, [pool()]) for order in (mesh, shuffled))
    assert first[1] == second[1]
    assert set(first[0]) == set(second[0])


@given(keyservers())
def test_whoever_is_out_has_a_reason_and_whoever_has_one_is_out(mesh: list[Keyserver]) -> None:
    for verdict in judge(snapshot(mesh), POLICY, [pool()])[0]:
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
