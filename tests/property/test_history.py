"""What must hold of judging over time, whatever the crawls were like."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolmgr.errors import ParseError
from poolmgr.judge.answering import Answering
from poolmgr.judge.history import History, Judgement, judge_next
from poolmgr.judge.policy import Policy
from poolmgr.judge.reliability import UNSEEN, WINDOWS, Reliability, observed
from poolmgr.judge.steadiness import Look, Standing, Steadiness, looked, obstacles, wait_of
from poolmgr.model import Family, Keyserver, Outcome, Reason, ReasonCode, Service, Snapshot, State
from poolmgr.report.history import from_json, to_json
from tests.build import NOW, keyserver, mesh, pool, snapshot

POOLS = (pool(), pool("web.example.org.", services=frozenset({Service.HKP, Service.HTTP})))
DOWN = Reason(ReasonCode.STATS, "timeout", "ok", "no stats page: timeout")

DURATIONS = st.sampled_from([timedelta(0), timedelta(minutes=10), timedelta(hours=1), timedelta(days=7)])
GAPS = st.sampled_from(
    [timedelta(0), timedelta(seconds=1), timedelta(minutes=5), timedelta(hours=1), timedelta(days=9)]
)
RULES = st.builds(
    Steadiness,
    rise=st.integers(1, 4),
    fall=st.integers(1, 4),
    drop=st.integers(1, 4),
    probation=DURATIONS,
    flap_wait=DURATIONS,
    flap_limit=DURATIONS,
    forgive_after=st.sampled_from([timedelta(minutes=1), timedelta(days=1)]),
)
OUTCOMES = st.sampled_from([Outcome.OK, Outcome.OK, Outcome.TIMEOUT, Outcome.REFUSED])
LOOKS = st.lists(st.tuples(GAPS, st.booleans(), st.booleans()), max_size=40)


@st.composite
def crawls(draw: st.DrawFn) -> list[Snapshot]:
    """Draw crawls of some keyservers that are up, down, without address, unlisted, or not to be seen."""
    made, at = [], timedelta(0)
    for _ in range(draw(st.integers(0, 4))):
        at += draw(GAPS)
        keyservers: list[Keyserver] = []
        for number in range(1, 4):
            name = f"ks{number}.example.com"
            if draw(st.booleans()):
                addresses = (f"203.0.113.{number}", f"2001:db8::{number}")
                web = {Service.HKP: draw(OUTCOMES), Service.HTTP: draw(OUTCOMES)}
                keyservers.append(keyserver(name, *addresses, stats_outcome=draw(OUTCOMES), outcomes=web))
            elif draw(st.booleans()):
                keyservers.append(keyserver(name))
        crawl = snapshot([*keyservers, *mesh(2)])
        blind = dict.fromkeys(draw(st.sets(st.sampled_from(Family))), "no way out")
        made.append(replace(crawl, started=crawl.started + at, finished=crawl.finished + at, blind=blind))
    return made


def replayed(made: list[Snapshot], policy: Policy) -> list[Judgement]:
    judgements, history = [], History()
    for crawl in made:
        judgements.append(judge_next(history, crawl, policy, POOLS))
        history = judgements[-1].history
    return judgements


# Reliability


@given(st.lists(st.tuples(st.timedeltas(timedelta(0), timedelta(days=90)), st.booleans()), max_size=60))
def test_reliability_is_bounded(looks: list[tuple[timedelta, bool]]) -> None:
    found, at = None, NOW
    for gap, is_good in looks:
        at += gap
        found = observed(found, at, is_good=is_good)
        assert 0 <= found.score <= 1
        assert all(0 <= good <= seen <= 1 for good, seen in zip(found.good, found.seen, strict=True))
        assert all(0 <= (found.share(window) or 0) <= 1 for window in WINDOWS)
        assert all(0 <= found.failed(window) <= 1 for window in WINDOWS)


@given(
    st.lists(st.tuples(GAPS, st.booleans()), min_size=1, max_size=30),
    st.data(),
)
def test_a_good_look_in_the_place_of_a_bad_one_never_lowers_the_score(
    looks: list[tuple[timedelta, bool]], data: st.DataObject
) -> None:
    changed = data.draw(st.integers(0, len(looks) - 1))
    found: dict[bool, Reliability | None] = {True: None, False: None}
    for better in (True, False):
        at = NOW
        for number, (gap, is_good) in enumerate(looks):
            at += gap
            found[better] = observed(found[better], at, is_good=better if number == changed else is_good)
    good, bad = found[True], found[False]
    assert good is not None
    assert bad is not None
    assert good.score >= bad.score
    for window in WINDOWS:
        assert (good.share(window) or 0) >= (bad.share(window) or 0)
        assert good.failed(window) <= bad.failed(window)


@given(st.data())
def test_a_score_is_a_share_and_the_less_failed_the_higher(data: st.DataObject) -> None:
    shares = st.lists(st.floats(0, 1), min_size=len(WINDOWS), max_size=len(WINDOWS))
    seen, fractions = data.draw(shares), data.draw(shares)
    good = tuple(share * fraction for share, fraction in zip(seen, fractions, strict=True))
    found = Reliability(NOW, good, tuple(seen))
    worst, best = Reliability(NOW, (0.0,) * len(WINDOWS), tuple(seen)), Reliability(NOW, tuple(seen), tuple(seen))
    assert 0 <= worst.score <= found.score <= best.score <= 1
    assert worst.score <= UNSEEN + 1e-9
    assert best.score >= UNSEEN - 1e-9
    for window in WINDOWS:
        assert 0 == best.failed(window) <= found.failed(window) <= worst.failed(window) <= 1


# Standing


def stood(looks: list[tuple[timedelta, bool, bool]], rule: Steadiness) -> list[tuple[Standing, Look, int]]:
    standing, at, found = None, NOW, []
    for rounds, (gap, is_good, is_final) in enumerate(looks, start=2):
        at += gap
        look = Look(at, () if is_good else (DOWN,), not is_good and is_final)
        standing = looked(standing, look, rule, rounds=rounds)
        found.append((standing, look, rounds))
    return found


@given(LOOKS, RULES)
def test_whoever_is_down_is_told_why_and_nobody_goes_down_for_a_good_look(
    looks: list[tuple[timedelta, bool, bool]], rule: Steadiness
) -> None:
    before = None
    for standing, look, rounds in stood(looks, rule):
        if not standing.is_up:
            assert obstacles(standing, look, rule, rounds=rounds)
        if before is not None and before.is_up and look.is_good:
            assert standing.is_up
        if standing.is_up and not (before is not None and before.is_up):
            assert look.is_good
            assert standing.streak >= rule.rise
        assert standing.first <= standing.since <= look.at
        assert wait_of(standing.falls, rule) <= rule.flap_limit
        before = standing


@given(LOOKS, RULES)
def test_it_changes_sides_no_more_often_than_rise_and_drop_allow(
    looks: list[tuple[timedelta, bool, bool]], rule: Steadiness
) -> None:
    sides = [standing.is_up for standing, _, _ in stood([(gap, good, False) for gap, good, _ in looks], rule)]
    moves = sum(one != other for one, other in zip([False, *sides], sides, strict=False))
    assert moves * min(rule.rise, rule.last) <= len(looks)


# History


@given(crawls(), RULES)
def test_every_address_has_a_verdict_and_whoever_is_out_a_reason(made: list[Snapshot], rule: Steadiness) -> None:
    for judgement in replayed(made, Policy(steadiness=rule)):
        keys = [(verdict.pool, verdict.keyserver, verdict.address) for verdict in judgement.verdicts]
        assert len(set(keys)) == len(keys)
        assert len(keys) == sum(max(len(one.addresses), 1) for one in judgement.snapshot.keyservers) * len(POOLS)
        addresses = [address.address for one in judgement.snapshot.keyservers for address in one.addresses]
        assert len(set(addresses)) == len(addresses)
        for verdict in judgement.verdicts:
            assert (verdict.state is State.OUT) is bool(verdict.reasons)
            assert verdict.progress is None or verdict.progress[0] > 0
            if verdict.is_falling:
                assert verdict.state is State.ELIGIBLE
                assert verdict.progress is not None
                assert rule.fall <= verdict.progress[0] < rule.drop == verdict.progress[1]


@given(crawls(), RULES, st.randoms())
def test_the_order_of_keyservers_and_pools_never_matters(
    made: list[Snapshot], rule: Steadiness, random: object
) -> None:
    policy, shuffled = Policy(steadiness=rule), []
    for crawl in made:
        order = list(crawl.keyservers)
        random.shuffle(order)  # type: ignore[attr-defined]
        shuffled.append(replace(crawl, keyservers=tuple(order)))
    for one, other in zip(replayed(made, policy), replayed(shuffled, policy), strict=True):
        assert one.history == other.history
        assert set(one.verdicts) == set(other.verdicts)


@given(crawls(), RULES)
def test_a_history_that_was_stored_after_each_crawl_gives_the_same(made: list[Snapshot], rule: Steadiness) -> None:
    policy, history = Policy(steadiness=rule), History()
    for judgement, crawl in zip(replayed(made, policy), made, strict=True):
        again = judge_next(history, crawl, policy, POOLS)
        assert again == judgement
        history = from_json(to_json(again.history))
        assert history == again.history


@given(crawls(), RULES, st.integers(0, 3))
def test_a_blind_crawl_might_as_well_not_have_been(made: list[Snapshot], rule: Steadiness, where: int) -> None:
    policy = Policy(steadiness=rule)
    with_it = list(made)
    if made:
        place = min(where, len(made) - 1)
        with_it.insert(place, replace(made[place], blind=dict.fromkeys(Family, "no way out")))
    without, last = replayed(made, policy), replayed(with_it, policy)
    if made:
        assert last[-1].history == without[-1].history


@given(crawls(), RULES)
def test_a_crawl_that_saw_too_few_is_like_a_blind_one_but_for_what_answers_lately(
    made: list[Snapshot], rule: Steadiness
) -> None:
    policy, history = Policy(steadiness=rule), History()
    for crawl in made:
        many = replace(history, answering={family: Answering(crawl.finished, 1000.0) for family in Family})
        doubted = judge_next(many, crawl, policy, POOLS)
        blind = judge_next(many, replace(crawl, blind=dict.fromkeys(Family, "no way out")), policy, POOLS)
        assert doubted.verdicts == blind.verdicts
        assert replace(doubted.history, answering={}) == replace(blind.history, answering={})
        assert set(doubted.snapshot.blind) == set(Family)
        history = judge_next(history, crawl, policy, POOLS).history


MICROSECONDS = st.datetimes(datetime(1970, 1, 2), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001  # given below
SHARES = st.lists(st.floats(0, 1), min_size=len(WINDOWS), max_size=len(WINDOWS)).map(tuple)


@given(st.builds(Reliability, MICROSECONDS, SHARES, SHARES), MICROSECONDS, st.integers(-9, 9), st.floats(0, 1e9))
def test_times_and_numbers_come_back_as_they_were(
    reliability: Reliability, moment: datetime, streak: int, falls: float
) -> None:
    address = mesh(1)[0].addresses[0].address
    standing = Standing(falls > 1, streak, moment, reliability.at, moment if streak else None, falls)
    history = History(
        standings={POOLS[0].name: {address: standing}}, reliability={(address, Service.HKPS): reliability}
    )
    assert from_json(to_json(history)) == history


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)
FIELDS = st.sampled_from(list(json.loads(to_json(History()))))


@given(st.binary() | st.text() | JSON.map(json.dumps))
def test_what_is_no_history_is_a_parse_error(text: str | bytes) -> None:
    with pytest.raises(ParseError):
        from_json(text)


@given(FIELDS, JSON | st.lists(st.lists(JSON, max_size=9), max_size=2))
def test_a_history_with_junk_in_it_is_read_or_refused(field: str, junk: object) -> None:
    try:
        history = from_json(json.dumps({**json.loads(to_json(History())), field: junk}))
    except ParseError:
        return
    assert isinstance(history, History)
