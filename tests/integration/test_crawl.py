from __future__ import annotations

import itertools
import socket
import time
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from random import Random

import pytest

import poolmgr.crawl.resolve
import poolmgr.crawl.spider
import poolmgr.crawl.transport
from poolmgr.crawl.frontier import Bounds, Progress
from poolmgr.crawl.line import open_socket
from poolmgr.crawl.observer import Observer
from poolmgr.crawl.politeness import Politeness
from poolmgr.crawl.probe import Exchange
from poolmgr.crawl.spider import RETRY_SPREAD, crawl
from poolmgr.errors import PoolmgrError
from poolmgr.hosts import host_text, parse_host
from poolmgr.model import Ask, Outcome, Probe, Service
from tests.build import named
from tests.lab.crawls import DEADLINE, GOOD, POOL_HOST, Lab, Telling, by_name, now, only_address, outcomes
from tests.lab.mesh import Fault
from tests.lab.nameserver import NameFault
from tests.lab.pages import Dialect

REGION = named("eu.pool.keys.test.")
PATIENT = Exchange(deadline=timedelta(seconds=60))


def test_a_mesh_of_mixed_software_is_crawled_along_its_gossip_peers(lab: Lab) -> None:
    lab.add("a.test", dialect=Dialect.SKS, peers=["b.test"], keys=100)
    lab.add("b.test", dialect=Dialect.OLD_SKS, peers=["c.test", "a.test"], keys=None)
    lab.add("c.test", dialect=Dialect.HOCKEYPUCK_JSON, peers=["d.test", "localhost"], keys=90)
    lab.add("d.test", dialect=Dialect.HOCKEYPUCK_HTML, peers=["gone.test"], keys=80)
    snapshot = lab.crawl("a.test")
    keyservers = by_name(snapshot)
    assert {name: each.depth for name, each in keyservers.items()} == {
        "a.test": 0,
        "b.test": 1,
        "c.test": 2,
        "d.test": 3,
        "gone.test": 4,
    }
    assert keyservers.pop("gone.test").problem == "no such name (NXDOMAIN)"
    for each in keyservers.values():
        assert outcomes(only_address(each)) == GOOD
    told = {name: only_address(each).stats for name, each in keyservers.items()}
    assert {name: (stats.software, stats.version, stats.keys) for name, stats in told.items() if stats} == {
        "a.test": ("SKS", "1.1.6", 100),
        "b.test": ("SKS", "1.1.1", None),
        "c.test": ("Hockeypuck", "2.2.4", 90),
        "d.test": ("Hockeypuck", "2.1.0", 80),
    }
    assert snapshot.cut_short == ()
    assert snapshot.started <= min(
        probe.started for at in map(only_address, keyservers.values()) for probe in at.probes
    )


def test_each_name_is_asked_of_dns_once_per_type_and_never_again(lab: Lab) -> None:
    names = [f"k{number}.test" for number in range(5)]
    for name in names:
        lab.add(name, peers=names)
    lab.crawl(*names)
    assert Counter(lab.nameserver.asked) == Counter((name, rdtype) for name in names for rdtype in ("A", "AAAA"))


def test_stats_are_asked_for_under_the_own_name_and_keys_under_the_pools(lab: Lab) -> None:
    a = lab.add("a.test")
    snapshot = lab.crawl("a.test")
    assert {(probe.ask, probe.host) for probe in only_address(by_name(snapshot)["a.test"]).probes} == {
        (Ask.STATS, "a.test"),
        (Ask.LOOKUP, "pool.keys.test"),
    }
    assert {request.host.partition(":")[0] for request in a.requests if "op=get" in request.path} == {"pool.keys.test"}


def test_a_keyserver_that_answers_under_its_own_name_only_is_told_apart(lab: Lab) -> None:
    lab.add("own.test", answers_for=frozenset({"own.test"}))
    at = only_address(by_name(lab.crawl("own.test"))["own.test"])
    assert {(probe.endpoint.service, probe.host): probe.outcome for probe in at.probes if probe.ask is Ask.LOOKUP} == {
        (Service.HKP, "pool.keys.test"): Outcome.NO_KEY,
        (Service.HKP, "own.test"): Outcome.OK,
        (Service.HTTP, "pool.keys.test"): Outcome.NO_KEY,
        (Service.HTTP, "own.test"): Outcome.OK,
    }


