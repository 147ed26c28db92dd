from __future__ import annotations

import contextlib
import os
import stat
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from ipaddress import IPv4Address
from pathlib import Path

import dns.name
import dns.rdatatype
import pytest

from poolmgr.errors import Conflict, PublishError, ZoneError
from poolmgr.publish.checkers import Checker
from poolmgr.publish.query import ask_rrset, ask_serial
from poolmgr.publish.rfc2136 import Primary, Rfc2136Publisher
from poolmgr.publish.target import Published
from poolmgr.publish.tsig import KeyFile, load_key
from poolmgr.publish.wire import Server
from poolmgr.publish.zonefile import Verify, ZoneFile, ZoneFilePublisher, previous_path
from poolmgr.zone.desired import from_text, soa_serial, with_serial
from tests.build import ORIGIN, zone
from tests.lab.knot import Knot
from tests.lab.named import LOCALHOST, Named
from tests.lab.nsd import Nsd
from tests.lab.process import LabError, run, unused_port, wait_until
from tests.lab.updating import plan

POOL_A = (dns.name.from_text("pool.example.org."), dns.rdatatype.A)
ONE = "pool 300 A 192.0.2.1\n"
TWO = "pool 300 A 192.0.2.1\npool 300 A 192.0.2.2\n"
MISSING_PORT = Verify(server=LOCALHOST, port=1, timeout=timedelta(seconds=0.3))


def publish(target: ZoneFilePublisher, text: str, serial: int) -> int:
    return target.publish(plan(target.read(), zone(text), serial)).serial


def verify(server: Nsd | Named, seconds: float = 10) -> Verify:
    return Verify(server=server.address, port=server.port, timeout=timedelta(seconds=seconds))


def await_served(server: Nsd | Named, serial: int, count: int) -> None:
    """Return when the server answers with that serial and number of the pool's addresses.

    After a reload nsd's old processes answer beside the new ones for some milliseconds, and reset connections.
    """
    asked = Server(IPv4Address(server.address), server.port, timedelta(seconds=10))

    def is_served() -> bool:
        with contextlib.suppress(PublishError):
            rrset = ask_rrset(POOL_A, asked)
            return (ask_serial(ORIGIN, asked), 0 if rrset is None else len(rrset.rdatas)) == (serial, count)
        return False

    wait_until(is_served, f"serial {serial} and {count} addresses are served")


def recorded(log: Path, *words: str) -> tuple[str, ...]:
    """Return a reload command that writes a line to `log` before it runs `words`."""
    code = "import subprocess, sys; open(sys.argv[1], 'a').write('reload\\n'); sys.exit(subprocess.call(sys.argv[2:]))"
    return (sys.executable, "-c", code, str(log), *words)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    folder = tmp_path / "zones"
    folder.mkdir()
    return folder / "example.zone"


@pytest.fixture
def nsd(need: Callable[..., None], tmp_path: Path) -> Iterator[Nsd]:
    need("nsd")
    with Nsd(tmp_path / "nsd", "example.org.") as server:
        yield server


@pytest.fixture
def static_named(need: Callable[..., None], tmp_path: Path) -> Iterator[Named]:
    need("named")
    with Named(tmp_path / "named", "example.org.", zone_options="") as server:
        yield server


def test_nsd_serves_what_is_published_and_the_file_holds_it(nsd: Nsd) -> None:
    config = ZoneFile(path=nsd.zone_file, checks=(Checker.AUTO,), reload=nsd.reload_command, verify=verify(nsd))
    target = ZoneFilePublisher(config, ORIGIN)
    first = target.read()
    assert (first.serial, first.served) == (2026010101, 2026010101)
    assert publish(target, TWO, 2026010102) == 2026010102
    await_served(nsd, 2026010102, 2)
    assert publish(target, ONE, 2026010103) == 2026010103
    await_served(nsd, 2026010103, 1)
    publish(target, "", 2026010104)
    await_served(nsd, 2026010104, 0)
    assert target.read() == Published(with_serial(zone(), ORIGIN, 2026010104), 2026010104, 2026010104)
    nsd.restart()
    await_served(nsd, 2026010104, 0)


