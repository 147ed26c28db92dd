"""How well an address served lately, and how quickly it answers now. Entering needs more than staying, of both."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta

from poolmgr.judge.lateness import Check, Words
from poolmgr.judge.reliability import Reliability, ServiceKey
from poolmgr.model import Ask, KeyserverAddress, ReasonCode, Service

WINDOW = "7d"
"""The window of reliability that counts: a night's outage is forgiven in it within a week or two."""


LEAST_LATENCY = timedelta(seconds=1)
"""No limit of a policy on latency is below this. What was quicker only a pool may ask for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """What is asked of each service that a pool promises.

    `min_reliability` is the share of the last week, 0 to 1, in which it was not seen to fail, and `max_latency` the
    time until a lookup is answered, for an address that is in; `enter_reliability` and `enter_latency` are for one that
    is to come in. Where those ask for less than it takes to stay, staying counts.
    """

    min_reliability: float = 0.70
    enter_reliability: float = 0.87
    max_latency: timedelta = timedelta(seconds=8)
    enter_latency: timedelta = timedelta(seconds=4)

    def within(self, most: timedelta | None) -> Quality:
        """Return the same with a latency of at most `most`, where that is stricter."""
        return self if most is None or most >= self.max_latency else replace(self, max_latency=most)

    def reliability(self, *, is_up: bool) -> float:
        """Return the least reliability."""
        return self.min_reliability if is_up else max(self.min_reliability, self.enter_reliability)

    def latency(self, *, is_up: bool) -> timedelta:
        """Return the longest latency."""
        return self.max_latency if is_up else min(self.max_latency, self.enter_latency)


def quality_checks(
    service: Service,
    address: KeyserverAddress,
    reliability: Mapping[ServiceKey, Reliability],
    quality: Quality,
    *,
    is_up: bool,
) -> Iterator[Check]:
    """Yield what each limit says of a service at `address`: none of what was not measured."""
    known = reliability.get((address.address, service))
    if known is not None:
        yield _reliability(service, 1 - known.failed(WINDOW), quality.reliability(is_up=is_up))
    latency = latency_of(address, service)
    if latency is not None:
        yield _latency(service, latency, quality.latency(is_up=is_up))


def failed_quality(
    service: Service,
    address: KeyserverAddress,
    reliability: Mapping[ServiceKey, Reliability],
    quality: Quality,
    *,
    is_up: bool,
) -> tuple[Check, ...]:
    """Return those of `quality_checks` that are not passed."""
    known, latency = reliability.get((address.address, service)), latency_of(address, service)
    is_reliable = known is None or 1 - known.failed(WINDOW) >= quality.reliability(is_up=is_up)
    if is_reliable and (latency is None or latency <= quality.latency(is_up=is_up)):
        return ()  # without a check for each, since most pass
    checks = quality_checks(service, address, reliability, quality, is_up=is_up)
    return tuple(check for check in checks if not check.is_passed)


def latency_of(address: KeyserverAddress, service: Service) -> timedelta | None:
    """Return how long the quickest good lookup at a service of `address` took, None where there was none."""
    times = [
        probe.total
        for probe in address.probes
        if probe.total is not None and probe.ask is Ask.LOOKUP and probe.endpoint.service is service and probe.is_good
    ]
    return min(times, default=None)


def _reliability(service: Service, share: float, least: float) -> Check:
    def words() -> Words:
        measured, limit = f"{service} {share:.1%}", f"{service} {least:.0%}"
        sentence = f"{service} was not seen to fail in {share:.1%} of the last week, at least {least:.0%} is asked for"
        return Words(measured, limit, sentence)

    return Check(ReasonCode.UNRELIABLE, share >= least, (share - least) * 100, "percent", words)


def _latency(service: Service, latency: timedelta, most: timedelta) -> Check:
    def words() -> Words:
        measured, limit = f"{service} {_seconds(latency)}", f"{service} {_seconds(most)}"
        return Words(
            measured, limit, f"{service} answers a lookup in {_seconds(latency)}, at most {_seconds(most)} is allowed"
        )

    return Check(ReasonCode.SLOW, latency <= most, (most - latency).total_seconds(), "seconds", words)


def _seconds(time: timedelta) -> str:
    seconds = time.total_seconds()
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.2f}".rstrip("0").rstrip(".") + " s"