def test_a_keyserver_that_fails_once_is_asked_again_in_the_same_crawl(lab: Lab) -> None:
    lab.add("a.test", failures=1, peers=["b.test"])
    lab.add("b.test", failures=1)
    keyservers = by_name(crawl(lab.plan("a.test"), clock=now, rng=Random(1)))
    for each in keyservers.values():
        at = only_address(each)
        assert outcomes(at) == GOOD
        assert [probe.attempts for probe in at.probes] == [2, 1, 1]
    once = by_name(crawl(replace(lab.plan("a.test"), retries=0), clock=now, rng=Random(1)))
    assert list(keyservers) == list(once) == ["a.test", "b.test"]


def test_what_is_asked_again_comes_in_a_random_order(lab: Lab) -> None:
    names = [f"k{number}.test" for number in range(6)]
    for name in names:
        lab.add(name, fault=Fault.CLOSE)
    for seed in (1, 2):
        snapshot = crawl(replace(lab.plan(*names), workers=1), clock=now, rng=Random(seed))
        probes = {host_text(each.name): only_address(each).probes[0] for each in snapshot.keyservers}
        assert {probe.attempts for probe in probes.values()} == {2}
        rng = Random(seed)
        moments = {name: rng.uniform(0, RETRY_SPREAD) for name in names}
        assert sorted(names, key=lambda name: probes[name].started) == sorted(names, key=moments.__getitem__)


def test_a_stats_page_elsewhere_is_found_where_the_peers_say(lab: Lab) -> None:
    port = lab.mesh.ports[Service.HTTP]
    lab.add(
        "a.test",
        dialect=Dialect.HOCKEYPUCK_JSON,
        peers=["path.test", "port.test", "pks.test"],
        recon_ports={"port.test": port - 1},
        stats_paths={"path.test": "/status?of=it"},
    )
    lab.add("path.test", stats_path="/status?of=it")
    lab.add("pks.test", stats_path="/pks/stats")
    lab.add("port.test", faults={Service.HKP: Fault.REFUSE})
    keyservers = by_name(lab.crawl("a.test"))
    assert outcomes(only_address(keyservers["path.test"])) == GOOD
    assert outcomes(only_address(keyservers["pks.test"])) == GOOD
    at = only_address(keyservers["port.test"])
    assert [probe.endpoint.port for probe in at.probes if probe.ask is Ask.STATS] == [port]
    assert outcomes(at) == {**GOOD, (Ask.LOOKUP, Service.HKP): Outcome.REFUSED}


def test_a_cluster_is_sampled(lab: Lab) -> None:
    lab.add("a.test", nodes=[(100, ["b.test"]), (90, ["c.test"]), (95, [])])
    snapshot = crawl(replace(lab.plan("a.test"), samples=3), clock=now, rng=Random(1))
    assert list(by_name(snapshot)) == ["a.test", "b.test", "c.test"]
    at = only_address(by_name(snapshot)["a.test"])
    assert at.stats is not None
    assert (at.stats.keys, at.spread) == (100, 10)


def test_a_keyserver_never_has_more_requests_at_a_time_than_is_polite(lab: Lab) -> None:
    for _ in range(4):
        lab.add("wide.test", latency=0.05)
    for in_flight in (1, 2):
        lab.mesh.most_in_flight = 0
        polite = Politeness(in_flight=in_flight)
        snapshot = crawl(
            replace(lab.plan("wide.test"), hosts=(POOL_HOST, REGION), politeness=polite), clock=now, rng=Random(1)
        )
        assert lab.mesh.most_in_flight == in_flight
        assert len(snapshot.keyservers[0].addresses) == 4


def test_a_keyserver_of_an_earlier_crawl_is_crawled_though_nobody_lists_it(lab: Lab) -> None:
    lab.add("a.test")
    lab.add("old.test")
    before = now() - timedelta(days=1)
    keyservers = by_name(
        crawl(replace(lab.plan("a.test"), known=((parse_host("old.test"), before),)), clock=now, rng=Random(1))
    )
    assert (keyservers["old.test"].depth, keyservers["old.test"].listed) == (None, before)
    assert outcomes(only_address(keyservers["old.test"])) == GOOD


def test_each_address_of_a_keyserver_is_probed_by_itself(lab: Lab) -> None:
    good = lab.add("two.test")
    dead = lab.add("two.test", fault=Fault.REFUSE)
    two = by_name(lab.crawl("two.test"))["two.test"]
    assert {at.address: outcomes(at) for at in two.addresses} == {
        good.address: GOOD,
        dead.address: {(Ask.STATS, Service.HKP): Outcome.REFUSED},
    }


