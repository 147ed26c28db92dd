"""The command line: arguments to calls, errors to exit codes. The only place that prints."""

from __future__ import annotations

import json
import logging
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from poolmgr import __version__, commands
from poolmgr.commands import form_option as _format
from poolmgr.errors import ConfigError, ParseError, PoolmgrError, UnsafePlan
from poolmgr.hosts import name_text

if TYPE_CHECKING:
    from poolmgr.config import Config
    from poolmgr.crawl.observer import Observer
    from poolmgr.crawl.spider import Crawl
    from poolmgr.hosts import Host
    from poolmgr.model import Snapshot
    from poolmgr.pipeline import Assessment, Result
    from poolmgr.report.rows import Row

DEFAULT_CONFIG = Path("/etc/poolmgr/config.yaml")

_SIGNALLED = 128
"""What a shell adds to the number of the signal that ended a command."""

EXIT_TO_DO = 5
"""What `plan --check` exits with when there is something to do."""


DEFAULT_SINCE = "24h"
"""How far back `report --changes` looks unless it is told."""


_LOG = logging.getLogger("poolmgr")


class _Commands(click.Group):
    """Turns the errors that poolmgr raises into one message and their exit code."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except PoolmgrError as error:
            _complain(error)
            ctx.exit(error.exit_code)
        except KeyboardInterrupt:
            _LOG.error("interrupted")
            ctx.exit(_SIGNALLED + signal.SIGINT)


class _Lines(logging.Handler):
    """Writes each record as one line to standard error: as text, or as JSON with the record's `fields`."""

    def __init__(self, *, as_json: bool) -> None:
        super().__init__()
        self._as_json = as_json

    def emit(self, record: logging.LogRecord) -> None:
        text = f"poolmgr: {record.getMessage()}"
        if self._as_json:
            moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
            head = {"time": moment, "level": record.levelname.lower(), "message": record.getMessage()}
            text = json.dumps({**head, **getattr(record, "fields", {})})
        click.echo(text, err=True)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "-c",
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    default=DEFAULT_CONFIG,
    envvar="POOLMGR_CONFIG",
    show_default=True,
    show_envvar=True,
    help="The configuration file.",
)
@click.option("-v", "--verbose", is_flag=True, help="Log one line for each keyserver to standard error.")
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Form of what goes to standard error; json is one object a line.",
)
@click.version_option(__version__, prog_name="poolmgr")
@click.pass_context
def main(ctx: click.Context, config: Path, log_format: str, *, verbose: bool) -> None:
    """Keep a DNS name pointing at the OpenPGP keyservers that really serve.

    Exit codes: 0 done, or nothing to do; 1 failed; 2 usage or configuration; 3 held: a limit refused the change and the
    last good records stay; 4 another run holds the lock; 5 `plan --check` found changes; 130, 143 stopped by Ctrl-C or
    SIGTERM.
    """
    ctx.obj = config
    handler = _Lines(as_json=log_format == "json")
    _LOG.addHandler(handler)
    ctx.call_on_close(partial(_LOG.removeHandler, handler))
    _LOG.setLevel(logging.INFO if verbose else logging.WARNING)


_from_file = click.option(
    "--snapshot",
    "file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Judge this crawl, which `crawl --output` wrote, instead of the newest stored one.",
)


@main.command("check-config")
@click.option("--schema", is_flag=True, help="Print the JSON Schema of the configuration instead.")
@click.pass_obj
def check_config(path: Path, *, schema: bool) -> None:
    """Check the configuration and the files that it names.

    Every problem is reported at once, each with file, line and column, the limit and the remedy. Exits with 2 when
    there is any.

    \b
    Example:
      poolmgr -c config.yaml check-config
    """
    from poolmgr.config import json_schema

    if schema:
        click.echo(json.dumps(json_schema(), indent=2))
        return
    from poolmgr import pipeline

    config = _load(path)
    problems = pipeline.check(config)
    if problems:
        raise ConfigError(problems)
    click.echo(f"{path}: ok")
    for pool in config.pools:
        click.echo(f"pool {name_text(pool.name)}")
    for target in config.targets:
        click.echo(f"published as {target.label}")


