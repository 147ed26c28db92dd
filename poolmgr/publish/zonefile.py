"""A zone file: written beside, checked, renamed, reloaded, asked for."""

from __future__ import annotations

import contextlib
import enum
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import dns.name
import dns.rdatatype

from poolmgr.errors import Conflict, PublishError, ZoneError
from poolmgr.hosts import IPAddress
from poolmgr.publish.checkers import Checker, check_file, find_checkers
from poolmgr.publish.command import run
from poolmgr.publish.query import ask_serial
from poolmgr.publish.replace import FileState, file_state, put, restore, staged
from poolmgr.publish.secondaries import LONGEST_QUESTION, follow
from poolmgr.publish.target import Published, Receipt
from poolmgr.publish.wire import NoReply, Server, Unreachable, attempts
from poolmgr.zone.desired import from_text, soa_serial, to_text
from poolmgr.zone.plan import Plan
from poolmgr.zone.records import Records
from poolmgr.zone.serial import is_newer
from poolmgr.zone.sizes import refuse_too_many

DYNAMIC = "dynamic zone"
"""What rndc says of a reload of a zone that takes updates: named's word for it."""

STATIC = "publish by rfc2136 instead, or make the zone static (no update-policy or allow-update)"

T = TypeVar("T")


class _DynamicZone(PublishError):
    """The name server does not reload this zone from its file."""


