"""What every publisher is: one protocol, so that the pipeline has no cases."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

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
    """Proof that the plan is served or written: the serial that was seen, and a sentence that says where."""

    serial: int
    sentence: str


class Publisher(Protocol):
    """One target. Both verbs raise PublishError or ZoneError, and leave the old or the new records, never a mixture."""

    @property
    def label(self) -> str:
        """The target as people call it, for example ``zone file /var/lib/poolmgr/example.zone``."""

    def read(self) -> Published:
        """Return what is published now."""

    def publish(self, plan: Plan) -> Receipt:
        """Make the target serve `plan`, then ask it for the result. A plan without changes makes it look again."""
