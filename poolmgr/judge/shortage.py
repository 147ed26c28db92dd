"""Who comes in where too few are eligible, and the pool's operator would rather have the least bad than nobody."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any

from poolmgr.hosts import IPAddress
from poolmgr.model import ReasonCode, State, Verdict

MILDNESS = (
    ReasonCode.JOINING,
    ReasonCode.PROBATION,
    ReasonCode.FLAPPING,
    ReasonCode.UNRELIABLE,
    ReasonCode.SLOW,
    ReasonCode.BEHIND,
    ReasonCode.CANARY,
    ReasonCode.STUCK,
    ReasonCode.COHORT,
    ReasonCode.AHEAD,
    ReasonCode.NO_COUNT,
)
"""The reasons that may be overlooked, the mildest first: it answers, and is new, unsteady, or not sure to be complete.

For any other reason an address stays out: it gives its clients nothing, or the operator does not want it.
"""


def least_bad(
    verdicts: Iterable[Verdict], current: Collection[IPAddress], rank: Callable[[IPAddress], Any]
) -> list[IPAddress]:
    """Return the addresses that are out for nothing worse than MILDNESS has, the least bad first.

    The order is that of the worst reason, then of the number of reasons; those in `current` then stay, and of others
    the one that is the least past its limits comes first, or what `rank` says. All verdicts are of one pool and family.
    """
    found = {}
    for verdict in verdicts:
        codes = [reason.code for reason in verdict.reasons]
        if verdict.address is None or verdict.state is not State.OUT or not set(codes).issubset(MILDNESS):
            continue
        worst = max(map(MILDNESS.index, codes))
        excess = sum(reason.excess for reason in verdict.reasons)
        is_new = verdict.address not in current
        found[verdict.address] = (worst, len(codes), is_new, excess, rank(verdict.address))
    return sorted(found, key=found.__getitem__)
