"""A real NSD on loopback that serves one zone from its file."""

from __future__ import annotations

from pathlib import Path

from tests.lab.named import first_zone, is_answering
from tests.lab.process import Daemon, Running, run, unused_address, unused_port

_CONF = """
server:
    ip-address: {address}@{port}
    port: {port}
    username: ""
    chroot: ""
    zonesdir: "{folder}"
    pidfile: "{folder}/nsd.pid"
    xfrdfile: "{folder}/xfrd.state"
    xfrdir: "{folder}"
    zonelistfile: "{folder}/zone.list"
    database: ""
    server-count: 1
    verbosity: 2
remote-control:
    control-enable: yes
    control-interface: {folder}/nsd.ctl
{key}zone:
    name: {origin}
    zonefile: {zone_file}
"""


class Nsd(Running):
    """nsd with everything that it writes in `folder`. A context manager.

    It reads `zone_file` again when `reload_command` is run. With a `key`, name and base64 secret of an hmac-sha256 one,
    it checks and signs what is signed with that.
    """

    def __init__(
        self, folder: Path, origin: str, *, zone_text: str | None = None, key: tuple[str, str] | None = None
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.origin = origin
        self.address = unused_address()
        self.port = unused_port(self.address)
        self.zone_file = folder / "pool.zone"
        self.zone_file.write_text(first_zone(origin) if zone_text is None else zone_text)
        self._conf = folder / "nsd.conf"
        self._conf.write_text(
            _CONF.format(
                folder=folder,
                address=self.address,
                port=self.port,
                origin=origin,
                zone_file=self.zone_file,
                key=""
                if key is None
                else f'key:\n    name: "{key[0]}"\n    algorithm: hmac-sha256\n    secret: "{key[1]}"\n',
            )
        )
        self._daemon = Daemon(("nsd", "-d", "-c", self._conf), folder / "nsd.log")

    @property
    def reload_command(self) -> tuple[str, ...]:
        """The command that makes nsd read the zone file again."""
        return ("nsd-control", "-c", str(self._conf), "reload", self.origin)

    def control(self, *words: str) -> str:
        """Give nsd a command, such as ``zonestatus``, and return what it says."""
        return run("nsd-control", "-c", self._conf, *words)

    def start(self) -> None:
        """Start nsd and return when it answers for the zone."""
        self._daemon.start(lambda: is_answering(self.address, self.port, self.origin))
