"""A real BIND named on loopback: the primary of one zone, with TSIG keys and rndc."""

from __future__ import annotations

import base64
import secrets
from ipaddress import IPv4Address
from pathlib import Path

import dns.exception
import dns.message
import dns.query
import dns.rcode

from tests.lab.authority import Identity
from tests.lab.process import Daemon, Running, run, unused_port

LOCALHOST = IPv4Address("127.0.0.1")
"""named listens only on addresses that an interface has, and the loopback interface has no other of IPv4."""

KEY_NAME = "poolmgr-key"
"""The key that the default update-policy lets write."""

OTHER_KEY_NAME = "other-key"
"""A key that the server knows and that may write nothing."""

_CONF = """
{tls} include "{folder}/tsig.key"; include "{folder}/other.key"; include "{folder}/rndc.key";
options {{
    directory "{folder}"; pid-file "{folder}/named.pid"; session-keyfile "{folder}/session.key";
    managed-keys-directory "{folder}"; lock-file none;
    listen-on port {port} {{ {address}; }}; listen-on-v6 port {port} {{ ::1; }}; {secure}
    query-source address {address}; notify-source {address}; transfer-source {address};
    recursion no; dnssec-validation no; empty-zones-enable no; notify no;
    allow-query {{ 127.0.0.0/8; ::1; }}; allow-transfer {{ none; }};
}};
controls {{ inet {address} port {control_port} allow {{ 127.0.0.0/8; }} keys {{ "rndc-key"; }}; }};
zone "{origin}" {{ type {role}; file "{zone_file}"; {zone_options} }};
"""


def first_zone(origin: str) -> str:
    """Return the zone file of a zone that has nothing but its name server."""
    return (
        f"$ORIGIN {origin}\n$TTL 300\n@ SOA ns1 hostmaster ( 2026010101 900 600 86400 60 )\n@ NS ns1\nns1 A 127.0.0.1\n"
    )


def write_key(path: Path, name: str) -> Path:
    """Write a new TSIG key to `path` as tsig-keygen does."""
    secret = base64.b64encode(secrets.token_bytes(32)).decode()
    path.touch(mode=0o600)
    path.write_text(f'key "{name}" {{\n\talgorithm hmac-sha256;\n\tsecret "{secret}";\n}};\n')
    return path


def secret_of(key_file: Path) -> str:
    """Return the base64 secret in a file of `write_key`, for servers that have keys in their own configuration."""
    return key_file.read_text().split('"')[3]


def is_answering(address: IPv4Address, port: int, origin: str, rcode: dns.rcode.Rcode = dns.rcode.NOERROR) -> bool:
    """Return whether a name server answers for `origin` there, with `rcode`."""
    try:
        reply = dns.query.tcp(dns.message.make_query(origin, "SOA"), str(address), timeout=1, port=port)
    except (OSError, EOFError, dns.exception.DNSException):
        return False
    return reply.rcode() == rcode


class Named(Running):
    """named as the primary of `origin`, with everything that it writes in `folder`. A context manager.

    By default the key in `key_file` may write all of the zone by dynamic update. With other `zone_options` the zone is
    what they say; with none it is static, and named reads `zone_file` again when `reload_command` is run. With an
    `identity` it answers over TLS at `tls_port` too.
    """

    def __init__(
        self,
        folder: Path,
        origin: str,
        *,
        zone_text: str | None = None,
        zone_options: str = f"update-policy {{ grant {KEY_NAME} zonesub ANY; }};",
        role: str = "primary",
        identity: Identity | None = None,
        port: int | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.origin = origin
        self.address = LOCALHOST
        self.port = port or unused_port(self.address)
        self.tls_port = unused_port(self.address)
        secure = tls = ""
        if identity is not None:
            proof = f'cert-file "{identity.chain}"; key-file "{identity.key}";'
            tls = f"tls lab {{ {proof} }};"
            secure = f"listen-on port {self.tls_port} tls lab {{ {self.address}; }};"
        self.zone_file = folder / "pool.zone"
        self.zone_file.write_text(first_zone(origin) if zone_text is None else zone_text)
        self.key_file = write_key(folder / "tsig.key", KEY_NAME)
        self.other_key_file = write_key(folder / "other.key", OTHER_KEY_NAME)
        rndc_key = write_key(folder / "rndc.key", "rndc-key")
        control_port = unused_port(self.address)
        self._rndc = ("rndc", "-k", str(rndc_key), "-s", str(self.address), "-p", str(control_port))
        conf = folder / "named.conf"
        conf.write_text(
            _CONF.format(
                folder=folder,
                address=self.address,
                port=self.port,
                control_port=control_port,
                origin=origin,
                zone_file=self.zone_file,
                zone_options=zone_options,
                role=role,
                secure=secure,
                tls=tls,
            )
        )
        self._daemon = Daemon(("named", "-g", "-n", "1", "-c", conf), folder / "named.log")

    @property
    def reload_command(self) -> tuple[str, ...]:
        """The command that makes named read the zone file again."""
        return (*self._rndc, "reload", self.origin)

    def rndc(self, *words: str) -> str:
        """Give named a command, such as ``freeze`` and the zone, and return what it says."""
        return run(*self._rndc, *words)

    def start(self, rcode: dns.rcode.Rcode = dns.rcode.NOERROR) -> None:
        """Start named and return when it answers for the zone with `rcode`."""
        self._daemon.start(lambda: is_answering(self.address, self.port, self.origin, rcode))
