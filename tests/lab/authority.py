"""A certificate authority of the lab's own, and certificates as good or bad as a test wants them."""

from __future__ import annotations

import itertools
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.lab.process import run

_CONF = """
[ca]
default_ca = lab
[lab]
database = {folder}/index.txt
new_certs_dir = {folder}
rand_serial = yes
unique_subject = no
default_md = sha256
policy = any
copy_extensions = copy
[any]
organizationName = optional
commonName = supplied
[req]
distinguished_name = none
[none]
"""
_DAY = timedelta(days=1)
_ISSUER = "/O=poolmgr lab/CN=Lab CA"


@dataclass(frozen=True, slots=True)
class Identity:
    """What a server shows: its certificate with that of its issuer behind it, and its key, both in PEM files."""

    chain: Path
    key: Path

    def context(self) -> ssl.SSLContext:
        """Return what a server written in Python needs to show it."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.chain, self.key)
        return context


class Authority:
    """A CA with everything that it writes in `folder`, made by the openssl command. `ca_file` has its certificate."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        self._numbers = itertools.count()
        self._conf = folder / "openssl.conf"
        self._conf.write_text(_CONF.format(folder=folder))
        (folder / "index.txt").touch()
        self._root = self._certify(_ISSUER, ("basicConstraints=critical,CA:TRUE",), days=(-3650, 3650), issuer=None)
        self.ca_file = self._root.chain

    def identity(self, *names: str, days: tuple[float, float] = (-1, 90), is_self_signed: bool = False) -> Identity:
        """Return a certificate for `names` that is valid from and to so many `days` from now."""
        extensions = (f"subjectAltName={','.join(f'DNS:{name}' for name in names)}",) if names else ()
        return self._certify("/CN=lab", extensions, days=days, issuer=None if is_self_signed else self._root)

    def identity_of_bytes(self, name: bytes) -> Identity:
        """Return a certificate for a name of at most 100 bytes that need be no text."""
        der = bytes((0x30, len(name) + 2, 0x82, len(name))) + name
        extension = f"subjectAltName=DER:{der.hex(':')}"
        return self._certify("/CN=lab", (extension,), days=(-1, 90), issuer=self._root)

    def _certify(
        self, subject: str, extensions: tuple[str, ...], *, days: tuple[float, float], issuer: Identity | None
    ) -> Identity:
        path = self._folder / str(next(self._numbers))
        key, request, certificate = (path.with_suffix(suffix) for suffix in (".key", ".csr", ".pem"))
        run("openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key)
        added = [word for extension in extensions for word in ("-addext", extension)]
        run("openssl", "req", "-new", "-config", self._conf, "-key", key, "-subj", subject, *added, "-out", request)
        signer = ("-selfsign", "-keyfile", key) if issuer is None else ("-cert", issuer.chain, "-keyfile", issuer.key)
        start, end = (f"{datetime.now(UTC) + _DAY * count:%Y%m%d%H%M%SZ}" for count in days)
        dates = ("-startdate", start, "-enddate", end)
        names = ("-in", request, "-out", certificate)
        run("openssl", "ca", "-batch", "-notext", "-config", self._conf, *signer, *dates, *names)
        if issuer is not None:
            certificate.write_text(certificate.read_text() + issuer.chain.read_text())
        return Identity(chain=certificate, key=key)
