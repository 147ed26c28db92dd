"""A real Knot DNS on loopback: the primary of one zone, by update with a TSIG key or from its file."""

from __future__ import annotations

import grp
import os
import pwd
from pathlib import Path

from tests.lab.named import KEY_NAME, first_zone, is_answering, secret_of, write_key
from tests.lab.process import Daemon, Running, run, unused_address, unused_port

UPDATED = "acl: push"
"""The zone option that lets the key write; without it knotd serves the file as it is."""

_CONF = """
server:
    rundir: "{folder}"
    user: {user}:{group}
    listen: {address}@{port}
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
log:
  - target: stdout
    any: info
database:
    storage: "{folder}/db"
    journal-db-max-size: 64M
key:
  - id: {key_name}
    algorithm: hmac-sha256
    secret: {secret}
acl:
  - id: push
    key: {key_name}
    action: [update, transfer]
zone:
  - domain: {origin}
    storage: "{folder}"
    file: {zone_file}
    zonefile-sync: -1
"""


class Knot(Running):
    """knotd with everything that it writes in `folder`. A context manager.

    By default the key in `key_file` may write all of the zone by dynamic update. With other `zone_options` the zone is
    what they say; with none it is static, and knotd reads `zone_file` again when `reload_command` is run.
    """

    def __init__(
        self, folder: Path, origin: str, *, zone_text: str | None = None, zone_options: tuple[str, ...] = (UPDATED,)
    ) -> None:
        (folder / "db").mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.origin = origin
        self.address = unused_address()
        self.port = unused_port(self.address)
        self.zone_file = folder / "pool.zone"
        self.zone_file.write_text(first_zone(origin) if zone_text is None else zone_text)
        self.key_file = write_key(folder / "tsig.key", KEY_NAME)
        self._conf = folder / "knot.conf"
        conf = _CONF.format(
            folder=folder,
            user=pwd.getpwuid(os.getuid()).pw_name,
            group=grp.getgrgid(os.getgid()).gr_name,
            address=self.address,
            port=self.port,
            key_name=KEY_NAME,
            secret=secret_of(self.key_file),
            origin=origin,
            zone_file=self.zone_file,
        )
        self._conf.write_text(conf + "".join(f"    {option}\n" for option in zone_options))
        self._daemon = Daemon(("knotd", "-c", self._conf), folder / "knot.log")

    @property
    def reload_command(self) -> tuple[str, ...]:
        """The command that makes knotd read the zone file again."""
        return ("knotc", "-c", str(self._conf), "zone-reload", self.origin)

    def control(self, *words: str) -> str:
        """Give knotd a command, such as ``zone-freeze`` and the zone, and return what it says."""
        return run("knotc", "-c", self._conf, *words)

    def start(self) -> None:
        """Start knotd and return when it answers for the zone."""
        self._daemon.start(lambda: is_answering(self.address, self.port, self.origin))