def test_named_serves_what_is_published(static_named: Named) -> None:
    named = static_named
    config = ZoneFile(path=named.zone_file, checks=(Checker.AUTO,), reload=named.reload_command, verify=verify(named))
    target = ZoneFilePublisher(config, ORIGIN)
    receipt = target.publish(plan(target.read(), zone(TWO), 2026010102))
    await_served(named, 2026010102, 2)
    assert receipt.sentence == f"name server 127.0.0.1 port {named.port} has zone example.org. with serial 2026010102"


def test_the_same_records_make_a_plan_without_changes(nsd: Nsd) -> None:
    target = ZoneFilePublisher(ZoneFile(path=nsd.zone_file, reload=nsd.reload_command, verify=verify(nsd)), ORIGIN)
    publish(target, TWO, 2026010102)
    before = nsd.zone_file.read_bytes()
    again = plan(target.read(), zone(TWO), 2026010103)
    assert (again.changes, again.next_serial) == ((), None)
    assert nsd.zone_file.read_bytes() == before


def test_a_file_that_was_written_and_never_loaded_is_loaded_by_publishing_it_again(nsd: Nsd) -> None:
    publish(ZoneFilePublisher(ZoneFile(path=nsd.zone_file), ORIGIN), TWO, 2026010102)
    target = ZoneFilePublisher(ZoneFile(path=nsd.zone_file, reload=nsd.reload_command, verify=verify(nsd)), ORIGIN)
    published = target.read()
    assert (published.serial, published.served, published.is_stale) == (2026010102, 2026010101, True)
    target.publish(plan(published, zone(TWO), 2026010103))
    await_served(nsd, 2026010102, 2)
    assert not target.read().is_stale


def test_without_a_server_the_file_is_all(path: Path) -> None:
    target = ZoneFilePublisher(ZoneFile(path=path), ORIGIN)
    assert target.label == f"zone file {path}"
    assert target.read() == Published({}, None, None)
    assert publish(target, ONE, 7) == 7
    assert target.read() == Published(with_serial(zone(ONE), ORIGIN, 7), 7, None)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize(
    ("reload", "check", "sentence"),
    [
        (("false",), None, "^false failed with exit code 1: nothing; "),
        (("no-such-program",), None, "^no-such-program is not installed.*; "),
        ((), MISSING_PORT, r"did not come up with serial 7 within 0\.3 s .*cannot be reached.*; "),
    ],
)
def test_what_cannot_be_loaded_is_taken_back(
    path: Path, reload: tuple[str, ...], check: Verify | None, sentence: str, first: bool
) -> None:
    if not first:
        publish(ZoneFilePublisher(ZoneFile(path=path), ORIGIN), TWO, 6)
        path.chmod(0o640)
    before = path.read_bytes() if path.exists() else None
    target = ZoneFilePublisher(ZoneFile(path=path, reload=reload, verify=check), ORIGIN)
    with pytest.raises(PublishError, match=sentence) as caught:
        publish(target, ONE, 7)
    if before is None:
        assert "; the new zone file, the first, was removed" in str(caught.value)
        assert list(path.parent.iterdir()) == []
    else:
        assert "; the previous zone file is back" in str(caught.value)
        for kept in (path, previous_path(path)):
            assert (kept.read_bytes(), stat.S_IMODE(kept.stat().st_mode)) == (before, 0o640)
        assert sorted(path.parent.iterdir()) == [path, previous_path(path)]


@pytest.mark.parametrize("server", ["nsd", "static_named"])
def test_a_serial_that_does_not_come_brings_the_previous_zone_back_to_the_server(
    request: pytest.FixtureRequest, tmp_path: Path, server: str
) -> None:
    running: Nsd | Named = request.getfixturevalue(server)
    log = tmp_path / "reloads"
    reload = recorded(log, *running.reload_command)
    publish(
        ZoneFilePublisher(ZoneFile(path=running.zone_file, reload=reload, verify=verify(running)), ORIGIN),
        TWO,
        2026010102,
    )
    before = running.zone_file.read_bytes()
    # Something else answers at the address that is verified: the zone is loaded, and nobody can see it.
    target = ZoneFilePublisher(ZoneFile(path=running.zone_file, reload=reload, verify=MISSING_PORT), ORIGIN)
    with pytest.raises(PublishError, match=r"the previous zone file is back$"):
        publish(target, ONE, 2026010103)
    assert running.zone_file.read_bytes() == before
    assert log.read_text().count("reload") == 3
    await_served(running, 2026010102, 2)


