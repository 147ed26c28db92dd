"""The TXT record at a pool's name: anyone can see from DNS alone that its publisher is alive."""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import UTC, datetime

import dns.rdata
import dns.rdataclass
import dns.rdatatype
from dns.rdtypes.ANY.TXT import TXT

from poolmgr.model import Family
from poolmgr.pools import Pool
from poolmgr.zone.records import Records, RRset

_CRAWL = re.compile(r"crawl=(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)")
_FORM = "%Y-%m-%dT%H:%M:%SZ"


def status_record(
    pool: Pool, settled: Records, held: Collection[Family], finished: datetime, published: Records, *, is_changed: bool
) -> RRset:
    """Return the TXT record of `pool`, whose RRsets in `settled` are published after a crawl that `finished` then.

    The published one stays while it says the same but for the time, and is younger than `pool.txt_refresh`, unless
    something else of the pool `is_changed`: then it costs no change of its own.
    """
    key = (pool.name, dns.rdatatype.TXT)
    text = _text(pool, settled, held, finished)
    before = published.get(key)
    if before is not None and not is_changed and len(before.rdatas) == 1:
        told = _told(next(iter(before.rdatas)))
        crawled = _crawl_of(told)
        is_same = _CRAWL.sub("", told) == _CRAWL.sub("", text)
        if is_same and crawled is not None and abs(finished - crawled) < pool.txt_refresh:
            text = told
    rdata = dns.rdata.from_text(dns.rdataclass.IN, dns.rdatatype.TXT, f'"{text}"')
    return RRset(*key, int(pool.ttl.total_seconds()), frozenset({rdata}))


def _text(pool: Pool, settled: Records, held: Collection[Family], finished: datetime) -> str:
    counts = []
    published = set()
    for family in sorted(pool.families):
        rrset = settled.get((pool.name, dns.rdatatype.from_text(family.rdtype)))
        rdatas = frozenset() if rrset is None else rrset.rdatas
        counts.append(f"{family.rdtype}={len(rdatas)}")
        published |= {rdata.to_text() for rdata in rdatas}
    is_fallback = bool(published) and published <= {str(address) for address in pool.fallback}
    state = "held" if held else "fallback" if is_fallback else "ok"
    floors = ",".join(f"{family.rdtype}:{pool.min_members.get(family, 0)}" for family in sorted(pool.families))
    asks = ",".join(sorted(pool.services))
    return (
        f"poolmgr crawl={finished.astimezone(UTC).strftime(_FORM)} {' '.join(counts)} state={state} "
        f"asks={asks} min={floors} max={pool.max_records}"
    )


def _crawl_of(told: str) -> datetime | None:
    """Return the end of the crawl that a text tells of, None where it tells none."""
    found = _CRAWL.search(told)
    try:
        return None if found is None else datetime.strptime(found[1], _FORM).replace(tzinfo=UTC)
    except ValueError:
        return None


def _told(rdata: dns.rdata.Rdata) -> str:
    """Return the text of a TXT record, whoever wrote it: octets that are no ASCII never compare equal to ours."""
    assert isinstance(rdata, TXT)
    return b"".join(rdata.strings).decode("ascii", "replace")
