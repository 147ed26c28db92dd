"""Where a TSIG key comes from (RFC 8945), and the key itself."""

from __future__ import annotations

import base64
import binascii
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import dns.exception
import dns.name
import dns.tsig

from poolmgr.errors import ParseError, PublishError

ALGORITHMS: Mapping[str, dns.name.Name] = {
    "hmac-sha256": dns.tsig.HMAC_SHA256,
    "hmac-sha384": dns.tsig.HMAC_SHA384,
    "hmac-sha512": dns.tsig.HMAC_SHA512,
}
"""The algorithms that RFC 8945 section 6 does not advise against, without the truncated ones."""

MIN_SECRET = 16
"""Octets a secret must have: with fewer it could be guessed from one signed message."""

MAX_FILE = 64 * 1024
"""Octets read of a key file: a real one has about 100."""


@dataclass(frozen=True, slots=True)
class KeyFile:
    """A file as `tsig-keygen` writes it: key name, algorithm and secret."""

    path: Path


@dataclass(frozen=True, slots=True)
class SecretInEnvironment:
    """A key whose base64 secret is in an environment variable."""

    name: dns.name.Name
    algorithm: str
    variable: str


@dataclass(frozen=True, slots=True)
class SecretFile:
    """A key whose base64 secret is the only content of a file."""

    name: dns.name.Name
    algorithm: str
    path: Path


KeySource = KeyFile | SecretInEnvironment | SecretFile


@dataclass(frozen=True, slots=True)
class TsigKey:
    """A key to sign with. Its text never shows the secret."""

    name: dns.name.Name
    algorithm: str
    secret: bytes = field(repr=False)

    def to_dnspython(self) -> dns.tsig.Key:
        """Return the key as dnspython takes it. That one's repr shows the secret: keep it out of logs and errors."""
        return dns.tsig.Key(self.name, self.secret, ALGORITHMS[self.algorithm])


def load_key(source: KeySource, environ: Mapping[str, str]) -> TsigKey:
    """Return the key that `source` names; `environ` are the environment variables.

    Raises PublishError where it cannot be had or everybody on this machine may read it, ParseError where its text is
    no key that may be used.
    """
    match source:
        case KeyFile(path):
            return parse_key(_read_private(path), str(path))
        case SecretFile(name, algorithm, path):
            return _key(name, algorithm, _read_private(path).strip(), str(path))
        case SecretInEnvironment(name, algorithm, variable):
            where = f"environment variable {variable}"
            if variable not in environ:
                raise PublishError(f"{where} is not set: it is to hold the base64 secret of the TSIG key {name}")
            return _key(name, algorithm, environ[variable].strip(), where)


def parse_key(text: str, source: str) -> TsigKey:
    """Return the only key in `text`, written as ``key "name" { algorithm hmac-sha256; secret "..."; };``.

    Raises ParseError, with `source` and the line, for anything else. No word of the text is repeated in it, since it
    may be the secret.
    """
    tokens = _tokens(text, source)
    _expect(tokens, source, "key")
    _, name_text = _word(tokens, source, "the key's name")
    _expect(tokens, source, "{")
    fields: dict[str, tuple[int, str]] = {}
    while tokens and tokens[0][1] in ("algorithm", "secret"):
        line, clause = tokens.pop(0)
        if clause in fields:
            raise ParseError(f"{source}:{line}: a second {clause}: a key has one")
        fields[clause] = (line, _word(tokens, source, f"a value for {clause}")[1])
        _expect(tokens, source, ";")
    _expect(tokens, source, "}")
    _expect(tokens, source, ";")
    if tokens:
        raise ParseError(f"{source}:{tokens[0][0]}: something follows the key: give a file with one key only")
    for clause in ("algorithm", "secret"):
        if clause not in fields:
            raise ParseError(f"{source}: the key has no {clause}: make one with tsig-keygen -a hmac-sha256")
    line, secret = fields["secret"]
    return _key(_key_name(name_text, source), fields["algorithm"][1], secret, f"{source}:{line}")


_TOKEN = re.compile(
    r"""(?P<blank>\s+|//[^\n]*|\#[^\n]*|/\*.*?\*/)
      | "(?P<quoted>[^"\n]*)"
      | (?P<bare>[{};]|(?:[^\s{};"\#/]|/(?![/*]))+)""",
    re.VERBOSE | re.DOTALL,
)


def _tokens(text: str, source: str) -> list[tuple[int, str]]:
    """Return line and text of each word and sign; comments are those of named.conf."""
    tokens = []
    position = 0
    while position < len(text):
        line = text.count("\n", 0, position) + 1
        match = _TOKEN.match(text, position)
        if match is None:
            raise ParseError(f"{source}:{line}: a quoted text or a comment does not end")
        if match["blank"] is None:
            tokens.append((line, match["bare"] if match["quoted"] is None else match["quoted"]))
        position = match.end()
    return tokens


def _word(tokens: list[tuple[int, str]], source: str, what: str) -> tuple[int, str]:
    if not tokens:
        raise ParseError(f"{source}: the file ends where {what} is expected: is it what tsig-keygen wrote?")
    return tokens.pop(0)


def _expect(tokens: list[tuple[int, str]], source: str, sign: str) -> None:
    line, found = _word(tokens, source, f"'{sign}'")
    if found != sign:
        raise ParseError(f"{source}:{line}: '{sign}' is expected here: is it what tsig-keygen wrote?")


def _key_name(text: str, source: str) -> dns.name.Name:
    try:
        return dns.name.from_text(text)
    except dns.exception.DNSException as error:
        raise ParseError(f"{source}: the key's name is not a DNS name: {type(error).__name__}") from error


def _key(name: dns.name.Name, algorithm: str, secret: str, where: str) -> TsigKey:
    if algorithm.lower() not in ALGORITHMS:
        raise ParseError(
            f"{where}: the TSIG key {name} is not of an algorithm that is safe to use ({', '.join(ALGORITHMS)}): "
            "make a new one with tsig-keygen -a hmac-sha256"
        )
    try:
        octets = base64.b64decode(secret, validate=True)
    except (binascii.Error, ValueError):
        # Without the cause: it may quote what it could not decode.
        raise ParseError(f"{where}: the secret of the TSIG key {name} is not base64: copy it again, whole") from None
    if len(octets) < MIN_SECRET:
        raise ParseError(
            f"{where}: the secret of the TSIG key {name} has {len(octets)} octets of at least {MIN_SECRET}: "
            "make a new one with tsig-keygen -a hmac-sha256"
        )
    return TsigKey(name, algorithm.lower(), octets)


def _read_private(path: Path) -> str:
    try:
        with path.open("rb") as file:
            _refuse_public(file, path)
            content = file.read(MAX_FILE + 1)
    except OSError as error:
        raise PublishError(f"cannot read the TSIG key file {path}: {error.strerror}") from error
    if len(content) > MAX_FILE:
        raise ParseError(f"{path}: more than {MAX_FILE} octets: this is no TSIG key file")
    try:
        return content.decode("ascii")
    except UnicodeDecodeError:
        raise ParseError(f"{path}: not plain ASCII text: this is no TSIG key file") from None


def _refuse_public(file: IO[bytes], path: Path) -> None:
    mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
    if mode & stat.S_IRWXO:
        raise PublishError(
            f"the TSIG key file {path} has mode {mode:04o}, so that everybody on this machine may use it: "
            f"chmod o= {path}, and make a new key if anybody else has been on this machine"
        )