def test_a_dead_web_port_does_not_hide_a_good_keyserver(lab: Lab) -> None:
    lab.add("a.test", faults={Service.HTTP: Fault.REFUSE})
    at = only_address(by_name(lab.crawl("a.test"))["a.test"])
    assert outcomes(at) == {**GOOD, (Ask.LOOKUP, Service.HTTP): Outcome.REFUSED}


def test_names_of_one_keyserver_are_aliases_and_share_its_probes(lab: Lab) -> None:
    a = lab.add("keys.test", peers=["old.test", "alias.test"])
    lab.nameserver.records |= {"old.test": [str(a.address)], "alias.test": ["keys.test"]}
    snapshot = lab.crawl("old.test", str(a.address))
    assert list(by_name(snapshot)) == ["keys.test"]
    assert {host_text(alias) for alias in snapshot.keyservers[0].aliases} == {
        "old.test",
        "alias.test",
        str(a.address),
    }
    assert len(a.requests) == len(GOOD)


def test_nothing_connects_to_a_special_purpose_address_that_is_not_allowed(lab: Lab) -> None:
    trap = lab.add("trap.test")
    lab.add("a.test", peers=["trap.test", str(trap.address)])
    allowed = tuple(network for network in lab.mesh.networks if trap.address not in network)
    snapshot = crawl(replace(lab.plan("a.test"), bounds=Bounds(allow_networks=allowed)), clock=now, rng=Random(1))
    at = only_address(by_name(snapshot)["trap.test"])
    assert outcomes(at) == {(Ask.STATS, Service.HKP): Outcome.NOT_ALLOWED}
    assert lab.mesh.connections[trap.address] == 0


def test_a_mesh_of_misbehaviour_slows_and_spoils_nothing(lab: Lab) -> None:
    for fault in Fault:
        lab.add(f"{fault.name.lower().replace('_', '-')}.test", fault=fault)
    for name_fault in NameFault:
        name = f"{name_fault.name.lower().replace('_', '-')}-dns.test"
        lab.add(name)
        lab.nameserver.faults[name] = name_fault
    lab.add("good.test")
    lab.add("a.test", peers=list(lab.nameserver.records))
    plan = lab.plan("a.test")
    start = time.monotonic()
    snapshot = crawl(replace(plan, nameservers=replace(plan.nameservers, timeout=DEADLINE)), clock=now, rng=Random(1))
    keyservers = by_name(snapshot)
    assert time.monotonic() - start < 10 * DEADLINE.total_seconds()
    for name in ("a.test", "good.test", "no-aaaa-dns.test", "silent-aaaa-dns.test"):
        assert outcomes(only_address(keyservers[name])) == GOOD
    bad = {name: each for name, each in keyservers.items() if name.endswith("-dns.test") and "aaaa" not in name}
    assert len(bad) == len(NameFault) - 2
    assert all(each.problem is not None and not each.addresses for each in bad.values())


def test_keyservers_are_asked_at_the_same_time(lab: Lab) -> None:
    names = [f"k{number}.test" for number in range(8)]
    for name in names:
        lab.add(name, fault=Fault.SILENT)
    lab.crawl(*names)
    assert lab.mesh.most_in_flight == 8


def test_no_more_are_asked_at_a_time_than_there_are_workers(lab: Lab) -> None:
    names = [f"k{number}.test" for number in range(8)]
    for name in names:
        lab.add(name, fault=Fault.SILENT)
    plan = replace(lab.plan(*names), exchange=Exchange(deadline=timedelta(seconds=0.2)), workers=3, retries=0)
    probes = [only_address(each).probes[0] for each in crawl(plan, clock=now, rng=Random(1)).keyservers]
    begun = [(probe.started, 1) for probe in probes]
    ended = [(probe.started + (probe.total or DEADLINE), -1) for probe in probes]
    under_way = list(itertools.accumulate(change for _, change in sorted(begun + ended)))
    assert max(under_way) == 3


def test_a_slow_keyserver_does_not_hold_up_what_lies_behind_others(lab: Lab) -> None:
    lab.add("slow.test", fault=Fault.SILENT)
    lab.add("a.test", peers=["b.test"])
    lab.add("b.test", peers=["c.test"])
    lab.add("c.test")
    keyservers = by_name(crawl(replace(lab.plan("slow.test", "a.test"), retries=0), clock=now, rng=Random(1)))
    slow, last = (only_address(keyservers[name]).probes[0] for name in ("slow.test", "c.test"))
    assert slow.total is not None
    assert last.started < slow.started + slow.total


