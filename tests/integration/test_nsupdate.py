"""Plans that are carried out by nsupdate, on a real named: as publish does, message by message."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import dns.name
import dns.rdatatype
import pytest

from poolmgr.errors import PublishError
from poolmgr.publish.rfc2136 import Rfc2136Publisher
from poolmgr.report.nsupdate import to_nsupdate
from poolmgr.zone.marker import marker_key, marker_records
from poolmgr.zone.records import Records
from tests.build import zone
from tests.conftest import Need
from tests.lab.named import KEY_NAME, Named
from tests.lab.process import find_program
from tests.lab.updating import plan, publisher

POOLS = tuple(dns.name.from_text(f"p{number}.example.org.") for number in range(3))
KEYS = frozenset((pool, dns.rdatatype.A) for pool in POOLS)
MARKERS = frozenset(map(marker_key, POOLS))


@pytest.fixture
def named(start_named: Callable[..., Named], need: Need) -> Named:
    need("nsupdate")
    return start_named(zone_options=f"max-records-per-type 0; update-policy {{ grant {KEY_NAME} zonesub ANY; }};")


def pools(of: int, ttl: int = 300) -> Records:
    """Return three pools of as many addresses, of which 1500 are two thirds of a message."""
    text = "".join(f"p{pool} {ttl} A 10.{pool}.{at // 250}.{at % 250}\n" for pool in range(3) for at in range(of))
    return {key: rrset for key, rrset in zone(text).items() if key in KEYS}


def script_of(target: Rfc2136Publisher, named: Named, desired: Records) -> str:
    """Return the script that makes `desired` of what `named` has now."""
    made = plan(target.read(), desired)
    return "".join(f"{line}\n" for line in to_nsupdate(made, target.messages(made), (named.address, named.port)))


def nsupdate(key_file: Path, script: str) -> subprocess.CompletedProcess[str]:
    program = find_program("nsupdate")
    assert program is not None
    words = [program, "-k", str(key_file)]
    return subprocess.run(words, input=script, capture_output=True, text=True, timeout=30, check=False)


def test_what_is_larger_than_a_message_is_sent_in_several_with_whole_pools(named: Named) -> None:
    target = publisher(named, named.key_file, keys=KEYS, pools=POOLS)
    created = script_of(target, named, pools(1500))
    assert created.count("\nsend\n") == 2
    assert [line for line in created.splitlines() if "nxrrset" in line or line == "send"] == [
        "prereq nxrrset p0.example.org. A",
        "prereq nxrrset p1.example.org. A",
        "send",
        "prereq nxrrset p2.example.org. A",
        "send",
    ]
    done = nsupdate(named.key_file, created)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert target.read().records == pools(1500)
    changed = script_of(target, named, pools(1500, ttl=60))
    assert changed.count("\nsend\n") == 3, "with the records that are to be there a pool is a message"
    assert nsupdate(named.key_file, changed).returncode == 0
    assert target.read().records == pools(1500, ttl=60)


def test_a_pool_that_fits_no_message_has_no_script(named: Named) -> None:
    target = publisher(named, named.key_file, keys=KEYS, pools=POOLS)
    with pytest.raises(PublishError, match=r"in p0\.example\.org is larger than the 65535 octets"):
        script_of(target, named, pools(4200))


def test_nothing_is_done_where_the_marker_of_a_pool_is_another_now(named: Named) -> None:
    target = publisher(named, named.key_file, keys=KEYS | MARKERS, pools=POOLS, marker="ours")
    first = {**pools(2), **marker_records(POOLS, "ours")}
    assert nsupdate(named.key_file, script_of(target, named, first)).returncode == 0
    script = script_of(target, named, {**first, **pools(3)})
    assert script.count("prereq yxrrset _poolmgr.p") == 3
    theirs = {**first, **marker_records(POOLS[1:2], "theirs")}
    assert nsupdate(named.key_file, script_of(target, named, theirs)).returncode == 0
    refused = nsupdate(named.key_file, script)
    assert (refused.returncode, "NXRRSET" in refused.stderr) == (2, True)
    assert target.read().records == theirs
