"""The next SOA serial (RFC 1982)."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from datetime import UTC, datetime

from poolmgr.errors import ZoneError

_SIZE = 1 << 32
_HALF = 1 << 31


class Scheme(enum.StrEnum):
    """What a serial says beside "newer than the last one"."""

    DATE = "date"
    UNIXTIME = "unixtime"
    INCREMENT = "increment"


def is_newer(serial: int, other: int) -> bool:
    """Return whether `serial` comes after `other` (RFC 1982 section 3.2); half the circle apart, neither does."""
    return 0 < (serial - other) % _SIZE < _HALF


def next_serial(scheme: Scheme, now: datetime, last: Iterable[int]) -> int:
    """Return a serial newer than each of `last`.

    It is the one that `scheme` gives for `now` (aware) where that is newer, else the newest plus one. `last` are the
    serials that were written, published or are served; they may be none. Zero is never returned, since some servers
    take it for "no serial". Raises ZoneError where no serial is newer than all of `last`.
    """
    known = tuple(last)
    candidates = [(serial + step) % _SIZE for serial in known for step in (1, 2)] or [1]
    if scheme is not Scheme.INCREMENT:
        candidates.insert(0, _of_clock(scheme, now))
    for candidate in candidates:
        if candidate != 0 and all(is_newer(candidate, serial) for serial in known):
            return candidate
    raise ZoneError(
        f"no SOA serial is newer than all of {', '.join(map(str, sorted(set(known))))}, which were written or are "
        "served: make them one, by the procedure of RFC 1982 section 7"
    )


def _of_clock(scheme: Scheme, now: datetime) -> int:
    moment = now.astimezone(UTC)
    return int(f"{moment:%Y%m%d}00" if scheme is Scheme.DATE else moment.timestamp()) % _SIZE
