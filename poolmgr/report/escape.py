"""What a keyserver said, made harmless for where it is shown."""

from __future__ import annotations


def printable(text: str) -> str:
    r"""Return `text` with every character that a terminal could act on written as an escape.

    Control characters, line breaks, bidirectional overrides, other invisible ones and the backslash itself are shown as
    Python writes them (``\x1b``, ``\u202e``), so that two different texts never look the same.
    """
    return "".join(
        char if char.isprintable() and char != "\\" else char.encode("unicode_escape").decode("ascii") for char in text
    )


def csv_cell(text: str) -> str:
    """Return `text` printable, and so that no spreadsheet takes it for a formula."""
    shown = printable(text)
    return f"'{shown}" if shown.startswith(("=", "+", "-", "@")) else shown
