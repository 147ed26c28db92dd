from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta

import pytest

from poolmgr.hosts import parse_host
from poolmgr.model import Family, Keyserver, Outcome, Service, Snapshot
from tests.build import keyserver, mesh, snapshot
from tests.lab.prior import (
    LEAST_KEYS,
    WINDOWS,
    Addresses,
    Alg5,
    BitcoinSeeder,
    Gdnsd,
    Instant,
    Node,
    NtpPool,
    Prior,
    SksKeyserversNet,
)

ONE = ipaddress.ip_address("198.51.100.1")
MINUTES, HOUR = timedelta(minutes=5), timedelta(hours=1)


def addresses(*texts: str) -> Addresses:
    return frozenset(ipaddress.ip_address(text) for text in texts)


def numbered(numbers: Iterable[int]) -> Addresses:
    return addresses(*(f"198.51.100.{number}" for number in numbers))


def series(*crawls: Iterable[Keyserver], every: timedelta = MINUTES) -> list[Snapshot]:
    made = []
    for number, keyservers in enumerate(crawls):
        one, later = snapshot(keyservers), number * every
        made.append(replace(one, started=one.started + later, finished=one.finished + later))
    return made


def published(rule: Prior, *crawls: Iterable[Keyserver], every: timedelta = MINUTES) -> list[Addresses]:
    return [rule.eligible(each) for each in series(*crawls, every=every)]


def of_one(signs: str, others: Iterable[Keyserver] = ()) -> list[list[Keyserver]]:
    """Return crawls in which ONE answers (+), does not (-), or is listed no more (blank), and `others` beside it."""
    outcomes = {"+": Outcome.OK, "-": Outcome.REFUSED}
    return [
        [*([] if sign == " " else [keyserver("ks1.example.net", str(ONE), stats_outcome=outcomes[sign])]), *others]
        for sign in signs
    ]


def holds(rule: Prior, signs: str, every: timedelta = MINUTES, others: Iterable[Keyserver] = ()) -> str:
    """Return for each sign whether ONE is published after that crawl: Y or N."""
    return "".join("NY"[ONE in chosen] for chosen in published(rule, *of_one(signs, others), every=every))


def counted(*counts: int) -> list[Keyserver]:
    return [
        keyserver(f"ks{number}.example.net", f"198.51.100.{number}", keys=keys)
        for number, keys in enumerate(counts, start=1)
    ]


SPREAD = [5_002_000, 5_003_000] * 50
"""One bucket, mean 5,002,500, standard deviation 500."""


@pytest.mark.parametrize(
    ("keys", "is_in"),
    [
        # With the candidate the deviation is 503: 5,003,000 - (800 + 503).
        (5_001_697, True),
        (5_001_696, False),
        # Five deviations above the mean of the bucket, which a candidate from outside does not change.
        (5_005_000, True),
        (5_005_001, False),
        (2**63 - 1, False),
        (0, False),
    ],
)
def test_alg5_takes_counts_from_its_threshold_to_the_bound_of_outliers(keys: int, is_in: bool) -> None:
    (chosen,) = published(Alg5(), counted(*SPREAD, keys))
    assert chosen == numbered(range(1, 102 if is_in else 101))


def test_alg5_goes_by_the_fullest_bucket() -> None:
    (chosen,) = published(Alg5(), counted(*[5_000_500] * 6, *[6_000_500] * 5, *[7_000_500] * 5))
    assert chosen == numbered(range(1, 7))


def test_alg5_refuses_data_below_the_sanity_minimum() -> None:
    good, low = counted(*[LEAST_KEYS] * 5), counted(*[LEAST_KEYS - 1] * 6)
    assert published(Alg5(), good, low) == [numbered(range(1, 6))] * 2


def test_alg5_keeps_what_it_has_where_fewer_than_five_addresses_are_valid() -> None:
    assert published(Alg5(), mesh(6), mesh(5), mesh(4), []) == [numbered(range(1, 7)), *[numbered(range(1, 6))] * 3]


