from __future__ import annotations

import dns.name
import dns.rdatatype
import pytest

from poolmgr.errors import ZoneError
from poolmgr.zone.marker import check_markers, marker_key, marker_records
from tests.build import POOL, zone

OTHER = dns.name.from_text("other.example.org.")


def test_a_marker_is_a_txt_record_beside_each_pool() -> None:
    assert marker_records([POOL, OTHER], "us-1") == {
        key: rrset
        for key, rrset in zone('_poolmgr.pool TXT "owner=us-1"\n_poolmgr.other TXT "owner=us-1"\n').items()
        if key[1] == dns.rdatatype.TXT
    }


def test_pools_without_a_marker_and_with_ours_are_ours() -> None:
    check_markers(zone('_poolmgr.pool TXT "owner=us-1"\n'), [POOL, OTHER], "us-1")


@pytest.mark.parametrize(
    "text",
    [
        '_poolmgr.pool TXT "owner=us-2"\n',
        '_poolmgr.pool TXT "owner=us-1"\n_poolmgr.pool TXT "owner=us-2"\n',
        '_poolmgr.pool TXT "something else"\n',
    ],
)
def test_any_other_marker_is_refused_with_what_it_says(text: str) -> None:
    with pytest.raises(ZoneError, match=r"^_poolmgr\.pool\.example\.org TXT is \"(owner|some).* marker here is us-1"):
        check_markers(zone(text), [POOL], "us-1")


def test_every_pool_of_somebody_else_is_told() -> None:
    published = zone('_poolmgr.pool TXT "owner=a"\n_poolmgr.other TXT "owner=b"\n')
    with pytest.raises(ZoneError, match=r"(?s)_poolmgr\.pool.*\n_poolmgr\.other"):
        check_markers(published, [POOL, OTHER], "c")


def test_a_name_that_leaves_no_room_is_refused() -> None:
    longest = dns.name.from_text(".".join(["a" * 60] * 4) + ".b.c.d.")
    with pytest.raises(ZoneError, match="too long to have a marker"):
        marker_key(longest)
