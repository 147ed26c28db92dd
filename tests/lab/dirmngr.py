"""GnuPG's own client on a pool that poolmgr keeps: run in a network of its own, see tests/lab/netns.py.

Arguments: a folder, and the SRV services of the pool, which may be none. Real SKS keyservers are the members, named is
the primary and the resolver. What was seen goes to stdout as JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.lab.named import Named, first_zone
from tests.lab.process import PATIENCE
from tests.lab.site import Site, update_target
from tests.lab.sks import Sks, make_keys

ORIGIN = "keys.example.test."
POOL = "pool.keys.example.test"
NAMESERVER = "127.0.0.1"
KEYSERVERS = ("198.51.100.1", "198.51.100.2", "198.51.100.3", "2001:db8::4")
PROGRAMS = ("dig", "dirmngr", "gpg", "ip", "mount", "named", "sks", "unshare")
RESOLVERS = ("", "standard-resolver")
"""How dirmngr resolves names: by itself, its default, or as the system does."""


@dataclass(frozen=True, slots=True)
class Received:
    """One `gpg --recv-keys` with a dirmngr of its own: how it ended, what it said, and what named was asked for it."""

    resolver: str
    has_key: bool
    said: str
    asked: list[str]


@dataclass(frozen=True, slots=True)
class Ran:
    """One `poolmgr run`, and the addresses and SRV targets of the pool after it."""

    exit_code: int
    said: str
    errors: str
    addresses: list[str]
    targets: list[str]


def receive(fingerprint: str, named: Named, resolver: str) -> Received:
    """Fetch the key from the pool with a new GNUPGHOME and a new dirmngr, as somebody does for the first time."""
    before = len(named.log())
    # The sockets' paths may have 107 octets.
    with tempfile.TemporaryDirectory(prefix="gpg-", dir="/tmp") as home:
        environ = {**os.environ, "GNUPGHOME": home}
        (Path(home) / "dirmngr.conf").write_text(f"{resolver}\n")

        def gpg(*words: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                ["gpg", "--batch", *words],
                env=environ,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=3 * PATIENCE,
                check=False,
            )

        try:
            said = gpg("--keyserver", f"hkp://{POOL}", "--recv-keys", fingerprint).stderr
            has_key = f"fpr:::::::::{fingerprint}:" in gpg("--list-keys", "--with-colons").stdout
        finally:
            subprocess.run(["gpgconf", "--kill", "all"], env=environ, timeout=PATIENCE, check=True)
    lines = [line for line in named.log()[before:].splitlines() if " query: " in line]
    return Received(resolver, has_key, said, sorted({" ".join(_question(line)) for line in lines}))


def _question(line: str) -> list[str]:
    """Return name and type of a line of named's query log."""
    words = line.partition(" query: ")[2].split()
    return [words[0], words[2]]


def answers(named: Named, name: str, kind: str) -> list[str]:
    """Return what dig, as any client, gets from the resolver."""
    words = ["dig", "+short", "+tcp", f"@{named.address}", name, kind]
    return sorted(
        subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE, check=True).stdout.split("\n")[:-1]
    )


def ran(site: Site, named: Named) -> Ran:
    done = site.poolmgr("run")
    addresses = [address for kind in ("A", "AAAA") for address in answers(named, POOL, kind)]
    return Ran(done.returncode, done.stdout, done.stderr, addresses, answers(named, f"_pgpkey-http._tcp.{POOL}", "SRV"))


def main() -> None:
    """Publish and fetch; let one member die, publish and fetch again."""
    folder, services = Path(sys.argv[1]), sys.argv[2:]
    seen: dict[str, object] = {}
    with ExitStack() as running:
        keys = make_keys(3)
        names = [f"sks{number}.{ORIGIN}" for number in range(1, len(KEYSERVERS) + 1)]
        keyservers = [
            running.enter_context(
                Sks(folder / name[:4], address, name.rstrip("."), keys, peers=[n for n in names if n != name])
            )
            for name, address in zip(names, KEYSERVERS, strict=True)
        ]
        hosts = "".join(
            f"{name} {'AAAA' if ':' in address else 'A'} {address}\n"
            for name, address in zip(names, KEYSERVERS, strict=True)
        )
        named = running.enter_context(Named(folder / "named", ORIGIN, port=53, zone_text=first_zone(ORIGIN) + hosts))
        named.rndc("querylog", "on")
        _, index = keyservers[0].get("/pks/lookup?op=index&options=mr&search=user0")
        fingerprint = index.decode().split("pub:")[1].split(":")[0]
        crawl = {"seeds": [names[0]], "canary": fingerprint, "allow_networks": ["198.51.100.0/24", "2001:db8::/32"]}
        site = Site(folder, ORIGIN, crawl, [update_target(named.address, named.port, named.key_file)])
        site.config["policy"] = {"min_cohort": 1, "fast_fall": ["refused"]}
        site.pool.update({"min_members": 0, **({"srv": services} if services else {})})

        seen["before"] = [asdict(receive(fingerprint, named, ""))]
        seen["first run"] = asdict(ran(site, named))
        seen["published"] = [asdict(receive(fingerprint, named, resolver)) for resolver in RESOLVERS]
        keyservers[1].stop()
        seen["second run"] = asdict(ran(site, named))
        # Whichever member dirmngr draws by lot, it is one that serves.
        seen["without one"] = [asdict(receive(fingerprint, named, resolver)) for resolver in 3 * RESOLVERS]
    print(json.dumps(seen, indent=1))


if __name__ == "__main__":
    main()