def test_alg5_drops_a_keyserver_after_one_missed_fetch_and_takes_it_back_at_once() -> None:
    assert holds(Alg5(), "+-+", others=mesh(6, first=2)) == "YNY"


def test_alg5_publishes_the_dead_address_of_a_keyserver_that_answers() -> None:
    half = keyserver("ks9.example.net", "198.51.100.9", "2001:db8::9")
    dead = keyserver("ks9.example.net", "2001:db8::9", stats_outcome=Outcome.TIMEOUT).addresses[0]
    half = replace(half, addresses=(half.addresses[0], dead))
    (chosen,) = published(Alg5(), [*mesh(6), half])
    assert chosen >= addresses("198.51.100.9", "2001:db8::9")


def test_alg5_drops_1_0_10_but_counts_it() -> None:
    broken = [replace(each) for each in mesh(6, first=7, version="1.0.10", keys=5_000_100)]
    assert published(Alg5(), [*mesh(6), *broken]) == [numbered(range(1, 7))]


REFERENCE = parse_host("ks1.example.net")


@pytest.mark.parametrize(("lacking", "is_in"), [(499, True), (500, True), (501, False), (-100_000, True)])
def test_sks_keyservers_net_lets_500_keys_lack(lacking: int, is_in: bool) -> None:
    (chosen,) = published(SksKeyserversNet(REFERENCE), counted(5_000_000, 5_000_000 - lacking))
    assert chosen == numbered([1, 2] if is_in else [1])


def test_sks_keyservers_net_looks_every_hour() -> None:
    crawls = [mesh(3), *[mesh(2)] * 12]
    assert published(SksKeyserversNet(REFERENCE), *crawls) == [numbered([1, 2, 3])] * 12 + [numbered([1, 2])]


def test_sks_keyservers_net_asks_over_ipv4_only() -> None:
    six = keyserver("ks2.example.net", "2001:db8::2")
    both = keyserver("ks3.example.net", "198.51.100.3", "2001:db8::3")
    dead = keyserver("ks3.example.net", "2001:db8::3", stats_outcome=Outcome.TIMEOUT).addresses[0]
    both = replace(both, addresses=(both.addresses[0], dead))
    (chosen,) = published(SksKeyserversNet(REFERENCE), [*mesh(1), six, both])
    assert chosen == addresses("198.51.100.1", "198.51.100.3", "2001:db8::3")


def test_sks_keyservers_net_changes_nothing_without_its_reference() -> None:
    first, second = published(SksKeyserversNet(REFERENCE), mesh(3), mesh(4, first=2), every=HOUR)
    assert first == second == numbered([1, 2, 3])


def test_bitcoin_seeder_lets_a_newcomer_in_while_half_of_three_tries_are_good() -> None:
    assert holds(BitcoinSeeder(), "++++") == "YYYN"
    assert holds(BitcoinSeeder(), "+--") == "YYN"
    assert holds(BitcoinSeeder(), "++-") == "YYY"
    assert holds(BitcoinSeeder(), "-+-") == "NYN"


def test_bitcoin_seeder_takes_a_newcomer_for_good_when_its_shortest_window_is_full() -> None:
    # 1 - exp(-age / 2 h) > 0.85 after 13,660 s, of which 1,000 s count before the first try.
    assert holds(BitcoinSeeder(), "+" * 45) == "YYY" + "N" * 40 + "YY"
    assert holds(BitcoinSeeder(), "+" * 6, every=HOUR) == "YYYNYY"


@pytest.mark.parametrize("index", range(len(WINDOWS)))
def test_each_window_of_bitcoin_seeder_lets_in_above_its_limits(index: int) -> None:
    _, reliability, count = WINDOWS[index]
    node = Node(total=100, good=50, height=LEAST_KEYS)
    window = node.windows[index]
    for window.reliability, window.count, is_good in (
        (reliability + 0.001, count + 0.001, True),
        (reliability, count + 0.001, False),
        (reliability + 0.001, count, False),
    ):
        assert node.is_good is is_good
    window.reliability, window.count = 1, 100
    assert node.is_good
    node.height = LEAST_KEYS - 1
    assert not node.is_good


