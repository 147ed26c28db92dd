"""What the store costs: its size, a judgement that reads only what it needs, and a backtest.

Run by scripts/bench store. The crawls are drawn from a seed: keyservers that come and go, latencies and counts that are
others each time.
"""

from __future__ import annotations

import ipaddress
import random
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import yaml

from poolmgr import past
from poolmgr.config import Config, load_config
from poolmgr.hosts import Host, IPAddress, host_text, parse_host
from poolmgr.model import Ask, Endpoint, Keyserver, KeyserverAddress, Outcome, Peer, Probe, Service, Snapshot, Stats
from poolmgr.report.snapshot import from_json, to_json
from poolmgr.store.database import FILE, open_store, read_store

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "performance.md"
BEGIN, END = "<!-- scripts/bench store: begin -->\n", "<!-- scripts/bench store: end -->\n"

KEYSERVERS = 200
INTERVAL = timedelta(minutes=5)
DAYS = 30
PEERS = 20
NETWORKS = 150
"""Networks, /16 and /32, that the keyservers are in."""
POOL_HOST = "pool.example.org"
FAILS, MOVES = 0.005, 0.003
"""Shares of the probes that fail in passing, and of the keyservers that go down or come up, at each crawl."""

CONFIG = {
    "state": {"folder": "state", "keep": "90d"},
    "crawl": {"seeds": ["keyserver0.example.net"], "search": "someone"},
    "pools": [{"name": POOL_HOST}],
    "zone": {"origin": "example.org"},
}


def main() -> None:
    """Measure, print the table, and put it into docs/performance.md."""
    days = float(sys.argv[1]) if len(sys.argv) > 1 else DAYS
    columns = []
    for addresses in (1, 2):
        with tempfile.TemporaryDirectory(prefix="poolmgr-store-") as folder:
            columns.append(dict(_measured(Path(folder), days, addresses)))
    lines = [f"| {KEYSERVERS} keyservers, {days:g} days | 1 address each | 2 addresses each |\n", "|---|---|---|\n"]
    lines += [f"| {label} | {' | '.join(column[label] for column in columns)} |\n" for label in columns[0]]
    print("".join(lines), end="", flush=True)
    head, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
    _, _, tail = rest.partition(END)
    PAGE.write_text("".join([head, BEGIN, *lines, END, tail]), "utf-8")


def _measured(folder: Path, days: float, addresses: int) -> Iterator[tuple[str, str]]:
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(CONFIG))
    config = load_config(path)
    count = round(timedelta(days=days) / INTERVAL)
    first = datetime.now(UTC) - (count + 1) * INTERVAL
    with open_store(config.state) as store:
        store.import_crawls(crawls(first, count, addresses), lambda history, _: history)
        newest = store.load_crawl()
        assert newest is not None, "they were stored"
        text = to_json(newest)
        later = replace(newest, started=newest.started + INTERVAL, finished=newest.finished + INTERVAL)
        saving = _seconds(lambda: store.save_crawl(later, store.load_history(), keep=config.keep))
    size = (config.state / FILE).stat().st_size
    whole = len(zlib.compress(text.encode()))
    reading, decoding = _seconds(lambda: _replay(config)) / count, _seconds(lambda: from_json(text))
    other = replace(config, policy=replace(config.policy, max_lag=timedelta(hours=12)))
    one, two = (
        _seconds(partial(past.backtest, config, others, timedelta(days=days + 1)))
        for others in ({}, {past.OTHER: other})
    )
    yield "crawls", str(count)
    yield "database, MiB", f"{size / 2**20:.0f}"
    yield "bytes a crawl", f"{size / count:.0f}"
    yield "the same over the crawl's compressed JSON", f"{size / count / whole:.2f}"
    yield "store one crawl, CPU ms", f"{saving * 1000:.0f}"
    yield "read and judge the newest, CPU ms", f"{_seconds(lambda: past.report(config, None)) * 1000:.0f}"
    yield "read for a replay, CPU ms a crawl", f"{reading * 1000:.2f}"
    yield "the same over decoding its JSON", f"{reading / decoding:.2f}"
    yield "backtest of one policy, CPU s", f"{one:.0f}"
    yield "the same, ms a crawl", f"{one / count * 1000:.1f}"
    yield "backtest of two policies, CPU s", f"{two:.0f}"
    yield "that, ms a crawl", f"{two / count * 1000:.1f}"


