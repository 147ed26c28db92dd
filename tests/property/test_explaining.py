"""What explains a verdict is the verdict, whatever the mesh; and the log of changes says who is in."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from poolmgr.judge.changes import VerdictChange, changes_of
from poolmgr.judge.findings import findings
from poolmgr.judge.freshness import references
from poolmgr.judge.history import History, judge_next
from poolmgr.judge.policy import Policy
from poolmgr.judge.verdict import RULES, Case
from poolmgr.model import Keyserver, Outcome, Service, State
from tests.build import NOW, crawls, keyserver, mesh, pool, snapshot

POOLS = (pool(services=frozenset({Service.HKP, Service.HTTP})), pool("other.example.org.", host=pool().name))
POLICY = Policy(max_keys_behind=100, max_keys_ahead=100)

outcomes = st.sampled_from([Outcome.OK, Outcome.OK, Outcome.RESET, Outcome.REFUSED])


@st.composite
def keyservers(draw: st.DrawFn, number: int = 9) -> Keyserver:
    """Return a keyserver of which anything may be wrong."""
    addresses = [f"203.0.113.{number}", f"2001:db8::{number}"]
    return keyserver(
        f"ks{number}.example.org",
        *draw(st.lists(st.sampled_from(addresses), unique=True)),
        keys=draw(st.one_of(st.none(), st.integers(0, 2**63), st.integers(4_999_800, 5_000_200))),
        software=draw(st.sampled_from(["SKS", "Hockeypuck", "GnuKS"])),
        version=draw(st.sampled_from([None, "1.1.5", "1.1.6", "2.3", "~"])),
        outcomes={service: draw(outcomes) for service in (Service.HKP, Service.HTTP)},
        stats_outcome=draw(outcomes),
        canary=draw(st.sampled_from([None, *(NOW - timedelta(hours=hours) for hours in (-1, 1, 99, 199))])),
    )


@given(keyservers(), st.sampled_from([1, 99]))
def test_the_failed_findings_are_the_reasons_and_margins_agree(one: Keyserver, age: int) -> None:
    crawled = snapshot([one, *mesh(4)])
    known = references(crawled.keyservers, POLICY.window)
    for of in POOLS:
        for address in one.addresses:
            case = Case(of, POLICY, one, address, known, crawled.finished, newest=NOW - timedelta(hours=age))
            found = findings(case)
            reasons = [reason for rule in RULES for reason in rule(case)]
            assert [(each.code, each.sentence) for each in found if not each.is_passed] == [
                (reason.code, reason.sentence) for reason in reasons
            ]
            assert all(each.margin is None or each.is_passed is (each.margin.amount >= 0) for each in found)


@given(st.lists(st.tuples(keyservers(8), keyservers(9)), min_size=1, max_size=6))
def test_the_changes_of_all_crawls_say_who_is_in(rounds: list[tuple[Keyserver, Keyserver]]) -> None:
    history, log = History(), list[VerdictChange]()
    for crawl in crawls(*([*mesh(3), *pair] for pair in rounds), every=timedelta(minutes=15)):
        judgement = judge_next(history, crawl, POLICY, POOLS)
        history = judgement.history
        log += changes_of(log, judgement.verdicts, crawl.finished)
        last = {(change.pool, change.address): change for change in log}
        told = {key for key, change in last.items() if change.state is not State.OUT}
        assert told == {
            (each.pool, each.address) for each in judgement.verdicts if each.address and each.state is not State.OUT
        }
    by_address: dict[object, list[State]] = {}
    for change in log:
        by_address.setdefault((change.pool, change.address), []).append(change.state)
        assert bool(change.reasons) is (change.state is State.OUT)
    for states in by_address.values():
        assert states == [State.ELIGIBLE, State.OUT] * (len(states) // 2) + [State.ELIGIBLE] * (len(states) % 2)
