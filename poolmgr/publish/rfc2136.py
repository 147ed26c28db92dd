"""Dynamic update (RFC 2136) with TSIG (RFC 8945)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

import dns.name
import dns.rdatatype
import dns.update

from poolmgr.errors import PublishError
from poolmgr.hosts import IPAddress
from poolmgr.publish.query import NoReply, Server, ask_rrset, ask_serial, attempts, exchange
from poolmgr.publish.target import Published, Receipt
from poolmgr.publish.tsig import KeySource, TsigKey
from poolmgr.zone.plan import Change, Plan
from poolmgr.zone.records import RRset, RRsetKey
from poolmgr.zone.serial import is_newer

_SHOWN = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Primary:
    """A primary that takes updates. `timeout` bounds each exchange with it as a whole."""

    server: IPAddress
    key: KeySource
    port: int = 53
    timeout: timedelta = timedelta(seconds=10)

    @property
    def label(self) -> str:
        """The target as people call it."""
        return f"primary {self.server} port {self.port}"


class Rfc2136Publisher:
    """Publishes the RRsets `owned` in the zone `origin` to a primary. A Publisher."""

    def __init__(self, primary: Primary, origin: dns.name.Name, owned: frozenset[RRsetKey], key: TsigKey) -> None:
        """Take `key` as it was loaded from `primary.key`."""
        self._primary = primary
        self._server = Server(primary.server, primary.port, primary.timeout)
        self._origin = origin
        self._owned = owned
        self._key = key

    @property
    def label(self) -> str:
        """The target as people call it."""
        return self._primary.label

    def read(self) -> Published:
        """Return the SOA serial and the owned RRsets, as the primary itself answers (no zone transfer is asked for)."""
        serial = ask_serial(self._origin, self._server, self._key)
        rrsets = (ask_rrset(key, self._server, self._key) for key in sorted(self._owned))
        return Published({rrset.key: rrset for rrset in rrsets if rrset is not None}, serial, served=serial)

    def publish(self, plan: Plan) -> Receipt:
        """Send the plan as one update, which the primary applies whole or not at all, and read the result back.

        What counts is the reading: the plan is published if it shows, even where the reply got lost, and not if it does
        not, even after NOERROR. Nothing is ever sent twice.
        """
        try:
            exchange(update_message(self._origin, plan.changes), self._server, self._key)
            answer = f"{self._server} answered NOERROR"
        except NoReply as error:
            answer = f"the update was sent, {error}"
        problem = ""
        for _ in attempts(self._server.timeout):
            try:
                published = self.read()
            except PublishError as error:
                problem = f"it cannot be read back: {error}"
                continue
            unlike = difference(plan, published)
            if unlike is None and published.serial is not None:
                return Receipt(
                    published.serial, f"{self.label} serves zone {self._origin} with serial {published.serial}"
                )
            problem = f"reading back, {unlike}"
        raise PublishError(f"{answer}, but {problem}")


def update_message(origin: dns.name.Name, changes: Iterable[Change]) -> dns.update.UpdateMessage:
    """Return the update of zone `origin` that makes `changes`, unless an RRset is no longer as it was read.

    The prerequisites are those of RFC 2136 sections 2.4.2 (RRset exists, value dependent) and 2.4.3 (RRset does not
    exist).
    """
    message = dns.update.UpdateMessage(origin)
    for change in changes:
        owner, rdtype = change.key
        if change.before is None:
            message.absent(owner, rdtype)
        else:
            message.present(owner, *sorted(change.before.rdatas))
            message.delete(owner, rdtype)
        if change.after is not None:
            message.add(owner, change.after.ttl, *sorted(change.after.rdatas))
    return message


def difference(plan: Plan, published: Published) -> str | None:
    """Return what of `plan` does not show in `published`, with a remedy, or None where all of it does."""
    for change in plan.changes:
        found, after = published.records.get(change.key), change.after
        if found != after:
            return (
                f"{change.key[0]} {dns.rdatatype.to_text(change.key[1])} has {_extent(found)}, not the planned "
                f"{_extent(after)}: somebody changed it again, or the server's policy drops records without saying so "
                "(BIND: a record limit in update-policy); its log says which"
            )
    if plan.serial is not None and published.serial is not None and not is_newer(published.serial, plan.serial):
        return (
            f"the records are there, but the SOA serial is {published.serial} and was {plan.serial}, so that the "
            "secondaries will not fetch them: let the primary count the serial (PowerDNS: SOA-EDIT-DNSUPDATE)"
        )
    return None


def _extent(rrset: RRset | None) -> str:
    if rrset is None:
        return "no records"
    shown = ", ".join(rdata.to_text() for rdata in sorted(rrset.rdatas)[:_SHOWN])
    more = ", ..." if len(rrset.rdatas) > _SHOWN else ""
    return f"{len(rrset.rdatas)} records ({shown}{more}) with TTL {rrset.ttl}"
