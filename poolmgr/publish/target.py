"""What every publisher is: one protocol, so that the pipeline has no cases."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from poolmgr.errors import PublishError
from poolmgr.publish.secondaries import Secondary
from poolmgr.zone.plan import Plan
from poolmgr.zone.records import Records


@dataclass(frozen=True, slots=True)
class Published:
    """What a target holds now, in the publisher's scope.

    `serial` is its SOA serial, None where nothing is published yet. `served` is the serial that a name server answers
    with, None where none was asked or none answers yet. `is_stale` says that one was asked and does not have `serial`.
    """

    records: Records
    serial: int | None
    served: int | None = None
    is_stale: bool = False


@dataclass(frozen=True, slots=True)
class Receipt:
    """Proof that the plan is served or written: the serial that was seen, and a sentence that says where.

    `secondaries` says how those followed that were asked. One that is behind is a failure where
    `is_following_required`.
    """

    serial: int
    sentence: str
    secondaries: tuple[Secondary, ...] = ()
    is_following_required: bool = False

    @property
    def behind(self) -> tuple[str, ...]:
        """A sentence for each secondary that is behind."""
        return tuple(each.sentence for each in self.secondaries if each.lag is None)

    @property
    def failure(self) -> PublishError | None:
        """The error that secondaries are behind which must not be, None where there is none."""
        if not self.is_following_required or not self.behind:
            return None
        return PublishError("\n".join(f"the primary has the records, but {sentence}" for sentence in self.behind))


class Publisher(Protocol):
    """One target. Both verbs raise PublishError or ZoneError, and leave the old or the new records, never a mixture."""

    @property
    def label(self) -> str:
        """The target as people call it, for example ``zone file /var/lib/poolmgr/example.zone``."""

    def read(self) -> Published:
        """Return what is published now."""

    def publish(self, plan: Plan) -> Receipt:
        """Make the target serve `plan`, then ask it for the result. A plan without changes makes it look again."""
