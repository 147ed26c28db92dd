"""What all sections of the config file are made of: their errors, their defaults, and fields that many have."""

from __future__ import annotations

import ast
import dataclasses
import inspect
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Self

import dns.name
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    ModelWrapValidatorHandler,
    ValidationError,
)
from pydantic import model_validator as validates_model
from pydantic_core import CoreSchema, ErrorDetails, InitErrorDetails

from poolmgr.config import fields as kind
from poolmgr.version import Version

NONE, SECOND, DAY = timedelta(0), timedelta(seconds=1), timedelta(days=1)

_SENTENCES = {
    "missing": "is missing: add it",
    "extra_forbidden": "is not a key of this section{closest}",
    "model_type": "{value} is not a mapping: write `key: value` lines under it",
    "model_attributes_type": "{value} is not a mapping: write `key: value` lines under it",
    "dict_type": "{value} is not a mapping: write `key: value` lines under it",
    "tuple_type": "{value} is not a list: write it as [one, two], or one a line behind a dash",
    "union_tag_not_found": "says no type: add `type: zonefile` or `type: rfc2136`",
    "union_tag_invalid": "{tag} is no type of target: give zonefile or rfc2136",
}

EXCHANGE_TIME = kind.duration(SECOND, timedelta(minutes=10))
LAG = kind.duration(timedelta(hours=1), 14 * DAY)

Timeout = Annotated[timedelta, EXCHANGE_TIME]
FilePath = Annotated[Path, kind.PATH]
DomainName = Annotated[dns.name.Name, kind.NAME]
Socket = Annotated[kind.Socket, kind.SOCKET]
Overrides = tuple[Annotated[kind.Override, kind.OVERRIDE], ...]
MinimumVersions = dict[Annotated[str, kind.SOFTWARE], Annotated[Version, kind.VERSION]]


def filled(value: object) -> object:
    """Return `value`. Raises a problem where it is an empty list or mapping."""
    if value in ([], {}):
        raise kind.problem("is empty: give at least one")
    return value


FILLED = BeforeValidator(filled)


def default_of(stage: type[Any], name: str) -> Any:  # noqa: ANN401 -- of whatever type the stage's field has
    """Return the default of a stage's field."""
    field = next(field for field in dataclasses.fields(stage) if field.name == name)
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def written(default: object) -> Any:  # noqa: ANN401 -- the field's type, once validated
    """Declare a default as the file would have it, so that editors show it and validation reads it."""
    return Field(default, validate_default=True)


def or_else(*others: Mapping[str, Any]) -> Callable[[dict[str, Any]], None]:
    """Return what makes the JSON Schema of a section's field admit `others` too."""

    def admit(schema: dict[str, Any]) -> None:
        of = schema.pop("anyOf", None) or [{"$ref": schema.pop("$ref")}]
        schema["anyOf"] = [one for one in of if "$ref" in one] + [dict(other) for other in others]

    return admit


def _in_own_words(error: ErrorDetails, known: Collection[str]) -> InitErrorDetails:
    sentence = error["msg"]
    if error["type"] != "problem":
        closest = kind.closest("".join(map(str, error["loc"][-1:])), known) or f": it has {', '.join(known)}"
        value, tag = kind.shown(error["input"]), kind.shown(error.get("ctx", {}).get("tag"))
        sentence = _SENTENCES[error["type"]].format(value=value, tag=tag, closest=closest)
    return {"type": kind.problem(sentence), "loc": error["loc"], "input": error["input"]}


class Section(BaseModel):
    """A mapping with known keys. Its errors carry sentences of our own instead of pydantic's."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    @validates_model(mode="wrap")
    @classmethod
    def _validate(cls, value: object, validate: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return validate(value)
        except ValidationError as refusal:
            errors = [_in_own_words(error, cls.model_fields) for error in refusal.errors(include_url=False)]
            raise ValidationError.from_exception_data(cls.__name__, errors) from refusal

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Return the JSON Schema with what each field means: pydantic itself would read that at every start."""
        described = handler(schema)
        properties = handler.resolve_ref_schema(described)["properties"]
        for field, text in _described(cls):
            properties[field]["description"] = text
        return described


def _described(section: type[Section]) -> Iterator[tuple[str, str]]:
    """Yield the fields that the source of `section` defines and explains, each with the string behind it."""
    (definition,) = ast.parse(inspect.getsource(section)).body
    assert isinstance(definition, ast.ClassDef)
    for statement, after in pairwise(definition.body):
        match statement, after:
            case ast.AnnAssign(target=ast.Name(id=field)), ast.Expr(value=ast.Constant(value=str(text))):
                yield field, inspect.cleandoc(text)
