"""`poolmgr run` with update targets on real named: several primaries, races, markers, secondaries."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

import dns.message
import dns.name
import dns.query
import dns.update
import pytest

from poolmgr.publish.tsig import KeyFile, load_key
from tests.lab.killing import KEYSERVERS, add_keyservers
from tests.lab.mesh import Mesh
from tests.lab.named import Named
from tests.lab.nameserver import Nameserver
from tests.lab.scripted import Scripted, forward, framed, is_update
from tests.lab.site import Site, mesh_site, update_target, zonefile_target

ORIGIN = "example.org."
MARKER = "_poolmgr.pool.example.org."
StartNamed = Callable[..., Named]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Callable[..., Site]]:
    """Makes the site of a pool of good keyservers with the targets that it is given."""
    with ExitStack() as running:
        mesh = running.enter_context(Mesh())
        add_keyservers(mesh)
        nameserver = running.enter_context(Nameserver())

        def make(*targets: object) -> Site:
            return mesh_site(tmp_path, ORIGIN, mesh, nameserver, targets)  # type: ignore[arg-type]

        yield make


def records(server: Named, owner: str = f"pool.{ORIGIN}", rdtype: str = "A") -> set[str]:
    reply = dns.query.tcp(dns.message.make_query(owner, rdtype), str(server.address), port=server.port, timeout=5)
    return {rdata.to_text() for rrset in reply.answer for rdata in rrset}


def by_hand(server: Named, *records: str) -> None:
    """Add records to the zone as somebody else would; without any, remove the marker."""
    update = dns.update.UpdateMessage(ORIGIN)
    update.use_tsig(load_key(KeyFile(server.key_file), {}).to_dnspython())
    if not records:
        update.delete(MARKER)
    for record in records:
        owner, rdtype, data = record.split(" ", 2)
        update.add(owner, 60, rdtype, data)
    dns.query.tcp(update, str(server.address), port=server.port, timeout=5)


def target(server: Named | Scripted, key_file: Path, **more: object) -> dict[str, object]:
    return update_target(server.address, server.port, key_file, **more)


def test_each_primary_has_its_own_key_and_one_that_fails_stops_no_other(
    site: Callable[..., Site], start_named: StartNamed
) -> None:
    first, second = start_named(), start_named()
    here = site(target(first, first.key_file), target(second, second.key_file))
    first.rndc("freeze", ORIGIN)
    failed = here.poolmgr("run")
    assert failed.returncode == 1
    assert f"primary 127.0.0.1 port {first.port}: " in failed.stderr
    assert "frozen" in failed.stderr
    assert str(second.port) not in failed.stderr
    assert f"primary 127.0.0.1 port {second.port} serves zone example.org. with serial 2026010102" in failed.stdout
    assert (len(records(first)), len(records(second))) == (0, KEYSERVERS)

    first.rndc("thaw", ORIGIN)
    second.stop()
    mended = here.poolmgr("run")
    assert mended.returncode == 1
    assert f"primary 127.0.0.1 port {second.port}: name server" in mended.stderr
    assert len(records(first)) == KEYSERVERS
    second.start()
    assert here.poolmgr("run").returncode == 0


@pytest.mark.parametrize(("races", "code"), [(2, 0), (3, 1)])
def test_a_plan_that_is_overtaken_is_made_again_at_most_three_times(
    site: Callable[..., Site], named: Named, races: int, code: int
) -> None:
    left = list(range(races))

    def race(wire: bytes) -> Iterable[bytes]:
        if is_update(wire) and left:
            by_hand(named, f"pool.{ORIGIN} A 192.0.2.{left.pop() + 1}")
        return [framed(forward(wire, named.address, named.port))]

    with Scripted(race) as relay:
        here = site(target(relay, named.key_file))
        here.pool["max_removed"] = "100%"
        ran = here.poolmgr("run")
    assert ran.returncode == code
    assert ("somebody else changed the zone meanwhile" in ran.stderr) is (code == 1)
    assert sum(is_update(wire) for wire in relay.requests) == 3
    assert len([one for one in records(named) if one.startswith("192.0.2.")]) == (3 if code else 0)


def test_a_pool_that_somebody_else_marked_is_left_alone_until_it_is_ours(
    site: Callable[..., Site], named: Named
) -> None:
    here = site(target(named, named.key_file, marker="us-1"))
    by_hand(named, f'{MARKER} TXT "owner=them"')
    for command in ("run", "plan"):
        refused = here.poolmgr(command)
        assert refused.returncode == 1
        assert '_poolmgr.pool.example.org TXT is "owner=them", and marker here is us-1' in refused.stderr
    assert records(named) == set()

    by_hand(named)
    assert here.poolmgr("run").returncode == 0
    assert (len(records(named)), records(named, MARKER, "TXT")) == (KEYSERVERS, {'"owner=us-1"'})
    again = here.poolmgr("run")
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")


def test_a_zone_file_that_somebody_else_marked_is_left_alone(
    site: Callable[..., Site], start_named: StartNamed
) -> None:
    named = start_named(zone_options="")

    def aimed(marker: str) -> dict[str, object]:
        return zonefile_target(named.zone_file, named.address, named.port, named.reload_command, marker=marker)

    here = site(aimed("us-1"))
    assert here.poolmgr("run").returncode == 0
    assert (len(records(named)), records(named, MARKER, "TXT")) == (KEYSERVERS, {'"owner=us-1"'})
    written = named.zone_file.read_bytes()
    here.config["publish"] = [aimed("us-2")]
    refused = here.poolmgr("run")
    assert (refused.returncode, named.zone_file.read_bytes()) == (1, written)
    assert 'TXT is "owner=us-1", and marker here is us-2' in refused.stderr


@pytest.mark.parametrize("is_required", [False, True])
def test_a_secondary_that_is_behind_is_a_warning_or_a_failure_as_the_config_says(
    site: Callable[..., Site], start_named: StartNamed, is_required: bool
) -> None:
    named, stale = start_named(), start_named()
    options = {"secondaries": [f"{named.address}:{named.port}", f"{stale.address}:{stale.port}"]}
    more = {**options, "secondaries_timeout": "1s", "secondaries_required": is_required}
    here = site(target(named, named.key_file, **more))
    ran = here.poolmgr("run")
    assert ran.returncode == int(is_required)
    assert f"name server 127.0.0.1 port {named.port} followed within " in ran.stdout
    assert ran.stderr.count(f"port {stale.port} is behind: it serves serial 2026010101, not 2026010102") == 1
    assert len(records(named)) == KEYSERVERS
    assert here.poolmgr("run").returncode == 0, "there is nothing to publish"
