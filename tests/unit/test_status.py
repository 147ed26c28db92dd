from __future__ import annotations

import ipaddress
from dataclasses import replace
from datetime import timedelta

import dns.rdatatype
import pytest

from poolmgr.model import Family, Selection
from poolmgr.pools import WhenShort
from poolmgr.zone.desired import pool_records
from poolmgr.zone.records import Records, RRset
from poolmgr.zone.status import status_record
from tests.build import NOW, POOL, pool, zone

OF = pool(txt=True, min_members={Family.IPV4: 2}, families=frozenset(Family))
ADDRESSES = tuple(ipaddress.ip_address(f"192.0.2.{number}") for number in (1, 2))
SETTLED = pool_records(Selection({(POOL, Family.IPV4): ADDRESSES}, ()), [OF])
TEXT = '"poolmgr crawl=2026-11-23T12:00:00Z A=2 AAAA=0 state=ok asks=hkp min=A:2,AAAA:0 max=10"'


def text(rrset: RRset) -> str:
    (rdata,) = rrset.rdatas
    return rdata.to_text()


def again(after: timedelta, settled: Records = SETTLED, *, is_changed: bool = False) -> str:
    """Return the text so long after the first one was published."""
    first = status_record(OF, SETTLED, (), NOW, {}, is_changed=False)
    return text(status_record(OF, settled, (), NOW + after, {first.key: first}, is_changed=is_changed))


def test_it_says_when_how_many_and_what_is_asked() -> None:
    assert text(status_record(OF, SETTLED, (), NOW, {}, is_changed=False)) == TEXT


def test_it_stays_for_as_long_as_it_may_and_then_is_made_anew() -> None:
    assert again(timedelta(minutes=59)) == TEXT
    assert again(timedelta(hours=1)) == TEXT.replace("12:00", "13:00")


def test_it_is_made_anew_with_any_other_change() -> None:
    assert again(timedelta(minutes=5), is_changed=True) == TEXT.replace("12:00:00", "12:05:00")
    assert " A=0 AAAA=0 state=ok " in again(timedelta(minutes=5), {})


def test_a_clock_that_went_back_does_not_keep_it() -> None:
    assert again(-timedelta(days=365)) == TEXT.replace("2026", "2025")


def test_what_is_held_and_what_is_makeshift_shows() -> None:
    assert "state=held" in text(status_record(OF, SETTLED, [Family.IPV4], NOW, {}, is_changed=False))
    fallback = replace(OF, when_short=WhenShort.FALLBACK, fallback=ADDRESSES)
    assert "state=fallback" in text(status_record(fallback, SETTLED, (), NOW, {}, is_changed=False))


@pytest.mark.parametrize(
    "theirs",
    [
        'pool TXT "v=spf1 -all"\n',
        f"pool TXT {TEXT}\npool TXT {TEXT.replace('12:00', '12:01')}\n",
        f"pool TXT {TEXT.replace('2026-11-23T12', '9999-99-99T99')}\n",
        'pool TXT "\\255\\000"\n',
    ],
)
def test_what_somebody_else_wrote_there_is_replaced(theirs: str) -> None:
    published = {key: rrset for key, rrset in zone(theirs).items() if key == (POOL, dns.rdatatype.TXT)}
    made = status_record(OF, SETTLED, (), NOW + timedelta(minutes=5), published, is_changed=False)
    assert text(made) == TEXT.replace("12:00:00", "12:05:00")
