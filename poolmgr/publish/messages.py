"""The updates that make the changes of a plan: what they are bound to, and how many messages it takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

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


def pool_of(owner: dns.name.Name, pools: Iterable[dns.name.Name]) -> dns.name.Name:
    """Return the pool that `owner` is the name of or lies below, the nearest; `owner` where there is none."""
    return max((pool for pool in pools if owner.is_subdomain(pool)), key=len, default=owner)


def split(
    changes: Iterable[Change], pools: Sequence[dns.name.Name], fits: Callable[[Sequence[Change]], bool]
) -> tuple[tuple[Change, ...], ...]:
    """Return the changes of each message, as few messages as their order allows; no changes: no message.

    `fits` says whether so many changes are one message. All changes of one pool are in the same one, since a message is
    applied whole or not at all. Raises PublishError where those of one pool do not fit.
    """
    together: dict[dns.name.Name, list[Change]] = {}
    for change in changes:
        together.setdefault(pool_of(change.key[0], pools), []).append(change)
    everything = [change for group in together.values() for change in group]
    if not everything or fits(everything):
        return (tuple(everything),) if everything else ()
    messages: list[list[Change]] = []
    for pool, group in together.items():
        if messages and fits([*messages[-1], *group]):
            messages[-1] += group
        elif fits(group):
            messages.append(list(group))
        else:
            raise PublishError(
                f"what changes in {name_text(pool)} is larger than the 65535 octets that one message may have, nothing "
                "was sent: lower max_records, or let fewer change at once (max_added, max_removed)"
            )
    return tuple(map(tuple, messages))
