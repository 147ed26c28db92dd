from __future__ import annotations

from collections.abc import Callable, Sequence

import dns.name
import dns.rdatatype
import pytest
from dns.rdatatype import AAAA, TXT, A

from poolmgr.errors import PublishError
from poolmgr.publish.messages import pool_of, split, update_message
from poolmgr.zone.plan import Change
from tests.build import ORIGIN, zone


def name(text: str) -> dns.name.Name:
    return dns.name.from_text(f"{text}.example.org.")


POOLS = (name("pool"), name("eu.pool"), name("other"))


def change(owner: str, rdtype: dns.rdatatype.RdataType = A) -> Change:
    return Change((name(owner), rdtype), None, None)


def at_most(count: int) -> Callable[[Sequence[Change]], bool]:
    def fits(changes: Sequence[Change]) -> bool:
        return len(changes) <= count

    return fits


@pytest.mark.parametrize(
    ("owner", "pool"),
    [("pool", "pool"), ("_hkp._tcp.pool", "pool"), ("a.hosts.eu.pool", "eu.pool"), ("xpool", "xpool"), ("www", "www")],
)
def test_an_owner_belongs_to_the_nearest_pool_above_it(owner: str, pool: str) -> None:
    assert pool_of(name(owner), POOLS) == name(pool)


def test_no_more_messages_are_made_than_needed_and_none_for_no_change() -> None:
    changes = [change("pool"), change("other"), change("eu.pool")]
    assert split(changes, POOLS, at_most(3)) == (tuple(changes),)
    assert split([], POOLS, at_most(0)) == ()


def test_each_pool_stays_whole_with_all_that_is_below_it() -> None:
    eu = [change("eu.pool"), change("_hkp._tcp.eu.pool", TXT)]
    main = [change("_poolmgr.pool", TXT), change("pool"), change("pool", AAAA)]
    other = [change("other")]
    mixed = [eu[0], main[0], main[1], other[0], eu[1], main[2]]
    messages = split(mixed, POOLS, at_most(3))
    assert [set(message) for message in messages] == [set(eu), set(main), set(other)]
    assert split(mixed, POOLS, at_most(5))[0] == (*eu, *main)


def test_a_pool_that_does_not_fit_by_itself_is_refused_with_the_remedy() -> None:
    changes = [change("other"), change("pool"), change("pool", AAAA)]
    with pytest.raises(PublishError, match=r"changes in pool\.example\.org is larger .* sent: lower max_records"):
        split(changes, POOLS, at_most(1))


def test_a_guard_is_a_prerequisite_and_no_update() -> None:
    (soa,) = (rrset for rrset in zone().values() if rrset.rdtype == dns.rdatatype.SOA)
    message = update_message(ORIGIN, [], [soa])
    (prerequisite,) = message.prerequisite
    assert str(prerequisite).startswith("example.org. 0 IN SOA ns1.example.org. hostmaster.example.org. 1 900")
    assert message.update == []
