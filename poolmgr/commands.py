"""The commands that work on the stored crawls: report, explain, export, import and backtest."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from poolmgr.errors import ParseError
from poolmgr.hosts import name_text

if TYPE_CHECKING:
    from poolmgr.config import Config
    from poolmgr.hosts import Host
    from poolmgr.model import Snapshot
    from poolmgr.report.rows import Row

DEFAULT_SINCE = "24h"
"""How far back `report --changes` looks unless it is told."""


def duration_of(_: click.Context, __: click.Parameter, value: str | None) -> timedelta | None:
    """Return the duration that an option says, as the config writes them."""
    from poolmgr.config.fields import duration

    try:
        return None if value is None else duration(timedelta(seconds=1), timedelta(days=3650)).parse(value)
    except ParseError as error:
        raise click.BadParameter(str(error)) from error


def say(line: str, *, err: bool = False) -> None:
    """Print `line`: on a terminal folded to its width, anywhere else as it is."""
    stream = sys.stderr if err else sys.stdout
    if not stream.isatty():
        click.echo(line, err=err)
        return
    from poolmgr.report.folding import folded

    for piece in folded(line, shutil.get_terminal_size().columns):
        click.echo(piece, err=err)


def form_option(default: str, *others: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return the option that chooses the form of what a command prints."""
    forms = click.Choice([default, *others])
    return click.option("--format", "form", type=forms, default=default, show_default=True, help="The form of output.")


def host_of(text: str) -> Host:
    """Return the host that a NAME-OR-ADDRESS is. Raises BadParameter where it is none."""
    from poolmgr.hosts import parse_host

    try:
        return parse_host(text)
    except ParseError as error:
        raise click.BadParameter(str(error), param_hint="NAME-OR-ADDRESS") from error


from_file = click.option(
    "--snapshot",
    "file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Judge this crawl, which `crawl --output` wrote, instead of the newest stored one.",
)
"""The option that names a file with the crawl to judge."""


def _pool_name(config: Config, pool: str, others: Iterable[str]) -> str:
    """Return the pool that the user means, which is configured or one of `others`."""
    wanted = pool.lower().removesuffix(".")
    known = {*others, *(name_text(each.name) for each in config.pools)}
    if wanted not in known:
        raise click.BadParameter(f"no pool {pool!a}; configured: {', '.join(sorted(known))}", param_hint="--pool")
    return wanted


def _since(text: str) -> datetime:
    """Return the time that `text` means: so long ago, or an ISO time, in UTC unless it says otherwise."""
    from poolmgr import pipeline
    from poolmgr.config.fields import duration

    try:
        return pipeline.now() - duration(timedelta(0), timedelta(days=3650)).parse(text)
    except ParseError:
        pass
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        hint = "is neither a duration such as 24h or 7d nor an ISO time such as 2026-11-23T12:00"
        raise click.BadParameter(f"{text!a} {hint}", param_hint="--changes") from error


@click.command()
@form_option("table", "json", "csv")
@click.option("--pool", metavar="NAME", help="Only this pool.")
@click.option("--members", is_flag=True, help="Only addresses that are in.")
@click.option("--excluded", is_flag=True, help="Only addresses that are out.")
@from_file
@click.option(
    "--changes",
    "since",
    metavar="[SINCE]",
    is_flag=False,
    flag_value=DEFAULT_SINCE,
    help=f"Who came and who went since then instead: a duration such as 7d or an ISO time. Default: {DEFAULT_SINCE}.",
)
@click.pass_obj
def report(
    path: Path, *, form: str, pool: str | None, members: bool, excluded: bool, file: Path | None, since: str | None
) -> None:
    """Show who is in each pool, who is out, since when and why, from the newest crawl.

    A table on a terminal, plain columns when piped. The configuration is applied as it is now, so that the effect
    of a changed policy can be seen before the next run. With --changes: who came in and who went out at the stored
    crawls, with the reasons of that moment.

    \b
    Examples:
      poolmgr -c config.yaml report
      poolmgr -c config.yaml report --excluded --format csv
      poolmgr -c config.yaml report --snapshot snapshot.json
      poolmgr -c config.yaml report --changes 7d --pool pool.keys.example.org
    """
    from poolmgr import past
    from poolmgr.config import load_config
    from poolmgr.report import rows

    if since is not None:
        if members or excluded or file is not None:
            raise click.UsageError("--changes goes with --format and --pool only")
        _show_changes(load_config(path), since, form=form, pool=pool)
        return
    config = load_config(path)
    snapshot, all_rows = past.report(config, file)
    if pool is not None:
        wanted = _pool_name(config, pool, {row.pool for row in all_rows})
        all_rows = tuple(row for row in all_rows if row.pool == wanted)
    is_wanted = partial(_is_wanted, members=members, excluded=excluded)
    shown = tuple(filter(is_wanted, all_rows))
    if form == "json":
        click.echo(rows.to_json(snapshot, shown), nl=False)
    elif form == "csv":
        click.echo(rows.to_csv(shown), nl=False)
    else:
        _show_tables(all_rows, is_wanted, snapshot)