@main.command()
@click.option(
    "--output", type=click.Path(path_type=Path), help="Write the crawl to this file too, as JSON; - is stdout."
)
@click.pass_obj
def crawl(path: Path, *, output: Path | None) -> None:
    """Crawl the mesh once and store what was found.

    Progress is shown on a terminal. Nothing is judged or published. What --output writes, `report` and `plan` read with
    --snapshot.

    \b
    Examples:
      poolmgr -c config.yaml crawl
      poolmgr -c config.yaml -v crawl --output snapshot.json
    """
    from poolmgr import pipeline
    from poolmgr.report import snapshot as snapshot_json

    snapshot = pipeline.crawl(_load(path), _watch)
    addresses = [address for keyserver in snapshot.keyservers for address in keyserver.addresses]
    answering = sum(address.stats is not None for address in addresses)
    seconds = (snapshot.finished - snapshot.started).total_seconds()
    is_piped = output == Path("-")
    click.echo(
        f"{len(snapshot.keyservers)} keyservers with {len(addresses)} addresses, {answering} of them gave their stats, "
        f"in {seconds:.1f} s",
        err=is_piped,
    )
    _warn_if_blind(snapshot)
    for bound in snapshot.cut_short:
        _LOG.warning("cut short: %s", bound)
    if is_piped:
        click.echo(snapshot_json.to_json(snapshot))
    elif output is not None:
        pipeline.save_snapshot(snapshot, output)


@main.command()
@click.argument("keyserver", metavar="NAME-OR-ADDRESS")
@click.option("--debug", is_flag=True, help="Show the beginning of every answer that was refused.")
@_format("text", "json")
@click.pass_obj
def probe(path: Path, *, keyserver: str, debug: bool, form: str) -> None:
    """Probe one keyserver now, and show everything about it.

    Its addresses, every probe with its timing and outcome, what it says of itself, and for each pool the verdict, with
    its key count compared to those of the newest stored crawl. Nothing is stored. Exits with 0 when the clients of the
    first pool would be served by at least one of its addresses, else with 1.

    \b
    Examples:
      poolmgr -c config.yaml probe keyserver.example.org
      poolmgr -c config.yaml probe 192.0.2.1 --debug
    """
    from poolmgr import pipeline
    from poolmgr.report import detail
    from poolmgr.terminal import Refused

    host = _host(keyserver)
    observer = Refused()
    found = pipeline.probe(_load(path), host, lambda _: _stoppable(observer))
    heads = observer.heads if debug else []
    if form == "json":
        click.echo(detail.to_json(found.snapshot, found.verdicts, heads, is_reachable=found.is_reachable), nl=False)
    else:
        for line in detail.to_text(found.snapshot, found.verdicts, heads):
            click.echo(line)
    if not found.is_reachable:
        sys.exit(1)


@main.command()
@_format("table", "json", "csv")
@click.option("--pool", metavar="NAME", help="Only this pool.")
@click.option("--members", is_flag=True, help="Only addresses that are in.")
@click.option("--excluded", is_flag=True, help="Only addresses that are out.")
@_from_file
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
    if since is not None:
        if members or excluded or file is not None:
            raise click.UsageError("--changes goes with --format and --pool only")
        _show_changes(_load(path), since, form=form, pool=pool)
        return
    from poolmgr import pipeline
    from poolmgr.report import rows

    config = _load(path)
    snapshot, all_rows = pipeline.report(config, file)
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


@main.command()
@click.argument("keyserver", metavar="NAME-OR-ADDRESS")
@_format("text", "json")
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
    from poolmgr import pipeline
    from poolmgr.report import explain

    life = pipeline.explain(_load(path), _host(keyserver))
    if form == "json":
        click.echo(explain.to_json(life), nl=False)
    else:
        for line in explain.to_text(life):
            click.echo(line)


@main.command()
@_format("text", "json")
@click.option("--check", is_flag=True, help=f"Exit with {EXIT_TO_DO} when there is something to do.")
@_from_file
@click.pass_obj
def plan(path: Path, *, form: str, check: bool, file: Path | None) -> None:
    """Show what `run` would change at each target, from the newest crawl. Changes nothing.

    One line with + or - for each record that comes or goes, with the reason.

    \b
    Example:
      poolmgr -c config.yaml plan
    """
    from poolmgr import pipeline
    from poolmgr.report import changes

    assessment, results = pipeline.plan(_load(path), file)
    if form == "json":
        plans = {result.label: result.plan for result in results if result.plan is not None}
        click.echo(changes.to_json(plans, assessment.selection.verdicts), nl=False)
    for result in results:
        _show_result(assessment, result, with_plan=form == "text")
    _exit_with_worst(results)
    if check and any(result.plan is not None and result.plan.changes for result in results):
        sys.exit(EXIT_TO_DO)


