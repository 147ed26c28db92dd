"""Keyservers that lie in what they send: the crawl goes on, says what it met, and costs no more than is stated."""

from __future__ import annotations

import ipaddress
import itertools
import multiprocessing
import zlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from random import Random

import pytest

from poolmgr.crawl.frontier import Bounds
from poolmgr.crawl.place import MAX_HINTS
from poolmgr.crawl.probe import Exchange
from poolmgr.crawl.spider import Crawl, crawl
from poolmgr.model import Ask, Outcome, Probe, ReasonCode, Service, Snapshot
from tests.lab.crawls import DEADLINE, GOOD, Lab, by_name, crawl_in_time, now, only_address, verdicts
from tests.lab.hostile import GOOD_NAMES, LIAR, SEED, answering, assert_unharmed
from tests.lab.mesh import Fault
from tests.lab.pages import COUNTED, Dialect, Facts, sks
from tests.lab.paper import Paper, crawl_paper, page

MEBIBYTE = 1024 * 1024
MEMORY_BOUND = 40 * MEBIBYTE
"""What a crawl of one liar may take: a page of `Exchange.max_bytes`, what it is parsed into, and room."""

PAGE = sks(Facts(hostname=LIAR, version="1.1.6", keys=1000, peers=GOOD_NAMES)).encode()
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
TABLE = PAGE.index(b"<tr><td>good1.test")
ROW = b"<tr><td>peer.crowd.test 11370</td></tr>\n"


def stats_probe(snapshot: Snapshot) -> Probe:
    """Return how the liar was asked for its stats page."""
    (probe,) = (probe for probe in only_address(by_name(snapshot)[LIAR]).probes if probe.ask is Ask.STATS)
    return probe


def gzip_bomb() -> Iterator[bytes]:
    """Yield 256 KiB that unpack to a stats page with 256 MiB of blanks in it."""
    yield OK + b"Content-Encoding: gzip\r\n\r\n"
    pack = zlib.compressobj(wbits=31)
    yield pack.compress(PAGE[:TABLE])
    for _ in range(256):
        yield pack.compress(b" " * MEBIBYTE)
    yield pack.compress(PAGE[TABLE:]) + pack.flush()


def crowd(rows: int) -> Iterator[bytes]:
    """Yield a stats page with that many rows more among its gossip peers, a thousand at a time."""
    yield OK + b"\r\n" + PAGE[:TABLE]
    yield from itertools.repeat(ROW * 1000, rows // 1000)
    yield PAGE[TABLE:]


def interim_responses() -> Iterator[bytes]:
    return itertools.repeat(b"HTTP/1.1 100 Continue\r\nX: y\r\n\r\n" * 1000)


def repeated_header() -> Iterator[bytes]:
    return itertools.chain([OK], itertools.repeat(b"Via: 1.1 liar\r\n" * 1000))


def endless_chunk_length() -> Iterator[bytes]:
    return itertools.chain([CHUNKED], itertools.repeat(b"0" * 10_000))


def endless_trailer() -> Iterator[bytes]:
    return itertools.chain([CHUNKED, b"0\r\n"], itertools.repeat(b"X-Trailer: y\r\n" * 1000))


def flood_in_a_chunk_of_2_to_the_70() -> Iterator[bytes]:
    return itertools.chain([CHUNKED, b"400000000000000000\r\n"], itertools.repeat(b"x" * 10_000))


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        (Fault.SILENT, Outcome.FIRST_BYTE_TIMEOUT),
        (Fault.DRIP_HEADERS, Outcome.TIMEOUT),
        (Fault.DRIP_BODY, Outcome.TIMEOUT),
        (Fault.ENDLESS_HEADERS, Outcome.NOT_HTTP),
        (Fault.SHORT_CHUNK, Outcome.TRUNCATED),
        (Fault.NEGATIVE_CHUNK, Outcome.TOO_BIG),
        (Fault.WORSE_CHUNK, Outcome.NOT_HTTP),
    ],
)
def test_one_that_misbehaves_is_told_and_bounded(good: Lab, fault: Fault, outcome: Outcome) -> None:
    good.add(LIAR, fault=fault)
    snapshot = good.crawl(SEED)
    assert stats_probe(snapshot).outcome is outcome
    assert verdicts(snapshot)[LIAR] == {ReasonCode.STATS}
    assert_unharmed(snapshot)


