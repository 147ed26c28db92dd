from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import timedelta
from itertools import islice, pairwise

import pytest

from poolmgr.hosts import IPAddress
from poolmgr.judge.policy import Policy
from poolmgr.model import Ask, Family, KeyserverAddress, Outcome, Snapshot
from tests.lab.contest import PACES, PAGE, TOP, VARIANTS, Draw, Pace, Tally, Unordered, filled, hold, table
from tests.lab.lives import HOME, SOFTWARE, Lie, Life, Role
from tests.lab.prior import Addresses, Alg5, Prior
from tests.lab.simulator import START, Simulation
from tests.lab.traces import DAY, HOUR, Growth, Progress, Spans, renewal

DAYS = 30
HOURLY = timedelta(hours=1)


@pytest.fixture(scope="module")
def simulation() -> Simulation:
    return Simulation(seed=7, days=DAYS)


@pytest.fixture(scope="module")
def crawls(simulation: Simulation) -> list[Snapshot]:
    return list(simulation.snapshots(timedelta(hours=3)))


def seen(snapshots: list[Snapshot]) -> Iterator[tuple[Snapshot, KeyserverAddress]]:
    return (
        (snapshot, address)
        for snapshot in snapshots
        for keyserver in snapshot.keyservers
        for address in keyserver.addresses
    )


def honest(simulation: Simulation) -> list[Life]:
    return [life for life in simulation.lives if life.lie is None]


def with_role(simulation: Simulation, role: Role) -> list[Life]:
    return [life for life in simulation.lives if life.role is role]


def hours(step: float = 1) -> Iterator[float]:
    return (number * step * HOUR for number in range(int(DAYS * 24 / step)))


def good_shares(simulation: Simulation, life: Life) -> list[bool]:
    address = life.lines[0].address
    return [simulation.is_good(address, START + timedelta(seconds=at)) for at in hours()]


class TestTraces:
    def test_spans_hold_from_their_start_up_to_their_end(self) -> None:
        spans = Spans([(5, 7), (1, 2), (6, 9), (2, 3)])
        assert list(spans) == [(1, 3), (5, 9)]
        assert [at for at in range(11) if at in spans] == [1, 2, 5, 6, 7, 8]

    def test_a_renewal_comes_and_lasts_as_long_as_asked_in_the_mean(self) -> None:
        spans = list(renewal(random.Random(1), (0, 3000 * DAY), DAY, HOUR))
        pauses = [after[0] - before[1] for before, after in pairwise(spans)]
        assert sum(pauses) / len(pauses) == pytest.approx(DAY, rel=0.1)
        assert sum(end - start for start, end in spans) / len(spans) == pytest.approx(HOUR, rel=0.1)

    def test_the_mesh_grows_by_900_keys_a_day_and_never_shrinks(self) -> None:
        growth = Growth(random.Random(1), DAYS)
        counts = [growth.at(at) for at in range(-int(2 * DAY), int(DAYS * DAY), 600)]
        assert counts == sorted(counts)
        assert growth.at(0) == Growth.FIRST
        assert (counts[-1] - Growth.FIRST) / DAYS == pytest.approx(Growth.KEYS_A_DAY, rel=0.1)

    def test_some_hours_are_quiet(self) -> None:
        growth = Growth(random.Random(1), DAYS)
        gains = [growth.at(at + HOUR) - growth.at(at) for at in hours()]
        assert 10 < gains.count(0) < 72
        assert max(gains) > 100

    def test_progress_stands_still_and_then_catches_up(self) -> None:
        progress = Progress([(10 * HOUR, 21 * HOUR)])
        known = [progress.at(at * HOUR) / HOUR for at in (9, 10, 15, 20.999, 21.5, 22, 23)]
        assert known == pytest.approx([9, 10, 10, 10, 16, 22, 23])

    def test_progress_that_is_stopped_while_it_catches_up_goes_on_from_there(self) -> None:
        progress = Progress([(10 * HOUR, 21 * HOUR), (21.5 * HOUR, 27 * HOUR)])
        assert [progress.at(at * HOUR) / HOUR for at in (21.5, 26, 27.5, 28, 29)] == pytest.approx([16, 16, 22, 28, 29])