def test_bitcoin_seeder_holds_on_for_days_to_one_that_was_good_for_a_week() -> None:
    # The week's window stands at 1 - exp(-167.3 / 168) = 0.631, and falls to 0.45 in 168 h * ln(0.631 / 0.45) = 56.7 h.
    signs = holds(BitcoinSeeder(), "+" * 168 + "-" * 60, every=HOUR)[168:]
    assert signs == "Y" * 56 + "N" * 4


def test_the_ntp_pool_lists_a_newcomer_after_14_good_checks() -> None:
    assert holds(NtpPool(), "+" * 16) == "N" * 13 + "YYY"


def test_the_ntp_pool_drops_a_perfect_one_after_two_misses_and_takes_it_back_after_four_good_checks() -> None:
    assert holds(NtpPool(), "+" * 300 + "--++++")[300:] == "YNNNNY"


def test_the_ntp_pool_reports_nothing_where_it_cannot_see() -> None:
    rule = NtpPool()
    good, bad = series(*of_one("+" * 14)), series(*of_one("-" * 20))
    blind = [replace(each, blind={Family.IPV4: "no base host answers"}) for each in bad]
    assert [rule.eligible(each) for each in (*good, *blind)][13:] == [{ONE}] * 21


UP = mesh(2, first=2)
"""With them, half of all and more are up."""


def test_gdnsd_takes_20_good_checks_in_a_row_to_come_up() -> None:
    assert holds(Gdnsd(), "-" * 20 + "+" * 20, others=UP)[20:] == "N" * 19 + "Y"
    assert holds(Gdnsd(), "-" * 20 + "+" * 19 + "-" + "+" * 20, others=UP)[20:] == "N" * 39 + "Y"


def test_gdnsd_takes_10_bad_checks_to_go_down() -> None:
    assert holds(Gdnsd(), "+" * 20 + "-" * 10, others=UP)[20:] == "Y" * 9 + "N"


def test_gdnsd_forgets_bad_checks_after_10_good_ones_in_a_row() -> None:
    assert holds(Gdnsd(), "+" * 20 + "-" * 9 + "+" * 9 + "-", others=UP)[-2:] == "YN"
    assert holds(Gdnsd(), "+" * 20 + "-" * 9 + "+" * 10 + "-" * 10, others=UP)[-2:] == "YN"


def test_gdnsd_serves_all_of_a_family_where_fewer_than_half_are_up() -> None:
    six = keyserver("ks7.example.net", "2001:db8::7", stats_outcome=Outcome.REFUSED)
    dead = [keyserver(f"ks{n}.example.net", f"198.51.100.{n}", stats_outcome=Outcome.REFUSED) for n in (3, 4, 5)]
    half = published(Gdnsd(), *[[*mesh(2), *dead[:2], six]] * 20)[-1]
    fewer = published(Gdnsd(), *[[*mesh(2), *dead, six]] * 20)[-1]
    assert half == numbered([1, 2]) | addresses("2001:db8::7")
    assert fewer == numbered([1, 2, 3, 4, 5]) | addresses("2001:db8::7")


@pytest.mark.parametrize(("rule", "tries"), [(NtpPool(), 14), (Gdnsd(), 20), (BitcoinSeeder(), 44)])
def test_what_is_listed_no_more_is_forgotten(rule: Prior, tries: int) -> None:
    signs = holds(rule, "+" * tries + " " + "-", others=UP)
    assert signs[-3:] == "YNN"


@pytest.mark.parametrize("rule", [NtpPool(), Gdnsd(), BitcoinSeeder(), Instant("pool.example.org")])
def test_an_address_must_answer_a_lookup_too(rule: Prior) -> None:
    mute = keyserver("ks1.example.net", str(ONE), outcomes={Service.HKP: Outcome.TIMEOUT})
    assert published(rule, *[[mute, *UP]] * 44)[-1] == numbered([2, 3])


def test_poolmgr_without_history_judges_every_crawl_by_itself() -> None:
    assert holds(Instant("pool.example.org"), "+-+", others=UP) == "YNY"
