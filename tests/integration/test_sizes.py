"""What answers are computed to have of octets, against what name servers really send."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import dns.message
import dns.name
import dns.query
import dns.rdatatype
import pytest

from poolmgr.zone.desired import from_text
from poolmgr.zone.sizes import answer_size
from tests.lab.knot import Knot
from tests.lab.named import Named
from tests.lab.nsd import Nsd
from tests.lab.pdns import Pdns

ORIGIN = "keys.example.test."
QUESTIONS = [("pool", "A"), ("pool", "AAAA"), ("pool", "TXT")]
QUESTIONS += [(f"{name}._tcp.pool", "SRV") for name in ("_labels", "_own", "_both")]
NEEDED = {Named: ("named",), Nsd: ("nsd",), Knot: ("knotd",), Pdns: ("pdns_server",)}


def zone_text(count: int) -> str:
    """Return a zone with `count` members, one name server in the zone and one outside."""
    lines = [
        f"$ORIGIN {ORIGIN}",
        "$TTL 300",
        "@ SOA ns hostmaster 1 3600 600 86400 60",
        "@ NS ns",
        "@ NS ns2.other.test.",
        "ns A 127.0.0.1",
        'pool TXT "poolmgr crawl=2026-11-23T12:00:00Z A=10 state=ok"',
    ]
    for number in range(1, count + 1):
        label, own = f"c00002{number:02x}.hosts.pool", f"ks{number}.mesh.test."
        lines += [f"pool A 192.0.2.{number}", f"pool AAAA 2001:db8::{number}", f"{label} A 192.0.2.{number}"]
        targets = {"_labels": label, "_own": own, "_both": label if number % 2 else own}
        lines += [f"{name}._tcp.pool SRV 0 512 11371 {target}" for name, target in targets.items()]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("count", [2, 10])
@pytest.mark.parametrize("kind", NEEDED)
def test_an_answer_has_the_computed_octets_or_nearly(
    kind: type[Named | Nsd | Knot | Pdns], count: int, tmp_path: Path, need: Callable[..., None]
) -> None:
    need(*NEEDED[kind])
    text, origin = zone_text(count), dns.name.from_text(ORIGIN)
    records = from_text(text, origin, "the zone file")
    with kind(tmp_path / "server", ORIGIN, zone_text=text) as server:
        for name, rdtype in QUESTIONS:
            key = (dns.name.from_text(name, origin), dns.rdatatype.from_text(rdtype))
            for is_edns in (False, True):
                # As resolvers ask: not for recursion, which would make named leave the NS out.
                query = dns.message.make_query(*key, use_edns=0 if is_edns else False, flags=0)
                real = len(dns.query.tcp(query, str(server.address), port=server.port, timeout=5).wire or b"")
                computed = answer_size(records, key, origin, is_edns=is_edns)
                if kind is Nsd:
                    assert real == computed
                elif kind is Named:
                    assert real <= computed + (len(origin.to_wire() or b"") if rdtype == "SRV" else 0) + len(".test")
                else:
                    assert real < computed
                    assert computed - real <= computed * 0.5