def test_a_server_that_reads_another_file_is_found_out(nsd: Nsd, path: Path) -> None:
    config = ZoneFile(path=path, reload=nsd.reload_command, verify=verify(nsd, 0.3))
    with pytest.raises(PublishError, match=r"still serves serial 2026010101\): see the name server's log"):
        publish(ZoneFilePublisher(config, ORIGIN), ONE, 2026010102)
    assert not path.exists()


def test_a_reload_that_hangs_is_ended_and_the_previous_file_brought_back(path: Path) -> None:
    publish(ZoneFilePublisher(ZoneFile(path=path), ORIGIN), TWO, 6)
    config = ZoneFile(path=path, reload=("sleep", "600"), reload_timeout=timedelta(seconds=0.2))
    with pytest.raises(
        PublishError, match=r"^sleep 600 ran longer than 0\.2 s.*the previous zone file is back, but was not"
    ):
        publish(ZoneFilePublisher(config, ORIGIN), ONE, 7)
    assert from_text(path.read_text(), ORIGIN, "file") == with_serial(zone(TWO), ORIGIN, 6)


@pytest.mark.parametrize(
    ("checker", "text", "said"),
    [
        (Checker.NAMED, "@ NS nowhere\n", r"NS \'nowhere\.example\.org\' has no address records"),
        (
            Checker.NSD,
            "x DNAME a.example.net.\nbelow.x 300 A 192.0.2.1\n",
            r"DNAME at x\.example\.org\. has data below it",
        ),
    ],
)
def test_a_zone_that_a_checker_refuses_is_not_written(
    need: Callable[..., None], path: Path, checker: Checker, text: str, said: str
) -> None:
    need(checker)
    publish(ZoneFilePublisher(ZoneFile(path=path), ORIGIN), TWO, 6)
    before = path.read_bytes()
    target = ZoneFilePublisher(ZoneFile(path=path, checks=(checker,)), ORIGIN)
    with pytest.raises(PublishError, match=rf"^the zone file was not replaced: {checker} .*exit code 1: .*{said}"):
        publish(target, text, 7)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_a_checker_that_is_missing_stops_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr("poolmgr.publish.command.SYSTEM_FOLDERS", ())
    target = ZoneFilePublisher(ZoneFile(path=path, checks=(Checker.NSD,)), ORIGIN)
    with pytest.raises(PublishError, match=r"^the zone file was not replaced: nsd-checkzone is not installed: "):
        publish(target, ONE, 7)
    assert list(path.parent.iterdir()) == []


def test_the_file_of_a_dynamic_zone_is_not_touched(need: Callable[..., None], tmp_path: Path) -> None:
    need("named")
    with Named(tmp_path, "example.org.") as named:
        key = KeyFile(named.key_file)
        primary = Primary(server=named.address, port=named.port, key=key)
        updater = Rfc2136Publisher(primary, ORIGIN, frozenset({POOL_A}), load_key(key, {}))
        rrset = zone(ONE)[POOL_A]
        updater.publish(plan(updater.read(), {rrset.key: rrset}, 0))
        target = ZoneFilePublisher(ZoneFile(path=named.zone_file), ORIGIN)
        before = named.zone_file.read_bytes()
        for attempt in (target.read, lambda: target.publish(plan(Published({}, None), zone(TWO), 2026010109))):
            with pytest.raises(
                PublishError, match=r"pool\.zone\.jnl shows that named takes dynamic updates.*rfc2136 instead"
            ):
                attempt()
        assert named.zone_file.read_bytes() == before


def test_a_zone_that_the_server_has_for_dynamic_is_told_with_the_remedy(
    need: Callable[..., None], tmp_path: Path
) -> None:
    need("named")
    # No update was made yet: there is no journal to be seen.
    with Named(tmp_path, "example.org.") as named:
        config = ZoneFile(path=named.zone_file, reload=named.reload_command, verify=verify(named))
        before = named.zone_file.read_bytes()
        with pytest.raises(
            PublishError, match=r"takes dynamic updates .*dynamic zone.*: publish by rfc2136.* is back$"
        ):
            publish(ZoneFilePublisher(config, ORIGIN), TWO, 2026010102)
        assert named.zone_file.read_bytes() == before
        named.restart()
        await_served(named, 2026010101, 0)


