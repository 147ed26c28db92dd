"""The pages in docs/ say what the code does. What is generated is written anew by scripts/docs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from poolmgr.cli import main
from poolmgr.config import json_schema
from poolmgr.model import Outcome, ReasonCode
from tests import reference

REASONS = reference.ROOT / "docs" / "reasons.md"
PAGES = sorted([reference.README, *(reference.ROOT / "docs").glob("*.md")])

FIELDS = re.compile(r"^\| (`[^|]*) \|", re.MULTILINE)

NOT_OF_THE_FORMAT = {"services", "blind", "snapshot"}
"""Objects whose keys are services, families, and fields of a format of its own."""


@pytest.mark.parametrize(
    ("page", "parts"),
    [
        (reference.CLI, reference.cli_parts),
        (reference.CONFIG, reference.config_parts),
        (reference.JSON, reference.json_parts),
        (reference.SERVERS, reference.servers_parts),
    ],
    ids=["cli", "config", "json", "servers"],
)
def test_generated_parts_are_up_to_date(page: Path, parts: Callable[[], reference.Parts]) -> None:
    text = page.read_text()
    assert text == reference.filled(text, parts()), "run: scripts/docs"


def test_a_page_with_an_unknown_part_is_refused() -> None:
    with pytest.raises(KeyError, match="nothing"):
        reference.filled("<!-- generated: nothing -->\n<!-- /generated -->\n", {"something": ""})


@pytest.mark.parametrize("name", sorted(main.commands))
def test_every_command_has_help_an_example_and_an_entry(name: str) -> None:
    command = main.commands[name]
    assert command.help
    assert re.search(rf"^ *poolmgr -c config\.yaml {name}\b|^ *\S+ .* poolmgr .* {name}$", command.help, re.MULTILINE)
    assert f"\n## poolmgr {name}\n" in reference.CLI.read_text()


@pytest.mark.parametrize(
    ("place", "low", "high"),
    [
        (place, schema["minimum"], schema["maximum"])
        for place, schema, _ in reference.keys(json_schema())
        if "minimum" in schema and place[-2] not in {"ports", "min_members"}
    ],
)
def test_the_range_of_a_number_is_told(place: tuple[str | int, ...], low: int, high: int) -> None:
    (line,) = (
        line
        for line in reference.CONFIG.read_text().splitlines()
        if line.startswith(f"- `{reference.key_name(place)}`")
    )
    assert re.search(rf"\b{low} to {high}\b", line)


def keys_of(value: object) -> Iterator[str]:
    """Yield the keys of every object in `value`, those apart that are not the format's own but values."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key
            if key not in NOT_OF_THE_FORMAT:
                yield from keys_of(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from keys_of(inner)


@pytest.mark.parametrize("name", sorted(reference.json_examples()))
def test_every_field_of_a_json_format_is_told(name: str) -> None:
    page = reference.JSON.read_text()
    (section,) = (part for part in page.split("\n## ") if part.startswith(name.title()))
    prose = section.split("<!-- generated:")[0]
    assert set(keys_of(json.loads(reference.json_examples()[name]))) <= set(re.findall(r"`([^` ]+)`", prose))


@pytest.mark.parametrize("name", sorted(reference.json_examples()))
def test_no_field_is_told_that_a_json_format_lacks(name: str) -> None:
    page = reference.JSON.read_text()
    (section,) = (part for part in page.split("\n## ") if part.startswith(name.title()))
    told = {field for cell in FIELDS.findall(section) for field in re.findall(r"`([^`]+)`", cell)}
    assert told <= set(keys_of(json.loads(reference.json_examples()[name])))


def test_every_reason_is_told() -> None:
    told = re.findall(r"^\| `([a-z-]+)` \|", REASONS.read_text(), re.MULTILINE)
    assert sorted(told) == sorted(ReasonCode)


def test_every_outcome_of_a_lookup_is_told() -> None:
    told = set(re.findall(r"`([a-z-]+)`", REASONS.read_text()))
    assert set(Outcome) - {Outcome.OK, Outcome.NOT_ALLOWED} <= told


@pytest.mark.parametrize("page", PAGES, ids=[page.stem for page in PAGES])
def test_links_lead_to_files_and_headings_that_exist(page: Path) -> None:
    for link in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        headings = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE) if anchor else []
        assert not anchor or anchor in {re.sub(r"[^a-z0-9-]", "", each.lower().replace(" ", "-")) for each in headings}
