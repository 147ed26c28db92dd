"""YAML to a frozen Config: strict, and every problem at once."""

from __future__ import annotations

from pathlib import Path

from poolmgr.config.build import Config, Zone, build
from poolmgr.config.document import MAX_BYTES, parse_document
from poolmgr.config.rules import broken_rules
from poolmgr.config.schema import json_schema, validate
from poolmgr.errors import ConfigError

__all__ = ["Config", "Zone", "json_schema", "load_config"]


def load_config(path: Path) -> Config:
    """Return what the config file at `path` says. No other file is read.

    Raises ConfigError with every problem of the file, each as ``file:line:column: field: problem``, and for a file that
    cannot be read.
    """
    absolute = path.absolute()
    try:
        with absolute.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except OSError as error:
        sentence = f"cannot be read: {error.strerror}; name the config file with -c, config.example.yaml is a start"
        raise ConfigError((f"{path}: {sentence}",)) from error
    document = parse_document(content, str(path))
    file, invalid = validate(document.value)
    problems = (*document.problems, *invalid, *broken_rules(document.value, absolute.parent))
    if file is None or problems:
        raise ConfigError(document.to_lines(problems, str(path)))
    return build(file, absolute)
