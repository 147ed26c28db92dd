"""Dynamic update (RFC 2136) with TSIG (RFC 8945)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import dns.name
import dns.rdatatype

from poolmgr.errors import Conflict, PublishError
from poolmgr.hosts import IPAddress
from poolmgr.publish.messages import pool_of, split, update_message
from poolmgr.publish.query import Conversation, TooLarge, ask_rrset, ask_serial, exchange, render
from poolmgr.publish.secondaries import follow
from poolmgr.publish.target import Published, Receipt
from poolmgr.publish.tsig import KeySource, TsigKey
from poolmgr.publish.wire import Identity, NoReply, Server, Unreachable, attempts, load_tls
from poolmgr.zone.desired import soa_serial
from poolmgr.zone.marker import marker_key
from poolmgr.zone.naming import further_keys
from poolmgr.zone.plan import Change, Plan
from poolmgr.zone.records import RRset, RRsetKey
from poolmgr.zone.serial import is_newer

PORT, TLS_PORT = 53, 853
"""Where a primary listens that is not said to listen elsewhere (RFC 1035 section 4.2, RFC 7858 section 3.1)."""

_SHOWN = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """That a primary is asked over TLS: its certificate is for `name`, without one for its address.

    It is verified by the roots in `ca_file` (PEM), without one those of the system.
    """

    name: str | None = None
    ca_file: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Primary:
    """A primary that takes updates. `timeout` bounds each exchange with it as a whole.

    No `server`: the one that the zone's SOA names, asked of `nameservers`, or of the system's where there are none.
    What is read is signed with `read_key` where there is one. With `soa_prerequisite` a change of anything in the zone
    since the plan was made stops an update, not only one of the RRsets that it replaces. `secondaries` are to follow
    within `secondaries_timeout`; it is a failure that one does not where `secondaries_required`. `marker` is the id
    that is written beside each pool.
    """

    server: IPAddress | None
    key: KeySource
    nameservers: tuple[tuple[IPAddress, int], ...] = ()
    port: int = PORT
    timeout: timedelta = timedelta(seconds=10)
    tls: Tls | None = None
    read_key: KeySource | None = None
    soa_prerequisite: bool = False
    secondaries: tuple[tuple[IPAddress, int], ...] = ()
    secondaries_timeout: timedelta = timedelta(seconds=30)
    secondaries_required: bool = False
    marker: str | None = None

    @property
    def label(self) -> str:
        """The target as people call it."""
        return "primary named by the zone's SOA" if self.server is None else f"primary {self.server} port {self.port}"


class Rfc2136Publisher:
    """Publishes the RRsets `owned` in the zone `origin` to a primary. A Publisher."""

    def __init__(
        self,
        primary: Primary,
        origin: dns.name.Name,
        owned: frozenset[RRsetKey],
        key: TsigKey,
        *,
        pools: Sequence[dns.name.Name] = (),
        read_key: TsigKey | None = None,
    ) -> None:
        """Take the keys as they were loaded from `primary`, and the owner names of the pools.

        Raises PublishError where the roots of `primary.tls` cannot be had.
        """
        self._primary = primary
        self._context = None if primary.tls is None else load_tls(primary.tls.ca_file)
        self._server = None if primary.server is None else self._at(primary.server)
        self._origin = origin
        self._owned = owned
        self._pools = pools
        self._key = key
        self._read_key = read_key or key

    @property
    def label(self) -> str:
        """The target as people call it."""
        return self._primary.label

    def read(self) -> Published:
        """Return the SOA serial and the owned RRsets, as the primary itself answers (no zone transfer is asked for)."""
        return self._read(self._owned)

    def _read(self, keys: frozenset[RRsetKey]) -> Published:
        """Return the SOA serial and the RRsets at `keys`, with what they make owned."""
        with Conversation(self._found(), self._read_key) as conversation:
            serial = conversation.serial(self._origin)
            found = conversation.rrsets(sorted(keys))
            found = {**found, **conversation.rrsets(sorted(further_keys(found, keys) - keys))}
        return Published(found, serial, served=serial)

    def publish(self, plan: Plan) -> Receipt:
        """Send the plan as one update, which the primary applies whole or not at all, and read the result back.

        What counts is the reading: the plan is published if it shows, even where the reply got lost, and not if it does
        not, even after NOERROR. Nothing is ever sent twice. A plan that is larger than a message takes several, each
        with whole pools, one after the other has been read back. Raises Conflict where the zone is no longer as it was
        when the plan was made.
        """
        soa = self._soa(plan)
        messages = split(plan.changes, self._pools, lambda changes: self._fits(plan, changes, soa))
        published = None if messages else self.read()
        serial = plan.serial
        for number, changes in enumerate(messages):
            try:
                published = self._apply(replace(plan, changes=changes, serial=serial))
            except PublishError as error:
                if not number:
                    raise
                done = f"{number} of {len(messages)} messages were applied, then: {error}"
                raise type(error)(done) from error
            serial = published.serial
        assert published is not None
        assert published.serial is not None
        return self._receipt(published.serial, len(messages))

    def messages(self, plan: Plan) -> tuple[tuple[tuple[Change, ...], tuple[RRset, ...]], ...]:
        """Return the changes of each message that `plan` takes, and the markers that it depends on. Asks nobody.

        The SOA is not among them: every message makes it another. Raises PublishError where a pool does not fit one.
        """
        parts = split(plan.changes, self._pools, lambda changes: self._fits(plan, changes, ()))
        return tuple((changes, self._markers(plan, changes)) for changes in parts)

    def _apply(self, plan: Plan) -> Published:
        """Send the changes of `plan` in one message, and return what is served when they show."""
        server = self._found()
        guards = (*self._soa(plan), *self._markers(plan, plan.changes))
        try:
            exchange(update_message(self._origin, plan.changes, guards), server, self._key)
            answer = f"{server} answered NOERROR"
        except NoReply as error:
            answer = f"the update was sent, {error}"
        # Labels that go with their SRV records are looked at too.
        keys = self._owned.union(change.key for change in plan.changes)
        problem = ""
        for _ in attempts(server.timeout):
            try:
                published = self._read(keys)
            except PublishError as error:
                problem = f"it cannot be read back: {error}"
                continue
            unlike = difference(plan, published)
            if unlike is None and published.serial is not None:
                return published
            problem = f"reading back, {unlike}"
        raise PublishError(f"{answer}, but {problem}")

    def _receipt(self, serial: int, messages: int) -> Receipt:
        primary = self._primary
        followers = [Server(address, port, primary.timeout) for address, port in primary.secondaries]
        secondaries = follow(self._origin, serial, followers, primary.secondaries_timeout)
        sentence = f"{self.label} serves zone {self._origin} with serial {serial}"
        if messages > 1:
            sentence += f", after {messages} messages with whole pools each, since one may have 65535 octets"
        return Receipt(serial, sentence, secondaries, primary.secondaries_required)

    def _found(self) -> Server:
        """Return the primary: where it is not said where that is, the first address that takes a connection."""
        if self._server is not None:
            return self._server
        from poolmgr.publish.primary import find_primary  # noqa: PLC0415 -- start-up time: it loads a resolver

        problems = []
        for address in find_primary(self._origin, self._primary.nameservers, self._primary.timeout):
            server = self._at(address)
            try:
                ask_serial(self._origin, server, self._read_key)
            except Unreachable as error:
                problems.append(str(error))
                continue
            self._server = server
            return server
        raise Unreachable("; ".join(problems))

    def _at(self, address: IPAddress) -> Server:
        primary, identity = self._primary, None
        if primary.tls is not None and self._context is not None:
            identity = Identity(self._context, primary.tls.name or str(address))
        return Server(address, primary.port, primary.timeout, identity)

    def _fits(self, plan: Plan, changes: Sequence[Change], soa: tuple[RRset, ...]) -> bool:
        """Return whether one message takes `changes`, signed and with all its prerequisites."""
        guards = (*soa, *self._markers(plan, changes))
        try:
            render(update_message(self._origin, changes, guards), self._key)
        except TooLarge:
            return False
        return True

    def _soa(self, plan: Plan) -> tuple[RRset, ...]:
        """Return the SOA that an update of `plan` depends on, if it does. Raises Conflict where it is another now."""
        if not self._primary.soa_prerequisite:
            return ()
        soa = ask_rrset((self._origin, dns.rdatatype.SOA), self._found(), self._read_key)
        serial = None if soa is None else soa_serial({soa.key: soa}, self._origin)
        if soa is None or serial != plan.serial:
            raise Conflict(
                f"the SOA serial of {self._origin} at {self._found()} was {plan.serial} and is {serial}: somebody else "
                "changed the zone meanwhile: plan again"
            )
        return (soa,)

    def _markers(self, plan: Plan, changes: Sequence[Change]) -> tuple[RRset, ...]:
        """Return the markers of the pools in `changes` that stay: they must still be there when it is applied."""
        if self._primary.marker is None:
            return ()
        changed = {change.key for change in changes}
        names = frozenset(self._pools)
        pools = dict.fromkeys(pool_of(change.key[0], names) for change in changes)
        keys = (marker_key(pool) for pool in pools)
        return tuple(plan.records[key] for key in keys if key in plan.records and key not in changed)


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
