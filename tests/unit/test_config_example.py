from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import dns.name
import pytest

from poolmgr.config import json_schema, load_config
from poolmgr.config.document import Place, parse_document
from poolmgr.zone.desired import from_text, owned_keys
from poolmgr.zone.skeleton import read_skeleton
from tests.reference import comment_above, resolved, uncommented

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "config.example.yaml"


def test_the_example_is_valid_as_it_stands() -> None:
    config = load_config(EXAMPLE)
    assert config.zones[0].skeleton == ROOT / "zones/keys.example.org.zone"
    assert [pool.name for pool in config.pools] == [
        dns.name.from_text("pool.keys.example.org"),
        dns.name.from_text("p80.keys.example.org"),
    ]


def test_the_kinds_of_pools_that_the_example_tells_of_are_valid(tmp_path: Path) -> None:
    text = re.sub(r"^  # (?=- \{name:)", "  ", EXAMPLE.read_text(), flags=re.MULTILINE)
    text = text.replace("  #geo:", "  geo:")
    path = tmp_path / "config.yaml"
    path.write_text(text)
    config = load_config(path)
    names = {pool.host.partition(".")[0] for pool in config.pools}
    assert names == {"pool", "p80", "ipv4", "ipv6", "hkps", "ha", "subset", "eu", "na", "de", "hockeypuck", "fast"} | {
        "dual",
        "campus",
        "friends",
    }
    assert len(config.pools) == len(names)


def properties(schema: dict[str, Any], place: Place = ()) -> Iterator[tuple[Place, dict[str, Any], bool]]:
    """Yield place, schema and whether it is required of every key; list indexes in places are "[]"."""
    section = resolved(schema)
    for key, value in section.get("properties", {}).items():
        yield (*place, key), value, key in section.get("required", ())
        yield from properties(value, (*place, key))
    items = section.get("items", {})
    for entry in items.get("oneOf", [items]) if items else ():
        yield from properties(entry, (*place, "[]"))


def test_the_example_has_every_key_with_its_default() -> None:
    text = uncommented(EXAMPLE.read_text())
    document = parse_document(text.encode(), str(EXAMPLE))
    assert document.problems == ()
    comments: dict[Place, str] = {}
    for place, mark in document.marks.items():
        key = tuple("[]" if isinstance(step, int) else step for step in place)
        comments.setdefault(key, comment_above(text.splitlines(), mark.line))
    for place, schema, required in properties(json_schema()):
        if "default" in schema:
            written = re.search(r"Default: (.+)\.$", comments[place])
            assert written is not None, place
            assert parse_document(written[1].encode(), "").value == schema["default"], place
        else:
            assert comments[place].endswith("Required." if required else "Optional."), place


def test_the_example_uses_only_names_and_addresses_for_documentation() -> None:
    text = EXAMPLE.read_text() + "".join(path.read_text() for path in (ROOT / "zones").iterdir())
    for literal in re.findall(r"\b(?:\d{1,3}\.){3}\d{1,3}\b", text):
        assert literal.startswith(("192.0.2.", "198.51.100.", "127.0.0.1", "10.0.0.0")), literal
    for domain in re.findall(r"\b[\w.-]+\.(?:org|net|com)\b", text):
        assert domain.endswith(("example.org", "example.net")), domain


def test_the_skeleton_of_the_example_takes_the_pools_of_the_example() -> None:
    config = load_config(EXAMPLE)
    (each,) = config.zones
    assert each.skeleton is not None
    assert read_skeleton(
        str(each.skeleton), each.origin, owned_keys(config.pools), lambda path: Path(path).read_text()
    ) == from_text(each.skeleton.read_text(), each.origin, "skeleton")


def test_the_skeleton_of_the_example_passes_named_checkzone(need: Callable[..., None]) -> None:
    need("named-checkzone")
    skeleton = ROOT / "zones/keys.example.org.zone"
    words = ["named-checkzone", "-i", "local", "keys.example.org", str(skeleton)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


KINDS: dict[str, type] = {"object": dict, "array": list, "string": str, "integer": int}


def is_allowed(value: object, schema: Mapping[str, Any]) -> bool:
    """Return whether the part of JSON Schema that ours uses allows `value`."""
    if isinstance(value, dict):
        known, required = schema.get("properties", {key: {} for key in value}), schema.get("required", ())
        inside = value.keys() <= known.keys() and all(key in value for key in required)
        fits = inside and all(is_allowed(entry, known[key]) for key, entry in value.items())
    elif isinstance(value, list):
        fits = all(is_allowed(entry, schema.get("items", {})) for entry in value)
    elif isinstance(value, str):
        fits = re.search(schema.get("pattern", ""), value) is not None
    else:
        assert isinstance(value, int)
        fits = schema.get("minimum", value) <= value <= schema.get("maximum", value)
    return (
        fits
        and isinstance(value, KINDS.get(schema.get("type", ""), object))
        and value in schema.get("enum", [value])
        and value == schema.get("const", value)
        and ("$ref" not in schema or is_allowed(value, resolved(schema)))
        and all(any(is_allowed(value, one) for one in schema[key]) for key in ("anyOf", "oneOf") if key in schema)
    )


def test_the_schema_allows_the_example_with_all_its_keys() -> None:
    for text in (EXAMPLE.read_text(), uncommented(EXAMPLE.read_text())):
        assert is_allowed(parse_document(text.encode(), "").value, json_schema())


@pytest.mark.parametrize(
    "stem", ["unknown-key", "number-range", "duration-without-unit", "choice", "target-without-type"]
)
def test_the_schema_refuses_what_the_code_refuses(stem: str) -> None:
    content = (ROOT / f"tests/data/config/{stem}.yaml").read_bytes()
    assert not is_allowed(parse_document(content, "").value, json_schema())


def test_the_schema_describes_every_key_and_is_plain_json() -> None:
    schema = json_schema()
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    for place, value, _ in properties(schema):
        assert value.get("description") or resolved(value).get("description") or "const" in value, place
    assert "null" not in str(schema)
