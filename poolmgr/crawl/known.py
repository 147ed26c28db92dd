"""Which keyservers of the last crawl the next one goes to as well."""

from __future__ import annotations

from datetime import datetime, timedelta

from poolmgr.hosts import Host, host_order
from poolmgr.model import Keyserver, Snapshot

FORGET_AFTER = timedelta(days=30)
"""How long a keyserver that nobody lists any more stays known: longer than outages and holidays are."""


def known_keyservers(
    snapshot: Snapshot | None, now: datetime, forget_after: timedelta
) -> tuple[tuple[Host, datetime], ...]:
    """Return the keyservers of `snapshot` that were listed within `forget_after` before `now`, each with when.

    Those listed last come first, and of these those nearest to a seed. None stands for no earlier crawl.
    """
    remembered = [each for each in snapshot.keyservers if now - each.listed <= forget_after] if snapshot else []
    return tuple((each.name, each.listed) for each in sorted(remembered, key=lambda each: _order(each, now)))


def _order(keyserver: Keyserver, now: datetime) -> tuple[timedelta, bool, int, object]:
    return (now - keyserver.listed, keyserver.depth is None, keyserver.depth or 0, host_order(keyserver.name))
