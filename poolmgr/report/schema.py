"""The JSON Schemas of what reports write as JSON (draft 2020-12), for those who read it with a program."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from poolmgr.judge.reliability import WINDOWS
from poolmgr.model import Family, Outcome, ReasonCode, Service, State
from poolmgr.report import changes, explain, movement, rows, status

Schema = Mapping[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_TEXT: Schema = {"type": "string"}
_FLAG: Schema = {"type": "boolean"}
_TIME: Schema = {"type": "string", "format": "date-time"}
_NUMBER: Schema = {"type": "number"}
_INTEGER: Schema = {"type": "integer"}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_SHARE: Schema = {"type": "number", "minimum": 0, "maximum": 1}


def _object(**properties: Schema) -> Schema:
    """Return the schema of an object that has all of `properties`. More may come within a version."""
    return {"type": "object", "properties": properties, "required": list(properties)}


def _some(keys: Iterable[str], value: Schema) -> Schema:
    """Return the schema of an object that has some of `keys`, each with a `value`."""
    return {"type": "object", "properties": dict.fromkeys(keys, value)}


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _one_of(values: Iterable[str]) -> Schema:
    return {"enum": list(values)}


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _shared(name: str) -> Schema:
    return {"$ref": f"#/$defs/{name}"}


_CRAWL, _PROGRESS, _REASON, _CODE, _OUTCOME = map(_shared, ("crawl", "progress", "reason", "code", "outcome"))

_SHARED: Schema = {
    "crawl": _object(started=_TIME, finished=_TIME, cut_short=_list(_TEXT), blind=_some(Family, _TEXT)),
    "progress": _or_null(_object(crawls=_COUNT, of=_COUNT)),
    "reason": _object(code=_CODE, measured=_TEXT, limit=_TEXT, sentence=_TEXT),
    "code": _one_of(ReasonCode),
    "outcome": _one_of(Outcome),
}
"""What several formats have, or one of them several times."""


def _document(name: str, version: int, **properties: Schema) -> Schema:
    of = _object(format={"const": name}, version={"const": version}, **properties)
    return {"$schema": DIALECT, "title": f"{name}, version {version}", **of, "$defs": _SHARED}


REPORT = _document(
    rows.FORMAT,
    rows.VERSION,
    crawl=_CRAWL,
    pools=_list(
        _object(
            name=_TEXT,
            addresses=_list(
                _object(
                    keyserver=_TEXT,
                    aliases=_list(_TEXT),
                    address=_or_null(_TEXT),
                    country=_or_null(_TEXT),
                    services=_some(Service, _OUTCOME),
                    software=_or_null(_TEXT),
                    version=_or_null(_TEXT),
                    keys=_or_null(_COUNT),
                    difference=_or_null(_INTEGER),
                    lag=_or_null(_INTEGER),
                    state=_one_of(State),
                    since=_or_null(_TIME),
                    progress=_PROGRESS,
                    reasons=_list(_REASON),
                    warnings=_list(_REASON),
                )
            ),
        )
    ),
)
"""What `rows.to_json` writes."""

CHANGES = _document(
    movement.FORMAT,
    movement.VERSION,
    since=_TIME,
    changes=_list(
        _object(
            at=_TIME,
            pool=_TEXT,
            keyserver=_TEXT,
            address=_TEXT,
            state=_one_of((State.ELIGIBLE, State.OUT)),
            reasons=_list(_REASON),
        )
    ),
)
"""What `movement.to_json` writes."""

PLAN = _document(
    changes.FORMAT,
    changes.VERSION,
    targets=_list(
        _object(
            target=_TEXT,
            zone=_TEXT,
            serial=_or_null(_COUNT),
            next_serial=_or_null(_COUNT),
            changes=_list(
                _object(
                    owner=_TEXT,
                    type=_TEXT,
                    action=_one_of(["created", "changed", "deleted"]),
                    records=_list(_object(sign=_one_of("-+"), record=_TEXT, why=_TEXT)),
                )
            ),
            held=_list(_object(owner=_TEXT, type=_TEXT, sentence=_TEXT, since=_TIME)),
            limits=_list(
                _object(
                    owner=_TEXT,
                    type=_TEXT,
                    published=_COUNT,
                    members=_COUNT,
                    min_members=_COUNT,
                    removed=_COUNT,
                    max_removed=_or_null(_COUNT),
                    added=_COUNT,
                    max_added=_or_null(_COUNT),
                )
            ),
            unchanged=_COUNT,
            warnings=_list(_TEXT),
        )
    ),
)
"""What `changes.to_json` writes."""

STATUS = _document(
    status.FORMAT,
    status.VERSION,
    at=_TIME,
    level=_one_of(level.name for level in status.Level),
    problems=_list(_object(level=_one_of(level.name for level in status.Level), sentence=_TEXT)),
    crawled=_or_null(_TIME),
    run=_or_null(_object(at=_TIME, exit_code=_COUNT)),
    targets=_list(
        _object(
            target=_TEXT,
            confirmed=_or_null(_TIME),
            held=_list(_object(owner=_TEXT, type=_TEXT, since=_TIME)),
            written=_or_null(_COUNT),
            seen=_or_null(_COUNT),
            last_run=_or_null(_one_of(status.FATES)),
            secondaries=_list(_object(address=_TEXT, port=_COUNT, seen=_or_null(_COUNT), behind=_FLAG, problem=_TEXT)),
        )
    ),
)
"""What `status.to_json` writes."""

_FINDING = _object(
    code=_CODE,
    passed=_FLAG,
    measured=_TEXT,
    limit=_TEXT,
    margin=_or_null(_object(amount=_NUMBER, unit=_TEXT)),
    sentence=_TEXT,
)

EXPLAIN = _document(
    explain.FORMAT,
    explain.VERSION,
    crawl=_CRAWL,
    crawls=_list(_TIME),
    keyserver=_TEXT,
    aliases=_list(_TEXT),
    addresses=_list(
        _object(
            address=_or_null(_TEXT),
            software=_or_null(_TEXT),
            version=_or_null(_TEXT),
            keys=_or_null(_COUNT),
            counts=_list(_object(at=_TIME, keys=_or_null(_COUNT), difference=_or_null(_INTEGER))),
            reliability=_list(
                _object(
                    service=_one_of(Service),
                    score=_SHARE,
                    windows=_list(_object(window=_one_of(WINDOWS), good=_SHARE, seen=_SHARE)),
                )
            ),
            failures=_list(_object(what=_TEXT, outcome=_OUTCOME, detail=_TEXT, first=_TIME, last=_TIME, times=_COUNT)),
            pools=_list(
                _object(
                    name=_TEXT,
                    state=_one_of(State),
                    since=_or_null(_TIME),
                    progress=_PROGRESS,
                    findings=_list(_FINDING),
                    remedies=_list(_TEXT),
                )
            ),
        )
    ),
)
"""What `explain.to_json` writes."""
