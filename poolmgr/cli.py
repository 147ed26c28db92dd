"""The command line: arguments to calls, errors to exit codes. The only place that prints."""

# ruff: noqa: D301 - in a raw docstring, the \b that keeps click from wrapping would be two characters

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from poolmgr import __version__
from poolmgr.errors import ConfigError, PoolmgrError, UnsafePlan

if TYPE_CHECKING:
    from poolmgr.config import Config
    from poolmgr.crawl.frontier import Progress
    from poolmgr.pipeline import Assessment, Result
    from poolmgr.report.rows import Row

DEFAULT_CONFIG = Path("/etc/poolmgr/config.yaml")

EXIT_TO_DO = 5
"""What `plan --check` exits with when there is something to do."""


class _Commands(click.Group):
    """Turns the errors that poolmgr raises into one message and their exit code."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except PoolmgrError as error:
            _complain(error)
            ctx.exit(error.exit_code)


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
@click.version_option(__version__, prog_name="poolmgr")
@click.pass_context
def main(ctx: click.Context, config: Path) -> None:
    """Keep a DNS name pointing at the OpenPGP keyservers that really serve.

    Exit codes: 0 done, or nothing to do; 1 failed; 2 usage or configuration; 3 held: a limit refused the change and the
    last good records stay; 4 another run holds the lock; 5 `plan --check` found changes.
    """
    ctx.obj = config


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
        click.echo(f"pool {pool.name.to_text(omit_final_dot=True)}")
    for target in config.targets:
        click.echo(f"published as {target.label}")


@main.command()
@click.pass_obj
def crawl(path: Path) -> None:
    """Crawl the mesh once and store what was found.

    Progress is shown on a terminal. Nothing is judged or published.

    \b
    Example:
      poolmgr -c config.yaml crawl
    """
    from poolmgr import pipeline

    config = _load(path)
    with _progress() as on_progress:
        snapshot = pipeline.crawl(config, on_progress)
    addresses = [address for keyserver in snapshot.keyservers for address in keyserver.addresses]
    answering = sum(address.stats is not None for address in addresses)
    seconds = (snapshot.finished - snapshot.started).total_seconds()
    click.echo(
        f"{len(snapshot.keyservers)} keyservers with {len(addresses)} addresses, {answering} of them gave their stats, "
        f"in {seconds:.1f} s"
    )
    for bound in snapshot.cut_short:
        click.echo(f"cut short: {bound}", err=True)


@main.command()
@click.option(
    "--format", "form", type=click.Choice(["table", "json", "csv"]), default="table", show_default=True, help="As what."
)
@click.option("--pool", metavar="NAME", help="Only this pool.")
@click.option("--members", is_flag=True, help="Only addresses that are in.")
@click.option("--excluded", is_flag=True, help="Only addresses that are out.")
@click.pass_obj
def report(path: Path, *, form: str, pool: str | None, members: bool, excluded: bool) -> None:
    """Show who is in each pool, who is out, and why, from the newest crawl.

    A table on a terminal, plain columns when piped. The configuration is applied as it is now, so that the effect
    of a changed policy can be seen before the next run.

    \b
    Examples:
      poolmgr -c config.yaml report
      poolmgr -c config.yaml report --excluded --format csv
    """
    from poolmgr import pipeline
    from poolmgr.report import rows

    config = _load(path)
    snapshot, all_rows = pipeline.report(config)
    if pool is not None:
        wanted = pool.lower().removesuffix(".")
        known = {row.pool for row in all_rows} | {p.name.to_text(omit_final_dot=True) for p in config.pools}
        if wanted not in known:
            raise click.BadParameter(f"no pool {pool!a}; configured: {', '.join(sorted(known))}", param_hint="--pool")
        all_rows = tuple(row for row in all_rows if row.pool == wanted)
    is_wanted = partial(_is_wanted, members=members, excluded=excluded)
    shown = tuple(filter(is_wanted, all_rows))
    if form == "json":
        click.echo(rows.to_json(snapshot, shown), nl=False)
    elif form == "csv":
        click.echo(rows.to_csv(shown), nl=False)
    else:
        _show_tables(all_rows, is_wanted)


@main.command()
@click.option(
    "--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True, help="As what."
)
@click.option("--check", is_flag=True, help=f"Exit with {EXIT_TO_DO} when there is something to do.")
@click.pass_obj
def plan(path: Path, *, form: str, check: bool) -> None:
    """Show what `run` would change at each target, from the newest crawl. Changes nothing.

    One line with + or - for each record that comes or goes, with the reason.

    \b
    Example:
      poolmgr -c config.yaml plan
    """
    from poolmgr import pipeline
    from poolmgr.report import changes

    assessment, results = pipeline.plan(_load(path))
    if form == "json":
        plans = {result.label: result.plan for result in results if result.plan is not None}
        click.echo(changes.to_json(plans, assessment.selection.verdicts), nl=False)
    for result in results:
        _show_result(assessment, result, with_plan=form == "text")
    _exit_with_worst(results)
    if check and any(result.plan is not None and result.plan.changes for result in results):
        sys.exit(EXIT_TO_DO)


@main.command()
@click.option("--force", is_flag=True, help="Publish this once whatever min_members and max_removed say.")
@click.pass_obj
def run(path: Path, *, force: bool) -> None:
    """Crawl, judge, plan and publish, under one lock: the command for cron.

    Prints nothing unless something changed, was held back or failed.

    \b
    Example, in a crontab:
      */15 * * * * poolmgr poolmgr -c /etc/poolmgr/config.yaml run
    """
    from poolmgr import pipeline

    config = _load(path)
    with _progress() as on_progress:
        assessment, results = pipeline.run(config, on_progress, force=force)
    for result in results:
        if result.receipt is not None or result.error is not None:
            _show_result(assessment, result)
    _exit_with_worst(results)


def _load(path: Path) -> Config:
    from poolmgr.config import load_config

    return load_config(path)


@contextmanager
def _progress() -> Iterator[Callable[[Progress], None]]:
    """Show how the crawl goes in one line on a terminal, and nothing at all elsewhere."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console

    with Console(stderr=True).status("crawling") as status:
        yield lambda progress: status.update(
            f"crawling: {progress.names} names, {progress.probes} probes done, {progress.waiting} waiting"
        )


def _is_wanted(row: Row, *, members: bool, excluded: bool) -> bool:
    from poolmgr.model import State

    wanted = {State.MEMBER} if members else set()
    wanted |= {State.OUT} if excluded else set()
    return row.state in wanted if wanted else True


def _show_tables(all_rows: tuple[Row, ...], is_wanted: Callable[[Row], bool]) -> None:
    """Show the wanted rows of each pool, under a title that counts all of its rows."""
    from rich.console import Console

    from poolmgr.report import table

    console = Console()
    for number, (pool, group) in enumerate(table.by_pool(all_rows)):
        if number:
            click.echo()
        title, shown = table.title(pool, group), tuple(filter(is_wanted, group))
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
        click.echo(f"poolmgr: {about}{line}", err=True)


if __name__ == "__main__":
    main()