class TestCrawls:
    def test_the_same_seed_gives_the_same_crawls(self) -> None:
        first, second, other = (list(islice(Simulation(seed, DAYS).snapshots(HOURLY), 5)) for seed in (7, 7, 8))
        assert first == second
        assert first != other

    def test_crawls_come_at_their_interval_for_all_days(self, crawls: list[Snapshot]) -> None:
        assert [each.started for each in crawls] == [START + number * timedelta(hours=3) for number in range(DAYS * 8)]
        assert all(each.started < each.finished for each in crawls)

    def test_the_truth_does_not_depend_on_being_looked_at(self, crawls: list[Snapshot]) -> None:
        fresh, moment = Simulation(seed=7, days=DAYS), crawls[100].finished
        assert crawls
        assert fresh.good(moment) == {each for each in fresh.addresses if fresh.is_good(each, moment)}
        assert fresh.good(moment) == Simulation(seed=7, days=DAYS).good(moment)

    def test_an_address_that_is_down_never_answers(self, simulation: Simulation, crawls: list[Snapshot]) -> None:
        probes = [probe for _, address in seen(crawls) for probe in address.probes]
        down = [probe for probe in probes if not simulation.state(probe.endpoint.address, probe.started).up]
        assert len(down) > 1000
        assert not any(probe.is_good for probe in down)

    def test_an_address_that_is_up_answers_all_but_a_few_lost_probes(
        self, simulation: Simulation, crawls: list[Snapshot]
    ) -> None:
        probes = [
            probe
            for snapshot, address in seen(crawls)
            for probe in address.probes
            if simulation.state(address.address, probe.started).up
            and Family.of(address.address) not in simulation.dark(snapshot.started)
        ]
        lost = [probe for probe in probes if not probe.is_good]
        assert 0.005 < len(lost) / len(probes) < 0.01
        assert {probe.attempts for probe in lost} == {2}
        assert {probe.ask for probe in lost} == set(Ask)

    def test_only_a_given_stats_page_is_followed_by_a_lookup(self, crawls: list[Snapshot]) -> None:
        for _, address in seen(crawls):
            stats, *lookups = address.probes
            assert stats.is_good is (address.stats is not None) is bool(lookups)

    def test_latencies_add_up(self, crawls: list[Snapshot]) -> None:
        good = [probe for _, address in seen(crawls[:10]) for probe in address.probes if probe.is_good]
        for probe in good:
            assert probe.connect is not None
            assert probe.first_byte is not None
            assert probe.total is not None
            assert probe.connect < probe.first_byte < probe.total < timedelta(seconds=5)

    def test_nothing_of_a_dark_family_answers(self) -> None:
        simulation = Simulation(seed=7, days=DAYS, keyservers=10, liars=0)
        snapshots = [each for each in simulation.snapshots(HOURLY) if simulation.dark(each.started)]
        dark = [
            address for each, address in seen(snapshots) if Family.of(address.address) in simulation.dark(each.started)
        ]
        assert {probe.outcome for address in dark for probe in address.probes} == {Outcome.UNREACHABLE}

    def test_the_crawler_notices_half_of_the_times_in_which_it_is_dark(self) -> None:
        simulation = Simulation(seed=7, days=DAYS, keyservers=1, liars=0)
        snapshots = [each for each in simulation.snapshots(timedelta(minutes=20)) if simulation.dark(each.started)]
        for each in snapshots:
            assert set(each.blind) <= simulation.dark(each.started)
        noticed = [each for each in snapshots if each.blind]
        assert 0.2 < len(noticed) / len(snapshots) < 0.8


