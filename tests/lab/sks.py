"""Real SKS keyservers on loopback, with keys made for them."""

from __future__ import annotations

import base64
import contextlib
import http.client
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlencode

from tests.lab.process import PATIENCE, Daemon, LabError, Running, find_program, unused_address, wait_until

HKP_PORT = 11371
RECON_PORT = 11370

_LONG_AGO = datetime(2025, 11, 1, tzinfo=UTC)

_CONF = """
hostname: {hostname}
nodename: {hostname}
hkp_address: {address}
hkp_port: {port}
recon_address: {address}
recon_port: 11370
server_contact: 0x1455854896B25036
from_addr: pgp-public-keys@{hostname}
sendmail_cmd: /bin/true
stat_hour: 3
gossip_interval: 1
debuglevel: 5
initial_stat:
"""


def make_keys(count: int) -> tuple[bytes, ...]:
    """Return `count` new OpenPGP keys, each as gpg exports it, made in a folder that is gone afterwards.

    They were signed so long ago that who has one need not be fresh.
    """
    with _gpg() as gpg:
        users = [f"user{number}@example.test" for number in range(count)]
        for user in users:
            gpg(_LONG_AGO, "--quick-gen-key", f"Test User <{user}>", "ed25519", "default", "never")
        return tuple(gpg(_LONG_AGO, "--export", f"<{user}>") for user in users)


def make_versions(*signed: datetime) -> tuple[bytes, ...]:
    """Return a new OpenPGP key as gpg exports it after it was made, and after it was signed anew, at these times.

    It is user0's, as the first one of `make_keys`.
    """
    with _gpg() as gpg:
        versions: list[bytes] = []
        for at in signed:
            if versions:
                gpg(at, "--quick-set-expire", _listed(gpg(at, "--list-keys", "--with-colons")), "0")
            else:
                gpg(at, "--quick-gen-key", "Test User <user0@example.test>", "ed25519", "default", "never")
            versions.append(gpg(at, "--export"))
        return tuple(versions)


def _listed(listing: bytes) -> str:
    """Return the fingerprint of the first key in gpg's `listing`."""
    return next(line.split(":")[9] for line in listing.decode().splitlines() if line.startswith("fpr:"))


@contextlib.contextmanager
def _gpg() -> Iterator[Callable[..., bytes]]:
    """Yield a call of gpg with a clock and words, in a folder that is gone afterwards."""
    # The agent's socket path may have 107 octets: a folder right under /tmp keeps it short.
    with tempfile.TemporaryDirectory(prefix="gpg-", dir="/tmp") as home:
        environ = {**os.environ, "GNUPGHOME": home}

        def gpg(at: datetime, *words: str) -> bytes:
            return subprocess.run(
                ["gpg", "--batch", "--quiet", "--faked-system-time", f"{at:%Y%m%dT%H%M%S}", "--passphrase", "", *words],
                env=environ,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=PATIENCE,
                check=True,
            ).stdout

        try:
            yield gpg
        finally:
            subprocess.run(["gpgconf", "--kill", "all"], env=environ, timeout=PATIENCE, check=True)


def _armoured(key: bytes) -> str:
    """Return `key` in armour with its checksum, which sks asks for (RFC 4880 section 6.1)."""
    checksum = 0xB704CE
    for octet in key:
        checksum ^= octet << 16
        for _ in range(8):
            checksum = checksum << 1 ^ (0x1864CFB if checksum & 0x800000 else 0)
    text = base64.encodebytes(key).decode() + "=" + base64.b64encode(checksum.to_bytes(3, "big")).decode()
    return f"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n{text}\n-----END PGP PUBLIC KEY BLOCK-----\n"


def unused_sks_address() -> str:
    """Return a loopback address on which a keyserver's two ports are free."""
    return str(unused_address(HKP_PORT, RECON_PORT))


class Sks(Running):
    """`sks db` on `address`, with everything that it writes in `folder`. A context manager.

    It holds `keys` (as from `make_keys`; fewer than the others have make a keyserver that lags behind) and lists
    `peers`, names or addresses, as its gossip peers. `gossips` starts `sks recon` with it: then it fetches the keys
    that its peers have, within two minutes.
    """

    def __init__(
        self,
        folder: Path,
        address: str,
        hostname: str,
        keys: Sequence[bytes],
        *,
        port: int = HKP_PORT,
        peers: Sequence[str] = (),
        gossips: bool = False,
    ) -> None:
        self.folder = folder
        self.address = address
        self.port = port
        self.hostname = hostname
        self._socket = folder / "var/run/sks/db_com_sock"
        for part in ("etc/sks", "var/lib/sks/www", "var/lib/sks/dump", "var/log/sks", "var/run/sks"):
            (folder / part).mkdir(parents=True)
        (folder / "var/spool/sks/messages").mkdir(parents=True)
        (folder / "etc/sks/sksconf").write_text(_CONF.format(hostname=hostname, address=address, port=port))
        (folder / "etc/sks/membership").write_text("".join(f"{peer} {RECON_PORT}\n" for peer in peers))
        keyring = folder / "keys.pgp"
        keyring.write_bytes(b"".join(keys))
        self._build(keyring)
        base = ("-basedir", folder, "-stdoutlog")
        self._daemon = Daemon(("sks", "db", *base), folder / "db.log")
        self._recon = Daemon(("sks", "recon", *base), folder / "recon.log") if gossips else None

    def _build(self, keyring: Path) -> None:
        """Make the databases. cleandb crashes when its work is done; without it, recon finds no common filters."""
        sks = find_program("sks")
        if sks is None:
            raise LabError("sks is not installed")
        log = self.folder / "build.log"
        for words in (("build", keyring, "-n", "10", "-cache", "5"), ("cleandb",), ("pbuild", "-cache", "5")):
            with log.open("ab") as output:
                subprocess.run(
                    [sks, words[0], "-basedir", self.folder, "-stdoutlog", *words[1:]],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    timeout=PATIENCE,
                    check=False,
                )
        if not (self.folder / "var/lib/sks/PTree/ptree").exists():
            raise LabError(f"sks made no database: {log.read_text(errors='replace')[-2000:]}")

    def start(self) -> None:
        """Start the keyserver and return when it answers with its statistics."""
        self._daemon.start(self._is_answering)
        if self._recon is not None:
            # recon ends at once where the socket of db is not there.
            wait_until(self._socket.exists, f"{self._socket} is there")
            recon_log = self._recon.log
            self._recon.start(lambda: "Starting event loop" in recon_log())

    def stop(self) -> None:
        """Stop the keyserver."""
        if self._recon is not None:
            self._recon.stop()
        self._daemon.stop()

    def get(self, path: str) -> tuple[int, bytes]:
        """Return status and body of what the keyserver answers at `path`."""
        return self._ask("GET", path)

    def add(self, key: bytes) -> None:
        """Upload `key`, as somebody's gpg does."""
        status, body = self._ask("POST", "/pks/add", urlencode({"keytext": _armoured(key)}))
        if status != http.client.OK:
            raise LabError(f"sks refused a key: {status} {body!r}")

    def _ask(self, method: str, path: str, form: str | None = None) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(self.address, self.port, timeout=5)
        try:
            connection.request(method, path, form)
            reply = connection.getresponse()
            return reply.status, reply.read()
        finally:
            connection.close()

    def _is_answering(self) -> bool:
        try:
            return self.get("/pks/lookup?op=stats")[0] == http.client.OK
        except (OSError, http.client.HTTPException):
            return False
