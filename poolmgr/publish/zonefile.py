"""A zone file: written beside, checked, renamed, reloaded, asked for."""

from __future__ import annotations

import contextlib
import enum
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import dns.name
import dns.rdatatype

from poolmgr.errors import PublishError, ZoneError
from poolmgr.hosts import IPAddress
from poolmgr.publish.command import find_program, run
from poolmgr.publish.query import Server, ask_serial, attempts
from poolmgr.publish.replace import FileState, file_state, put, restore, staged
from poolmgr.publish.target import Published, Receipt
from poolmgr.zone.desired import from_text, soa_serial, to_text
from poolmgr.zone.plan import Plan
from poolmgr.zone.records import Records
from poolmgr.zone.serial import is_newer

MAX_RECORDS = 100
"""Records of one RRset: named does not load a zone with more (max-records-per-type), and named-checkzone passes it."""

CHECK_TIMEOUT = timedelta(seconds=30)
"""For one checker: they take less than a second for 100,000 records."""


class Checker(enum.StrEnum):
    """A program that checks a zone file before it takes the old one's place."""

    NAMED = "named-checkzone"
    NSD = "nsd-checkzone"

    @property
    def package(self) -> str:
        """The Debian package that has it."""
        return {Checker.NAMED: "bind9-utils", Checker.NSD: "nsd"}[self]

    def words(self, origin: dns.name.Name, path: Path) -> tuple[str, ...]:
        """Return the command that checks the file at `path`. No name outside the zone is looked up."""
        local = ("-i", "local") if self is Checker.NAMED else ()
        return (self.value, *local, origin.to_text(), str(path))


@dataclass(frozen=True, slots=True, kw_only=True)
class Verify:
    """The name server that must answer with the new serial within `timeout` after the reload."""

    server: IPAddress
    port: int = 53
    timeout: timedelta = timedelta(seconds=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class ZoneFile:
    """A zone file to keep. `reload` is a command as a list of words, run without a shell."""

    path: Path
    checks: tuple[Checker, ...] = ()
    reload: tuple[str, ...] = ()
    reload_timeout: timedelta = timedelta(seconds=30)
    verify: Verify | None = None

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

        Where the reload fails or the serial does not come, the previous file is brought back and loaded again.
        """
        text = checked_text(plan)
        serial = soa_serial(plan.records, self._origin)
        assert serial is not None
        with self._file_errors():
            target = self._target()
            previous = file_state(target)
            access = None if previous is None else previous.access
            with staged(target, [text.encode()], access) as temporary:
                for checker in self._config.checks:
                    self._check(checker, temporary)
                put(temporary, target)
        try:
            self._reload()
            self._wait_for(serial)
        except PublishError as error:
            raise PublishError(f"{error}; {self._brought_back(target, previous)}") from error
        return Receipt(serial, f"{self._server or self.label} has zone {self._origin} with serial {serial}")

    def _target(self) -> Path:
        """Return the file that is written: the one a symbolic link points to, so that the link stays."""
        target = Path(os.path.realpath(self._config.path))
        journals = [journal for path in {self._config.path, target} if (journal := _journal(path)).exists()]
        if journals:
            raise PublishError(
                f"{journals[0]} shows that named takes dynamic updates for this zone, and a file written under it "
                "would end the zone: publish by rfc2136 instead, or make the zone static and remove the .jnl file"
            )
        return target

    def _check(self, checker: Checker, path: Path) -> None:
        if find_program(checker) is None:
            raise PublishError(
                f"{checker} is not installed, the zone file was not replaced: install the Debian package "
                f"{checker.package}, or take it out of checks"
            )
        try:
            run(checker.words(self._origin, path), CHECK_TIMEOUT)
        except PublishError as error:
            raise PublishError(f"the zone file was not replaced: {error}") from error

    def _reload(self) -> None:
        if self._config.reload:
            run(self._config.reload, self._config.reload_timeout)

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
                f"({error.filename or 'while writing'})"
            ) from error


def checked_text(plan: Plan) -> str:
    """Return the zone file of `plan`.

    Raises ZoneError where it does not say just what `plan.records` says, lacks SOA or NS at the apex, or has an RRset
    of more than MAX_RECORDS records.
    """
    for rrset in plan.records.values():
        if len(rrset.rdatas) > MAX_RECORDS:
            raise ZoneError(
                f"{rrset.owner} {dns.rdatatype.to_text(rrset.rdtype)} has {len(rrset.rdatas)} records, name servers "
                f"load at most {MAX_RECORDS} of one name and type: lower max_records"
            )
    text = to_text(plan.records, plan.origin, plan.provenance)
    if from_text(text, plan.origin, "the new zone file") != plan.records:
        raise ZoneError("the new zone file does not read back as what was planned, and was not written: report this")
    return text


def _journal(path: Path) -> Path:
    return path.with_name(f"{path.name}.jnl")