@click.command()
@click.argument("keyserver", metavar="NAME-OR-ADDRESS")
@form_option("text", "json")
@click.pass_obj
def explain(path: Path, *, keyserver: str, form: str) -> None:
    """Explain where one keyserver stands, since when and why, from the stored crawls.

    For each of its addresses: its key counts against those of the others, how reliable each service was, and what
    failed in the last crawls. For each pool every rule, passed or not, with what was measured, limit and margin,
    and what the keyserver must do to come in. Exits with 1 for a keyserver that the newest crawl does not have.

    \b
    Examples:
      poolmgr -c config.yaml explain keyserver.example.org
      poolmgr -c config.yaml explain 192.0.2.1 --format json
    """
    from poolmgr import past
    from poolmgr.config import load_config
    from poolmgr.report import explain

    life = past.explain(load_config(path), host_of(keyserver))
    if form == "json":
        click.echo(explain.to_json(life), nl=False)
    else:
        for line in explain.to_text(life):
            click.echo(line)


def _show_changes(config: Config, since: str, *, form: str, pool: str | None) -> None:
    from poolmgr import past
    from poolmgr.report import movement

    moment = _since(since)
    changes = past.changes(config, moment)
    if pool is not None:
        wanted = _pool_name(config, pool, {name_text(change.pool) for change in changes})
        changes = tuple(change for change in changes if name_text(change.pool) == wanted)
    if form == "json":
        click.echo(movement.to_json(changes, moment), nl=False)
    elif form == "csv":
        click.echo(movement.to_csv(changes), nl=False)
    else:
        for line in movement.to_text(changes, moment):
            say(line)


def _is_wanted(row: Row, *, members: bool, excluded: bool) -> bool:
    from poolmgr.model import State

    wanted = {State.MEMBER} if members else set()
    wanted |= {State.OUT} if excluded else set()
    return row.state in wanted if wanted else True


def _show_tables(all_rows: tuple[Row, ...], is_wanted: Callable[[Row], bool], snapshot: Snapshot) -> None:
    """Show the wanted rows of each pool, under a title that counts all of its rows."""
    from rich.console import Console

    from poolmgr.report import table

    console = Console()
    for number, (pool, group) in enumerate(table.by_pool(all_rows)):
        if number:
            click.echo()
        title, shown = table.title(pool, group, snapshot.blind), tuple(filter(is_wanted, group))
        if console.is_terminal:
            console.print(table.to_table(title, shown))
        else:
            click.echo(table.to_plain(title, shown), nl=False)


@click.command()
@click.option("--since", callback=duration_of, metavar="DURATION", help="Only the crawls of the last 30d, 12h, ...")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    default="-",
    help="Write to this file instead of standard output.",
)
@click.pass_obj
def export(path: Path, *, since: timedelta | None, output: Path) -> None:
    """Write the stored crawls as JSON lines, one crawl a line, the oldest first.

    Each line is a snapshot as `crawl --output` writes it; `import` reads them into another store. A file is replaced
    when all of them are written, and stays as it was where that fails.

    \b
    Example:
      poolmgr -c config.yaml export --since 30d -o crawls.jsonl
    """
    from poolmgr import past
    from poolmgr.config import load_config
    from poolmgr.publish.replace import save
    from poolmgr.report.snapshot import to_json

    lines = (f"{to_json(crawl)}\n" for crawl in past.export(load_config(path), since))
    if output == Path("-"):
        for line in lines:
            click.echo(line, nl=False)
    else:
        save((line.encode() for line in lines), output)


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.pass_obj
def import_(path: Path, *, file: Path) -> None:
    """Read crawls that `export` wrote into the store: all of them, or none where a line is wrong.

    Crawls that are stored already are passed over; one that ends in the future is refused. What is remembered of the
    keyservers stays as it is, unless the newest crawl of all is an imported one: then it is made from the stored crawls
    anew. Crawls older than state.keep are forgotten at the next run, but for one a day.

    \b
    Example:
      poolmgr -c config.yaml import crawls.jsonl
    """
    from poolmgr import past
    from poolmgr.config import load_config

    imported = past.import_crawls(load_config(path), file)
    click.echo(f"{imported} crawl{'' if imported == 1 else 's'} imported")


@click.command()
@click.option(
    "--since", callback=duration_of, default="30d", show_default=True, metavar="DURATION", help="How far back to begin."
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="A key of the configuration with another value, as YAML: policy.fall=3, pools.0.max_records=8.",
)
@click.option(
    "--config",
    "other",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Another configuration file, whose policy and pools are compared.",
)
@form_option("table", "json", "csv")
@click.pass_obj
def backtest(path: Path, *, since: timedelta, settings: tuple[str, ...], other: Path | None, form: str) -> None:
    """Judge the stored crawls again, by today's policy and by another one, and compare how their pools fare.

    For each pool: how many members it had in the mean, how many joined and left a day, and the share of their time in
    which the next crawl found them down or stale, by today's policy. Nothing is asked of the network, stored or
    published. Both begin with what was remembered and published at that time.

    \b
    Examples:
      poolmgr -c config.yaml backtest --set policy.rise=3 --set policy.fall=1
      poolmgr -c config.yaml backtest --since 7d --config other.yaml --format csv
    """
    from poolmgr import past
    from poolmgr.config import load_config
    from poolmgr.report import backtest as tables

    config = load_config(path)
    others = {past.OTHER: load_config(other or path, settings)} if settings or other else {}
    begun, fates = past.backtest(config, others, since)
    if form == "json":
        click.echo(tables.to_json(fates, begun), nl=False)
    elif form == "csv":
        click.echo(tables.to_csv(fates), nl=False)
    else:
        click.echo(tables.to_text(fates), nl=False)
