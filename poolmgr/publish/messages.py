"""The updates that make the changes of a plan: what they are bound to, and how many messages it takes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence

import dns.name
import dns.update

from poolmgr.errors import PublishError
from poolmgr.hosts import name_text
from poolmgr.zone.plan import Change
from poolmgr.zone.records import RRset


def update_message(
    origin: dns.name.Name, changes: Iterable[Change], guards: Iterable[RRset] = ()
) -> dns.update.UpdateMessage:
    """Return the update of zone `origin` that makes `changes`, unless an RRset is no longer as it was read.

    `guards` are RRsets that it does not change, and that must be as they were all the same. The prerequisites are those
    of RFC 2136 sections 2.4.2 (RRset exists, value dependent) and 2.4.3 (RRset does not exist).
    """
    message = dns.update.UpdateMessage(origin)
    for guard in guards:
        message.present(guard.owner, *sorted(guard.rdatas))
    for change in changes:
        owner, rdtype = change.key
        if change.before is None:
            message.absent(owner, rdtype)
        else:
            message.present(owner, *sorted(change.before.rdatas))
            message.delete(owner, rdtype)
        if change.after is not None:
            message.add(owner, change.after.ttl, *sorted(change.after.rdatas))
    return message


def pool_of(owner: dns.name.Name, pools: Collection[dns.name.Name]) -> dns.name.Name:
    """Return the pool that `owner` is the name of or lies below, the nearest; `owner` where there is none."""
    above = (dns.name.Name(owner.labels[first:]) for first in range(len(owner.labels)))
    return next((name for name in above if name in pools), owner)


def split(
    changes: Iterable[Change], pools: Sequence[dns.name.Name], fits: Callable[[Sequence[Change]], bool]
) -> tuple[tuple[Change, ...], ...]:
    """Return the changes of each message, as few messages as their order allows; no changes: no message.

    `fits` says whether so many changes are one message. All changes of one pool are in the same one, since a message is
    applied whole or not at all. Raises PublishError where those of one pool do not fit.
    """
    together: dict[dns.name.Name, list[Change]] = {}
    names = frozenset(pools)
    for change in changes:
        together.setdefault(pool_of(change.key[0], names), []).append(change)
    groups = list(together.items())
    messages = []
    while groups:
        count = _most(groups, fits)
        if not count:
            raise PublishError(
                f"what changes in {name_text(groups[0][0])} is larger than the 65535 octets that one message may have, "
                "nothing was sent: lower max_records, or let fewer change at once (max_added, max_removed)"
            )
        messages.append(tuple(_joined(groups[:count])))
        groups = groups[count:]
    return tuple(messages)


def _joined(groups: Iterable[tuple[dns.name.Name, list[Change]]]) -> list[Change]:
    return [change for _, group in groups for change in group]


def _most(groups: Sequence[tuple[dns.name.Name, list[Change]]], fits: Callable[[Sequence[Change]], bool]) -> int:
    """Return how many of `groups`, from the first on, fit together.

    All are tried first, since most often they do; to render a message takes long.
    """
    if fits(_joined(groups)):
        return len(groups)
    low, high = 0, len(groups)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(_joined(groups[:middle])) else (low, middle)
    return low
