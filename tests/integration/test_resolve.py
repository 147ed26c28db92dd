from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta

import dns.name
import dns.resolver
import pytest

from poolmgr.crawl.frontier import Answer
from poolmgr.crawl.resolve import Nameservers, Resolver
from poolmgr.errors import PoolmgrError
from poolmgr.hosts import address_order
from tests.lab.nameserver import NameFault, Nameserver

TIMEOUT = 0.5


@pytest.fixture
def nameserver() -> Iterator[Nameserver]:
    with Nameserver() as running:
        yield running


def look_up(nameserver: Nameserver, name: str) -> Answer:
    resolver = Resolver(Nameservers(servers=(nameserver.server,), timeout=timedelta(seconds=TIMEOUT)))
    return resolver.addresses(dns.name.from_text(name))


def found(answer: Answer) -> list[str]:
    return [str(address) for address in sorted(answer.addresses, key=address_order)]


def test_both_families_are_asked_for_once(nameserver: Nameserver) -> None:
    nameserver.records["a.test"] = ["127.0.0.7", "::7", "127.0.0.8"]
    answer = look_up(nameserver, "a.test")
    assert (found(answer), answer.problem) == (["127.0.0.7", "127.0.0.8", "::7"], None)
    assert nameserver.asked == [("a.test", "A"), ("a.test", "AAAA")]


def test_an_alias_leads_to_its_addresses(nameserver: Nameserver) -> None:
    nameserver.records |= {"a.test": ["127.0.0.7"], "b.test": ["c.test"], "c.test": ["a.test"]}
    assert found(look_up(nameserver, "b.test")) == ["127.0.0.7"]


def test_a_thousand_addresses_come_over_tcp(nameserver: Nameserver) -> None:
    nameserver.records["wide.test"] = [f"127.9.{number // 250}.{number % 250}" for number in range(1000)]
    assert len(found(look_up(nameserver, "wide.test"))) == 1000


@pytest.mark.parametrize("fault", [NameFault.NO_AAAA, NameFault.SILENT_AAAA])
def test_one_family_failing_is_no_problem_where_the_other_answers(nameserver: Nameserver, fault: NameFault) -> None:
    nameserver.records["half.test"] = ["127.0.0.7"]
    nameserver.faults["half.test"] = fault
    answer = look_up(nameserver, "half.test")
    assert (found(answer), answer.problem) == (["127.0.0.7"], None)


@pytest.mark.parametrize(
    ("fault", "problem"),
    [
        (NameFault.SERVFAIL, "the nameservers failed (SERVFAIL)"),
        (NameFault.REFUSED, "the nameservers failed (REFUSED)"),
        (NameFault.GARBAGE, "the nameservers did not answer within 0.5 s"),
        (NameFault.SILENT, "the nameservers did not answer within 0.5 s"),
    ],
)
def test_a_name_that_cannot_be_looked_up_says_why(nameserver: Nameserver, fault: NameFault, problem: str) -> None:
    nameserver.faults["bad.test"] = fault
    assert look_up(nameserver, "bad.test") == Answer(problem=problem)


def test_a_name_that_does_not_exist_is_asked_for_once(nameserver: Nameserver) -> None:
    assert look_up(nameserver, "gone.test") == Answer(problem="no such name (NXDOMAIN)")
    assert nameserver.asked == [("gone.test", "A")]


def test_a_name_without_addresses_says_so(nameserver: Nameserver) -> None:
    nameserver.records["empty.test"] = []
    assert look_up(nameserver, "empty.test") == Answer(problem="the name has neither A nor AAAA records")


def test_a_loop_of_aliases_ends(nameserver: Nameserver) -> None:
    nameserver.records |= {"a.test": ["b.test"], "b.test": ["a.test"]}
    answer = look_up(nameserver, "a.test")
    assert answer.addresses == ()
    assert answer.problem is not None


def test_the_timeout_bounds_a_name_not_a_question(nameserver: Nameserver) -> None:
    nameserver.faults["bad.test"] = NameFault.SILENT
    start = time.monotonic()
    look_up(nameserver, "bad.test")
    assert TIMEOUT <= time.monotonic() - start < 10 * TIMEOUT


def test_a_system_without_nameservers_is_told_to_name_some(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise dns.resolver.NoResolverConfiguration

    monkeypatch.setattr(dns.resolver.Resolver, "read_resolv_conf", refuse)
    with pytest.raises(PoolmgrError, match=r"set crawl\.nameservers"):
        Resolver(Nameservers())
