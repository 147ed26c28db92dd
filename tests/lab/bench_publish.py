"""What publishing costs: `poolmgr publish` beside octodns-bind and plain nsupdate, which make the same change.

Run by scripts/bench publish. Each of them finds named, the real one, with the same zone, and is a process of its own,
from its start to its end. In every pool of ten one member goes and another comes. The argument is a folder with
octodns-sync, which scripts/bench makes.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import dns.message
import dns.query
import yaml

from poolmgr.judge.history import History
from poolmgr.store.database import open_store
from tests.build import keyserver, snapshot
from tests.lab.named import KEY_NAME, Named, first_zone, secret_of
from tests.lab.process import LabError, find_program
from tests.lab.site import Site, update_target

ORIGIN = "example.test."
SIZES = (10, 100, 1_000, 10_000)
MEMBERS = 10
ROUNDS = 3
TTL = 300
ADDRESSES = [f"198.51.100.{number}" for number in range(1, MEMBERS + 2)]
OLD, NEW = ADDRESSES[:-1], ADDRESSES[1:]
ZONE_OPTIONS = (
    f"update-policy {{ grant {KEY_NAME} zonesub ANY; }}; allow-transfer {{ key {KEY_NAME}; }}; check-integrity no;"
)
PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "performance.md"
BEGIN, END = "<!-- scripts/bench publish: begin -->\n", "<!-- scripts/bench publish: end -->\n"


@dataclass(frozen=True, slots=True)
class Cost:
    """What a process cost: seconds by the clock and of CPU, and its peak memory in MiB."""

    wall: float
    cpu: float
    peak: float


def main() -> None:
    """Measure, print the table, and put it into docs/performance.md."""
    octodns = Path(sys.argv[1]) / "octodns-sync"
    lines = []
    for line in tables(octodns):
        print(line, flush=True)
        lines.append(f"{line}\n")
    head, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
    _, _, tail = rest.partition(END)
    PAGE.write_text("".join([head, BEGIN, *lines, END, tail]), "utf-8")


def tables(octodns: Path) -> Iterator[str]:
    """Yield the lines of the table as they become known."""
    titles = "owned records | Python alone | poolmgr plan | poolmgr publish | nsupdate | octodns-sync | over nsupdate"
    yield f"| {titles} and Python, wall | of octodns-sync, wall |"
    yield f"|{'---|' * (titles.count('|') + 2)}"
    for size in SIZES:
        with tempfile.TemporaryDirectory(prefix="bench-", dir="/tmp") as folder:
            yield _row(Path(folder), size, octodns)


def _row(folder: Path, size: int, octodns: Path) -> str:
    names = [f"p{number}" for number in range(size // MEMBERS)]
    site = _site(folder, names)
    python = _best(lambda: _cost((sys.executable, "-c", "pass"), folder))
    ways = (
        _poolmgr("plan", site),
        _poolmgr("publish", site),
        _nsupdate(folder, names),
    )
    plan, publish, nsupdate = (_best(partial(_changed, folder, names, prepare)) for prepare in ways)
    try:
        octo = _best(partial(_changed, folder, names, _octodns(folder, names, octodns)))
    except LabError as error:
        # It sends one message, whatever its size.
        octo = None
        if "message is too big" not in str(error):
            raise
    cells = [_shown(cost) for cost in (python, plan, publish, nsupdate)]
    cells.append("message too big" if octo is None else _shown(octo))
    cells.append(f"{publish.wall / (python.wall + nsupdate.wall):.1f}")
    cells.append("" if octo is None else f"{publish.wall / octo.wall:.1f}")
    return f"| {size} | {' | '.join(cells)} |"


def _shown(cost: Cost) -> str:
    return f"{cost.wall:.2f} s, CPU {cost.cpu:.2f} s, {cost.peak:.0f} MiB"


def _best(measure: Callable[[], Cost]) -> Cost:
    """Return the cheapest of some rounds: what others did on the machine at the time is not its cost."""
    costs = [measure() for _ in range(ROUNDS)]
    return Cost(*(min(values) for values in zip(*((cost.wall, cost.cpu, cost.peak) for cost in costs), strict=True)))


def _changed(folder: Path, names: Sequence[str], prepare: Callable[[Named], Sequence[str]]) -> Cost:
    """Return the cost of the command that `prepare` gives, on a named that has the old zone."""
    with tempfile.TemporaryDirectory(prefix="named-", dir="/tmp") as place:
        records = "".join(f"{name} A {address}\n" for name in names for address in OLD)
        zone_text = first_zone(ORIGIN) + records
        with Named(Path(place), ORIGIN, zone_text=zone_text, zone_options=ZONE_OPTIONS) as named:
            command = prepare(named)
            cost = _cost(command, folder)
            expected = OLD if "plan" in command else NEW
            for name in (names[0], names[-1]):
                query = dns.message.make_query(f"{name}.{ORIGIN}", "A")
                (answer,) = dns.query.tcp(query, str(named.address), port=named.port, timeout=10).answer
                if {rdata.to_text() for rdata in answer} != set(expected):
                    raise LabError(f"{command[0]} did not do it: {answer}")
            return cost


def _cost(command: Sequence[str | Path], folder: Path) -> Cost:
    began = time.perf_counter()
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        _, status, used = os.wait4(process.pid, 0)
    wall = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        said = (folder / "output").read_text(errors="replace")
        raise LabError(f"{command[0]} ended with {process.returncode}: {said[-2000:]}")
    return Cost(wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def _site(folder: Path, names: Sequence[str]) -> Site:
    """Return a site whose newest crawl saw all the keyservers, and which keeps out the first of them."""
    site = Site(
        folder, ORIGIN, {"seeds": ["ks.example.net"], "search": "someone", "allow_networks": ["198.51.100.0/24"]}, []
    )
    site.config["pools"] = [
        {
            "name": f"{name}.{ORIGIN}",
            "host": "pool.example.org",
            "ttl": f"{TTL}s",
            "per_network": MEMBERS + 1,
            "exclude": [ADDRESSES[0]],
        }
        for name in names
    ]
    (folder / "state").mkdir()
    crawled = snapshot([keyserver(f"ks{number}.example.net", address) for number, address in enumerate(ADDRESSES)])
    finished = datetime.now(UTC)
    crawled = replace(crawled, started=finished - timedelta(seconds=10), finished=finished)
    with open_store(folder / "state") as store:
        store.save_crawl(crawled, History(), keep=timedelta(days=1))
    return site


def _poolmgr(verb: str, site: Site) -> Callable[[Named], Sequence[str]]:
    def prepare(named: Named) -> Sequence[str]:
        site.config["publish"] = [update_target(named.address, named.port, named.key_file)]
        return site.command(verb)

    return prepare


def _nsupdate(folder: Path, names: Sequence[str]) -> Callable[[Named], Sequence[str]]:
    """Return what gives nsupdate the same change with the same prerequisites, a hundred pools to a message."""

    def lines(named: Named) -> Iterable[str]:
        yield f"server {named.address} {named.port}\nzone {ORIGIN}\n"
        for number, name in enumerate(names, 1):
            owner = f"{name}.{ORIGIN}"
            yield from (f"prereq yxrrset {owner} A {address}\n" for address in OLD)
            yield f"update delete {owner} A\n"
            yield from (f"update add {owner} {TTL} A {address}\n" for address in NEW)
            if number % 100 == 0 or number == len(names):
                yield "send\n"

    def prepare(named: Named) -> Sequence[str]:
        script = folder / "script"
        script.write_text("".join(lines(named)))
        return (find_program("nsupdate") or "nsupdate", "-v", "-k", str(named.key_file), str(script))

    return prepare


def _octodns(folder: Path, names: Sequence[str], program: Path) -> Callable[[Named], Sequence[str]]:
    """Return what gives octodns the new zone to put on named."""

    def prepare(named: Named) -> Sequence[str]:
        place = folder / "octodns"
        place.mkdir(exist_ok=True)
        desired: dict[str, object] = {
            "": {"type": "NS", "ttl": TTL, "value": f"ns1.{ORIGIN}"},
            "ns1": {"type": "A", "ttl": TTL, "value": "127.0.0.1"},
        }
        desired.update({name: {"type": "A", "ttl": TTL, "values": NEW} for name in names})
        (place / f"{ORIGIN}yaml").write_text(yaml.safe_dump(desired))
        source = {
            "class": "octodns.provider.yaml.YamlProvider",
            "directory": str(place),
            "default_ttl": TTL,
            "enforce_order": False,
        }
        target = {
            "class": "octodns_bind.Rfc2136Provider",
            "host": str(named.address),
            "port": named.port,
            "key_name": f"{KEY_NAME}.",
            "key_algorithm": "hmac-sha256",
            "key_secret": secret_of(named.key_file),
        }
        config = {
            "providers": {"config": source, "bind": target},
            "zones": {ORIGIN: {"sources": ["config"], "targets": ["bind"]}},
        }
        (folder / "octodns.yaml").write_text(yaml.safe_dump(config))
        return (str(program), "--config-file", "octodns.yaml", "--doit", "--force")

    return prepare


if __name__ == "__main__":
    main()
