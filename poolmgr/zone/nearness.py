"""How near a plan comes to the limits that it was made within."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from poolmgr.zone.plan import Change, Limits, Plan
from poolmgr.zone.records import RRsetKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Nearness:
    """What a plan wants of one RRset beside what its limits allow, whether it is held or not.

    `before` are the published records and `members` those that it would have. At least `min_members` stay, and of them
    `may_go` may be removed and `may_come` added at once; None where there is no such limit.
    """

    key: RRsetKey
    limits: Limits
    before: int
    members: int
    removed: int
    added: int

    @property
    def may_go(self) -> int | None:
        """How many records may go at once."""
        return self.limits.max_removed.of(self.before)

    @property
    def may_come(self) -> int | None:
        """How many may come beside them."""
        return None if self.limits.max_added is None else self.limits.max_added.of(self.before)


def nearness(plan: Plan) -> Iterator[Nearness]:
    """Yield how near each RRset of `plan` that has limits comes to them, in their order."""
    wanted = {change.key: change for change in (*plan.changes, *(held.change for held in plan.held))}
    for key, limits in plan.limits.items():
        stays = plan.records.get(key)
        change = wanted.get(key, Change(key, stays, stays))
        before = frozenset() if change.before is None else change.before.rdatas
        after = frozenset() if change.after is None else change.after.rdatas
        yield Nearness(
            key=key,
            limits=limits,
            before=len(before),
            members=len(after),
            removed=len(before - after),
            added=len(after - before),
        )
