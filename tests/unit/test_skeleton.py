"""Skeletons in tests/data/zones: each bad one begins with the problems that it has, as comments."""

from __future__ import annotations

from pathlib import Path

import dns.name
import dns.rdatatype
import pytest

from poolmgr.errors import ParseError, ZoneError
from poolmgr.zone.desired import from_text, owned_keys, to_text
from poolmgr.zone.records import Records
from poolmgr.zone.skeleton import read_skeleton
from tests.build import ORIGIN, POOL, SKELETON, pool, zone
from tests.conftest import Need
from tests.lab.process import run

ZONES = Path(__file__).parents[1] / "data" / "zones"
BAD = sorted((ZONES / "bad").glob("*.zone"))
OWNED = owned_keys([pool(), pool("a.keys.example.org.")])


def read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError as error:
        raise ParseError(f"cannot read {path}: {error.strerror}") from error


def skeleton(text: str, name: str = "example.org.") -> Records:
    """Return what a skeleton of the usual records and `text` has, in a zone with one pool."""
    return read_skeleton("skeleton", ORIGIN, owned_keys([pool(name)]), lambda _: SKELETON + text)


@pytest.mark.parametrize("path", BAD, ids=[path.stem for path in BAD])
def test_a_bad_skeleton_is_refused_with_all_its_problems(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ZONES)
    expected = [line.removeprefix("; ") for line in path.read_text().splitlines() if line.startswith("; ")]
    source = f"bad/{path.name}"
    with pytest.raises(ZoneError) as refusal:
        read_skeleton(source, ORIGIN, OWNED, read)
    said = [line.removeprefix(f"{source}:").strip() for line in str(refusal.value).splitlines()]
    assert said == expected


def test_a_skeleton_with_everything_is_what_named_makes_of_it(
    need: Need, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need("named-compilezone")
    folder = tmp_path / "zones"
    folder.mkdir()
    # named looks for included files in its working folder, poolmgr in that of the file which includes them.
    for path in (ZONES / "good" / "everything.zone", *(ZONES / "good" / "parts").iterdir()):
        (folder / path.name).write_text(path.read_text().replace("parts/", ""))
    monkeypatch.chdir(folder)
    out = tmp_path / "compiled"
    run("named-compilezone", "-i", "local", "-o", out, "example.org", "everything.zone")
    assert read_skeleton(str(ZONES / "good" / "everything.zone"), ORIGIN, OWNED, read) == from_text(
        out.read_text(), ORIGIN, "compiled"
    )


@pytest.mark.parametrize(
    ("checker", "words"),
    [
        ("named-checkzone", ("-i", "local", "example.org.", "{}")),
        ("nsd-checkzone", ("example.org.", "{}")),
        ("kzonecheck", ("-o", "example.org.", "{}")),
    ],
)
def test_checkers_accept_what_a_skeleton_may_have(
    need: Need, tmp_path: Path, checker: str, words: tuple[str, ...]
) -> None:
    need(checker)
    path = tmp_path / "written.zone"
    whole = read_skeleton(str(ZONES / "good" / "everything.zone"), ORIGIN, OWNED, read)
    path.write_text(to_text(whole, ORIGIN, "a test"))
    run(checker, *(word.format(path) for word in words))


def test_what_an_included_file_says_of_names_ends_with_it() -> None:
    files = {
        "zones/top": f"{SKELETON}a A 192.0.2.1\n$INCLUDE in/side deep\n AAAA 2001:db8::1\nc A 192.0.2.3\n",
        "zones/in/side": "$TTL 60\nb A 192.0.2.4\n$ORIGIN further\n$INCLUDE below\n",
        "zones/in/below": "x A 192.0.2.5\n",
    }
    records = read_skeleton("zones/top", ORIGIN, OWNED, files.__getitem__)
    hosts = {str(owner): rrset for (owner, rdtype), rrset in records.items() if rdtype == dns.rdatatype.A}
    assert {name: rrset.ttl for name, rrset in hosts.items()} == {
        "ns1.example.org.": 300,
        "a.example.org.": 300,
        "b.deep.example.org.": 60,
        "x.further.deep.example.org.": 60,
        "c.example.org.": 60,
    }
    assert (dns.name.from_text("a.example.org."), dns.rdatatype.AAAA) in records


def test_files_that_include_more_and_more_others_come_to_an_end() -> None:
    asked = []

    def endless(path: str) -> str:
        asked.append(path)
        return f"$INCLUDE {path}x\n"

    with pytest.raises(ZoneError, match=r"is more than 10 files deep"):
        read_skeleton("x", ORIGIN, OWNED, endless)
    assert len(asked) == 11


@pytest.mark.parametrize("break_", ["\n", "\r\n", "\r"])
def test_lines_of_every_system_are_counted(break_: str) -> None:
    text = f"{SKELETON}www A (\n192.0.2.1 )\nbad A 192.0.2\n".replace("\n", break_)
    with pytest.raises(ZoneError, match=r"^skeleton:7: "):
        read_skeleton("skeleton", ORIGIN, OWNED, lambda _: text)


def test_hand_kept_records_at_a_pools_name_and_delegations_beside_it_stay() -> None:
    text = 'pool TXT "hand-kept"\npool DNAME example.net.\nother NS ns1.example.net.\n'
    records = skeleton(text, "pool.example.org.")
    assert records == zone(text)
    assert (POOL, dns.rdatatype.TXT) in records


def test_a_pool_at_the_apex_and_one_below_an_alias_are_allowed() -> None:
    assert skeleton("") == zone()
    assert skeleton("keys CNAME ns1\n", "a.keys.example.org.") == zone("keys CNAME ns1\n")


@pytest.mark.parametrize(
    "text",
    ["_hkp._tcp SRV 0 0 11371 pool\n", "@ MX 10 x.sub\nsub NS ns.example.net.\n", "@ MX 10 x.old\nold DNAME x.test.\n"],
)
def test_a_target_with_addresses_of_the_pool_or_of_another_zone_is_no_dead_end(text: str) -> None:
    assert skeleton(text, "pool.example.org.") == zone(text)


def test_a_wildcard_gives_no_address_to_names_beside_it() -> None:
    with pytest.raises(ZoneError, match="the MX leads to mail, which has no address"):
        skeleton("*.wild A 192.0.2.1\n@ MX 10 mail\n")


def test_what_may_stand_in_a_line_that_cannot_be_read_is_not_said_to_be_missing() -> None:
    with pytest.raises(ZoneError) as refusal:
        read_skeleton("x", dns.name.from_text("example.org."), OWNED, lambda _: "$TTL 5\n@ SOA\n@ NS ns1\nns1 A 1\n")
    assert [line.split(": ")[0] for line in str(refusal.value).splitlines()] == ["x:2", "x:4"]
