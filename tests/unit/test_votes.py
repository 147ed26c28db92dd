from __future__ import annotations

import ipaddress
from datetime import timedelta

import pytest

from poolmgr.judge.pace import Count
from poolmgr.judge.votes import Ballot, Vote, block_of, middle, reached, second_largest, total, weighed, weights
from tests.build import NOW


def ballot(keys: int, *addresses: str) -> Ballot:
    return Ballot(Count(keys, NOW), tuple(map(ipaddress.ip_address, addresses)))


def votes(*weighted: tuple[int, float]) -> tuple[Vote, ...]:
    return tuple(Vote(Count(keys, NOW), weight) for keys, weight in weighted)


@pytest.mark.parametrize(
    ("address", "block"),
    [
        ("1.2.3.4", "1.2.3.0/24"),
        ("2a00:1450:1:2::3", "2a00:1450:1::/48"),
        ("127.0.0.1", None),
        ("10.1.2.3", None),
        ("198.51.100.7", None),
        ("::1", None),
        ("2001:db8::1", None),
        ("fd00::1", None),
    ],
)
def test_a_block_is_of_the_public_internet(address: str, block: str | None) -> None:
    assert block_of(ipaddress.ip_address(address)) == (None if block is None else ipaddress.ip_network(block))


def test_a_crowd_in_one_block_has_one_vote_between_them() -> None:
    crowd = [ballot(9, f"1.2.3.{host}") for host in range(1, 101)]
    assert total(weighed([*crowd, ballot(5, "5.6.7.8")])) == 2


def test_a_crowd_with_blocks_of_its_own_on_one_family_shares_the_other() -> None:
    crowd = [ballot(9, "1.2.3.4", f"2a00:{host}::1") for host in range(10)]
    assert total(weighed(crowd)) == 1


def test_whoever_moves_in_with_others_takes_a_share_and_adds_no_more() -> None:
    honest = [ballot(5, f"5.6.{number}.8") for number in range(4)]
    intruder = ballot(9, *(f"5.6.{number}.9" for number in range(4)))
    assert [vote.weight for vote in weighed([*honest, intruder])] == [0.5] * 5


def test_the_private_networks_that_the_operator_allowed_share_nothing() -> None:
    assert total(weighed([ballot(5, f"127.0.0.{host}") for host in range(1, 6)])) == 5


@pytest.mark.parametrize(
    ("offsets", "expected"),
    [
        ([(1.0, 1.0)], 1.0),
        ([(1.0, 1.0), (2.0, 1.0)], 2.0),
        ([(3.0, 1.0), (1.0, 1.0), (2.0, 1.0)], 2.0),
        ([(1.0, 1.0), *[(9.0, 1 / 3)] * 3], 9.0),
        ([(1.0, 1.0), (1.0, 1.0), *[(9.0, 1 / 49)] * 49], 1.0),
    ],
)
def test_the_middle_is_the_upper_median_by_weight(offsets: list[tuple[float, float]], expected: float) -> None:
    assert middle(offsets) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([(5, 1.0)], 5),
        ([(5, 1.0), (7, 1.0)], 7),
        ([(5, 1.0), (7, 1.0), (6, 1.0)], 6),
        ([(5, 1.0), (6, 1.0), (4, 1.0), *[(7, 1 / 3)] * 3], 6),
        ([(5, 1.0), (6, 1.0), (4, 1.0), *[(7, 0.5)] * 3], 6),
        ([(5, 1.0), (6, 1.0), (4, 1.0), *[(7, 0.5)] * 4], 7),
        ([(5, 1.0), (6, 1.0), (4, 1.0), *[(7, 1 / 3)] * 6], 7),
    ],
)
def test_the_second_largest_is_what_two_votes_reach_and_of_less_than_three_the_largest(
    given: list[tuple[int, float]], expected: int
) -> None:
    assert second_largest(votes(*given)).keys == expected


def test_a_vote_weighs_what_its_fullest_block_leaves_it() -> None:
    told = ("1.2.3.4", "1.2.3.5 5.6.7.8", "9.9.9.9", "10.0.0.1", "10.0.0.2", "")
    assert weights([ipaddress.ip_address(each) for each in addresses.split()] for addresses in told) == (
        0.5,
        0.5,
        1,
        1,
        1,
        1,
    )


@pytest.mark.parametrize(
    ("weighted", "least", "hour"),
    [
        ([], 0, None),
        ([(5, 1.0)], 1, 5),
        ([(5, 1.0)], 2, None),
        ([(5, 1.0), (4, 1.0)], 1, 4),
        ([(5, 1.0), (4, 1.0), (3, 1.0)], 1, 4),
        ([(3, 1.0), (5, 1.0), (4, 1.0)], 3, 3),
        ([(5, 1 / 3)] * 3 + [(4, 1.0)], 1, 4),
        ([(5, 1 / 3)] * 3 + [(4, 0.9)], 1, 5),
        ([(5, 1 / 3)] * 6, 2, 5),
    ],
)
def test_most_have_reached_a_time_that_more_than_half_give(
    weighted: list[tuple[int, float]], least: int, hour: int | None
) -> None:
    times = [(NOW + timedelta(hours=each), weight) for each, weight in weighted]
    assert reached(times, least) == (None if hour is None else NOW + timedelta(hours=hour))
