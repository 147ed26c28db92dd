from __future__ import annotations

import base64
import traceback
from pathlib import Path

import dns.message
import dns.name
import pytest

from poolmgr.errors import ParseError, PublishError
from poolmgr.publish.tsig import (
    MAX_FILE,
    KeyFile,
    KeySource,
    SecretFile,
    SecretInEnvironment,
    TsigKey,
    load_key,
    parse_key,
)

SECRET = base64.b64encode(bytes(range(32))).decode()
NAME = dns.name.from_text("poolmgr-key.")
GENERATED = f'key "poolmgr-key" {{\n\talgorithm hmac-sha256;\n\tsecret "{SECRET}";\n}};\n'


@pytest.mark.parametrize(
    "text",
    [
        GENERATED,
        f"key poolmgr-key {{ algorithm HMAC-SHA256; secret {SECRET}; }};",
        f'// one\n# two\n/* three\n */ key "poolmgr-key." {{ secret "{SECRET}"; /* ; */ algorithm "hmac-sha256"; }} ;',
    ],
)
def test_a_key_file_is_read_with_any_layout_comments_and_quotes(text: str) -> None:
    assert parse_key(text, "tsig.key") == TsigKey(NAME, "hmac-sha256", bytes(range(32)))


def test_a_message_signed_with_a_loaded_key_verifies() -> None:
    key = parse_key(GENERATED.replace("hmac-sha256", "hmac-sha512"), "tsig.key").to_dnspython()
    query = dns.message.make_query("example.org.", "SOA")
    query.use_tsig(key)
    assert dns.message.from_wire(query.to_wire(), keyring={NAME: key}).had_tsig


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "k: the file ends where 'key' is expected"),
        ("zone x { };", "k:1: 'key' is expected here"),
        (GENERATED.replace("{", ""), "k:2: '{' is expected here"),
        (GENERATED.replace("hmac-sha256;", "hmac-sha256"), "k:3: ';' is expected here"),
        (GENERATED.replace("};", "}"), "k: the file ends where ';' is expected"),
        (GENERATED.replace('";', ";"), "k:3: a quoted text or a comment does not end"),
        (GENERATED + "/* ", "k:5: a quoted text or a comment does not end"),
        (GENERATED + GENERATED, "k:5: something follows the key"),
        (GENERATED.replace("algorithm hmac-sha256;", ""), "k: the key has no algorithm"),
        (f'key "x" {{ algorithm hmac-sha256; }}; // {SECRET}', "k: the key has no secret"),
        (GENERATED.replace("algorithm", f'secret "{SECRET}"; algorithm'), "k:3: a second secret"),
        (GENERATED.replace("algorithm", "owner me; algorithm"), "k:2: '}' is expected here"),
        (GENERATED.replace("poolmgr-key", "a..b"), "k: the key's name is not a DNS name: EmptyLabel"),
        (GENERATED.replace(SECRET, SECRET[:-1]), "k:3: the secret of the TSIG key poolmgr-key. is not base64"),
        (
            GENERATED.replace(SECRET, f"{SECRET[:8]} {SECRET[8:]}"),
            "k:3: the secret of the TSIG key poolmgr-key. is not",
        ),
        (
            GENERATED.replace(SECRET, f"{SECRET[:8]}-{SECRET[8:]}"),
            "k:3: the secret of the TSIG key poolmgr-key. is not",
        ),
    ],
)
def test_what_is_no_key_file_is_refused_with_the_line_and_without_the_secret(text: str, sentence: str) -> None:
    with pytest.raises(ParseError) as caught:
        parse_key(text, "k")
    assert str(caught.value).startswith(sentence)
    assert SECRET[:8] not in "".join(traceback.format_exception(caught.value, chain=True)).replace(text, "")


@pytest.mark.parametrize("algorithm", ["hmac-md5", "hmac-sha1", "hmac-sha224", "hmac-sha256-128", "gss-tsig", "none"])
def test_weak_truncated_and_unknown_algorithms_are_refused_with_the_remedy(algorithm: str) -> None:
    with pytest.raises(ParseError, match=r"hmac-sha256, hmac-sha384, hmac-sha512.*tsig-keygen -a hmac-sha256"):
        parse_key(GENERATED.replace("hmac-sha256", algorithm), "tsig.key")


def test_a_secret_has_at_least_sixteen_octets() -> None:
    def text(octets: int) -> str:
        return GENERATED.replace(SECRET, base64.b64encode(bytes(octets)).decode())

    assert len(parse_key(text(16), "k").secret) == 16
    assert len(parse_key(text(17), "k").secret) == 17
    with pytest.raises(ParseError, match="has 15 octets of at least 16"):
        parse_key(text(15), "k")


def test_the_text_of_a_key_never_shows_its_secret() -> None:
    key = parse_key(GENERATED, "k")
    for text in (repr(key), str(key), f"{key}", repr([key])):
        assert SECRET not in text
        assert repr(bytes(range(32)))[2:-1] not in text
        assert "poolmgr-key" in text


def write(path: Path, text: str, mode: int) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o640, 0o660])
def test_a_key_file_may_be_readable_by_its_owner_and_group(tmp_path: Path, mode: int) -> None:
    path = write(tmp_path / "tsig.key", GENERATED, mode)
    assert load_key(KeyFile(path), {}) == parse_key(GENERATED, "k")


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o602])
def test_a_key_file_that_everybody_may_use_is_refused_with_the_remedy(tmp_path: Path, mode: int) -> None:
    path = write(tmp_path / "tsig.key", GENERATED, mode)
    secret = write(tmp_path / "secret", SECRET, mode)
    for source in (KeyFile(path), SecretFile(NAME, "hmac-sha256", secret)):
        with pytest.raises(PublishError, match=rf"has mode {mode:04o}.*chmod o= {source.path}"):
            load_key(source, {})


def test_a_secret_comes_from_a_file_or_the_environment_with_blanks_around_it(tmp_path: Path) -> None:
    path = write(tmp_path / "secret", f"{SECRET}\n", 0o600)
    expected = TsigKey(NAME, "hmac-sha384", bytes(range(32)))
    assert load_key(SecretFile(NAME, "hmac-sha384", path), {}) == expected
    assert load_key(SecretInEnvironment(NAME, "HMAC-SHA384", "KEY"), {"KEY": f" {SECRET}\n"}) == expected


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        (SecretInEnvironment(NAME, "hmac-sha256", "KEY"), "environment variable KEY is not set"),
        (KeyFile(Path("/nowhere/tsig.key")), "cannot read the TSIG key file /nowhere/tsig.key: No such file"),
    ],
)
def test_a_source_that_is_not_there_is_named(source: KeySource, sentence: str) -> None:
    with pytest.raises(PublishError, match=sentence):
        load_key(source, {})


@pytest.mark.parametrize("content", [b"\xff\x00", b"#" * (MAX_FILE + 1)])
def test_a_file_that_cannot_be_a_key_file_is_refused_unread(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "tsig.key"
    path.touch(mode=0o600)
    path.write_bytes(content)
    with pytest.raises(ParseError, match="this is no TSIG key file"):
        load_key(KeyFile(path), {})
