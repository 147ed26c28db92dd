"""The commands that work on the stored crawls: export, import and backtest."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import click

from poolmgr.errors import ParseError


def _duration(_: click.Context, __: click.Parameter, value: str | None) -> timedelta | None:
    """Return the duration that an option says, as the config writes them."""
    from poolmgr.config.fields import duration

    try:
        return None if value is None else duration(timedelta(seconds=1), timedelta(days=3650)).parse(value)
    except ParseError as error:
        raise click.BadParameter(str(error)) from error


def form_option(default: str, *others: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return the option that chooses the form of what a command prints."""
    forms = click.Choice([default, *others])
    return click.option("--format", "form", type=forms, default=default, show_default=True, help="The form of output.")


@click.command()
@click.option("--since", callback=_duration, metavar="DURATION", help="Only the crawls of the last 30d, 12h, ...")
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

    Each line is a snapshot as `crawl --output` writes it; `import` reads them into another store.

    \b
    Example:
      poolmgr -c config.yaml export --since 30d -o crawls.jsonl
    """
    from poolmgr import past
    from poolmgr.config import load_config
    from poolmgr.report.snapshot import to_json

    lines = (f"{to_json(crawl)}\n" for crawl in past.export(load_config(path), since))
    if output == Path("-"):
        for line in lines:
            click.echo(line, nl=False)
    else:
        past.save_lines(lines, output)


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
    "--since", callback=_duration, default="30d", show_default=True, metavar="DURATION", help="How far back to begin."
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
