"""Whether what is published is kept up: a level as monitoring plugins have, and why."""

from __future__ import annotations

import enum
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import dns.rdatatype

from poolmgr.hosts import IPAddress, name_text
from poolmgr.judge.selection import Members
from poolmgr.zone.plan import Holds
from poolmgr.zone.serial import is_newer

FORMAT = "poolmgr-status"
VERSION = 1

FATES = ("published", "unchanged", "held", "failed")
"""How a target fares in a run."""


class Level(enum.IntEnum):
    """What a monitoring plugin exits with."""

    OK = 0
    WARNING = 1
    CRITICAL = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Secondary:
    """A server that is to follow a target: the serial that it gives now, or in `problem` why it gives none.

    `is_behind` says that it is not the target's, nor a later one; `is_required` that this is a failure.
    """

    address: IPAddress
    port: int
    seen: int | None
    is_behind: bool
    is_required: bool
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One target: what the last run made of it, and what it gives now.

    `confirmed` is the end of the newest crawl by which it was found or made as it should be, `written` the serial of
    the last publication, `seen` the one that it gives now, and `problem` why it could not be asked. `fate` and
    `sentence` are of the last run. `secondaries` are as they are now.
    """

    label: str
    confirmed: datetime | None
    holds: Holds
    written: int | None
    seen: int | None
    problem: str
    fate: str
    sentence: str
    secondaries: tuple[Secondary, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """How things stand at `at`. `run` is the end of the last run, None where there was none."""

    at: datetime
    max_age: timedelta
    crawled: datetime | None
    run: datetime | None
    exit_code: int
    error: str
    targets: tuple[Target, ...]

    @property
    def level(self) -> Level:
        """The worst of what is wrong."""
        return max((level for level, _ in self.problems), default=Level.OK)

    @property
    def problems(self) -> tuple[tuple[Level, str], ...]:
        """All that is wrong, the worst first."""
        found = [*self._of_runs(), *(each for target in self.targets for each in self._of_target(target))]
        return tuple(sorted(found, key=lambda problem: -problem[0]))

    def _of_runs(self) -> Iterator[tuple[Level, str]]:
        if self.run is None:
            yield Level.CRITICAL, "no run is stored: is cron set up?"
            return
        if self.at - self.run > self.max_age:
            yield (
                Level.CRITICAL,
                f"the last run was {age(self.at - self.run)} ago, at most {age(self.max_age)} is asked for",
            )
        if self.error:
            yield Level.CRITICAL, f"the last run failed: {_first_line(self.error)}"

    def _of_target(self, target: Target) -> Iterator[tuple[Level, str]]:
        if target.problem:
            yield Level.CRITICAL, f"{target.label} cannot be asked: {_first_line(target.problem)}"
        if target.written is not None and target.seen is not None and is_newer(target.written, target.seen):
            yield Level.CRITICAL, f"{target.label} has serial {target.seen}, and {target.written} was written"
        if target.written is not None and target.seen is None and not target.problem:
            yield Level.CRITICAL, f"{target.label} has no zone any more, and serial {target.written} was written"
        if target.fate == "failed":
            yield Level.CRITICAL, f"{target.label} failed in the last run: {_first_line(target.sentence)}"
        if self.run is not None and target.confirmed is None:
            yield Level.CRITICAL, f"{target.label} was never as a crawl wants it"
        elif target.confirmed is not None and self.at - target.confirmed > self.max_age:
            old = age(self.at - target.confirmed)
            yield Level.CRITICAL, f"{target.label} has data {old} old, at most {age(self.max_age)} is asked for"
        for (owner, rdtype), since in sorted(target.holds.items()):
            what = f"{name_text(owner)} {dns.rdatatype.to_text(rdtype)}"
            yield Level.WARNING, f"{what} is held since {_moment(since)} at {target.label}"
        yield from _of_secondaries(target)


def _of_secondaries(target: Target) -> Iterator[tuple[Level, str]]:
    for secondary in target.secondaries:
        level = Level.CRITICAL if secondary.is_required else Level.WARNING
        where = f"secondary {secondary.address} port {secondary.port} of {target.label}"
        if secondary.problem:
            yield level, f"{where} cannot be asked: {_first_line(secondary.problem)}"
        elif secondary.is_behind:
            now = target.written if target.seen is None else target.seen
            yield level, f"{where} is behind: it has serial {secondary.seen}, not {now}"


def age(time: timedelta) -> str:
    """Return `time` in the unit that tells it best."""
    minutes = time.total_seconds() / 60
    if minutes < 120:
        return f"{minutes:.0f} min"
    return f"{minutes / 60:.1f} h" if minutes < 48 * 60 else f"{minutes / 1440:.1f} days"


def _moment(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"


def _first_line(text: str) -> str:
    return text.splitlines()[0] if text else ""


def to_text(status: Status) -> Iterator[str]:
    """Yield the line that a monitoring system shows, then all else."""
    problems = status.problems
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    count = len(status.targets)
    good = f"{count} target{'' if count == 1 else 's'} as the last crawl wants {'it' if count == 1 else 'them'}"
    yield f"POOLMGR {status.level.name}: {problems[0][1] if problems else good}{more}"
    for level, sentence in problems[1:]:
        yield f"{level.name}: {sentence}"
    yield f"last crawl: {_since(status.crawled, status.at)}"
    yield f"last run: {_since(status.run, status.at)}" + (f", exit code {status.exit_code}" if status.run else "")
    for target in status.targets:
        yield f"{target.label}:"
        yield f"  data: {_since(target.confirmed, status.at)}"
        yield f"  serial: {_number(target.written)} written, {_number(target.seen)} seen"
        for secondary in target.secondaries:
            yield f"  secondary {secondary.address} port {secondary.port}: {_number(secondary.seen)} seen"
        if target.fate:
            yield f"  last run: {target.fate}"
            yield from (f"    {line}" for line in target.sentence.splitlines())


def _since(at: datetime | None, now: datetime) -> str:
    return "none" if at is None else f"{_moment(at)}, {age(now - at)} ago"


def _number(serial: int | None) -> str:
    return "none" if serial is None else str(serial)


def to_json(status: Status) -> str:
    """Return `status` as a JSON document in ASCII."""
    document = {
        "format": FORMAT,
        "version": VERSION,
        "at": status.at.isoformat(),
        "level": status.level.name,
        "problems": [{"level": level.name, "sentence": sentence} for level, sentence in status.problems],
        "crawled": _iso(status.crawled),
        "run": None if status.run is None else {"at": _iso(status.run), "exit_code": status.exit_code},
        "targets": [
            {
                "target": target.label,
                "confirmed": _iso(target.confirmed),
                "held": [
                    {"owner": owner.to_text(), "type": dns.rdatatype.to_text(rdtype), "since": since.isoformat()}
                    for (owner, rdtype), since in sorted(target.holds.items())
                ],
                "written": target.written,
                "seen": target.seen,
                "last_run": target.fate or None,
                "secondaries": [
                    {
                        "address": str(secondary.address),
                        "port": secondary.port,
                        "seen": secondary.seen,
                        "behind": secondary.is_behind,
                        "problem": secondary.problem,
                    }
                    for secondary in target.secondaries
                ],
            }
            for target in status.targets
        ],
    }
    return json.dumps(document, indent=2) + "\n"


def _iso(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()


def state_to_text(number: int, key: int | None, at: datetime, members: Members) -> str:
    """Return the line of a published state: how far back it is, its id, when it began, and how many members it has."""
    counts = ", ".join(f"{name_text(pool)} {family}: {len(each)}" for (pool, family), each in members.items())
    now = "  (published now)" if number == 0 else ""
    return f"{number:>3}  p{key}  {_moment(at)}  {counts or 'no members'}{now}"