@pytest.mark.parametrize(
    ("says", "outcome"),
    [
        (interim_responses, Outcome.NOT_HTTP),
        (repeated_header, Outcome.NOT_HTTP),
        (endless_chunk_length, Outcome.NOT_HTTP),
        (endless_trailer, Outcome.TOO_BIG),
        (flood_in_a_chunk_of_2_to_the_70, Outcome.TOO_BIG),
        (lambda: [CHUNKED, b"400000000000000000\r\n", PAGE], Outcome.TRUNCATED),
        (lambda: [CHUNKED, b"10\r\n", PAGE], Outcome.TRUNCATED),
        (lambda: [OK, b"Content-Length: %d\r\n\r\n" % 2**70, PAGE], Outcome.TRUNCATED),
        (lambda: [OK, b"Content-Length: 100\r\n\r\n", PAGE], Outcome.NOT_KEYSERVER),
        (lambda: [OK, b"\r\n", b'{"version":"1","peers":' + b"[" * 500_000], Outcome.NOT_KEYSERVER),
    ],
    ids=[
        "interim responses without end",
        "one header without end",
        "a chunk's length without end",
        "a trailer without end",
        "a chunk of 2^70 that never ends",
        "a chunk of 2^70 that ends at once",
        "a chunk longer than its length",
        "a length of 2^70",
        "a length that is too short",
        "JSON 500,000 levels deep",
    ],
)
def test_one_whose_lengths_lie_is_told_and_bounded(
    good: Lab, says: Callable[[], Iterable[bytes]], outcome: Outcome
) -> None:
    good.add(LIAR, says=says)
    snapshot = good.crawl(SEED)
    assert stats_probe(snapshot).outcome is outcome
    assert verdicts(snapshot)[LIAR] == {ReasonCode.STATS}
    assert_unharmed(snapshot)


def test_one_that_misbehaves_in_its_lookups_only_is_out_for_those(good: Lab) -> None:
    liars = [f"liar-{fault.name.lower().replace('_', '-')}.test" for fault in Fault]
    for name, fault in zip(liars, Fault, strict=True):
        good.add(name, faults={Service.HTTP: fault})
    good.mesh.keyservers[0].peers += liars
    snapshot = good.crawl(SEED)
    said = verdicts(snapshot)
    assert [said[name] for name in liars] == [{ReasonCode.SERVICE}] * len(liars)
    assert_unharmed(snapshot)


def test_no_redirect_is_followed(good: Lab) -> None:
    trap = good.mesh.add("trap.test")
    port = good.mesh.ports[Service.HKP]
    for location in (
        f"http://{trap.address}:{port}/pks/lookup?op=stats",
        f"http://good1.test:{port}/pks/lookup?op=stats",
        f"http://{LIAR}:{port}/pks/lookup?op=stats",
        "/pks/lookup?op=stats&options=mr",
        "file:///etc/passwd",
        "http://evil.test/\x1b[2J",
    ):
        liar = good.mesh.add(LIAR, **answering(b"302 Found\r\nLocation: " + location.encode()))
        good.nameserver.records[LIAR] = [str(liar.address)]
        snapshot = good.crawl(SEED)
        probe = stats_probe(snapshot)
        assert (probe.outcome, probe.detail) == (Outcome.REDIRECT, f"302 to {location!a}")
        assert len({request.path for request in liar.requests}) == len(liar.requests)
        assert_unharmed(snapshot)
    assert good.mesh.connections[trap.address] == 0


