from __future__ import annotations

import pytest

from poolmgr.judge.alone import among, is_serving
from poolmgr.judge.policy import Policy
from poolmgr.model import Outcome, ReasonCode, Service, Snapshot, Verdict
from tests.build import judge, keyserver, mesh, pool, snapshot


def verdict_of(probed: Snapshot, stored: Snapshot | None) -> Verdict:
    verdicts, _ = judge(among(probed, stored), Policy(), [pool()])
    return verdicts[0]


def test_a_keyserver_is_compared_with_those_of_the_stored_crawl() -> None:
    late = snapshot([keyserver("late.example.net", "203.0.113.9", keys=4_900_000)])
    (reason,) = verdict_of(late, snapshot(mesh(5))).reasons
    assert reason.code is ReasonCode.BEHIND
    assert [reason.code for reason in verdict_of(late, None).reasons] == [ReasonCode.COHORT]


def test_what_is_measured_now_takes_the_place_of_what_is_stored() -> None:
    stored = snapshot([*mesh(3), keyserver("old.example.net", "203.0.113.9", "203.0.113.10")])
    probed = snapshot([keyserver("ks1.example.net", "198.51.100.1"), keyserver("new.example.net", "203.0.113.9")])
    merged = among(probed, stored)
    assert merged.keyservers[:2] == probed.keyservers
    assert [str(each.name) for each in merged.keyservers[2:]] == [
        "ks2.example.net",
        "ks3.example.net",
        "old.example.net",
    ]
    assert [str(each.address) for each in merged.keyservers[-1].addresses] == ["203.0.113.10"]


@pytest.mark.parametrize(
    ("stats", "lookup", "keys", "is_served"),
    [
        (Outcome.OK, Outcome.OK, 5_000_000, True),
        (Outcome.OK, Outcome.OK, 1_000_000, True),
        (Outcome.OK, Outcome.NO_KEY, 5_000_000, False),
        (Outcome.REFUSED, Outcome.OK, 5_000_000, False),
    ],
)
def test_serving_is_a_matter_of_answers_and_not_of_policy(
    stats: Outcome, lookup: Outcome, keys: int, *, is_served: bool
) -> None:
    one = keyserver("a.example.net", "203.0.113.9", keys=keys, stats_outcome=stats, outcomes={Service.HKP: lookup})
    assert is_serving(verdict_of(snapshot([one]), snapshot(mesh(5)))) is is_served


def test_a_name_without_address_serves_nobody() -> None:
    assert not is_serving(verdict_of(snapshot([keyserver("gone.example.net")]), None))
