"""Names to addresses."""

from __future__ import annotations

import ipaddress
import time
from dataclasses import dataclass
from datetime import timedelta

import dns.exception
import dns.name
import dns.nameserver
import dns.rcode
import dns.resolver

from poolmgr.crawl.frontier import Answer
from poolmgr.errors import PoolmgrError
from poolmgr.hosts import IPAddress
from poolmgr.model import Family

_EDNS_PAYLOAD = 1232
"""Bytes of an answer over UDP that pass everywhere unfragmented: more comes over TCP."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Nameservers:
    """Who is asked for addresses, and for how long in all per name. No `servers`: those of the system."""

    servers: tuple[tuple[IPAddress, int], ...] = ()
    timeout: timedelta = timedelta(seconds=5)


class Resolver:
    """Looks names up at recursive nameservers. Threads may share one."""

    def __init__(self, nameservers: Nameservers) -> None:
        """Raise PoolmgrError when no nameservers are given and the system has none."""
        self._timeout = nameservers.timeout
        try:
            self._resolver = dns.resolver.Resolver(configure=not nameservers.servers)
        except dns.resolver.NoResolverConfiguration as error:
            raise PoolmgrError("this system names no nameservers: set crawl.nameservers") from error
        if nameservers.servers:
            self._resolver.nameservers = [
                dns.nameserver.Do53Nameserver(str(address), port) for address, port in nameservers.servers
            ]
        self._resolver.use_edns(0, payload=_EDNS_PAYLOAD)

    def addresses(self, name: dns.name.Name) -> Answer:
        """Return the addresses of `name` in both families, or why there are none.

        A family that cannot be had does not count where the other one can.
        """
        end = time.monotonic() + self._timeout.total_seconds()
        addresses: list[IPAddress] = []
        problem = "the name has neither A nor AAAA records"
        for family in Family:
            try:
                addresses += self._family(name, family, end - time.monotonic())
            except dns.resolver.NXDOMAIN:
                return Answer(problem="no such name (NXDOMAIN)")
            except dns.resolver.LifetimeTimeout:
                problem = f"the nameservers did not answer within {self._timeout.total_seconds():g} s"
                break
            except dns.resolver.NoNameservers as error:
                problem = f"the nameservers failed ({_rcodes(error)})"
            except dns.exception.DNSException as error:
                problem = f"the nameservers sent nonsense ({type(error).__name__})"
        return Answer(tuple(addresses)) if addresses else Answer(problem=problem)

    def _family(self, name: dns.name.Name, family: Family, seconds: float) -> list[IPAddress]:
        answer = self._resolver.resolve(
            name, family.rdtype, search=False, raise_on_no_answer=False, lifetime=max(seconds, 0)
        )
        return [ipaddress.ip_address(record.address) for record in answer.rrset or ()]


def _rcodes(error: dns.resolver.NoNameservers) -> str:
    """Return the RCODEs that the nameservers gave, or "no usable answer"."""
    responses = (attempt[4] for attempt in error.kwargs["errors"])
    rcodes = {dns.rcode.to_text(response.rcode()) for response in responses if response is not None}
    return ", ".join(sorted(rcodes)) or "no usable answer"
