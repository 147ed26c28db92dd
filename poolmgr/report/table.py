"""Rows as text for people: a rich table for a terminal, plain lines for a pipe."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from rich.table import Table
from rich.text import Text

from poolmgr.model import Family, Outcome, State
from poolmgr.report.escape import printable
from poolmgr.report.rows import Row

_STYLES = {State.MEMBER: "green", State.ELIGIBLE: "cyan", State.OUT: "red"}
_ORDER = list(State)


def title(pool: str, report: Sequence[Row]) -> str:
    """Return one line on `pool`: how many of its `report` rows stand where, members by family."""
    members = [row for row in report if row.state is State.MEMBER and row.address is not None]
    ipv6 = sum(":" in (row.address or "") for row in members)
    counts = {state: sum(row.state is state for row in report) for state in State}
    return (
        f"{pool}: {counts[State.MEMBER]} members ({len(members) - ipv6} {Family.IPV4.rdtype}, "
        f"{ipv6} {Family.IPV6.rdtype}), {counts[State.ELIGIBLE]} eligible, {counts[State.OUT]} out"
    )


def by_pool(report: Iterable[Row]) -> Iterator[tuple[str, tuple[Row, ...]]]:
    """Yield each pool with its rows: members first, then the eligible, then those that are out."""
    for pool, group in groupby(report, key=lambda row: row.pool):
        yield pool, tuple(sorted(group, key=lambda row: _ORDER.index(row.state)))


def to_table(pool: str, report: Sequence[Row]) -> Table:
    """Return the rich table of one pool. Text that keyservers said is escaped, and never taken for markup."""
    table = Table(title=Text(title(pool, report), style="bold"), title_justify="left", box=None, pad_edge=False)
    table.add_column("Keyserver", overflow="fold", max_width=40)
    table.add_column("Services", no_wrap=True)
    table.add_column("Software", overflow="fold", max_width=16)
    table.add_column("Keys", justify="right", no_wrap=True)
    table.add_column("Verdict", overflow="fold", ratio=1)
    for row in report:
        services = Text("\n").join(
            Text(f"{service} {'ok' if outcome is Outcome.OK else 'no'}", "green" if outcome is Outcome.OK else "red")
            for service, outcome in row.services.items()
        )
        verdict = Text(row.state, style=_STYLES[row.state])
        for reason in row.reasons:
            verdict.append(f"\n{printable(reason.sentence)}", style="default")
        table.add_row(
            Text(f"{printable(row.keyserver)}\n{row.address or ''}".rstrip()),
            services,
            Text("\n".join(printable(text) for text in (row.software, row.version) if text)),
            Text("\n".join(filter(None, (_keys(row), _difference(row))))),
            verdict,
        )
    return table


def to_plain(pool: str, report: Sequence[Row]) -> str:
    """Return the same as text for a pipe: a title, then one line per address, in columns, never wrapped."""
    head = ("STATE", "KEYSERVER", "ADDRESS", "SERVICES", "SOFTWARE", "KEYS", "DIFF", "REASONS")
    lines: list[tuple[str, ...]] = [head]
    for row in report:
        services = ",".join(f"{service}:{outcome}" for service, outcome in row.services.items())
        software = printable(" ".join(filter(None, (row.software, row.version))))
        reasons = "; ".join(printable(reason.sentence) for reason in row.reasons)
        cells = (row.state, printable(row.keyserver), row.address, services, software, _keys(row), _difference(row))
        lines.append((*(cell or "-" for cell in cells), reasons))
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    padded = ("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)
    return "\n".join((title(pool, report), *(line.rstrip() for line in padded))) + "\n"


def _keys(row: Row) -> str:
    return "" if row.keys is None else str(row.keys)


def _difference(row: Row) -> str:
    return "" if row.difference is None else f"{row.difference:+d}"
