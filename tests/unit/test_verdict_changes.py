from __future__ import annotations

import ipaddress
from datetime import timedelta

from poolmgr.judge.changes import VerdictChange, changes_of
from poolmgr.model import Reason, ReasonCode, State, Verdict
from poolmgr.report import movement
from tests.build import NOW, POOL, keyserver, pool
from tests.unit.test_report import HOSTILE

LATER = NOW + timedelta(minutes=15)
BEHIND = Reason(ReasonCode.BEHIND, "1", "2", "1 key behind")


def verdict(last: int, *reasons: Reason, name: str = "ks.example.net", pool_name: str = "pool.example.org.") -> Verdict:
    """Return the verdict on 198.51.100.`last`: out where there are reasons."""
    return Verdict(
        pool=pool(pool_name).name,
        keyserver=keyserver(name).name,
        address=ipaddress.ip_address(f"198.51.100.{last}"),
        state=State.OUT if reasons else State.ELIGIBLE,
        reasons=reasons,
    )


def told(changes: tuple[VerdictChange, ...]) -> list[tuple[str, State, tuple[Reason, ...]]]:
    return [(str(change.address), change.state, change.reasons) for change in changes]


def test_at_the_first_crawl_those_that_are_in_came() -> None:
    changes = changes_of((), [verdict(1), verdict(2, BEHIND)], NOW)
    assert told(changes) == [("198.51.100.1", State.ELIGIBLE, ())]
    assert (changes[0].at, changes[0].pool) == (NOW, POOL)


def test_what_stays_as_it_was_is_no_change() -> None:
    verdicts = [verdict(1), verdict(2, BEHIND)]
    assert changes_of(changes_of((), verdicts, NOW), verdicts, LATER) == ()


def test_who_goes_has_the_reasons_of_that_moment_and_who_comes_back_has_none() -> None:
    first = changes_of((), [verdict(1)], NOW)
    gone = changes_of(first, [verdict(1, BEHIND)], LATER)
    assert told(gone) == [("198.51.100.1", State.OUT, (BEHIND,))]
    back = changes_of((*first, *gone), [verdict(1)], LATER)
    assert told(back) == [("198.51.100.1", State.ELIGIBLE, ())]


def test_an_eligible_address_that_the_cap_leaves_out_is_in_all_the_same() -> None:
    full = Reason(ReasonCode.CAP, "more than 1", "1", "the pool publishes 1 A at most")
    capped = Verdict(
        pool=POOL,
        keyserver=keyserver("ks.example.net").name,
        address=ipaddress.ip_address("198.51.100.1"),
        state=State.ELIGIBLE,
        reasons=(full,),
    )
    assert told(changes_of((), [capped], NOW)) == [("198.51.100.1", State.ELIGIBLE, ())]


def test_an_address_that_is_not_found_any_more_went_once() -> None:
    first = changes_of((), [verdict(1), verdict(2)], NOW)
    gone = changes_of(first, [verdict(2)], LATER)
    assert [(address, state) for address, state, _ in told(gone)] == [("198.51.100.1", State.OUT)]
    assert [reason.code for reason in gone[0].reasons] == [ReasonCode.NO_ADDRESS]
    assert changes_of((*first, *gone), [verdict(2)], LATER) == ()


def test_one_whose_name_gives_no_address_went_for_what_dns_said() -> None:
    first = changes_of((), [verdict(1)], NOW)
    reason = Reason(ReasonCode.NO_ADDRESS, "none", "at least 1", "no such name (NXDOMAIN)")
    nameless = Verdict(
        pool=POOL, keyserver=keyserver("ks.example.net").name, address=None, state=State.OUT, reasons=(reason,)
    )
    assert told(changes_of(first, [nameless], LATER)) == [("198.51.100.1", State.OUT, (reason,))]


def test_pools_change_by_themselves_and_one_that_is_not_judged_stays_as_it_was() -> None:
    both = [verdict(1), verdict(1, pool_name="other.example.org.")]
    first = changes_of((), both, NOW)
    assert len(first) == 2
    (gone,) = changes_of(first, [both[0], verdict(1, BEHIND, pool_name="other.example.org.")], LATER)
    assert gone.pool == pool("other.example.org.").name
    assert changes_of(first, both[:1], LATER) == ()


def test_reasons_survive_the_store() -> None:
    reasons = (BEHIND, Reason(ReasonCode.STATS, "reset", "ok", HOSTILE))
    assert movement.reasons_from_json(movement.reasons_to_json(reasons)) == reasons


def test_text_and_csv_escape_what_a_keyserver_said() -> None:
    hostile = Reason(ReasonCode.STATS, "reset", "ok", f"={HOSTILE}")
    changes = changes_of(changes_of((), [verdict(1)], NOW), [verdict(1, hostile)], LATER)
    head, line = movement.to_text(changes, NOW)
    assert head == "since 2026-11-23T12:00:00Z: 0 came, 1 went"
    assert line.startswith("2026-11-23T12:15:00Z  - ks.example.net 198.51.100.1 went, pool.example.org: =\\x1b[31m")
    assert (head + line).isprintable()
    shown = movement.to_csv(changes)
    assert "'=\\x1b[31m" in shown
    assert "\x1b" not in shown
