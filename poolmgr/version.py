"""Versions of keyserver software, in the order of that software."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import Self

from poolmgr.errors import ParseError
from poolmgr.hosts import MAX_TEXT

_VERSION = re.compile(r"v?(\d{1,9}(?:\.\d{1,9}){0,5})(.*)\Z", re.ASCII | re.DOTALL)
_BUILD_AFTER = re.compile(r"-(\d{1,9})(?:-g[0-9a-f]+)?(?![\w.])", re.ASCII)
_PRERELEASE = re.compile(r"[-~.]?([a-z]*)[-.]?(\d{0,9})", re.ASCII)


@functools.total_ordering
@dataclass(frozen=True, slots=True, eq=False)
class Version:
    """A keyserver's version as its software orders them.

    ``1.1.6+`` and ``2.1.0-104-gabc`` are builds after that release, ``2.4-beta2`` and ``2.3~x`` come before it, and
    ``2.2`` equals ``2.2.0``. What follows a blank says nothing of the order. Versions of different software do not
    compare in any meaningful way: the caller keeps them apart.
    """

    text: str
    numbers: tuple[int, ...]
    build: tuple[int, str, int]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the version that `text` says, or raise ParseError where it starts with no number."""
        match = _VERSION.match(text[:MAX_TEXT])
        if match is None:
            raise ParseError(f"{text[:MAX_TEXT]!a} is not a version: it starts with no number")
        rest = match[2].lower().partition(" ")[0]
        after = _BUILD_AFTER.match(rest)
        build = (0, "", 0)
        if after is not None:
            build = (1, "", int(after[1]))
        elif rest.startswith("+"):
            build = (1, "", 0)
        elif rest:
            before = _PRERELEASE.match(rest)
            build = (-1, before[1], int(before[2] or 0)) if before is not None else (-1, "", 0)
        return cls(text[:MAX_TEXT], tuple(int(number) for number in match[1].split(".")), build)

    @property
    def minor(self) -> tuple[int, int]:
        """The first two numbers: keyservers that share them synchronise with each other."""
        return (*self.numbers, 0)[:2]  # type: ignore[return-value]  # mypy does not count a slice of a star tuple

    def _order(self) -> tuple[tuple[int, ...], tuple[int, str, int]]:
        return ((*self.numbers, 0, 0, 0, 0, 0, 0)[:6], self.build)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Version) and self._order() == other._order()

    def __lt__(self, other: Version) -> bool:
        return self._order() < other._order()

    def __hash__(self) -> int:
        return hash(self._order())

    def __str__(self) -> str:
        return self.text
