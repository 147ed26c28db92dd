"""What reports write as JSON is what their JSON Schemas say, and nothing else."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import pytest

from poolmgr.report import explain
from tests import reference

Place = tuple[str | int, ...]

TIME = r"[0-9-]{10}T[0-9:.]+[+-][0-9:]{5}"

SCHEMAS = {name: json.loads(text) for name, text in reference.json_schemas().items()}
EXAMPLES = {name: json.loads(text) for name, text in reference.json_examples().items() if name in SCHEMAS}

KINDS = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None)}


def problems(value: object, schema: Mapping[str, Any], root: Mapping[str, Any], place: str = "$") -> Iterator[str]:
    """Yield where `value` is not what `schema` of the document `root` allows. A field that it does not know is none."""
    if "$ref" in schema:
        yield from problems(value, root["$defs"][schema["$ref"].removeprefix("#/$defs/")], root, place)
    if "anyOf" in schema and all(list(problems(value, each, root)) for each in schema["anyOf"]):
        yield f"{place}: {value!r} is none of those"
    if not is_kind(value, schema.get("type")) or not is_valued(value, schema):
        yield f"{place}: {value!r} is not {schema}"
    elif isinstance(value, dict) and "properties" in schema:
        known = schema["properties"]
        yield from (f"{place}: {key} is missing" for key in schema.get("required", ()) if key not in value)
        yield from (f"{place}: {key} is unknown" for key in value if key not in known)
        for key in known.keys() & value.keys():
            yield from problems(value[key], known[key], root, f"{place}.{key}")
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from problems(each, schema.get("items", {}), root, f"{place}[{index}]")


def is_kind(value: object, kind: str | None) -> bool:
    if kind in {"integer", "number"}:
        return isinstance(value, int if kind == "integer" else int | float) and not isinstance(value, bool)
    return kind is None or isinstance(value, KINDS[kind])


def is_valued(value: Any, schema: Mapping[str, Any]) -> bool:  # noqa: ANN401 - it is JSON
    fits = value in schema.get("enum", [value]) and value == schema.get("const", value)
    if "minimum" in schema:
        fits = fits and schema["minimum"] <= value <= schema.get("maximum", value)
    if schema.get("format") == "date-time":
        fits = fits and re.fullmatch(TIME, value) is not None and datetime.fromisoformat(value).tzinfo is not None
    return fits


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_what_is_written_is_what_the_schema_says(name: str) -> None:
    assert list(problems(EXAMPLES[name], SCHEMAS[name], SCHEMAS[name])) == []


@pytest.mark.parametrize("name", ["oak.example.net", "ks1.example.net"])
def test_the_life_of_others_is_too(name: str) -> None:
    document = json.loads(explain.to_json(reference.life_example(name)))
    assert list(problems(document, SCHEMAS["explain"], SCHEMAS["explain"])) == []


def places(value: object, place: Place = ()) -> Iterator[Place]:
    """Yield the place of every value in a document but those in objects whose keys are services or families."""
    if place and place[-1] in {"services", "blind"}:
        return
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield (*place, key)
        yield from places(inner, (*place, key))


def parent(document: Any, place: Place) -> Any:  # noqa: ANN401 - it is JSON
    for key in place[:-1]:
        document = document[key]
    return document


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_no_field_of_a_document_may_be_missing_or_of_another_kind(name: str) -> None:
    for place in places(EXAMPLES[name]):
        document = copy.deepcopy(EXAMPLES[name])
        parent(document, place)[place[-1]] = {"other": [0.5]}
        assert list(problems(document, SCHEMAS[name], SCHEMAS[name])), place
        if isinstance(place[-1], str):
            del parent(document, place)[place[-1]]
            assert list(problems(document, SCHEMAS[name], SCHEMAS[name])), place