class TestKeyservers:
    def test_every_version_and_most_second_addresses_are_there(self, simulation: Simulation) -> None:
        assert len(simulation.lives) == 120
        assert {life.software for life in simulation.lives} == set(SOFTWARE)
        assert 0.5 < sum(len(life.lines) == 2 for life in simulation.lives) / 120 < 0.7
        assert {life.role for life in simulation.lives} == set(Role)

    def test_counts_of_honest_keyservers_never_shrink_unless_they_load(self, simulation: Simulation) -> None:
        loading = set()
        for life in honest(simulation):
            told = [life.told(at) for at in hours(0.5)]
            assert [at for _, at in told] == sorted(at for _, at in told)
            if any(keys < Growth.FIRST / 2 for keys, _ in told):
                loading.add(life.host)
            else:
                assert [keys for keys, _ in told] == sorted(keys for keys, _ in told)
        assert 4 <= len(loading) < 30

    def test_an_sks_counts_once_a_day_and_a_hockeypuck_always(self, simulation: Simulation) -> None:
        ages: dict[bool, list[float]] = {True: [], False: []}
        for life in honest(simulation):
            ages[life.software.counts_daily] += [at - life.told(at)[1] for at in hours()]
        assert set(ages[False]) == {0}
        assert sum(age > 12 * HOUR for age in ages[True]) / len(ages[True]) == pytest.approx(0.5, abs=0.1)

    def test_nobody_honest_has_more_keys_than_the_mesh(self, simulation: Simulation) -> None:
        most = [max(life.told(at)[0] for life in honest(simulation)) for at in hours()]
        assert most == sorted(most)
        assert Growth.FIRST - 100 < most[0] < most[-1] < Growth.FIRST + 1.2 * DAYS * Growth.KEYS_A_DAY

    def test_home_is_always_good(self, simulation: Simulation) -> None:
        (life,) = with_role(simulation, Role.HOME)
        assert life.name == HOME
        assert all(good_shares(simulation, life))

    def test_liars_are_up_and_never_good(self, simulation: Simulation, crawls: list[Snapshot]) -> None:
        liars = [life for life in simulation.lives if life.lie is not None]
        assert {life.lie for life in liars} == set(Lie)
        assert len(liars) == 8
        theirs: set[IPAddress] = {line.address for life in liars for line in life.lines}
        assert len({str(address).rsplit(".", 1)[0] for address in theirs if address.version == 4}) == 1
        for each in crawls:
            assert not theirs & simulation.good(each.finished)
            assert sum(simulation.state(address, each.finished).up for address in theirs) >= 14
        for life in liars:
            assert all(0 <= life.told(at)[0] < 2**63 for at in hours())

    def test_one_that_appears_is_listed_from_then_on(self, simulation: Simulation, crawls: list[Snapshot]) -> None:
        for life in with_role(simulation, Role.APPEARS):
            listed = [life.name in {each.name for each in crawl.keyservers} for crawl in crawls]
            assert listed == sorted(listed)
            assert not listed[0]
            assert listed[-1]

    def test_one_that_vanishes_is_listed_for_days_though_down(
        self, simulation: Simulation, crawls: list[Snapshot]
    ) -> None:
        for life in with_role(simulation, Role.VANISHES):
            listed = [crawl for crawl in crawls if life.name in {each.name for each in crawl.keyservers}]
            last = listed[-1].finished
            assert listed == crawls[: len(listed)]
            assert not simulation.state(life.lines[0].address, last).up
            assert not simulation.state(life.lines[0].address, last - timedelta(hours=20)).up
            assert not simulation.is_good(life.lines[0].address, last + timedelta(days=10))

    def test_one_that_freezes_answers_with_keys_of_days_ago(self, simulation: Simulation) -> None:
        for life in with_role(simulation, Role.FREEZES):
            states = [simulation.state(life.lines[0].address, START + timedelta(seconds=at)) for at in hours()]
            stale = [state for state in states if not state.fresh]
            assert len(stale) > 12
            assert sum(state.up for state in stale) > len(stale) / 2

    def test_one_that_flaps_always_changes_many_times_a_day(self, simulation: Simulation) -> None:
        for life in with_role(simulation, Role.FLAPS_ALWAYS):
            assert sum(before != after for before, after in pairwise(good_shares(simulation, life))) > 5 * DAYS

    def test_one_that_starts_slowly_answers_with_few_keys(self, simulation: Simulation) -> None:
        for life in with_role(simulation, Role.STARTS_SLOWLY):
            few = [at for at in hours(0.1) if life.told(at)[0] < Growth.FIRST / 2]
            assert few
            assert not any(life.is_fresh(at) for at in few)

    def test_a_version_that_stalls_falls_behind_as_a_whole_and_stays_good(self, simulation: Simulation) -> None:
        moments = list(hours())
        for software in SOFTWARE[1:]:
            lives = [each for each in honest(simulation) if each.software is software and each.role is Role.PLAIN]
            others = [each for each in honest(simulation) if each.software is not software and each.role is Role.PLAIN]
            lags = [max(o.told(at)[0] for o in others) - max(each.told(at)[0] for each in lives) for at in moments]
            assert 600 < max(lags) < 2500
            at = moments[lags.index(max(lags))]
            assert sum(each.is_fresh(at) for each in lives) > 0.85 * len(lives)

    def test_some_ipv6_addresses_are_dead_and_some_are_out_for_hours_while_ipv4_works(
        self, simulation: Simulation
    ) -> None:
        shares = []
        for four, six in (life.lines for life in honest(simulation) if len(life.lines) == 2):
            moments = [at for at in hours() if at not in four.down]
            shares.append(sum(at in six.down for at in moments) / len(moments))
        assert 0.02 < sum(share == 1 for share in shares) / len(shares) < 0.3
        assert 0.02 < sum(0 < share < 0.5 for share in shares) / len(shares) < 0.3