def _seconds(work: Callable[[], object]) -> float:
    """Return the CPU time that `work` takes: the machine may have other work too."""
    start = time.process_time()
    work()
    return time.process_time() - start


def _replay(config: Config) -> None:
    store = read_store(config.state)
    assert store is not None, "it was made above"
    with store:
        for _ in store.replay(datetime.min.replace(tzinfo=UTC))[1]:
            pass


def crawls(first: datetime, count: int, addresses: int) -> Iterator[Snapshot]:
    """Yield `count` crawls, the first begun at `first`, of keyservers with so many addresses each."""
    rng = random.Random(addresses)
    names = [parse_host(f"keyserver{index}.example.net") for index in range(KEYSERVERS)]
    keyservers = [_Drawn(rng, names, index, addresses) for index in range(KEYSERVERS)]
    for number in range(count):
        started = first + number * INTERVAL
        seen = tuple(each.seen(rng, started, number) for each in keyservers)
        yield Snapshot(started=started, finished=started + timedelta(seconds=25), keyservers=seen)


class _Drawn:
    """A keyserver of its own latency and peers, half of them SKS, which counts once a day."""

    def __init__(self, rng: random.Random, names: Sequence[Host], index: int, addresses: int) -> None:
        self._name = names[index]
        self._index = index
        self._peers = tuple(Peer(peer, 11370) for peer in rng.sample(names, PEERS))
        both = (
            ipaddress.IPv4Address((11 << 24) + (index % NETWORKS << 16) + index),
            ipaddress.IPv6Address((0x2A00 << 112) + (index % NETWORKS << 96) + index),
        )
        self._addresses = both[:addresses]
        self._latency = 0.15 * rng.lognormvariate(0, 0.5)
        self._is_down = rng.random() < 0.1

    def seen(self, rng: random.Random, started: datetime, number: int) -> Keyserver:
        """Return what crawl `number`, begun at `started`, sees of it."""
        self._is_down ^= rng.random() < MOVES
        return Keyserver(
            name=self._name,
            depth=1,
            listed=started,
            addresses=tuple(self._address(address, rng, started, number) for address in self._addresses),
            peers=tuple(peer.host for peer in self._peers),
        )

    def _address(self, address: IPAddress, rng: random.Random, started: datetime, number: int) -> KeyserverAddress:
        at = started + timedelta(microseconds=rng.randrange(10**7))
        page = self._probe(Ask.STATS, Endpoint(Service.HKP, address, 11371), rng, at)
        if not page.is_good:
            return KeyserverAddress(address, None, (page,))
        lookups = [
            self._probe(Ask.LOOKUP, Endpoint(service, address, port), rng, at)
            for service, port in ((Service.HKP, 11371), (Service.HTTP, 80))
        ]
        return KeyserverAddress(address, self._stats(started, number), (page, *lookups))

    def _stats(self, started: datetime, number: int) -> Stats:
        is_sks = self._index % 2 == 0
        midnight = started.replace(hour=0, minute=0, second=0, microsecond=0)
        age = (started - midnight) // INTERVAL if is_sks else 0
        return Stats(
            software="SKS" if is_sks else "Hockeypuck",
            version="1.1.6" if is_sks else "2.2.3",
            hostname=host_text(self._name),
            contact="0x1455854896B25036",
            keys=5_000_000 + 3 * (number - age) + self._index % 7,
            taken_at=midnight if is_sks else started.replace(microsecond=0),
            peers=self._peers,
        )

    def _probe(self, ask: Ask, endpoint: Endpoint, rng: random.Random, at: datetime) -> Probe:
        host = host_text(self._name) if ask is Ask.STATS else POOL_HOST
        if self._is_down or rng.random() < FAILS:
            outcome, detail, total = Outcome.CONNECT_TIMEOUT, "no connection within 10.0 s", timedelta(seconds=10)
            return Probe(
                ask=ask,
                endpoint=endpoint,
                host=host,
                outcome=outcome,
                detail=detail,
                started=at,
                total=total,
                attempts=2,
            )
        total = timedelta(microseconds=round(1e6 * self._latency * rng.lognormvariate(0, 0.2)))
        return Probe(
            ask=ask,
            endpoint=endpoint,
            host=host,
            outcome=Outcome.OK,
            status=200,
            started=at,
            connect=total / 3,
            first_byte=total * 0.9,
            total=total,
            server="sks_www/1.1.6",
        )


if __name__ == "__main__":
    main()
