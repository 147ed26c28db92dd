"""Everything poolmgr raises on purpose, and the exit code of each.

::

    PoolmgrError        1  something failed; the sentence says what and what to do
    ├── ParseError      1  bytes or text from outside are not what they should be
    ├── ConfigError     2  the configuration is refused, with every problem in it
    ├── StoreError      1  the SQLite store cannot be read or written
    ├── ZoneError       1  skeleton, zone file or desired zone is not a zone we may publish
    ├── PublishError    1  a publisher could not make its target serve the plan
    │   └── Conflict    1  the target no longer is what the plan was made for: planning again may help
    ├── Stopped         1  the user stopped a crawl
    ├── UnsafePlan      3  held: the last good records stay
    └── LockHeld        4  another run has the lock

The exit codes that no error has are of `cli`: 0, 5 for `plan --check`, and 128 more than the number of the signal that
stopped it, 130 for SIGINT and 143 for SIGTERM.

An error's text is one or more sentences for the operator: cause, then remedy. It never holds a secret, and text that
came from a keyserver is escaped before it gets in.
"""

from __future__ import annotations

from typing import ClassVar


class PoolmgrError(Exception):
    """Root of all errors that poolmgr raises on purpose."""

    exit_code: ClassVar[int] = 1


class ParseError(PoolmgrError):
    """Untrusted bytes or text are not what they should be."""


class ConfigError(PoolmgrError):
    """The configuration is refused. `problems` has one ``file:line:column: field: problem`` per entry."""

    exit_code: ClassVar[int] = 2

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class StoreError(PoolmgrError):
    """The SQLite store cannot be read or written."""


class ZoneError(PoolmgrError):
    """A skeleton, a zone file or the desired zone is not a zone that may be published."""


class PublishError(PoolmgrError):
    """A publisher could not make its target serve the plan."""


class Conflict(PublishError):
    """The target no longer serves what the plan was made for: nothing was changed, planning again may help."""


class Stopped(PoolmgrError):
    """The user stopped a crawl: nothing was stored, and nothing is to be done instead."""


class UnsafePlan(PoolmgrError):
    """A limit held back some change: the last good records stay."""

    exit_code: ClassVar[int] = 3


class LockHeld(PoolmgrError):
    """Another run holds the lock."""

    exit_code: ClassVar[int] = 4