class Everybody:
    def eligible(self, snapshot: Snapshot) -> Addresses:
        return frozenset(address.address for _, address in seen([snapshot]))


class Nobody:
    def eligible(self, snapshot: Snapshot) -> Addresses:  # noqa: ARG002 - nobody is nobody
        return frozenset()


class Seer:
    """Publishes what is good in truth at the end of the crawl."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation

    def eligible(self, snapshot: Snapshot) -> Addresses:
        return self._simulation.good(snapshot.finished)


class TestContest:
    def scores(self, simulation: Simulation, prior: Prior) -> tuple[float, float, float]:
        (score,) = hold(Pace("hour", HOURLY, 2), [lambda: Unordered("one", prior)], simulation, warm_up=1, days=4)
        return score.failed, score.moves, score.coverage

    def test_who_knows_the_truth_fails_least_and_nobody_always(self) -> None:
        simulation = Simulation(seed=3, days=5)
        failed, moves, coverage = self.scores(simulation, Seer(simulation))
        assert (failed < 0.02, moves > 10, coverage > 0.97) == (True, True, True)
        failed, moves, coverage = self.scores(simulation, Everybody())
        assert (failed > 0.1, moves < 5, coverage > 0.999) == (True, True, True)
        assert self.scores(simulation, Nobody()) == (1, 0, 0)

    def test_the_same_contest_gives_the_same_table(self) -> None:
        pace = Pace("hour", HOURLY, 2)
        first, second = (
            list(table(pace, hold(pace, [lambda: Unordered("one", Alg5())], Simulation(3, 3), 1, 2))) for _ in range(2)
        )
        assert first == second

    def test_every_variant_differs_from_the_defaults_and_each_pace_has_some(self) -> None:
        assert set(VARIANTS) == set(PACES)
        assert all(policy != Policy() for variants in VARIANTS.values() for policy in variants.values())

    def test_the_page_takes_each_part_at_its_place(self) -> None:
        page = PAGE.read_text("utf-8")
        for part in ("rules", "variants"):
            changed = filled(page, part, "| table |\n")
            assert changed != page
            assert filled(changed, part, page.split(f"{part} begin -->\n")[1].split("<!--")[0]) == page
        with pytest.raises(ValueError, match="no part nothing"):
            filled(page, "nothing", "")

    def test_a_tally_knows_the_chance_to_fail_the_moves_and_the_coverage(self, simulation: Simulation) -> None:
        every = simulation.addresses
        tally = Tally()
        tally.move_to(frozenset(every[:4]), is_counted=False)
        tally.move_to(frozenset(every[2:6]), is_counted=True)
        tally.look(frozenset([*every[2:5], *every[10:13]]))
        assert (tally.moves, tally.failed, tally.covered, tally.looks) == (4, 0.25, 0.5, 1)

    def test_what_is_drawn_stays_while_it_is_eligible(self, simulation: Simulation) -> None:
        draw, every = Draw(1), frozenset(simulation.addresses)
        first = draw.of(every)
        assert len(first) == TOP
        assert draw.of(every) == first
        (gone, *_) = first
        second = draw.of(every - {gone})
        assert first - second == {gone}
        assert len(second) == TOP
        few = frozenset(list(second)[:3])
        assert draw.of(few) == few
