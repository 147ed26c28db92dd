"""The programs that look at a zone file before it takes the old one's place."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path

import dns.name

from poolmgr.errors import PublishError
from poolmgr.publish.command import find_program, run

CHECK_TIMEOUT = timedelta(seconds=30)
"""For one checker: they take less than a second for 100,000 records."""


class Checker(enum.StrEnum):
    """A program that checks a zone file; AUTO stands for all of them that are installed, one at least."""

    NAMED = "named-checkzone"
    NSD = "nsd-checkzone"
    KNOT = "kzonecheck"
    AUTO = "auto"

    @property
    def package(self) -> str:
        """The Debian package that has it."""
        return {Checker.NAMED: "bind9-utils", Checker.NSD: "nsd", Checker.KNOT: "knot-dnssecutils"}[self]

    def words(self, origin: dns.name.Name, path: Path) -> tuple[str, ...]:
        """Return the command that checks the file at `path`. No name outside the zone is looked up."""
        match self:
            case Checker.NAMED:
                return (self.value, "-i", "local", origin.to_text(), str(path))
            case Checker.KNOT:
                return (self.value, "-o", origin.to_text(), str(path))
        return (self.value, origin.to_text(), str(path))


PROGRAMS = tuple(checker for checker in Checker if checker is not Checker.AUTO)


def find_checkers(wanted: Iterable[Checker]) -> tuple[Checker, ...]:
    """Return the programs that `wanted` stands for. Raises PublishError where one is not installed."""
    found = []
    for checker in wanted:
        programs = PROGRAMS if checker is Checker.AUTO else (checker,)
        installed = [program for program in programs if find_program(program) is not None]
        if not installed:
            raise PublishError(_not_installed(checker))
        found += installed
    return tuple(dict.fromkeys(found))


def _not_installed(checker: Checker) -> str:
    if checker is Checker.AUTO:
        choice = ", ".join(f"{program} (Debian package {program.package})" for program in PROGRAMS)
        return f"check is auto, and nothing is installed that checks a zone file: install one of {choice}"
    return f"{checker} is not installed: install the Debian package {checker.package}, or take it out of check"


def check_file(checkers: Iterable[Checker], origin: dns.name.Name, path: Path) -> None:
    """Have each of `checkers` look at the file at `path`. Raises PublishError with what one says against it."""
    for checker in checkers:
        run(checker.words(origin, path), CHECK_TIMEOUT)
