"""A crawl as JSON that somebody has meddled with is a Snapshot that can be judged, or refused with the field."""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from poolmgr.errors import ParseError
from poolmgr.hosts import name_text, parse_host
from poolmgr.judge.history import History, judge_next
from poolmgr.judge.policy import Policy
from poolmgr.judge.selection import select
from poolmgr.model import Ask, Certificate, Family, Outcome, Peer, Service, Snapshot, Stats
from poolmgr.report.rows import rows, to_csv
from poolmgr.report.rows import to_json as rows_to_json
from poolmgr.report.snapshot import from_json, to_json
from tests.build import NOW, keyserver, mesh, pool, snapshot

Place = tuple[str | int, ...]
"""The keys and indexes that lead to a value in a document."""

POOLS = (
    pool(services=frozenset(Service)),
    pool("other.example.org.", minimum_versions={}),
)
HOSTS = {name_text(each.name): each.host for each in POOLS}


def _crawl() -> Snapshot:
    """Return a crawl with a value in every field that there is."""
    one = keyserver("ks.example.net", "203.0.113.1", "2001:db8::1", outcomes=dict.fromkeys(Service, Outcome.OK))
    stats = Stats(
        software="Hockeypuck",
        version="2.3",
        hostname="ks",
        nodename="node",
        contact="0xABC",
        keys=5_000_000,
        taken_at=NOW - timedelta(hours=1),
        peers=(Peer(parse_host("ks1.example.net"), 11370, "/stats"),),
        rejected_peers=1,
        mailsync=("a@example.net",),
    )
    certificate = Certificate("CN=ca", NOW + timedelta(days=3))
    probes = tuple(
        replace(
            each,
            detail="said so",
            status=200,
            connect=timedelta(milliseconds=1),
            first_byte=timedelta(milliseconds=2),
            server="sks_www/1.1.6",
            via="1.1 ks",
            version=NOW - timedelta(days=1),
            certificate=certificate,
            attempts=2,
        )
        for each in one.addresses[0].probes
    )
    rich = replace(
        one,
        aliases=(parse_host("alias.example.net"),),
        peers=(parse_host("ks1.example.net"),),
        addresses=(replace(one.addresses[0], stats=stats, probes=probes, spread=3, country="de"), one.addresses[1]),
    )
    gone = replace(keyserver("gone.example.net"), depth=None)
    return replace(snapshot([rich, gone, *mesh(3)]), cut_short=("short",), blind={Family.IPV6: "nothing answers"})


CRAWL = _crawl()
DOCUMENT = json.loads(to_json(CRAWL))


def _places(value: object, place: Place = ()) -> Iterator[Place]:
    yield place
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _places(inner, (*place, key))


PLACES = [place for place in _places(DOCUMENT) if place]
TIMES = st.sampled_from(
    [
        "0001-01-01T00:00:00+05:00",
        "0001-01-01T00:00:00+00:00",
        "9999-12-31T23:59:59-05:00",
        "9999-12-31T23:59:59+00:00",
        "1970-01-01T00:00:00+00:00",
        "2999-12-31T23:59:59.999999+00:00",
        "2026-11-23T12:00:00",
        "2026-11-23",
        "2026-W01-1T00:00:00+23:59",
    ]
)
MOMENTS = st.datetimes(datetime(1969, 12, 30), datetime(3000, 1, 2), timezones=st.just(UTC)).map(datetime.isoformat)  # noqa: DTZ001  # given below
TIME_PLACES = [
    place for place in PLACES if place[-1] in {"started", "finished", "listed", "taken_at", "version", "not_after"}
]
NUMBERS = st.sampled_from([-1, 0, 1, 2**31, 2**63 - 1, 2**63, 10**400, -0.0, 1e308, float("nan"), float("inf")])
TEXTS = st.text(max_size=5) | st.sampled_from(
    [
        "x" * 20_000,
        "\ud800",
        "\x1b[2J",
        "203.0.113.1",
        "2001:db8::1",
        "ks1.example.net",
        "1" * 5000,
        "xn--\u0661",
        "hkps",
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS | TIMES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
GONE = object()
WORDS = st.sampled_from([str(each) for kind in (Ask, Outcome, Service) for each in kind] + ["1.1.6", "~", "sks"])


def _meddling(place: Place) -> st.SearchStrategy[tuple[Place, object]]:
    """Return what to put at `place`: half the time something of the type that is there."""
    value = _at(place)
    alike: Mapping[type, st.SearchStrategy[object]] = {int: NUMBERS | st.integers(0, 10**7), str: WORDS | TEXTS | TIMES}
    return st.tuples(st.just(place), JSON | st.just(GONE) | alike.get(type(value), st.just(value)))


def _at(place: Place) -> object:
    value = DOCUMENT
    for step in place:
        value = value[step]
    return value


def meddled(changes: Iterable[tuple[Place, object]]) -> str:
    """Return DOCUMENT with those values at those places, and nothing where the value is GONE.

    A place that an earlier change took away is passed over.
    """
    document: Any = copy.deepcopy(DOCUMENT)
    for (*steps, last), value in changes:
        with contextlib.suppress(LookupError, TypeError):
            around = document
            for step in steps:
                around = around[step]
            if value is GONE:
                del around[last]
            else:
                around[last] = copy.deepcopy(value)
    return json.dumps(document)


def judged(crawl: Snapshot) -> None:
    """Judge `crawl` after CRAWL, and once more after itself, select and report."""
    policy = Policy()
    first = judge_next(judge_next(History(), CRAWL, policy, POOLS).history, crawl, policy, POOLS)
    last = judge_next(first.history, crawl, policy, POOLS)
    selection = select(last.verdicts, POOLS, {}, last.history.reliability, crawl.finished, chosen=None)
    shown = rows(last.snapshot, selection.verdicts, last.references, policy.window, HOSTS)
    assert rows_to_json(last.snapshot, shown)
    assert to_csv(shown).encode()


def test_the_crawl_to_meddle_with_is_sound() -> None:
    assert from_json(to_json(CRAWL)) == CRAWL
    judged(CRAWL)


@given(st.lists(st.sampled_from(PLACES).flatmap(_meddling), min_size=1, max_size=2))
def test_a_crawl_that_was_meddled_with_is_judged_or_refused(changes: list[tuple[Place, object]]) -> None:
    try:
        crawl = from_json(meddled(changes))
    except ParseError:
        return
    judged(crawl)
    assert from_json(to_json(crawl)) == crawl


@given(st.dictionaries(st.sampled_from(TIME_PLACES), TIMES | MOMENTS))
def test_any_times_are_judged_or_refused(times: dict[Place, str]) -> None:
    try:
        crawl = from_json(meddled(times.items()))
    except ParseError:
        return
    judged(crawl)


@given(st.binary() | st.text() | JSON.map(json.dumps))
@example(b"\xff\xfe[\x00]\x00")
@example("[" * 100_000)
@example('{"format":"poolmgr-snapshot","format":"poolmgr-snapshot"}')
def test_what_is_no_crawl_is_a_parse_error(text: str | bytes) -> None:
    try:
        from_json(text)
    except ParseError:
        return
    raise AssertionError(text)
