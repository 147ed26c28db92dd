"""Who came and who went from one crawl to the next, with the reasons of that moment."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

import dns.name

from poolmgr.hosts import Host, IPAddress
from poolmgr.model import Reason, ReasonCode, State, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictChange:
    """One address that a pool's judge let in (ELIGIBLE, without reasons) or put out (OUT, with them) at a crawl.

    Which of the eligible are published is another matter: that is the selection's.
    """

    at: datetime
    pool: dns.name.Name
    keyserver: Host
    address: IPAddress
    state: State
    reasons: tuple[Reason, ...] = ()


def changes_of(
    recorded: Iterable[VerdictChange], verdicts: Iterable[Verdict], at: datetime
) -> tuple[VerdictChange, ...]:
    """Return what `verdicts`, of the crawl that ended at `at`, change against `recorded`, the earlier changes.

    An address that was in, and of which a pool has no verdict any more, went. Those of a pool that has no verdicts at
    all stay as they were: it is not configured now.
    """
    verdicts = tuple(verdicts)
    last = {(change.pool, change.address): change for change in recorded}
    judged = {(verdict.pool, verdict.address): verdict for verdict in verdicts if verdict.address is not None}
    pools = {verdict.pool for verdict in verdicts}
    moved = [
        _change(verdict, address, at)
        for (pool, address), verdict in judged.items()
        if _is_in(last.get((pool, address))) is (verdict.state is State.OUT)
    ]
    nameless = {(verdict.pool, verdict.keyserver): verdict for verdict in verdicts if verdict.address is None}
    gone = [
        _departure(change, nameless, at)
        for key, change in last.items()
        if _is_in(change) and key not in judged and change.pool in pools
    ]
    return (*moved, *gone)


def _is_in(change: VerdictChange | None) -> bool:
    return change is not None and change.state is not State.OUT


def _change(verdict: Verdict, address: IPAddress, at: datetime) -> VerdictChange:
    is_out = verdict.state is State.OUT
    return VerdictChange(
        at=at,
        pool=verdict.pool,
        keyserver=verdict.keyserver,
        address=address,
        state=State.OUT if is_out else State.ELIGIBLE,
        reasons=verdict.reasons if is_out else (),
    )


def _departure(
    change: VerdictChange, nameless: Mapping[tuple[dns.name.Name, Host], Verdict], at: datetime
) -> VerdictChange:
    """Return that the address of `change` went: nothing leads to it any more."""
    verdict = nameless.get((change.pool, change.keyserver))
    reason = Reason(ReasonCode.NO_ADDRESS, "not found", "found", "this crawl did not find it: nothing leads to it")
    return VerdictChange(
        at=at,
        pool=change.pool,
        keyserver=change.keyserver,
        address=change.address,
        state=State.OUT,
        reasons=(reason,) if verdict is None else verdict.reasons,
    )
