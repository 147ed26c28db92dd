"""Whether secondaries follow, on real named: one that is notified, one that is not, one that is down."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from ipaddress import IPv4Address

from poolmgr.errors import PublishError
from poolmgr.publish.secondaries import follow
from poolmgr.publish.wire import Server
from tests.build import ORIGIN
from tests.lab.named import KEY_NAME, Named
from tests.lab.process import unused_port
from tests.lab.updating import FIRST, SECOND, owned, plan, publisher

StartNamed = Callable[..., Named]
LOCALHOST = IPv4Address("127.0.0.1")


def secondary(start_named: StartNamed, primary_port: int) -> Named:
    options = (
        f"masterfile-format text; primaries {{ {LOCALHOST} port {primary_port}; }}; allow-notify {{ {LOCALHOST}; }};"
    )
    return start_named(role="secondary", zone_options=options)


def test_a_secondary_that_follows_is_told_with_its_lag_and_others_as_behind(start_named: StartNamed) -> None:
    other = start_named()
    primary_port = unused_port(LOCALHOST)
    follower = secondary(start_named, primary_port)
    notified = f"also-notify {{ {LOCALHOST} port {follower.port}; }};"
    notify = f"notify explicit; notify-delay 0; {notified} allow-transfer {{ any; }};"
    options = f"{notify} update-policy {{ grant {KEY_NAME} zonesub ANY; }};"
    primary = start_named(zone_options=options, port=primary_port)
    asked = ((LOCALHOST, follower.port), (LOCALHOST, other.port), (LOCALHOST, unused_port(LOCALHOST)))

    target = publisher(primary, primary.key_file, secondaries=asked[:1], secondaries_timeout=timedelta(seconds=15))
    receipt = target.publish(plan(target.read(), owned(FIRST)))
    (followed,) = receipt.secondaries
    assert (followed.serial, receipt.serial, receipt.behind) == (2026010102, 2026010102, ())
    assert followed.lag is not None
    assert (
        followed.sentence
        == f"name server 127.0.0.1 port {follower.port} followed within {followed.lag.total_seconds():.1f} s"
    )

    for required in (False, True):
        late = publisher(
            primary,
            primary.key_file,
            secondaries=asked[1:],
            secondaries_timeout=timedelta(seconds=0.3),
            secondaries_required=required,
        )
        receipt = late.publish(plan(late.read(), owned(SECOND if required else "pool 300 A 192.0.2.9\n")))
        stale, down = receipt.behind
        assert f"port {other.port} is behind: it serves serial 2026010101, not {receipt.serial}, after 0.3 s" in stale
        assert "cannot be reached (Connection refused)" in down
        assert (receipt.failure is not None) is required
    assert isinstance(receipt.failure, PublishError)
    assert "the primary has the records, but name server" in str(receipt.failure)


def test_a_serial_that_wrapped_around_is_a_later_one(start_named: StartNamed) -> None:
    named = start_named()
    server = Server(named.address, named.port, timedelta(seconds=5))
    before = (2026010101 - 2**31 + 1) % 2**32
    (seen,) = follow(ORIGIN, before, [server], timedelta(seconds=5))
    assert (seen.serial, seen.lag is not None) == (2026010101, True)
