"""The generated parts of README.md and docs/: written by scripts/docs, compared by the tests.

A generated part stands between ``<!-- generated: NAME -->`` and ``<!-- /generated -->``; all else is written by hand.
"""

from __future__ import annotations

import ipaddress
import itertools
import json
import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from functools import cache, partial
from pathlib import Path
from typing import Any

import click
import dns.rdatatype

from poolmgr.cli import main as poolmgr
from poolmgr.config import json_schema
from poolmgr.config.document import Place, parse_document
from poolmgr.hosts import parse_host
from poolmgr.judge.backtest import Fate
from poolmgr.judge.changes import VerdictChange, changes_of
from poolmgr.judge.policy import Policy
from poolmgr.judge.selection import select
from poolmgr.model import (
    Ask,
    Certificate,
    Endpoint,
    Family,
    Keyserver,
    KeyserverAddress,
    Outcome,
    Peer,
    Probe,
    Service,
    Snapshot,
    Stats,
)
from poolmgr.report import backtest, changes, detail, explain, movement, rows, status
from poolmgr.report import schema as schemas
from poolmgr.report import snapshot as snapshots
from poolmgr.report.life import Life, find_keyserver, life_of
from poolmgr.zone.plan import limits_of, make_plan
from tests import build
from tests.lab import matrix, transcript

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
CLI = ROOT / "docs" / "cli.md"
CONFIG = ROOT / "docs" / "config.md"
JSON = ROOT / "docs" / "json.md"
SERVERS = ROOT / "docs" / "servers.md"
EXAMPLE = ROOT / "config.example.yaml"

HELP_COLUMNS = 90
SCHEMA_COLUMNS = 110

_PART = re.compile(r"(<!-- generated: (.+?) -->\n).*?(<!-- /generated -->)", re.DOTALL)

Parts = Mapping[str, str]


def filled(page: str, parts: Parts) -> str:
    """Return `page` with each of its generated parts as it is now. Raises KeyError for a name that is none."""
    return _PART.sub(lambda match: f"{match[1]}{parts[match[2]]}\n{match[3]}", page)


def fenced(language: str, text: str) -> str:
    """Return `text` as a block of code."""
    return f"```{language}\n{text}\n```"


def shell_lines(page: str) -> list[str]:
    """Return the commands in the blocks of shell of `page`."""
    blocks = re.findall(r"^ *```sh\n(.*?)^ *```$", page, re.DOTALL | re.MULTILINE)
    return [line.strip() for block in blocks for line in block.splitlines()]


def readme_parts() -> Parts:
    """Return what the demo shows, by its headings. Runs the demo."""
    sections = transcript.sections(transcript.record())
    return {heading: fenced("console", text) for heading, text in sections.items()}


def cli_parts() -> Parts:
    """Return the help of every command."""
    root = click.Context(poolmgr, info_name="poolmgr", terminal_width=HELP_COLUMNS, **poolmgr.context_settings)
    contexts = [root]
    contexts += [click.Context(command, info_name=name, parent=root) for name, command in poolmgr.commands.items()]
    pages = [f"## {context.command_path}\n\n{fenced('text', context.get_help())}" for context in contexts]
    return {"commands": "\n\n".join(pages)}


def config_parts() -> Parts:
    """Return every key of the config: from the schema, with what config.example.yaml says of it."""
    text = uncommented(EXAMPLE.read_text())
    marks = parse_document(text.encode(), str(EXAMPLE)).marks
    lines = []
    for place, schema, is_required in keys(json_schema()):
        comment = comment_above(text.splitlines(), marks[place].line)
        if len(place) == 1:
            lines.append(f"\n## `{place[0]}`\n\n{comment}\n")
            continue
        meaning = re.sub(r" ?(Default: .+|Required|Optional)\.$", "", comment)
        lines.append(f"- `{key_name(place)}`{_needed(schema, is_required=is_required)}{meaning and f': {meaning}'}")
    return {"keys": "\n".join(lines).strip()}


