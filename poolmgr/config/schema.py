"""The config file as a whole: its sections, for validation and for editors."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationError
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from poolmgr.config import fields as kind
from poolmgr.config.crawling import CrawlSection
from poolmgr.config.document import Place, Problem
from poolmgr.config.judging import PolicySection
from poolmgr.config.pools import PoolSection
from poolmgr.config.section import DAY, FILLED, FilePath, Section, written
from poolmgr.config.targets import TargetSection, ZoneSection


class StateSection(Section):
    """Where poolmgr keeps what it remembers."""

    folder: FilePath = written("/var/lib/poolmgr")
    """Folder of the store and the lock."""
    keep: Annotated[timedelta, kind.duration(DAY, 3650 * DAY)] = written("90d")
    """How long crawls are kept."""
    keep_thinned: Annotated[timedelta, kind.duration(DAY, 3650 * DAY)] = written("730d")
    """How long the first crawl of each day is kept after that."""


def _as_zones(value: object) -> object:
    return value if isinstance(value, list) else [value]


def _or_one(schema: dict[str, Any]) -> None:
    schema["anyOf"] = [schema["items"], {"type": schema.pop("type"), "items": schema.pop("items"), "minItems": 1}]


class ConfigFile(Section):
    """Configuration of poolmgr. Relative paths start at the folder of the config file."""

    state: StateSection = Field(default_factory=StateSection)
    crawl: CrawlSection
    policy: PolicySection = Field(default_factory=PolicySection)
    pools: Annotated[tuple[PoolSection, ...], FILLED]
    """The pools, at least one."""
    zone: Annotated[tuple[ZoneSection, ...], FILLED, BeforeValidator(_as_zones)] = Field(json_schema_extra=_or_one)
    """The zones that the pools are in: one, or a list of them."""
    publish: tuple[TargetSection, ...] = ()
    """Where the zone goes; nowhere: poolmgr only reports."""


def validate(value: object) -> tuple[ConfigFile | None, tuple[Problem, ...]]:
    """Return the config that plain values stand for, or None and every problem with a single field of it."""
    try:
        return ConfigFile.model_validate(value), ()
    except ValidationError as refusal:
        errors = refusal.errors(include_url=False)
        has_zones = isinstance(value, dict) and isinstance(value.get("zone"), list)
        return None, tuple(Problem(_place(error["loc"], has_zones=has_zones), error["msg"]) for error in errors)


def _place(steps: Place, *, has_zones: bool) -> Place:
    """Return `steps` as the file has them.

    Without what validation adds: the type behind a target's index, "[key]" behind a refused key, and the index of a
    zone that is not in a list.
    """
    if steps[:1] == ("publish",):
        steps = steps[:2] + steps[3:]
    if steps[:1] == ("zone",) and not has_zones:
        steps = steps[:1] + steps[2:]
    return steps[:-1] if steps[-1:] == ("[key]",) else steps


class _ForEditors(GenerateJsonSchema):
    """JSON Schema without null, which the file cannot hold, and without titles that repeat the keys."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        if schema.get("default") is None:
            return self.generate_inner(schema["schema"])
        return super().default_schema(schema)

    def field_title_should_be_set(self, schema: object) -> bool:  # noqa: ARG002 -- the signature is pydantic's
        return False


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of the config file, for editors."""
    return {"$schema": _ForEditors.schema_dialect, **ConfigFile.model_json_schema(schema_generator=_ForEditors)}
