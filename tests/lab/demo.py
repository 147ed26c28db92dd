"""The main job on loopback, for people to watch: a mesh of keyservers in, a served pool out.

Run by scripts/demo. Every command is shown as it is run, with what it printed.
"""

from __future__ import annotations

import os
import secrets
import shlex
import shutil
import subprocess
import tempfile
from contextlib import ExitStack
from ipaddress import IPv4Address
from pathlib import Path

from tests.lab.mesh import Fault, LabKeyserver, Mesh
from tests.lab.named import Named
from tests.lab.nameserver import Nameserver
from tests.lab.pages import Dialect
from tests.lab.process import SYSTEM_FOLDERS, find_program
from tests.lab.site import Site, mesh_site, zonefile_target

ORIGIN = "keys.example.org."
POOL = "pool.keys.example.org"
SKELETON = Path(__file__).parents[2] / "zones" / "keys.example.org.zone"
FOLDER_PREFIX = "poolmgr-demo-"


def add_keyservers(mesh: Mesh) -> list[LabKeyserver]:
    """Add six keyservers that serve, and five that do not, each for its own reason. Return all in this order."""
    trees = ("alder", "birch", "cedar", "elm", "fir", "hazel", "larch", "maple", "oak", "pine", "rowan")
    names = [f"{tree}.example.net" for tree in trees]
    alder, birch, cedar, elm, fir, hazel, larch, maple, oak, pine, rowan = names
    # Addresses of one length: the columns of the report are as wide every time.
    network = IPv4Address(f"127.{100 + secrets.randbelow(100)}.{100 + secrets.randbelow(100)}.0")
    at = {name: network + number for number, name in enumerate(names, start=11)}
    for name in (alder, birch, cedar):
        mesh.add(name, address=at[name], peers=names, keys=5_361_575, version="1.1.6")
    for name, keys in ((elm, 6_120_410), (fir, 6_120_410), (hazel, 6_120_388)):
        mesh.add(name, address=at[name], peers=names, keys=keys, dialect=Dialect.HOCKEYPUCK_JSON, version="2.2.4")
    mesh.add(larch, address=at[larch], peers=names, keys=5_290_001, version="1.1.6")
    mesh.add(maple, address=at[maple], peers=names, keys=5_361_570, version="1.0.10")
    mesh.add(oak, address=at[oak], peers=names, keys=5_361_575, version="1.1.6", answers_for=frozenset({oak}))
    for name, fault in ((pine, Fault.DRIP_BODY), (rowan, Fault.REFUSE)):
        mesh.add(name, address=at[name], peers=names, faults=dict.fromkeys(mesh.ports, fault))
    return mesh.keyservers


class Demo:
    """Says and does one thing after the other in the folder of `site`, whose zone `named` serves if there is one."""

    def __init__(self, site: Site, named: Named | None, zone_file: Path) -> None:
        self._site = site
        self._named = named
        self._zone_file = zone_file

    def say(self, text: str) -> None:
        """Print a heading."""
        print(f"\n# {text}", flush=True)

    def do(self, *words: str, shown: str = "") -> None:
        """Run a command and show it, as `shown` where its real words are too long to read."""
        print(f"$ {shown or shlex.join(words)}", flush=True)
        done = subprocess.run(words, cwd=self._site.folder, stdin=subprocess.DEVNULL, check=False)
        if done.returncode != 0:
            print(f"(exit code {done.returncode})", flush=True)

    def poolmgr(self, *words: str) -> None:
        """Run and show poolmgr."""
        self.do(*self._site.command(*words), shown=shlex.join(("poolmgr", "-c", "config.yaml", *words)))

    def look_up(self) -> None:
        """Show the pool in the zone file, and what its clients get from DNS."""
        self.say("the pool in the zone file, and what DNS answers")
        self.do("grep", "^pool", str(self._zone_file))
        if self._named is None or shutil.which("dig") is None:
            print("named or dig is not installed (bind9, bind9-dnsutils): nobody serves the zone in this demo")
        else:
            self.do("dig", "+short", f"@{self._named.address}", "-p", str(self._named.port), POOL, "A")


def main() -> None:
    """Run the demo. It needs nothing but Python; with named and dig installed, the pool is really served."""
    with ExitStack() as running:
        folder = Path(running.enter_context(tempfile.TemporaryDirectory(prefix=FOLDER_PREFIX)))
        os.environ["PATH"] = os.pathsep.join((os.environ.get("PATH", os.defpath), *SYSTEM_FOLDERS))
        mesh = running.enter_context(Mesh())
        keyservers = add_keyservers(mesh)
        nameserver = running.enter_context(Nameserver())
        named = None
        if find_program("named"):
            named = Named(folder / "named", ORIGIN, zone_text=SKELETON.read_text(), zone_options="")
            running.enter_context(named)
        zone_file = folder / "keys.example.org.zone" if named is None else named.zone_file
        demo = Demo(make_site(folder, mesh, nameserver, named, zone_file), named, zone_file)
        show(demo, mesh, keyservers, zone_file)


def make_site(folder: Path, mesh: Mesh, nameserver: Nameserver, named: Named | None, zone_file: Path) -> Site:
    """Return a config for the mesh that keeps `zone_file`, which `named` serves if there is one."""
    target = {"type": "zonefile", "file": str(zone_file)}
    if named is not None:
        target = zonefile_target(zone_file, named.address, named.port, named.reload_command, check=["named-checkzone"])
    site = mesh_site(folder, ORIGIN, mesh, nameserver, [target])
    site.config["crawl"]["deadline"] = "1s"
    # So that one crawl shows what otherwise takes four.
    site.config["policy"]["fast_fall"] = ["refused"]
    site.config["zone"]["skeleton"] = str(SKELETON)
    return site


def show(demo: Demo, mesh: Mesh, keyservers: list[LabKeyserver], zone_file: Path) -> None:
    """Do the main job, then lose one keyserver, then too many at once."""
    demo.say(f"a mesh of {len(keyservers)} keyservers; poolmgr knows one of them and follows their peers")
    demo.poolmgr("check-config")
    demo.say("the first run")
    demo.poolmgr("run")
    demo.say("who is in, who is out, and why")
    demo.poolmgr("report")
    demo.say("the zone file: what is kept by hand, and the pool")
    demo.do("cat", str(zone_file))
    demo.look_up()
    demo.say("nothing has changed: the next run says nothing, and keeps the serial")
    demo.poolmgr("run")
    _, _, cedar, elm, fir, hazel, *_ = keyservers
    demo.say(f"{hazel.hostname} is stopped: what the next run would do")
    mesh.stop(hazel)
    demo.poolmgr("crawl")
    demo.poolmgr("plan")
    demo.say("and that run")
    demo.poolmgr("run")
    demo.look_up()
    demo.say("three more are stopped: too many at once, the last good zone stays")
    for keyserver in (cedar, elm, fir):
        mesh.stop(keyserver)
    demo.poolmgr("run")


if __name__ == "__main__":
    main()
