"""How new the canary key is that an address gives: it bounds how late the address is, whatever it counts.

Whoever gives the newest version of the key has what the mesh had when that was signed; whoever gives an older one lacks
it. Times are what signatures say, and nobody has verified them. So a version counts only when most of the mesh gives
it: no minority can make one up for all, or hold one back.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import NamedTuple

from poolmgr.judge.lateness import Check, Words, hours
from poolmgr.judge.once import once
from poolmgr.judge.votes import reached, weights
from poolmgr.model import Keyserver, KeyserverAddress, ReasonCode


class Canary(NamedTuple):
    """The version of the canary key that an address `gave` at `now`, and the `newest` that the mesh has.

    `limit` is how late the address may be; `is_up` says that it is no newcomer, for whom that is less.
    """

    gave: datetime
    newest: datetime
    now: datetime
    limit: timedelta
    is_up: bool

    @property
    def is_newest(self) -> bool:
        """Whether it gives the newest version, or one that most do not have yet."""
        return self.gave >= self.newest

    @property
    def is_fresh(self) -> bool:
        """Whether this shows that it is not too late. An older version, new as it may be, leaves that to the count."""
        return self.is_newest and self.now - self.newest <= self.limit

    @property
    def is_late(self) -> bool:
        """Whether this shows that it is too late: it lacks what was signed too long ago."""
        return not self.is_newest and self.now - self.newest > self.limit

    def check(self) -> Check:
        """Return the limit as a check.

        Its room is how long the newest version will still show that who gives it is fresh, and may be lacking.
        """
        room = (self.limit - (self.now - self.newest)).total_seconds()
        room = max(room, 0.0) if self.is_newest else room
        return Check(ReasonCode.CANARY, not self.is_late, room, "seconds", self._words)

    def _words(self) -> Words:
        gave, newest = _moment(self.gave), _moment(self.newest)
        if self.is_newest:
            sentence = f"gives the canary key of {gave}: the newest that most keyservers have is of {newest}"
        else:
            whom = "" if self.is_up else " to come in"
            sentence = (
                f"gives the canary key of {gave}, most keyservers that of {newest}, which was signed "
                f"{hours(self.now - self.newest)} ago: at most {hours(self.limit)} may pass{whom}"
            )
        return Words(gave, newest, sentence)


@once
def newest_version(keyservers: Iterable[Keyserver], now: datetime, least: int) -> datetime | None:
    """Return the newest version of the canary key that the mesh has, None where too few gave one.

    More than half of the votes, and at least `least`, gave it or a newer one. Each keyserver has a vote, the newest
    version that it gave before `now`, and shares it with those in the same address block.
    """
    versions, voters = [], []
    for keyserver in keyservers:
        gave = [(version, address) for address in keyserver.addresses if (version := given_version(address, now))]
        if gave:
            versions.append(max(version for version, _ in gave))
            voters.append([address.address for _, address in gave])
    return reached(zip(versions, weights(voters), strict=True), least)


def given_version(address: KeyserverAddress, now: datetime) -> datetime | None:
    """Return the newest version of the canary key that `address` gave, None where it gave none before `now`.

    One that gives several has the newest, as a cluster has the largest count of its members.
    """
    newest = None
    for probe in address.probes:
        version = probe.version
        if version is not None and version <= now and (newest is None or version > newest):
            newest = version
    return newest


def _moment(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M} UTC"
