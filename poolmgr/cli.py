"""The command line: arguments to calls, errors to exit codes. The only place that prints."""

from __future__ import annotations

import json
import logging
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from poolmgr import __version__, commands, zone_commands
from poolmgr.commands import form_option as _format
from poolmgr.commands import say
from poolmgr.errors import ConfigError, PoolmgrError
from poolmgr.hosts import name_text

if TYPE_CHECKING:
    from poolmgr.config import Config
    from poolmgr.crawl.observer import Observer
    from poolmgr.crawl.spider import Crawl
    from poolmgr.model import Snapshot

DEFAULT_CONFIG = Path("/etc/poolmgr/config.yaml")

_SIGNALLED = 128
"""What a shell adds to the number of the signal that ended a command."""

_LOG = logging.getLogger("poolmgr")


class _Commands(click.Group):
    """Turns the errors that poolmgr raises into one message and their exit code."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except PoolmgrError as error:
            zone_commands.complain(error)
            ctx.exit(error.exit_code)
        except KeyboardInterrupt:
            _LOG.error("interrupted")
            ctx.exit(_SIGNALLED + signal.SIGINT)


class _Lines(logging.Handler):
    """Writes each record to standard error: a line of text (a terminal's is folded), or JSON with its `fields`."""

    def __init__(self, *, as_json: bool) -> None:
        super().__init__()
        self._as_json = as_json

    def emit(self, record: logging.LogRecord) -> None:
        if self._as_json:
            moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
            head = {"time": moment, "level": record.levelname.lower(), "message": record.getMessage()}
            click.echo(json.dumps({**head, **getattr(record, "fields", {})}), err=True)
        else:
            say(f"poolmgr: {record.getMessage()}", err=True)


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
        say(f"pool {name_text(pool.name)}")
    for target in config.targets:
        say(f"published as {target.label}")
    for warning in pipeline.check_sizes(config):
        say(f"warning: with all its members, {warning}")


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
    from poolmgr.publish.replace import save
    from poolmgr.report.snapshot import to_json

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
        click.echo(to_json(snapshot))
    elif output is not None:
        save([f"{to_json(snapshot)}\n".encode()], output)


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

    host = commands.host_of(keyserver)
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
@click.option(
    "--force",
    is_flag=True,
    help="Publish this once, whatever the limits say. A crawl that is not believed counts for nobody all the same.",
)
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
    zone_commands.show_done(assessment, results)


for _command in (
    commands.report,
    commands.explain,
    commands.export,
    commands.import_,
    commands.backtest,
    zone_commands.plan,
    zone_commands.publish,
    zone_commands.rollback,
    zone_commands.status,
):
    main.add_command(_command)


def _load(path: Path) -> Config:
    from poolmgr.config import load_config

    return load_config(path)


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
        zone_commands.complain(error)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if received:
        sys.exit(_SIGNALLED + received[0])


def _warn_if_blind(snapshot: Snapshot) -> None:
    for family, sentence in snapshot.blind.items():
        _LOG.warning("blind for %s, what was measured there proves nothing: %s", family, sentence)


if __name__ == "__main__":
    main()