def serial_in(path: Path) -> int | None:
    return soa_serial(from_text(path.read_text(), ORIGIN, path.name), ORIGIN)


def test_the_last_file_is_kept_beside_with_its_mode(path: Path) -> None:
    target = ZoneFilePublisher(ZoneFile(path=path), ORIGIN)
    publish(target, ONE, 1)
    assert not previous_path(path).exists()
    path.chmod(0o640)
    before = path.read_bytes()
    publish(target, TWO, 2)
    assert (previous_path(path).read_bytes(), stat.S_IMODE(previous_path(path).stat().st_mode)) == (before, 0o640)
    publish(target, ONE, 3)
    assert (serial_in(path), serial_in(previous_path(path))) == (3, 2)


@pytest.mark.parametrize("answers", [True, False])
def test_a_file_that_was_never_served_does_not_take_the_place_of_the_one_that_was(nsd: Nsd, answers: bool) -> None:
    path = nsd.zone_file
    good = ZoneFilePublisher(ZoneFile(path=path, reload=nsd.reload_command, verify=verify(nsd)), ORIGIN)
    publish(good, TWO, 2026010102)
    publish(good, ONE, 2026010103)
    # As a run leaves it that is killed before the reload.
    path.write_text(path.read_text().replace("2026010103", "2026010104"))
    if not answers:
        nsd.stop()
    failing = ZoneFilePublisher(ZoneFile(path=path, reload=("false",), verify=verify(nsd, 0.3)), ORIGIN)
    expected = 2026010102 if answers else 2026010104
    for serial in (2026010105, 2026010106):
        with pytest.raises(PublishError, match="the previous zone file is back"):
            publish(failing, TWO, serial)
        assert (serial_in(path), serial_in(previous_path(path))) == (expected, 2026010102)
        assert path.stat().st_ino != previous_path(path).stat().st_ino


def test_a_server_whose_serial_went_past_the_plans_makes_it_plan_again(static_named: Named) -> None:
    named = static_named
    target = ZoneFilePublisher(
        ZoneFile(path=named.zone_file, reload=named.reload_command, verify=verify(named)), ORIGIN
    )
    late = plan(target.read(), zone(TWO), 2026010102)
    publish(target, ONE, 2026010102)
    before = named.zone_file.read_bytes()
    with pytest.raises(Conflict, match="has serial 2026010102 by now, and the new zone file would have 2026010102"):
        target.publish(late)
    assert named.zone_file.read_bytes() == before


@pytest.mark.parametrize("required", [True, False])
def test_secondaries_are_asked_when_the_file_is_served(nsd: Nsd, tmp_path: Path, required: bool) -> None:
    with Nsd(tmp_path / "other", "example.org.") as other:
        config = ZoneFile(
            path=nsd.zone_file,
            reload=nsd.reload_command,
            verify=verify(nsd),
            secondaries=((nsd.address, nsd.port), (other.address, other.port)),
            secondaries_timeout=timedelta(seconds=0.3),
            secondaries_required=required,
        )
        receipt = ZoneFilePublisher(config, ORIGIN).publish(plan(Published({}, None), zone(TWO), 2026010102))
    assert [each.serial for each in receipt.secondaries] == [2026010102, 2026010101]
    assert [sentence.split(" is behind")[0] for sentence in receipt.behind] == [
        f"name server {other.address} port {other.port}"
    ]
    assert (receipt.failure is not None) is required
    await_served(nsd, 2026010102, 2)


def test_knot_serves_what_is_published(need: Callable[..., None], tmp_path: Path) -> None:
    need("knotd")
    with Knot(tmp_path, "example.org.", zone_options=()) as knot:
        config = ZoneFile(
            path=knot.zone_file,
            checks=(Checker.AUTO,),
            reload=knot.reload_command,
            verify=Verify(server=knot.address, port=knot.port),
        )
        target = ZoneFilePublisher(config, ORIGIN)
        publish(target, TWO, 2026010102)
        publish(target, ONE, 2026010103)
        assert target.read() == Published(with_serial(zone(ONE), ORIGIN, 2026010103), 2026010103, 2026010103)