class Standing(enum.Enum):
    """Whether the name server serves the zone file as it stands."""

    SERVED = enum.auto()
    NOT_SERVED = enum.auto()  # it answers, with something else
    UNKNOWN = enum.auto()  # it does not answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Verify:
    """The name server that must answer with the new serial within `timeout` after the reload."""

    server: IPAddress
    port: int = 53
    timeout: timedelta = timedelta(seconds=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class ZoneFile:
    """A zone file to keep. `reload` is a command as a list of words, run without a shell.

    `secondaries` are to follow within `secondaries_timeout`; it is a failure that one does not where
    `secondaries_required`, and the file stays all the same. `marker` is the id that is written beside each pool.
    """

    path: Path
    checks: tuple[Checker, ...] = ()
    reload: tuple[str, ...] = ()
    reload_timeout: timedelta = timedelta(seconds=30)
    verify: Verify | None = None
    secondaries: tuple[tuple[IPAddress, int], ...] = ()
    secondaries_timeout: timedelta = timedelta(seconds=30)
    secondaries_required: bool = False
    marker: str | None = None

    @property
    def label(self) -> str:
        """The target as people call it."""
        return f"zone file {self.path}"


class ZoneFilePublisher:
    """Keeps the zone file of the zone `origin`. A Publisher."""

    def __init__(self, config: ZoneFile, origin: dns.name.Name) -> None:
        self._config = config
        self._origin = origin
        verify = config.verify
        self._server = None if verify is None else Server(verify.server, verify.port, verify.timeout)

    @property
    def label(self) -> str:
        """The target as people call it."""
        return self._config.label

    def read(self) -> Published:
        """Return what the file holds, and the serial that the `verify` server answers with, if it does.

        Raises ZoneError where the file is no zone, PublishError where it cannot be read or a name server writes it.
        """
        with self._file_errors():
            state = file_state(self._target())
        records: Records = {}
        if state is not None:
            try:
                records = from_text(state.content.decode(), self._origin, str(self._config.path))
            except UnicodeDecodeError as error:
                raise ZoneError(f"{self._config.path}: not UTF-8 text (octet {error.start}): write it anew") from error
        served = None
        if self._server is not None:
            with contextlib.suppress(PublishError):
                served = ask_serial(self._origin, self._server)
        written = soa_serial(records, self._origin)
        is_behind = written is not None and (served is None or is_newer(written, served))
        return Published(records, written, served, is_stale=self._server is not None and is_behind)

    def publish(self, plan: Plan) -> Receipt:
        """Replace the file, reload the name server and wait until it answers with the new serial.

        The file that is served goes to a file beside it, with .prev at its name's end. Where the reload fails or the
        serial does not come, that is brought back and loaded again. Raises Conflict where the server's serial went
        past the plan's, as that of a zone which it signs may.
        """
        text = checked_text(plan)
        serial = soa_serial(plan.records, self._origin)
        assert serial is not None
        with self._file_errors():
            target = self._target()
            standing = file_state(target)
            good = self._served(standing, target, serial if plan.changes else None)
            access = None if standing is None else standing.access
            checkers = self._unless_replaced(lambda: find_checkers(self._config.checks))
            with staged(target, [text.encode()], access) as temporary:
                self._unless_replaced(lambda: check_file(checkers, self._origin, temporary))
                if good is not None:
                    restore(previous_path(target), good)
                put(temporary, target)
        try:
            self._reload()
            self._wait_for(serial)
        except PublishError as error:
            raise PublishError(f"{error}; {self._brought_back(target, good or standing)}") from error
        return self._receipt(serial)

    def _receipt(self, serial: int) -> Receipt:
        config = self._config
        sentence = f"{self._server or self.label} has zone {self._origin} with serial {serial}"
        servers = [Server(address, port, LONGEST_QUESTION) for address, port in config.secondaries]
        followed = follow(self._origin, serial, servers, config.secondaries_timeout)
        return Receipt(serial, sentence, followed, config.secondaries_required)

    def _served(self, standing: FileState | None, target: Path, coming: int | None) -> FileState | None:
        """Return the last file that is known to be good: the standing one, or the .prev beside it where that is not.

        None where there is none, and where nobody knows whether the standing one is better than the .prev.
        """
        serial = None
        if standing is not None:
            with contextlib.suppress(ZoneError, UnicodeDecodeError):
                serial = soa_serial(from_text(standing.content.decode(), self._origin, str(target)), self._origin)
        how = self._standing(serial, coming)
        previous = file_state(previous_path(target))
        if how is Standing.SERVED or previous is None:
            return standing
        return previous if how is Standing.NOT_SERVED else None

    def _standing(self, serial: int | None, coming: int | None) -> Standing:
        """Return whether the `verify` server has `serial`. Raises Conflict where what it has is not before `coming`."""
        if self._server is None:
            return Standing.SERVED
        try:
            served = ask_serial(self._origin, self._server)
        except (Unreachable, NoReply):
            return Standing.UNKNOWN
        except (PublishError, ZoneError):
            return Standing.NOT_SERVED
        if coming is not None and not is_newer(coming, served):
            raise Conflict(
                f"{self._server} has serial {served} by now, and the new zone file would have {coming}: plan again"
            )
        return Standing.NOT_SERVED if serial is None or is_newer(serial, served) else Standing.SERVED

    def _target(self) -> Path:
        """Return the file that is written: the one a symbolic link points to, so that the link stays."""
        target = Path(os.path.realpath(self._config.path))
        journals = [journal for path in {self._config.path, target} if (journal := _journal(path)) is not None]
        if journals:
            raise PublishError(
                f"{journals[0]} shows that named takes dynamic updates for this zone, and a file written under it "
                f"would end the zone: {STATIC}, and remove the .jnl file"
            )
        return target

    def _unless_replaced(self, step: Callable[[], T]) -> T:
        try:
            return step()
        except PublishError as error:
            raise PublishError(f"the zone file was not replaced: {error}") from error

    def _reload(self) -> None:
        if not self._config.reload:
            return
        try:
            run(self._config.reload, self._config.reload_timeout)
        except PublishError as error:
            if DYNAMIC in str(error):
                raise _DynamicZone(
                    f"the name server takes dynamic updates for this zone ({error}): {STATIC}"
                ) from error
            raise

    def _wait_for(self, serial: int) -> None:
        """Return when the `verify` server answers with `serial`, or a later one: a server that signs counts on."""
        if self._server is None:
            return
        seen = ""
        for left in attempts(self._server.timeout):
            try:
                served = ask_serial(self._origin, replace(self._server, timeout=left))
            except PublishError as error:
                seen = str(error)
                continue
            if served == serial or is_newer(served, serial):
                return
            seen = f"{self._server} still serves serial {served}"
        seconds = self._server.timeout.total_seconds()
        raise PublishError(
            f"zone {self._origin} did not come up with serial {serial} within {seconds:g} s after the reload ({seen}): "
            "see the name server's log, and whether it loads this file"
        )

    def _brought_back(self, target: Path, previous: FileState | None) -> str:
        """Bring back and load the previous file, and return a text that says how that went."""
        try:
            restore(target, previous)
        except (OSError, PublishError) as error:
            return f"the previous zone file could not be brought back ({error}), the new one stands: see to it by hand"
        what = "the new zone file, the first, was removed" if previous is None else "the previous zone file is back"
        try:
            self._reload()
        except _DynamicZone:
            return what
        except PublishError as error:
            return f"{what}, but was not loaded ({error}): reload it by hand"
        return what

    @contextlib.contextmanager
    def _file_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise PublishError(
                f"cannot read or replace zone file {self._config.path}: {error.strerror} "
                f"({error.filename or 'while writing'}): this user must be able to write there, and the disk have room"
            ) from error


def checked_text(plan: Plan) -> str:
    """Return the zone file of `plan`.

    Raises ZoneError where it does not say just what `plan.records` says, lacks SOA or NS at the apex, or has an RRset
    of more records than name servers load.
    """
    refuse_too_many(plan.records)
    text = to_text(plan.records, plan.origin, plan.provenance)
    if from_text(text, plan.origin, "the new zone file") != plan.records:
        raise ZoneError("the new zone file does not read back as what was planned, and was not written: report this")
    return text


def previous_path(path: Path) -> Path:
    """Return where the file is kept that the one at `path` took the place of."""
    return path.with_name(f"{path.name}.prev")


def _journal(path: Path) -> Path | None:
    """Return the journal of updates to the file at `path`, None where there is none.

    Where named signs the zone of a file (inline-signing), it keeps a journal of the file's versions, and the signed
    zone beside it: then the file is the operator's all the same.
    """
    journal, signed = (path.with_name(path.name + ending) for ending in (".jnl", ".signed"))
    return journal if journal.exists() and not signed.exists() else None
