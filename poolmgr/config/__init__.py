"""YAML to a frozen Config: strict, and every problem at once."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from poolmgr.config.build import Config, Target, Zone, build
from poolmgr.config.document import MAX_BYTES, parse_document
from poolmgr.config.rules import broken_rules
from poolmgr.config.schema import json_schema, validate
from poolmgr.config.settings import parse_setting, with_settings
from poolmgr.errors import ConfigError

__all__ = ["Config", "Target", "Zone", "json_schema", "load_config"]


def load_config(path: Path, settings: Iterable[str] = ()) -> Config:
    """Return what the config file at `path` says, but for `settings`, such as ``policy.min_cohort=3``.

    No other file is read. Raises ConfigError with every problem of the file, each as ``file:line:column: field:
    problem``, with every problem of the settings, and for a file that cannot be read.
    """
    absolute = path.absolute()
    try:
        with absolute.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except OSError as error:
        sentence = f"cannot be read: {error.strerror}; name the config file with -c, config.example.yaml is a start"
        raise ConfigError((f"{path}: {sentence}",)) from error
    document = parse_document(content, str(path))
    changed = with_settings(document.value, [parse_setting(text) for text in settings])
    file, invalid = validate(changed.value)
    problems = (*document.problems, *invalid, *broken_rules(changed.value, absolute.parent))
    if file is None or problems:
        of_settings, of_file = changed.told_apart(problems)
        raise ConfigError((*of_settings, *document.to_lines(of_file, str(path))))
    return build(file, absolute)
