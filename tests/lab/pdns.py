"""A real PowerDNS on loopback: the primary of one zone in SQLite, by update with a TSIG key."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

from tests.lab.named import KEY_NAME, first_zone, is_answering, secret_of, write_key
from tests.lab.process import Daemon, Running, run, unused_address, unused_port

SCHEMA = Path("/usr/share/pdns-backend-sqlite3/schema/schema.sqlite3.sql")
"""The tables, as Debian's pdns-backend-sqlite3 has them."""

COUNTED = "INCREASE"
"""The SOA-EDIT-DNSUPDATE with which every update makes the serial one higher."""

_CONF = """
launch=gsqlite3
gsqlite3-database={folder}/pdns.db
local-address={address}
local-port={port}
socket-dir={folder}
daemon=no
guardian=no
write-pid=no
dnsupdate=yes
allow-dnsupdate-from=127.0.0.0/8
cache-ttl=0
query-cache-ttl=0
negquery-cache-ttl=0
zone-cache-refresh-interval=0
distributor-threads=1
receiver-threads=1
security-poll-suffix=
"""


class Pdns(Running):
    """pdns_server as the primary of `origin`, with everything that it writes in `folder`. A context manager.

    The key in `key_file` may write all of the zone. `soa_edit` is what an update does to the serial
    (SOA-EDIT-DNSUPDATE).
    """

    def __init__(
        self, folder: Path, origin: str, *, zone_text: str | None = None, soa_edit: str | None = COUNTED
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.origin = origin
        self.address = unused_address()
        self.port = unused_port(self.address)
        self.key_file = write_key(folder / "tsig.key", KEY_NAME)
        (folder / "pdns.conf").write_text(_CONF.format(folder=folder, address=self.address, port=self.port))
        with contextlib.closing(sqlite3.connect(folder / "pdns.db")) as database:
            database.executescript(SCHEMA.read_text())
        zone_file = folder / "first.zone"
        zone_file.write_text(first_zone(origin) if zone_text is None else zone_text)
        self.control("load-zone", origin, str(zone_file))
        self.control("import-tsig-key", KEY_NAME, "hmac-sha256", secret_of(self.key_file))
        self.control("set-meta", origin, "TSIG-ALLOW-DNSUPDATE", KEY_NAME)
        if soa_edit is not None:
            self.control("set-meta", origin, "SOA-EDIT-DNSUPDATE", soa_edit)
        self._daemon = Daemon(("pdns_server", f"--config-dir={folder}"), folder / "pdns.log")

    def control(self, *words: str) -> str:
        """Run pdnsutil with `words`, and return what it says."""
        return run("pdnsutil", f"--config-dir={self.folder}", *words)

    def start(self) -> None:
        """Start pdns_server and return when it answers for the zone."""
        self._daemon.start(lambda: is_answering(self.address, self.port, self.origin))
