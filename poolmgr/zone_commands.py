"""The commands about what is published: plan, publish, rollback and status."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from poolmgr.commands import duration_of, form_option, from_file, say
from poolmgr.errors import PoolmgrError, UnsafePlan

if TYPE_CHECKING:
    from poolmgr.assessing import Assessment
    from poolmgr.config import Config
    from poolmgr.publishing import Result

EXIT_TO_DO = 5
"""What `plan --check` exits with when there is something to do."""

SHOWN_STATES = 20
"""States that `rollback --list` shows."""

_LOG = logging.getLogger("poolmgr")


@click.command()
@form_option("text", "json", "zone", "nsupdate")
@click.option("--check", is_flag=True, help=f"Exit with {EXIT_TO_DO} when there is something to do.")
@click.option("--target", "label", metavar="LABEL", help="Only this target, by the name that `check-config` shows.")
@from_file
@click.pass_obj
def plan(path: Path, *, form: str, check: bool, label: str | None, file: Path | None) -> None:
    """Show what `publish` would change at each target, from the newest crawl. Changes nothing.

    One line with + or - for each record that comes or goes, with the reason; then how near each record set comes to
    its limits. --format zone is the zone file that would be written, or for a primary the records that it would have
    of ours. --format nsupdate is a script that makes the same change, under the same conditions, when it is piped into
    `nsupdate -k KEYFILE`; no key is in it, and soa_prerequisite is not kept. What a limit holds back is in neither.

    \b
    Examples:
      poolmgr -c config.yaml plan
      poolmgr -c config.yaml plan --format nsupdate | nsupdate -k tsig.key
    """
    from poolmgr import pipeline
    from poolmgr.config import load_config

    config = _with_target(load_config(path), label)
    if form in {"zone", "nsupdate"}:
        _check_form(config, form)
    assessment, results = pipeline.plan(config, file)
    show_plan(assessment, results, form)
    if check and any(result.plan is not None and result.plan.changes for result in results):
        sys.exit(EXIT_TO_DO)


@click.command()
@click.option("--dry-run", is_flag=True, help="Show what would be done, as `plan` does, and do nothing.")
@click.option("--force", is_flag=True, help="Publish this once, whatever the limits and doubts say.")
@click.pass_obj
def publish(path: Path, *, dry_run: bool, force: bool) -> None:
    """Publish by the newest stored crawl, without a new one: what `run` does after it.

    For a target that failed, or a configuration that was changed. The limits hold as ever, and so does
    zone.max_age: an old crawl changes nothing.

    \b
    Examples:
      poolmgr -c config.yaml publish
      poolmgr -c config.yaml publish --dry-run
    """
    from poolmgr import pipeline
    from poolmgr.config import load_config

    config = load_config(path)
    if dry_run:
        show_plan(*pipeline.plan(config, None, force=force), "text")
    else:
        show_done(*pipeline.publish(config, force=force))


@click.command()
@click.option("--to", "to", default="1", show_default=True, metavar="N", help="How far back, or an id such as p17.")
@click.option("--list", "is_list", is_flag=True, help="Show the states that can be published again.")
@click.option("--force", is_flag=True, help="Publish it whatever the limits say.")
@click.pass_obj
def rollback(path: Path, *, to: str, is_list: bool, force: bool) -> None:
    """Publish an earlier published state again: the members that each pool had.

    The limits hold as for any change. This is not a decision against the later crawl: the next `run` judges and
    publishes as always, where members that are eligible stay and those that are not go. To keep somebody out, exclude
    them in the configuration first.

    \b
    Examples:
      poolmgr -c config.yaml rollback --list
      poolmgr -c config.yaml rollback --to 2
    """
    from poolmgr import past, pipeline
    from poolmgr.config import load_config
    from poolmgr.report import status as text
    from poolmgr.store.publications import PastState

    config = load_config(path)
    if is_list:
        for number, publication in enumerate(past.published(config, SHOWN_STATES)):
            say(text.state_to_text(number, publication.id, publication.at, publication.members))
        return
    if re.fullmatch(r"p?[0-9]{1,9}", to, re.ASCII) is None or to == "0":
        raise click.BadParameter(f"{to!a} is neither a number from 1 up nor an id such as p17", param_hint="--to")
    state = PastState(id=int(to[1:])) if to.startswith("p") else PastState(back=int(to))
    show_done(*pipeline.rollback(config, state, force=force))


@click.command()
@click.option(
    "--max-age",
    callback=duration_of,
    default="1h",
    show_default=True,
    metavar="DURATION",
    help="How old the last run, and the crawl that the published data comes from, may be.",
)
@form_option("text", "json")
@click.pass_obj
def status(path: Path, *, max_age: timedelta, form: str) -> None:
    """Tell whether what is published is kept up, as monitoring plugins do.

    The first line says OK, WARNING or CRITICAL and why; then come the last run and, for each target, how old the crawl
    is by which it was last as it should be, what is held since when, and the serial written and the one that the
    target gives now. Exits with 0, 1 or 2: 1 while a limit holds something back, 2 when the last run failed or is too
    old, a target cannot be asked or is behind, or its data are too old.

    \b
    Example:
      poolmgr -c config.yaml status --max-age 2h
    """
    from poolmgr import upkeep
    from poolmgr.config import load_config
    from poolmgr.report import status as text

    found = upkeep.status(load_config(path), max_age)
    if form == "json":
        click.echo(text.to_json(found), nl=False)
    else:
        for line in text.to_text(found):
            say(line)
    sys.exit(found.level)


def _labels(config: Config) -> str:
    return "; ".join(target.label for target in config.targets) or "none"


def _with_target(config: Config, label: str | None) -> Config:
    if label is None:
        return config
    targets = tuple(target for target in config.targets if target.label == label)
    if not targets:
        raise click.BadParameter(f"no target {label!a}; configured: {_labels(config)}", param_hint="--target")
    return replace(config, targets=targets)


def _check_form(config: Config, form: str) -> None:
    """Refuse a form that is for one target, of one kind, where the config has others."""
    from poolmgr.publish.zonefile import ZoneFile

    if len(config.targets) != 1:
        raise click.UsageError(
            f"--format {form} is of one target: choose it with --target; configured: {_labels(config)}"
        )
    if form == "nsupdate" and isinstance(config.targets[0].at, ZoneFile):
        raise click.UsageError(f"{config.targets[0].label} takes no updates: use --format zone")


def show_plan(assessment: Assessment, results: tuple[Result, ...], form: str) -> None:
    """Show `results` in that form, and exit with their code unless it is 0."""
    from poolmgr.report import changes

    if form == "json":
        plans = {result.label: result.plan for result in results if result.plan is not None}
        warnings = {result.label: result.warnings for result in results}
        click.echo(changes.to_json(plans, assessment.selection.verdicts, warnings), nl=False)
    for result in results:
        if form in {"zone", "nsupdate"}:
            _show_records(result, form)
        _show_result(assessment, result, with_plan=form == "text", with_limits=True)
    exit_with_worst(results)


def _show_records(result: Result, form: str) -> None:
    from poolmgr.publish.zonefile import ZoneFile
    from poolmgr.publishing import updater_of
    from poolmgr.report.nsupdate import to_nsupdate
    from poolmgr.zone.desired import to_text

    if result.plan is None:
        return
    if form == "zone":
        click.echo(to_text(result.plan.records, result.plan.origin, result.plan.provenance), nl=False)
        return
    at = result.target.at
    assert not isinstance(at, ZoneFile), "such a target was refused"
    messages = updater_of(result.target.zone, at).messages(result.plan)
    for line in to_nsupdate(result.plan, messages, None if at.server is None else (at.server, at.port)):
        click.echo(line)


def show_done(assessment: Assessment, results: tuple[Result, ...]) -> None:
    """Show each of `results` in which something was published, held or failed; exit with their code unless it is 0."""
    for result in results:
        if result.receipt is not None or result.error is not None:
            _show_result(assessment, result)
    exit_with_worst(results)


def _show_result(assessment: Assessment, result: Result, *, with_plan: bool = True, with_limits: bool = False) -> None:
    from poolmgr.report import changes

    if result.plan is not None and with_plan:
        lines: Iterable[str] = changes.to_text(result.label, result.plan, assessment.selection.verdicts)
        for line in (*lines, *(changes.limits_to_text(result.plan) if with_limits else ())):
            say(line)
    for warning in result.warnings:
        _LOG.warning("%s: %s", result.label, warning)
    if result.receipt is not None:
        say(result.receipt.sentence)
        for secondary in result.receipt.secondaries:
            if secondary.lag is not None:
                say(secondary.sentence)
            elif result.receipt.failure is None:
                _LOG.warning("%s: %s", result.label, secondary.sentence)
    if result.error is not None:
        complain(result.error, f"{result.label}: {'held: ' if isinstance(result.error, UnsafePlan) else ''}")


def exit_with_worst(results: tuple[Result, ...]) -> None:
    """Exit with the code of the first failure, else of the first plan that was held; return when there is neither."""
    from poolmgr import pipeline

    code = pipeline.exit_code_of(results)
    if code:
        sys.exit(code)


def complain(error: PoolmgrError, about: str = "") -> None:
    """Log each line of `error`."""
    for line in str(error).splitlines():
        _LOG.error("%s%s", about, line)