def high_water() -> int:
    """Return the most bytes of memory that this process has had.

    Not what `getrusage` says: that counts what the parent had before exec.
    """
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    (line,) = (line for line in lines if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def measured(plan: Crawl, again: Crawl) -> tuple[Snapshot, int]:
    """Make both crawls and return what the second saw, and how many bytes more it took than the first."""
    crawl_in_time(plan)
    before = high_water()
    snapshot = crawl_in_time(again)
    return snapshot, high_water() - before


@pytest.mark.parametrize(
    ("says", "outcome"),
    [
        (lambda: crowd(1_400_000), Outcome.TOO_BIG),
        (lambda: crowd(10_000_000), Outcome.TOO_BIG),
        (gzip_bomb, Outcome.NOT_HTTP),
        (lambda: [OK, b"\r\n", b'{"version":"1","peers":[' + b"[]," * 340_000 + b"[]]}"], Outcome.OK),
    ],
    ids=["a page of 50 MB", "10 million peers", "a gzip bomb", "340,000 empty peers in JSON"],
)
def test_no_page_takes_more_memory_than_is_stated(
    good: Lab, says: Callable[[], Iterable[bytes]], outcome: Outcome
) -> None:
    without = replace(good.plan(SEED), bounds=Bounds(allow_networks=good.mesh.networks))
    good.add(LIAR, says=says)
    # A minute for whoever would read it all: what fails then is the bound on memory.
    exchange = Exchange(deadline=60 * DEADLINE)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        plan = replace(good.plan(SEED), exchange=exchange)
        snapshot, growth = process.submit(measured, without, plan).result(timeout=120)
    assert growth < MEMORY_BOUND
    assert stats_probe(snapshot).outcome is outcome
    assert_unharmed(snapshot)


def test_of_a_crowd_on_one_page_only_max_peers_are_believed(good: Lab) -> None:
    rows = "".join(f"<tr><td>p{number}.crowd.test 11370</td></tr>\n" for number in range(20_000)).encode()
    good.add(LIAR, **answering(b"200 OK", PAGE[:TABLE] + rows + PAGE[TABLE:]))
    plan = good.plan(SEED)
    # The lab's name server takes its time for a thousand questions.
    patient = replace(plan.nameservers, timeout=timedelta(seconds=60))
    snapshot = crawl(replace(plan, nameservers=patient), clock=now, rng=Random(1))
    believed = Bounds().max_peers
    asked = {name for name, _ in good.nameserver.asked if name.endswith(".crowd.test")}
    assert asked == {f"p{number}.crowd.test" for number in range(believed)}
    stats = only_address(by_name(snapshot)[LIAR]).stats
    assert stats is not None
    assert (len(stats.peers), stats.rejected_peers) == (believed, 20_000 + len(GOOD_NAMES) - believed)
    assert snapshot.cut_short == (f"crawl.max_peers ({believed}) was reached: 1 stats pages list more",)
    assert_unharmed(snapshot)


@pytest.mark.parametrize(
    ("bounds", "reached", "sentence"),
    [
        (Bounds(), Bounds().max_depth + 1, "crawl.max_depth (8) was reached: keyservers further away are listed"),
        (
            Bounds(max_depth=10_000, max_keyservers=15),
            15,
            "crawl.max_keyservers (15) was reached: more names are listed",
        ),
    ],
    ids=["max_depth", "max_keyservers"],
)
def test_a_chain_of_liars_ends_at_a_bound_that_is_told(lab: Lab, bounds: Bounds, reached: int, sentence: str) -> None:
    names = [f"link{number}.test" for number in range(20)]
    for name, following in itertools.pairwise(names):
        lab.add(name, peers=[following])
    snapshot = crawl_in_time(replace(lab.plan(names[0]), bounds=replace(bounds, allow_networks=lab.mesh.networks)))
    assert sorted(by_name(snapshot)) == sorted(names[:reached])
    assert [bool(each.requests) for each in lab.mesh.keyservers] == [number < reached for number in range(19)]
    assert snapshot.cut_short == (sentence,)


@pytest.mark.parametrize(
    ("bounds", "reached"),
    [
        (Bounds(), 9),
        (Bounds(max_depth=20_000), Bounds().max_keyservers),
        (Bounds(max_depth=20_000, max_keyservers=20_000), 10_000),
    ],
    ids=["max_depth", "max_keyservers", "to the end"],
)
def test_a_chain_of_ten_thousand_pages_is_followed_as_far_as_the_bounds_say(bounds: Bounds, reached: int) -> None:
    names = [f"link{number}.test" for number in range(10_001)]
    addresses = [str(ipaddress.ip_address("198.41.0.0") + number) for number in range(10_000)]
    pages = {address: page(following) for address, following in zip(addresses, names[1:], strict=True)}
    paper = Paper({name: [address] for name, address in zip(names, addresses, strict=False)}, pages)
    crawled = crawl_paper(paper, names[0], bounds=bounds)
    assert len({target.endpoint.address for target in crawled.targets(Ask.STATS)}) == reached
    assert bool(crawled.snapshot.cut_short) == (reached < 10_000)


def test_one_machine_that_poses_as_hundreds_is_asked_once(good: Lab) -> None:
    names = [f"mask{number}.test" for number in range(300)]
    liar = good.add(LIAR, peers=names)
    good.nameserver.records |= {name: [str(liar.address)] for name in names}
    snapshot = good.crawl(SEED)
    assert len(liar.requests) == len(GOOD)
    assert sorted(by_name(snapshot)) == [*GOOD_NAMES, LIAR]
    assert {name for name, reasons in verdicts(snapshot).items() if not reasons} == {*GOOD_NAMES, LIAR}


def test_a_crowd_of_peers_that_tell_other_places_leads_to_a_few_requests(good: Lab) -> None:
    victim = good.add("victim.test", fault=Fault.NOT_FOUND)
    liars = [f"liar{number}.test" for number in range(12)]
    for number, name in enumerate(liars):
        good.add(
            name,
            dialect=Dialect.HOCKEYPUCK_JSON,
            peers=[victim.hostname],
            recon_ports={victim.hostname: good.mesh.ports[Service.HKP] - 1 if number % 2 else number + 1},
            stats_paths={victim.hostname: f"/evil{number}"},
        )
    good.mesh.keyservers[0].peers += liars
    snapshot = good.crawl(SEED)
    evil = [request.path for request in victim.requests if request.path.startswith("/evil")]
    assert 0 < len(set(evil)) == len(evil) <= MAX_HINTS
    probes = only_address(by_name(snapshot)[victim.hostname]).probes
    assert len({probe.endpoint.port for probe in probes}) <= 1 + MAX_HINTS
    assert_unharmed(snapshot, *liars)


@pytest.mark.parametrize(
    ("keys", "believed", "reasons"),
    [
        (2**63, None, {ReasonCode.NO_COUNT}),
        (-1, None, {ReasonCode.NO_COUNT}),
        (10**400, None, {ReasonCode.NO_COUNT}),
        (2**63 - 1, 2**63 - 1, {ReasonCode.AHEAD}),
        (0, 0, {ReasonCode.NO_COUNT}),
    ],
    ids=["2^63", "-1", "10^400", "2^63 - 1", "0"],
)
def test_an_absurd_key_count_moves_nobody_but_the_liar(
    good: Lab, keys: int, believed: int | None, reasons: set[ReasonCode]
) -> None:
    good.add(LIAR, keys=keys)
    snapshot = good.crawl(SEED)
    stats = only_address(by_name(snapshot)[LIAR]).stats
    assert stats is not None
    assert stats.keys == believed
    assert verdicts(snapshot)[LIAR] == reasons
    assert_unharmed(snapshot)


@pytest.mark.parametrize(
    "taken_at", ["9999-12-31 23:59:59", "0000-00-00 00:00:00", "2026-02-30 03:00:00", "99999999-01-01 00:00:00"]
)
def test_a_count_taken_in_an_absurd_year_has_no_time(good: Lab, taken_at: str) -> None:
    facts = Facts(hostname=LIAR, version="1.1.6", keys=1000, peers=(), taken_at=taken_at)
    good.add(LIAR, **answering(b"200 OK", sks(facts).encode()))
    snapshot = good.crawl(SEED)
    stats = only_address(by_name(snapshot)[LIAR]).stats
    assert stats is not None
    assert (stats.keys, stats.taken_at) == (1000, None)
    other = only_address(by_name(snapshot)[SEED]).stats
    assert other is not None
    assert other.taken_at == COUNTED
    assert_unharmed(snapshot)
