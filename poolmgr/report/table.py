"""Rows as text for people: a rich table for a terminal, plain lines for a pipe."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

from rich.console import Console, ConsoleOptions, RenderResult
from rich.padding import Padding
from rich.text import Text

from poolmgr.judge.steadiness import duration
from poolmgr.model import Family, Outcome, Service, State
from poolmgr.report.escape import printable
from poolmgr.report.rows import Row

_STYLES = {State.MEMBER: "green", State.ELIGIBLE: "cyan", State.OUT: "red"}
_ORDER = list(State)
_GAP = "  "
_MAX_WIDTH = 40
_MAX_NARROW_WIDTH = 28
"""Columns of a terminal that one column of the table takes at most: a longer cell moves only its own line.

The second is for addresses that take two lines: state, keyserver, address and time fit 80 columns.
"""


def title(pool: str, report: Sequence[Row], blind: Iterable[Family] = ()) -> str:
    """Return one line on `pool`: how many of its `report` rows stand where, members by family, and who was not seen."""
    members = [row for row in report if row.state is State.MEMBER and row.address is not None]
    ipv6 = sum(":" in (row.address or "") for row in members)
    counts = {state: sum(row.state is state for row in report) for state in State}
    return (
        f"{pool}: {counts[State.MEMBER]} members ({len(members) - ipv6} {Family.IPV4.rdtype}, "
        f"{ipv6} {Family.IPV6.rdtype}), {counts[State.ELIGIBLE]} eligible, {counts[State.OUT]} out"
        + "".join(f"; the crawl was blind for {family}" for family in blind)
    )


def by_pool(report: Iterable[Row]) -> Iterator[tuple[str, tuple[Row, ...]]]:
    """Yield each pool with its rows: members first, then the eligible, then those that are out."""
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in report:
        groups[row.pool].append(row)
    for pool, group in groups.items():
        yield pool, tuple(sorted(group, key=lambda row: _ORDER.index(row.state)))


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a table: who and where, what was measured, and the reasons that follow it."""

    who: tuple[Text, ...]
    measured: tuple[Text, ...]
    reasons: tuple[Text, ...] = ()


@dataclass(frozen=True, slots=True)
class PoolTable:
    """One pool as a rich console prints it: a title, a head, and the addresses.

    An address takes one line where the terminal is wide enough, else two: who and where, then what was measured. Its
    reasons have lines of their own over the whole width, so that they read as sentences in a narrow terminal too.
    """

    title: Text
    lines: tuple[Line, ...]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield what to print. Called by rich."""
        columns = zip(*((*line.who, *line.measured) for line in self.lines), strict=True)
        longest = [max(cell.cell_len for cell in column) for column in columns]
        widths = [min(length, _MAX_WIDTH) for length in longest]
        is_wide = sum(widths) + len(_GAP) * (len(widths) - 1) <= options.max_width
        if not is_wide:
            widths = [min(length, _MAX_NARROW_WIDTH) for length in longest]
        indent = widths[0] + len(_GAP)
        yield self.title
        for line in self.lines:
            who, measured = _padded(line.who, widths), _padded(line.measured, widths[len(line.who) :])
            if is_wide:
                yield from _filled(who + measured, 0)
            else:
                yield from _filled(who, 0)
                yield from _filled(measured, indent)
            for reason in line.reasons:
                yield from _filled((reason,), indent)


def to_table(heading: str, report: Sequence[Row]) -> PoolTable:
    """Return the table of `report` under `heading` for a terminal.

    Text that keyservers said is escaped, and never taken for markup.
    """
    services = [service for service in Service if any(service in row.services for row in report)]
    has_countries = _has_countries(report)
    head = Line(
        tuple(Text(word, "bold") for word in ("", "Keyserver", "Address", "Since")),
        tuple(Text(word, "bold") for word in (*services, "Software", "Keys", "Diff", *(["Country"] * has_countries))),
    )
    lines = [
        Line(
            (
                Text(row.standing, _style(row)),
                Text(printable(row.keyserver)),
                Text(row.address or ""),
                Text(_stood(row)),
            ),
            (
                *(_outcome(row.services.get(service)) for service in services),
                Text(_software(row)),
                Text(_keys(row)),
                Text(_difference(row)),
                *([Text(row.country or "")] * has_countries),
            ),
            (
                *(Text(printable(reason.sentence)) for reason in row.reasons),
                *(Text(f"warning: {printable(warning.sentence)}", "yellow") for warning in row.warnings),
            ),
        )
        for row in report
    ]
    return PoolTable(Text(heading, "bold"), (head, *lines))


def _has_countries(report: Iterable[Row]) -> bool:
    """Return whether there is anything to show in a column of countries."""
    return any(row.country is not None for row in report)


def _outcome(outcome: Outcome | None) -> Text:
    return Text() if outcome is None else Text(outcome, "green" if outcome is Outcome.OK else "red")


def _padded(cells: Sequence[Text], widths: Sequence[int]) -> tuple[Text, ...]:
    return tuple(
        cell + " " * max(0, width - cell.cell_len) for cell, width in zip(cells, widths[: len(cells)], strict=True)
    )


def _filled(cells: Sequence[Text], indent: int) -> Iterator[Padding]:
    """Yield `cells` as one line, or nothing where all of them are blank."""
    line = Text(_GAP, overflow="fold").join(cells)
    line.rstrip()
    if line:
        yield Padding(line, (0, 0, 0, indent), expand=False)


def to_plain(heading: str, report: Sequence[Row]) -> str:
    """Return the same as text for a pipe: the heading, then one line per address, in columns, never wrapped."""
    has_countries = _has_countries(report)
    countries = ["COUNTRY"] * has_countries
    head = ("STATE", "KEYSERVER", "ADDRESS", "SINCE", "SERVICES", "SOFTWARE", "KEYS", "DIFF", *countries, "REASONS")
    lines: list[tuple[str, ...]] = [head]
    for row in report:
        services = ",".join(f"{service}:{outcome}" for service, outcome in row.services.items())
        sentences = [printable(reason.sentence) for reason in row.reasons]
        sentences += [f"warning: {printable(warning.sentence)}" for warning in row.warnings]
        cells = (
            row.standing,
            printable(row.keyserver),
            row.address,
            _stood(row),
            services,
            _software(row),
            _keys(row),
            _difference(row),
            *([row.country] * has_countries),
        )
        lines.append((*(cell or "-" for cell in cells), "; ".join(sentences)))
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    padded = ("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)
    return "\n".join((heading, *(line.rstrip() for line in padded))) + "\n"


def _style(row: Row) -> str:
    """Return the colour of the state: yellow for one on its way from one side to the other."""
    return "yellow" if row.progress is not None else _STYLES[row.state]


def _stood(row: Row) -> str:
    """Return how long the row has stood where it does: "now" for one that the crawl itself let in or put out."""
    if row.stood is None:
        return ""
    return duration(row.stood) if row.stood else "now"


def _software(row: Row) -> str:
    return printable(" ".join(filter(None, (row.software, row.version))))


def _keys(row: Row) -> str:
    return "" if row.keys is None else str(row.keys)


def _difference(row: Row) -> str:
    """Return "-812 31h": how many keys it is off, and by how much time where that is an hour or more."""
    if row.difference is None:
        return ""
    hours = 0 if row.lag is None else round(abs(row.lag) / timedelta(hours=1))
    return f"{row.difference:+d} {hours}h" if hours else f"{row.difference:+d}"
