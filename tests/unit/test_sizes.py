from __future__ import annotations

import dns.rdatatype
import pytest

from poolmgr.errors import ZoneError
from poolmgr.pools import SrvKind
from poolmgr.zone.companions import most_records
from poolmgr.zone.desired import owned_keys
from poolmgr.zone.records import Records
from poolmgr.zone.sizes import MAX_RECORDS, answer_size, oversized, refuse_too_many
from tests.build import ORIGIN, POOL, pool, zone


def warned(count: int, kind: str) -> list[str]:
    """Return the warnings for a pool with that many addresses of the type `kind`, with one NS in the zone."""
    text = "".join(f"pool {kind} {'198.51.100.' if kind == 'A' else '2001:db8::'}{number}\n" for number in range(count))
    return list(oversized(zone(text), owned_keys([pool()]), ORIGIN))


@pytest.mark.parametrize(("kind", "plain", "edns"), [("A", 27, 72), ("AAAA", 15, 41)])
def test_the_first_answer_that_does_not_fit_is_warned_of(kind: str, plain: int, edns: int) -> None:
    assert warned(plain, kind) == []
    assert "over 512 it does not fit without EDNS: " in warned(plain + 1, kind)[0]
    assert "over 512" in warned(edns, kind)[0]
    assert "over 1232 it does not fit into UDP: " in warned(edns + 1, kind)[0]


def padded(octets: int, *, is_edns: bool) -> list[str]:
    """Return the warnings for a TXT record whose answer has just so many octets."""
    key = (POOL, dns.rdatatype.TXT)
    overhead = answer_size(zone('pool TXT "x"\n'), key, ORIGIN, is_edns=is_edns) - len("1x")
    whole, rest = divmod(octets - overhead, 256)
    strings = [*["x" * 255] * whole, "x" * (rest - 1)]
    quoted = (f'"{each}"' for each in strings)
    records = zone(f"pool TXT {' '.join(quoted)}\n")
    assert answer_size(records, key, ORIGIN, is_edns=is_edns) == octets
    return list(oversized(records, [key], ORIGIN))


@pytest.mark.parametrize(("octets", "is_edns"), [(512, False), (1232, True)])
def test_the_limits_themselves_fit(octets: int, *, is_edns: bool) -> None:
    told = f"over {octets} "
    assert not any(told in warning for warning in padded(octets, is_edns=is_edns))
    assert any(told in warning for warning in padded(octets + 1, is_edns=is_edns))


def test_a_hundred_records_are_taken_and_one_more_is_refused() -> None:
    def of(count: int) -> Records:
        return zone("".join(f"pool A 198.51.100.{number}\n" for number in range(count)))

    refuse_too_many(of(MAX_RECORDS))
    with pytest.raises(ZoneError, match=r"pool\.example\.org\. A has 101 records, .* at most 100 .*: lower"):
        refuse_too_many(of(MAX_RECORDS + 1))


def test_the_most_that_a_pool_may_have_is_full_in_every_rrset() -> None:
    of = pool(srv=frozenset(SrvKind), max_records=10)
    counts = {key: len(rrset.rdatas) for key, rrset in most_records([of]).items()}
    assert {counts[key] for key in counts if key[1] == dns.rdatatype.SRV} == {20}
    assert (counts[of.name, dns.rdatatype.A], counts[of.name, dns.rdatatype.AAAA]) == (10, 10)
    assert len(counts) == 4 + 2 + 20
