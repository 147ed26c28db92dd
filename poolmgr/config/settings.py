"""Single keys of a config file set otherwise than it has them, such as ``policy.min_cohort=3``."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass

from poolmgr.config.document import Place, Problem, parse_document
from poolmgr.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Setting:
    """What is at `place`: a plain value."""

    place: Place
    value: object

    @property
    def key(self) -> str:
        """The place as it is written."""
        return ".".join(map(str, self.place))


@dataclass(frozen=True, slots=True)
class Changed:
    """The plain `value` of a config file with `settings`."""

    value: object
    settings: tuple[Setting, ...]

    def told_apart(self, problems: Iterable[Problem]) -> tuple[tuple[str, ...], tuple[Problem, ...]]:
        """Return a line for each of `problems` that a setting has, and those of the file."""
        lines, of_file = [], []
        for problem in problems:
            if any(problem.place[: len(setting.place)] == setting.place for setting in self.settings):
                lines.append(f"--set {'.'.join(map(str, problem.place))}: {problem.sentence}")
            else:
                of_file.append(problem)
        return tuple(lines), tuple(of_file)


def parse_setting(text: str) -> Setting:
    """Return what ``key=value`` says: the key's parts are joined by dots, an entry of a list goes by its index, from 0.

    The value is YAML as in the file. Raises ConfigError for anything else.
    """
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise ConfigError((f"--set {text!a}: write it as key=value, such as policy.min_cohort=3",))
    document = parse_document(f"value: {value}".encode(), f"--set {key}")
    if document.problems or not isinstance(document.value, dict) or list(document.value) != ["value"]:
        raise ConfigError((f"--set {key}: {value!a} is not one value",))
    return Setting(tuple(int(part) if part.isdecimal() else part for part in key.split(".")), document.value["value"])


def with_settings(value: object, settings: Iterable[Setting]) -> Changed:
    """Return the plain `value` of a config file with `settings`; sections that it lacks are made.

    Raises ConfigError for a place that cannot be in a file.
    """
    changed, settings = copy.deepcopy(value), tuple(settings)
    for setting in settings:
        at = changed
        for step in setting.place[:-1]:
            at = _below(at, step, setting)
        _put(at, setting)
    return Changed(changed, settings)


def _below(at: object, step: str | int, setting: Setting) -> object:
    if isinstance(at, dict):
        return at.setdefault(str(step), {})
    if isinstance(at, list) and isinstance(step, int) and step < len(at):
        return at[step]
    raise _no_place(setting, step)


def _put(at: object, setting: Setting) -> None:
    step = setting.place[-1]
    if isinstance(at, dict):
        at[str(step)] = setting.value
    elif isinstance(at, list) and isinstance(step, int) and step < len(at):
        at[step] = setting.value
    else:
        raise _no_place(setting, step)


def _no_place(setting: Setting, step: str | int) -> ConfigError:
    return ConfigError((f"--set {setting.key}: there is no {str(step)!a} at that place of the file",))