def test_a_keyserver_that_stops_between_two_crawls_is_refused_in_the_second(lab: Lab) -> None:
    a = lab.add("a.test", keys=5)
    b = lab.add("b.test", keys=5)
    assert outcomes(only_address(by_name(lab.crawl("b.test"))["b.test"])) == GOOD
    lab.mesh.stop(b)
    a.keys = 6
    keyservers = by_name(lab.crawl("a.test", "b.test"))
    assert outcomes(only_address(keyservers["b.test"])) == {(Ask.STATS, Service.HKP): Outcome.REFUSED}
    stats = only_address(keyservers["a.test"]).stats
    assert stats is not None
    assert stats.keys == 6
    lab.mesh.start(b)
    assert outcomes(only_address(by_name(lab.crawl("b.test"))["b.test"])) == GOOD


def test_progress_ends_with_nothing_waiting(lab: Lab) -> None:
    lab.add("a.test", peers=["gone.test"])
    seen: list[Progress] = []
    crawl(lab.plan("a.test"), clock=now, rng=Random(1), observer=Telling(lambda _, progress: seen.append(progress)))
    assert seen[-1] == Progress(names=2, resolved=2, probes=3, waiting=0)
    assert len(seen) == 5


def test_a_crawl_that_is_stopped_ends_at_once_and_says_so(lab: Lab) -> None:
    names = [f"k{number}.test" for number in range(10)]
    for name in names:
        lab.add(name, fault=Fault.SILENT)
    plan = replace(lab.plan(*names), exchange=PATIENT, workers=4)

    def stop_once_resolved(observer: Observer, progress: Progress) -> None:
        if progress.resolved == 1:
            observer.stop.set()

    start = time.monotonic()
    with pytest.raises(PoolmgrError, match=r"stopped after 0 probes, with \d+ waiting"):
        crawl(plan, clock=now, rng=Random(1), observer=Telling(stop_once_resolved))
    assert time.monotonic() - start < PATIENT.deadline.total_seconds() / 2


def test_an_interrupt_leaves_at_once(lab: Lab) -> None:
    lab.add("a.test", fault=Fault.SILENT)
    lab.add("b.test", fault=Fault.SILENT)

    def interrupt(_observer: Observer, _progress: Progress) -> None:
        raise KeyboardInterrupt

    start = time.monotonic()
    plan = replace(lab.plan("a.test", "b.test"), exchange=PATIENT)
    with pytest.raises(KeyboardInterrupt):
        crawl(plan, clock=now, rng=Random(1), observer=Telling(interrupt))
    assert time.monotonic() - start < PATIENT.deadline.total_seconds() / 2


def test_a_bug_in_a_worker_is_raised_by_the_crawl(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> Probe:
        raise ZeroDivisionError

    lab.add("a.test")
    monkeypatch.setattr(poolmgr.crawl.spider, "probe", broken)
    with pytest.raises(ZeroDivisionError):
        lab.crawl("a.test")


def test_a_crawl_leaves_no_socket_open_however_it_ends(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"k{number}.test" for number in range(20)]
    for number, name in enumerate(names):
        lab.add(name, fault=Fault.SILENT if number % 2 else None)
    opened: list[socket.socket] = []

    def noting(kind: type[socket.socket], version: int, transport: socket.SocketKind) -> socket.socket:
        opened.append(open_socket(kind, version, transport))
        return opened[-1]

    def interrupt(_observer: Observer, progress: Progress) -> None:
        if progress.probes:
            raise KeyboardInterrupt

    for module in (poolmgr.crawl.transport, poolmgr.crawl.resolve):
        monkeypatch.setattr(module, "open_socket", noting)
    lab.crawl(*names)
    whole = len(opened)
    with pytest.raises(KeyboardInterrupt):
        crawl(lab.plan(*names), clock=now, rng=Random(1), observer=Telling(interrupt))
    assert len(opened) > whole > 2 * len(names)
    assert [line for line in opened if line.fileno() >= 0] == []


def test_each_pool_is_asked_for_under_its_own_host(lab: Lab) -> None:
    a = lab.add("a.test")
    crawl(replace(lab.plan("a.test"), hosts=(POOL_HOST, REGION)), clock=now, rng=Random(1))
    asked = [request.host.partition(":")[0] for request in a.requests if request.service is Service.HTTP]
    assert asked == ["pool.keys.test", "eu.pool.keys.test"]