def test_a_folder_that_cannot_be_written_leaves_the_old_file(path: Path) -> None:
    publish(ZoneFilePublisher(ZoneFile(path=path), ORIGIN), ONE, 1)
    before = path.read_bytes()
    target = ZoneFilePublisher(ZoneFile(path=path), ORIGIN)
    with (
        read_only(path.parent),
        pytest.raises(PublishError, match=r"cannot read or replace zone file .*example\.zone: "),
    ):
        publish(target, TWO, 2)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


@contextlib.contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Make `folder` refuse new files, to root as well."""
    if os.geteuid() != 0:
        folder.chmod(0o555)
        yield
        folder.chmod(0o755)
        return
    try:
        run("chattr", "+i", folder)
    except (LabError, OSError) as error:
        pytest.skip(f"no folder can be made read-only for root here: {error}")
    try:
        yield
    finally:
        run("chattr", "-i", folder)


def test_a_symbolic_link_stays_one_and_its_target_is_replaced(path: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    real = elsewhere / "real.zone"
    path.symlink_to(real)
    target = ZoneFilePublisher(ZoneFile(path=path), ORIGIN)
    publish(target, ONE, 1)
    publish(target, TWO, 2)
    assert path.readlink() == real
    assert not real.is_symlink()
    assert target.read().serial == 2
    assert sorted(elsewhere.iterdir()) == [real, previous_path(real)]
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_mode_and_owner_of_the_file_are_kept(path: Path) -> None:
    target = ZoneFilePublisher(ZoneFile(path=path), ORIGIN)
    publish(target, ONE, 1)
    path.chmod(0o640)
    os.chown(path, 4711, 4712)
    publish(target, TWO, 2)
    status = path.stat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (0o640, 4711, 4712)


def test_what_a_killed_run_left_is_removed(path: Path) -> None:
    (path.parent / f".{path.name}.poolmgr-killed").write_text("half a zo")
    publish(ZoneFilePublisher(ZoneFile(path=path), ORIGIN), ONE, 1)
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"pool 300 A 192.0.2.1\n@ NS\n", r"example\.zone:2"),
        (b"; caf\xe9\n", r"example\.zone: not UTF-8 text \(octet 5\)"),
    ],
)
def test_a_file_that_is_no_zone_is_refused_and_kept(path: Path, content: bytes, sentence: str) -> None:
    path.write_bytes(content)
    with pytest.raises(ZoneError, match=sentence):
        ZoneFilePublisher(ZoneFile(path=path), ORIGIN).read()
    assert path.read_bytes() == content


def test_a_place_where_no_file_can_be_is_told(path: Path) -> None:
    path.mkdir()
    with pytest.raises(PublishError, match=r"cannot read or replace zone file .*example\.zone: Is a directory"):
        ZoneFilePublisher(ZoneFile(path=path), ORIGIN).read()
    nowhere = ZoneFilePublisher(ZoneFile(path=path / "nowhere" / "example.zone"), ORIGIN)
    with pytest.raises(PublishError, match=r"example\.zone: No such file or directory \(.*nowhere\)"):
        publish(nowhere, ONE, 1)


def test_a_full_disk_leaves_the_old_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = ZoneFilePublisher(ZoneFile(path=path), ORIGIN)
    publish(target, ONE, 1)
    before = path.read_bytes()

    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(PublishError, match="No space left on device"):
        publish(target, TWO, 2)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_a_file_whose_server_does_not_answer_for_it_is_stale(path: Path) -> None:
    check = Verify(server=LOCALHOST, port=unused_port(LOCALHOST), timeout=timedelta(seconds=0.3))
    publish(ZoneFilePublisher(ZoneFile(path=path), ORIGIN), ONE, 1)
    published = ZoneFilePublisher(ZoneFile(path=path, verify=check), ORIGIN).read()
    assert (published.serial, published.served, published.is_stale) == (1, None, True)
