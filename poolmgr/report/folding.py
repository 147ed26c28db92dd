"""Lines that are wider than the terminal they are shown on."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

_COMMENT = "  ; "
"""What stands between a record and why it comes or goes."""

_INDENT = 4
"""Columns by which what a line goes on with is further right than the line."""

_LEAST = 40
"""Columns that are used even where a terminal says that it has fewer."""


def folded(line: str, width: int) -> Iterator[str]:
    """Yield `line` in pieces of at most `width` columns, each but the first further right.

    A record stays whole where it fits, and what is said of it follows below. Other lines break after a semicolon where
    each part fits, else between words. A word is never broken: a name, an address or a path can still be copied.
    """
    width = max(width, _LEAST)
    if len(line) <= width:
        yield line
        return
    indent = " " * (len(line) - len(line.lstrip(" ")) + _INDENT)
    record, comment, why = line.partition(_COMMENT)
    if comment and len(record) <= width:
        yield record
        yield from _words(f"; {why}", width, indent, indent)
        return
    first, *others = line.split("; ")
    if max(len(first) + 1, *(len(indent) + len(part) + 1 for part in others), 0) > width:
        yield from _words(line, width, "", indent)
        return
    piece = first
    for part in others:
        if len(piece) + len(part) + 3 > width:
            yield f"{piece};"
            piece = indent + part
        else:
            piece += f"; {part}"
    yield piece


def _words(text: str, width: int, first: str, others: str) -> Iterator[str]:
    yield from textwrap.wrap(
        text,
        width,
        initial_indent=first,
        subsequent_indent=others,
        expand_tabs=False,
        replace_whitespace=False,
        break_long_words=False,
        break_on_hyphens=False,
    )