def key_name(place: Place) -> str:
    """Return how docs/config.md calls the key at `place`, such as ``pools[].ttl``."""
    return "".join("[]" if isinstance(step, int) else f".{step}" for step in place).removeprefix(".")


def keys(schema: Mapping[str, Any], place: Place = ()) -> Iterator[tuple[Place, Mapping[str, Any], bool]]:
    """Yield place, schema and whether it is required of every key, each entry of a list at the index of its kind."""
    section = resolved(schema)
    for key, value in section.get("properties", {}).items():
        yield (*place, key), value, key in section.get("required", ())
        yield from keys(value, (*place, key))
    items = section.get("items", {})
    for index, entry in enumerate(items.get("oneOf", [items] if items else [])):
        yield from keys(entry, (*place, index))


def resolved(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return `schema` with its reference to one of the $defs followed."""
    target = schema.get("$ref") or next((one["$ref"] for one in schema.get("anyOf", []) if "$ref" in one), None)
    return schema if target is None else _definitions()[target.removeprefix("#/$defs/")]


@cache
def _definitions() -> Mapping[str, Mapping[str, Any]]:
    definitions: Mapping[str, Mapping[str, Any]] = json_schema()["$defs"]
    return definitions


def uncommented(example: str) -> str:
    """Return the example config with the keys that it leaves out."""
    return re.sub(r"^( *)#(?=[^ \n])", r"\1", example, flags=re.MULTILINE)


def comment_above(lines: list[str], number: int) -> str:
    """Return the comment that ends in the line before line `number` (from 1)."""
    above = itertools.takewhile(lambda line: line.lstrip().startswith("#"), reversed(lines[: number - 1]))
    return " ".join(line.strip(" #") for line in reversed(list(above)))


def _needed(schema: Mapping[str, Any], *, is_required: bool) -> str:
    if is_required:
        return " (required)"
    if "default" not in schema:
        return ""
    default = schema["default"]
    return f" (default `{default if isinstance(default, str) else json.dumps(default)}`)"


def servers_parts() -> Parts:
    """Return what was last seen on each name server. Starts none."""
    return matrix.page(matrix.recorded())


def json_parts() -> Parts:
    """Return an example of each JSON format, and the JSON Schemas."""
    examples = {name: fenced("json", text.strip()) for name, text in json_examples().items()}
    return examples | {f"{name} schema": fenced("json", text) for name, text in json_schemas().items()}


def json_examples() -> Mapping[str, str]:
    """Return an example of each JSON format, made by what writes it."""
    late = build.keyserver("late.example.net", "198.51.100.9", keys=4_900_000)
    crawl = build.snapshot([*build.mesh(3), late])
    pool = build.pool()
    judged, _ = build.judge(crawl, Policy(), [pool])
    verdicts = select(judged, [pool], {}, {}, crawl.finished).verdicts
    plan = make_plan(
        origin=build.ORIGIN,
        published=build.zone("pool A 198.51.100.1\npool A 198.51.100.2\npool A 198.51.100.9\npool AAAA 2001:db8::1\n"),
        desired=build.zone("pool A 198.51.100.1\npool A 198.51.100.2\npool A 198.51.100.3\n"),
        limits=limits_of([build.pool(min_members={Family.IPV6: 1})], {}),
        serial=1795434300,
        next_serial=1795435200,
        provenance="",
        at=crawl.finished,
        holds={(build.POOL, dns.rdatatype.AAAA): crawl.finished - timedelta(hours=3, minutes=10)},
    )
    snapshot = json.dumps(json.loads(snapshots.to_json(whole_snapshot())), indent=2)
    label = "zone file /var/lib/bind/example.org.zone"
    return {
        "report": report_example(),
        "changes": movement.to_json(changes_example(), build.NOW - timedelta(days=1)),
        "explain": explain.to_json(life_example("birch.example.net")),
        "plan": changes.to_json({label: plan}, verdicts, {label: [_LARGE]}),
        "status": status.to_json(status_example()),
        "probe": probe_example(),
        "backtest": backtest_example(),
        "snapshot": snapshot,
    }


def lives() -> tuple[Snapshot, ...]:
    """Return crawls in which oak fails for the first time, and birch is back for the first time."""
    oak = partial(build.keyserver, "oak.example.net", "198.51.100.7")
    birch = partial(build.keyserver, "birch.example.net", "198.51.100.8")
    others = build.mesh(2)
    return build.crawls(
        [*others, oak(), birch()],
        [*others, oak(), birch(stats_outcome=Outcome.REFUSED, detail="connection refused")],
        [*others, oak(), birch(keys=4_990_000)],
        [*others, oak(outcomes={Service.HKP: Outcome.RESET}), birch(keys=4_999_400)],
    )


def report_example() -> str:
    """Return what the last of those crawls says of a member, of oak and of birch."""
    pool = build.pool()
    _, judgement = build.judged(lives())
    seen = judgement.snapshot
    verdicts = select(judgement.verdicts, [pool], {}, {}, seen.finished).verdicts
    names = {"pool.example.org": "pool.example.org"}
    report = rows.rows(seen, verdicts, judgement.references, Policy().window, names)
    return rows.to_json(seen, report[1:])


def changes_example() -> list[VerdictChange]:
    """Return the changes of birch over those crawls."""
    changed: list[VerdictChange] = []
    for count in range(1, len(lives()) + 1):
        crawls = lives()[:count]
        changed += changes_of(changed, build.judged(crawls)[1].verdicts, crawls[-1].finished)
    return [change for change in changed if str(change.address) == "198.51.100.8"]


def life_example(name: str) -> Life:
    """Return the life of that keyserver over those crawls."""
    pools = [build.pool()]
    before, judgement = build.judged(lives())
    selection = select(judgement.verdicts, pools, {}, {}, judgement.snapshot.finished)
    keyserver = find_keyserver(judgement.snapshot, parse_host(name))
    return life_of(keyserver, judgement, selection, Policy(), pools, before, lives())


_LARGE = (
    "pool.example.org A: the answer has 541 octets, over 512 it does not fit without EDNS: resolvers ask again over "
    "TCP, which some networks block: lower max_records"
)
"""A warning that a plan may come with."""


def status_example() -> status.Status:
    """Return the status of a target whose last run was held."""
    key = (build.POOL, dns.rdatatype.A)
    target = status.Target(
        label="zone file /var/lib/bind/example.org.zone",
        confirmed=build.NOW - timedelta(minutes=31),
        holds={key: build.NOW - timedelta(minutes=16)},
        written=1795435200,
        seen=1795435200,
        problem="",
        fate="held",
        sentence="pool.example.org A would have 2 of at least 3 members (min_members): the 5 published stay",
        secondaries=(
            status.Secondary(
                address=ipaddress.ip_address("198.51.100.53"),
                port=53,
                seen=1795434300,
                is_behind=True,
                is_required=False,
            ),
        ),
    )
    crawled, run = build.NOW - timedelta(minutes=1), build.NOW - timedelta(seconds=58)
    return status.Status(
        at=build.NOW,
        max_age=timedelta(hours=1),
        crawled=crawled,
        run=run,
        exit_code=3,
        error="",
        targets=(target,),
    )


def json_schemas() -> Mapping[str, str]:
    """Return the JSON Schema of each format that has one, by the name of its example."""
    known = {
        "report": schemas.REPORT,
        "changes": schemas.CHANGES,
        "explain": schemas.EXPLAIN,
        "plan": schemas.PLAN,
        "status": schemas.STATUS,
    }
    return {name: folded(of) for name, of in known.items()}


def folded(value: object, indent: str = "") -> str:
    """Return `value` as JSON, each object and array in one line where it fits."""
    line = json.dumps(value)
    if len(indent) + len(line) <= SCHEMA_COLUMNS or not isinstance(value, dict | list):
        return line
    inner = indent + "  "
    if isinstance(value, dict):
        entries, (begin, end) = [f"{json.dumps(key)}: {folded(each, inner)}" for key, each in value.items()], "{}"
    else:
        entries, (begin, end) = [folded(each, inner) for each in value], "[]"
    return f"{begin}\n{inner}" + f",\n{inner}".join(entries) + f"\n{indent}{end}"


def backtest_example() -> str:
    """Return what poolmgr backtest --set policy.fall=1 may say."""
    today = Fate(pool=build.POOL, days=29.896, members=9.97, joins=41, leaves=40, failing=0.00412)
    other = Fate(pool=build.POOL, days=29.896, members=9.94, joins=97, leaves=97, failing=0.00207)
    return backtest.to_json({"today": [today], "other": [other]}, build.NOW - timedelta(days=30))


def probe_example() -> str:
    """Return what poolmgr probe --debug says of a keyserver whose web server does not know the pool."""
    name = "oak.example.net"
    oak = build.keyserver(name, "198.51.100.7", outcomes={Service.HKP: Outcome.NO_KEY})
    verdicts, _ = build.judge(build.snapshot([oak, *build.mesh(2)]), Policy(), [build.pool()])
    refused = oak.addresses[0].probes[-1]
    head = b"HTTP/1.1 404 Not Found\r\nServer: nginx\r\n\r\n"
    return detail.to_json(build.snapshot([oak]), verdicts[:1], [(refused, head)], is_reachable=False)


def whole_snapshot() -> Snapshot:
    """Return a crawl in which every field of the format has a value."""
    name, address = parse_host("ks1.example.net"), ipaddress.ip_address("198.51.100.1")
    probe = Probe(
        ask=Ask.LOOKUP,
        endpoint=Endpoint(Service.HTTP, address, 80),
        host="pool.example.org",
        outcome=Outcome.HTTP_STATUS,
        detail="502 Bad Gateway",
        status=502,
        started=build.NOW - timedelta(seconds=2),
        connect=timedelta(milliseconds=21),
        first_byte=timedelta(milliseconds=87),
        total=timedelta(milliseconds=88),
        server="nginx",
        via="1.1 ks1.example.net:11371 (nginx)",
        attempts=2,
    )
    secured = Probe(
        ask=Ask.LOOKUP,
        endpoint=Endpoint(Service.HKPS, address, 443),
        host="pool.example.org",
        outcome=Outcome.OK,
        started=build.NOW - timedelta(seconds=1),
        certificate=Certificate("Example CA", build.NOW + timedelta(days=60)),
        version=build.NOW - timedelta(hours=13),
    )
    stats = Stats(
        software="SKS",
        version="1.1.6",
        hostname="ks1.example.net",
        nodename="ks1",
        contact="0x1455854896B25036",
        keys=5_361_575,
        taken_at=build.NOW - timedelta(hours=9),
        peers=(Peer(parse_host("ks2.example.net"), 11370, "/pks/stats"),),
        rejected_peers=1,
        mailsync=("pgp-public-keys@ks2.example.net",),
    )
    found = KeyserverAddress(address, stats, (probe, secured), spread=12, country="de")
    aliases, gone = (parse_host("keys.example.com"),), parse_host("ks2.example.net")
    return Snapshot(
        started=build.NOW - timedelta(seconds=10),
        finished=build.NOW,
        cut_short=("crawl.max_peers (500) was reached: 1 stats pages list more",),
        keyservers=(
            Keyserver(name=name, aliases=aliases, depth=0, listed=build.NOW, addresses=(found,), peers=(gone,)),
            Keyserver(name=gone, depth=1, listed=build.NOW, problem="no such name (NXDOMAIN)"),
        ),
        blind={Family.IPV6: "of 2 targets of crawl.self_check.ipv6 none was reached"},
    )


def main() -> None:
    """Write the generated parts of all pages anew."""
    parts = {
        CLI: cli_parts(),
        CONFIG: config_parts(),
        JSON: json_parts(),
        README: readme_parts(),
        SERVERS: servers_parts(),
    }
    for page, of_page in parts.items():
        page.write_text(filled(page.read_text(), of_page))


if __name__ == "__main__":
    main()
