"""The main job on loopback, for people to watch: a mesh of keyservers in, a served pool out.

Run by scripts/demo. Every command is shown as it is run, with what it printed.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
from contextlib import ExitStack
from pathlib import Path

from tests.lab.mesh import Fault, LabKeyserver, Mesh
from tests.lab.named import Named
from tests.lab.nameserver import Nameserver
from tests.lab.pages import CANARY, Dialect
from tests.lab.process import find_program
from tests.lab.site import Site, update_target

ORIGIN = "keys.example.org."
POOL = "pool.keys.example.org"


def add_keyservers(mesh: Mesh) -> LabKeyserver:
    """Add six keyservers that serve, and five that do not, each for its own reason. Return one of the six."""
    trees = ("alder", "birch", "cedar", "elm", "fir", "hazel", "larch", "maple", "oak", "pine", "rowan")
    names = [f"{tree}.example.net" for tree in trees]
    alder, birch, cedar, elm, fir, hazel, larch, maple, oak, pine, rowan = names
    for name in (alder, birch, cedar):
        mesh.add(name, peers=names, keys=5_361_575, version="1.1.6")
    for name in (elm, fir):
        mesh.add(name, peers=names, keys=6_120_410, dialect=Dialect.HOCKEYPUCK_JSON, version="2.2.4")
    leaving = mesh.add(hazel, peers=names, keys=6_120_388, dialect=Dialect.HOCKEYPUCK_JSON, version="2.2.4")
    mesh.add(larch, peers=names, keys=5_290_001, version="1.1.6")
    mesh.add(maple, peers=names, keys=5_361_570, version="1.0.10")
    mesh.add(oak, peers=names, keys=5_361_575, version="1.1.6", answers_for=frozenset({oak}))
    mesh.add(pine, peers=names, faults=dict.fromkeys(mesh.ports, Fault.DRIP_BODY))
    mesh.add(rowan, peers=names, faults=dict.fromkeys(mesh.ports, Fault.REFUSE))
    return leaving


class Demo:
    """Says and does one thing after the other in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def say(self, text: str) -> None:
        """Print a heading."""
        print(f"\n# {text}", flush=True)

    def do(self, *words: str, shown: str = "") -> None:
        """Run a command and show it, as `shown` where its real words are too long to read."""
        print(f"$ {shown or shlex.join(words)}", flush=True)
        subprocess.run(words, cwd=self._folder, stdin=subprocess.DEVNULL, check=False)

    def poolmgr(self, site: Site, *words: str) -> None:
        """Run and show poolmgr."""
        self.do(*site.command(*words), shown=shlex.join(("poolmgr", "-c", "config.yaml", *words)))


def main() -> None:
    """Run the demo. It needs nothing but Python; with named and dig installed, the pool is really served."""
    with ExitStack() as running:
        folder = Path(running.enter_context(tempfile.TemporaryDirectory(prefix="poolmgr-demo-")))
        os.environ["PATH"] += os.pathsep + "/usr/sbin:/sbin"
        mesh = running.enter_context(Mesh())
        leaving = add_keyservers(mesh)
        nameserver = running.enter_context(Nameserver())
        nameserver.records.update(mesh.records())
        demo = Demo(folder)
        named = running.enter_context(Named(folder / "named", ORIGIN)) if find_program("named") else None
        site = make_site(folder, mesh, nameserver, named)

        demo.say(
            f"a mesh of {len(mesh.keyservers)} keyservers on loopback; poolmgr knows one seed and follows the peers"
        )
        demo.poolmgr(site, "check-config")
        demo.poolmgr(site, "run")
        demo.say("who is in, who is out, and why")
        demo.poolmgr(site, "report")
        demo.say("the zone that was written")
        demo.do("tail", "-n", "+3", "keys.example.org.zone")
        look_up(demo, named)
        demo.say("nothing has changed: the next run says nothing, and keeps the serial")
        demo.poolmgr(site, "run")
        demo.say(f"{leaving.hostname} is stopped: the plan of the next run, and the run")
        mesh.stop(leaving)
        demo.poolmgr(site, "crawl")
        demo.poolmgr(site, "plan")
        demo.poolmgr(site, "run")
        look_up(demo, named)


def make_site(folder: Path, mesh: Mesh, nameserver: Nameserver, named: Named | None) -> Site:
    """Return a config for the mesh that keeps a zone file, and the zone of `named` where there is one."""
    address, port = nameserver.server
    crawl = {
        "seeds": [mesh.keyservers[0].hostname],
        "canary": CANARY,
        "nameservers": [f"{address}:{port}"],
        "deadline": "1s",
        "ports": {service.value: number for service, number in mesh.ports.items()},
    }
    targets = [{"type": "zonefile", "file": str(folder / "keys.example.org.zone")}]
    if named is not None:
        targets.append(update_target(named.address, named.port, named.key_file))
    return Site(folder, ORIGIN, crawl, targets)


def look_up(demo: Demo, named: Named | None) -> None:
    """Show what the pool's clients get from DNS."""
    if named is None or shutil.which("dig") is None:
        demo.say("named or dig is not installed (bind9, bind9-dnsutils): nobody serves the zone in this demo")
        return
    demo.say("what the pool's clients get")
    demo.do("dig", "+short", "+norecurse", f"@{named.address}", "-p", str(named.port), POOL, "A")


if __name__ == "__main__":
    main()
