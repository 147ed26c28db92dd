"""Earlier published states."""

from __future__ import annotations

from datetime import timedelta
from ipaddress import ip_address

import pytest

from poolmgr.errors import StoreError
from poolmgr.model import Family
from poolmgr.store.publications import PastState, Publication, distinct
from tests.build import NOW, POOL


def publication(key: int, *addresses: str, target: str = "one") -> Publication:
    """Return one of these members, made `key` minutes after NOW."""
    at = NOW + timedelta(minutes=key)
    members = {(POOL, Family.IPV4): tuple(map(ip_address, addresses))}
    return Publication(at, at, target, key, members, key)


NEW = publication(5, "192.0.2.1", "192.0.2.2")
BOTH_TARGETS = (publication(4, "192.0.2.1", target="two"), publication(3, "192.0.2.1"))
OLD = publication(2, "192.0.2.3")
AS_BEFORE = publication(1, "192.0.2.1")
ALL = (NEW, *BOTH_TARGETS, OLD, AS_BEFORE)


def test_what_has_the_same_members_as_the_one_before_is_one_state_since_the_first() -> None:
    assert [each.id for each in distinct(ALL)] == [5, 3, 2, 1]


@pytest.mark.parametrize(("back", "key"), [(1, 3), (2, 2), (3, 1)])
def test_a_state_is_found_by_how_many_changes_ago_it_was(back: int, key: int) -> None:
    assert PastState(back=back).find(ALL).id == key


def test_a_state_is_found_by_its_id_even_where_it_changed_nothing() -> None:
    assert PastState(id=4).find(ALL).id == 4


@pytest.mark.parametrize(
    ("state", "told"), [(PastState(back=4), "a state 4 back is not stored"), (PastState(id=9), "publication p9 is not")]
)
def test_a_state_that_is_not_there_is_named(state: PastState, told: str) -> None:
    with pytest.raises(StoreError, match=told):
        state.find(ALL)