@main.command()
@click.option("--force", is_flag=True, help="Publish this once, whatever the limits and doubts say.")
@click.pass_obj
def run(path: Path, *, force: bool) -> None:
    """Crawl, judge, plan and publish, under one lock: the command for cron.

    Prints nothing unless something changed, was held back or failed.

    \b
    Example, in a crontab:
      */15 * * * * poolmgr poolmgr -c /etc/poolmgr/config.yaml run
    """
    from poolmgr import pipeline

    assessment, results = pipeline.run(_load(path), _watch, force=force)
    _warn_if_blind(assessment.snapshot)
    for result in results:
        if result.receipt is not None or result.error is not None:
            _show_result(assessment, result)
    _exit_with_worst(results)


for _command in (commands.export, commands.import_, commands.backtest):
    main.add_command(_command)


def _load(path: Path) -> Config:
    from poolmgr.config import load_config

    return load_config(path)


def _host(text: str) -> Host:
    from poolmgr.hosts import parse_host

    try:
        return parse_host(text)
    except ParseError as error:
        raise click.BadParameter(str(error), param_hint="NAME-OR-ADDRESS") from error


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


def _show_changes(config: Config, since: str, *, form: str, pool: str | None) -> None:
    from poolmgr import pipeline
    from poolmgr.report import movement

    moment = _since(since)
    changes = pipeline.changes(config, moment)
    if pool is not None:
        wanted = _pool_name(config, pool, {name_text(change.pool) for change in changes})
        changes = tuple(change for change in changes if name_text(change.pool) == wanted)
    if form == "json":
        click.echo(movement.to_json(changes, moment), nl=False)
    elif form == "csv":
        click.echo(movement.to_csv(changes), nl=False)
    else:
        for line in movement.to_text(changes, moment):
            click.echo(line)


@contextmanager
def _watch(plan: Crawl) -> Iterator[Observer]:
    """Show on a terminal how the crawl goes, and nothing at all elsewhere; let signals stop it."""
    from poolmgr.crawl.observer import Observer
    from poolmgr.terminal import screen

    with screen(plan) if sys.stderr.isatty() else nullcontext(Observer()) as observer, _stoppable(observer):
        yield observer


@contextmanager
def _stoppable(observer: Observer) -> Iterator[Observer]:
    """Let Ctrl-C and SIGTERM stop the crawl, and exit with their code. Outside they act as ever."""
    received: list[int] = []

    def stop(number: int, _: object) -> None:
        received.append(number)
        observer.stop.set()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield observer
    except PoolmgrError as error:
        if not received:
            raise
        _complain(error)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if received:
        sys.exit(_SIGNALLED + received[0])


def _warn_if_blind(snapshot: Snapshot) -> None:
    for family, sentence in snapshot.blind.items():
        _LOG.warning("blind for %s, what was measured there proves nothing: %s", family, sentence)


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


def _show_result(assessment: Assessment, result: Result, *, with_plan: bool = True) -> None:
    from poolmgr.report import changes

    if result.plan is not None and with_plan:
        for line in changes.to_text(result.label, result.plan, assessment.selection.verdicts):
            click.echo(line)
    if result.receipt is not None:
        click.echo(result.receipt.sentence)
    if result.error is not None:
        _complain(result.error, f"{result.label}: {'held: ' if isinstance(result.error, UnsafePlan) else ''}")


def _exit_with_worst(results: tuple[Result, ...]) -> None:
    """Exit with the code of the first failure, else of the first plan that was held; return when there is neither."""
    errors = [result.error for result in results if result.error is not None]
    errors.sort(key=lambda error: isinstance(error, UnsafePlan))
    for error in errors:
        sys.exit(error.exit_code)


def _complain(error: PoolmgrError, about: str = "") -> None:
    for line in str(error).splitlines():
        _LOG.error("%s%s", about, line)


if __name__ == "__main__":
    main()
