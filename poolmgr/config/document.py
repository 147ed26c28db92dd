"""Strict YAML: text to plain values, each with its line and column."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import yaml
from yaml.composer import ComposerError

from poolmgr.errors import ConfigError

MAX_BYTES = 256 * 1024
"""Bytes of a config file: hundreds of pools fit."""
MAX_DEPTH = 20
"""Levels of nesting: the schema has five."""
MAX_VALUES = 20_000
"""Values with aliases written out, so that a few lines cannot become billions of values."""

Place = tuple[str | int, ...]
"""Where a value is: the keys and list indexes that lead to it."""

_PLAIN_KEY = re.compile(r"[\w.-]{1,60}\Z", re.ASCII)
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_INT, _FLOAT, _BOOL = (f"tag:yaml.org,2002:{kind}" for kind in ("int", "float", "bool"))
_CONSTRUCT: Mapping[str, Callable[[str], object]] = {_INT: int, _FLOAT: float, _BOOL: "true".__eq__}


@dataclass(frozen=True, slots=True, order=True)
class Mark:
    """Line and column in the file, both from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong at `place`. `mark` is given where it is not that of the place."""

    place: Place
    sentence: str
    mark: Mark | None = None


@dataclass(frozen=True, slots=True)
class Document:
    """A file's content: dicts with text keys, lists, str, int, float and bool. There is no null: nothing is "".

    `marks` has the key of every mapping entry and the start of every list entry.
    """

    value: object
    marks: Mapping[Place, Mark]
    problems: tuple[Problem, ...]

    def mark_of(self, problem: Problem) -> Mark:
        """Return where `problem` is: its place, or what surrounds it where the place itself is not in the file."""
        place = problem.place
        while place and place not in self.marks:
            place = place[:-1]
        return problem.mark or self.marks.get(place, Mark(1, 1))

    def to_lines(self, problems: Iterable[Problem], source: str) -> tuple[str, ...]:
        """Return ``source:line:column: field: sentence`` of each problem, in the order of the file."""
        ordered = sorted(problems, key=self.mark_of)
        return tuple(_line(source, self.mark_of(problem), problem.place, problem.sentence) for problem in ordered)


def parse_document(content: bytes, source: str) -> Document:
    """Return what the YAML text `content` holds; a key given twice is among the problems, and its first value counts.

    It is YAML 1.2's core schema (section 10.3) cut down: plain ``true`` and ``false`` are booleans, decimal numbers are
    numbers, all else is text. Tags are refused, merge keys are keys like others, aliases are written out.

    Raises ConfigError, naming `source`, for what is no single YAML document in UTF-8 within the bounds.
    """
    if len(content) > MAX_BYTES:
        raise ConfigError((f"{source}: is larger than {MAX_BYTES} bytes: no config needs that, is it the right file?",))
    walk = _Walk()
    try:
        root = _compose(_decode(content))
        value = {} if root is None else walk.value(root, ())
    except yaml.MarkedYAMLError as error:
        sentence = ", ".join(filter(None, (error.context, error.problem)))
        mark = _mark(error.problem_mark or error.context_mark)
        raise ConfigError((_line(source, mark, (), f"not readable as YAML: {sentence}"),)) from error
    return Document(value, walk.marks, tuple(walk.problems))


def _decode(content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = error.object[: error.start].decode()
        raise _refusal("it is not UTF-8 text: save the file as UTF-8", _end_of(before)) from error


def _compose(text: str) -> yaml.Node | None:
    """Return the root node, None for nothing. Raises MarkedYAMLError, whatever is wrong."""
    try:
        loader = _Loader(text)
    except yaml.reader.ReaderError as error:
        code = f"{ord(text[error.position]):#x}"
        refusal = f"it holds the character {code}, which YAML does not allow: remove it"
        raise _refusal(refusal, _end_of(text[: error.position])) from error
    try:
        return loader.get_single_node()
    except (ValueError, OverflowError) as error:
        raise _refusal("the number of an escape or directive is out of range", loader.get_mark()) from error


class _Loader(yaml.SafeLoader):
    """SafeLoader's scanner and parser with resolvers of our own; its constructors are not used."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 -- filled below
    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]  # its stub has no types
        if getattr(event, "tag", None) is not None:
            raise _refusal("tags such as !!str are not taken: remove it, and put text in quotes", event.start_mark)
        if _SURROGATE.search(getattr(event, "value", "")):
            raise _refusal("an escape here stands for no character: remove it", event.start_mark)
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise _refusal(f"nested deeper than {MAX_DEPTH} levels", event.start_mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


_Loader.add_implicit_resolver(_BOOL, re.compile(r"(?:true|false)\Z"), list("tf"))
_Loader.add_implicit_resolver(_INT, re.compile(r"-?(?:0|[1-9][0-9]{0,17})\Z"), list("-0123456789"))
_Loader.add_implicit_resolver(_FLOAT, re.compile(r"-?[0-9]{1,9}\.[0-9]{1,9}\Z"), list("-0123456789"))


class _Walk:
    """Nodes to plain values, with marks and problems gathered on the way."""

    def __init__(self) -> None:
        self.marks: dict[Place, Mark] = {}
        self.problems: list[Problem] = []
        self.values = 0

    def value(self, node: yaml.Node, place: Place) -> object:
        self.values += 1
        if self.values > MAX_VALUES or len(place) > MAX_DEPTH:
            limits = f"{MAX_VALUES} values or {MAX_DEPTH} levels"
            raise _refusal(f"more than {limits} with aliases written out: remove some", node.start_mark)
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, place)
        if isinstance(node, yaml.SequenceNode):
            return [self.entry(child, (*place, index)) for index, child in enumerate(node.value)]
        return _CONSTRUCT.get(node.tag, str)(node.value)

    def entry(self, node: yaml.Node, place: Place) -> object:
        self.marks[place] = _mark(node.start_mark)
        return self.value(node, place)

    def mapping(self, node: yaml.MappingNode, place: Place) -> dict[str, object]:
        mapping: dict[str, object] = {}
        for key_node, child in node.value:
            mark = _mark(key_node.start_mark)
            if not isinstance(key_node, yaml.ScalarNode):
                self.problems.append(Problem(place, "a key is a list or mapping: a key is one word", mark))
                continue
            inner = (*place, key_node.value)
            if key_node.value in mapping:
                first = self.marks[inner].line
                self.problems.append(Problem(inner, f"is given twice, first in line {first}: remove one", mark))
                continue
            self.marks[inner] = mark
            mapping[key_node.value] = self.value(child, inner)
        return mapping


def _refusal(sentence: str, mark: yaml.Mark | None) -> ComposerError:
    return ComposerError(None, None, sentence, mark)


def _mark(mark: yaml.Mark | None) -> Mark:
    return Mark(1, 1) if mark is None else Mark(mark.line + 1, mark.column + 1)


def _end_of(text: str) -> yaml.Mark:
    line, column = text.count("\n"), len(text) - text.rfind("\n") - 1
    return yaml.Mark("", len(text), line, column, None, 0)


def _line(source: str, mark: Mark, place: Place, sentence: str) -> str:
    field = f"{_field(place)}: " if place else ""
    return f"{source}:{mark.line}:{mark.column}: {field}{sentence}"


def _field(place: Place) -> str:
    parts = [f"[{part}]" if isinstance(part, int) else f".{_key(part)}" for part in place]
    return "".join(parts).removeprefix(".")


def _key(text: str) -> str:
    return text if _PLAIN_KEY.match(text) else ascii(text[:60])
