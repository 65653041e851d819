"""``drbackup report``: pages for people who do not run commands."""

from __future__ import annotations

from pathlib import Path

import click
from rich.text import Text

from drbackup.cli.context import CliContext, pass_cli
from drbackup.errors import UsageError, say
from drbackup.reports import month_page
from drbackup.reports.break_glass import READER, write_sheets
from drbackup.reports.gettext import _, ngettext
from drbackup.reports.month import gaps_first, month_at, month_of, recall_month
from drbackup.reports.overview import overview_of


@click.group()
def report() -> None:
    """Write reports for people who do not run commands."""


@report.command()
@click.argument("month", required=False, metavar="[YYYY-MM]")
@click.option("--format", "form", type=click.Choice(["markdown", "html"]), default="markdown", show_default=True)
@click.option("--to", "target", type=click.Path(dir_okay=False, path_type=Path), help="Write to this file.")
@pass_cli
def month(context: CliContext, month: str | None, form: str, target: Path | None) -> None:
    """Report one month (default: the present one), system by system: backups, time within the RPO, drills, RTO."""
    installation, zone, now = context.whole_installation(), context.zone(), context.now()
    try:
        span = month_at(month or now.astimezone(zone).strftime("%Y-%m"), zone, now)
    except ValueError as bad:
        raise UsageError(
            say("no month to report: {month}", month=repr(month)), hint="write a month that has begun, like 2026-11"
        ) from bad
    title = installation.policies.inventory.title
    systems = [
        month_of(policy, recall_month(installation.catalog, policy, span), span)
        for policy in installation.policies.policies.values()
    ]
    needs = overview_of(installation, now).needs
    page = month_page.Page(title, span, gaps_first(systems), zone, now, needs)
    text = (month_page.html if form == "html" else month_page.markdown)(page)
    document = month_page.document(page)
    if target is None:
        context.show(document, Text(text.rstrip("\n")))
    else:
        target.write_text(text, encoding="utf-8")  # not durably: the operator may have named /dev/stdout
        context.show({**document, "file": str(target)}, Text(_("report written to {path}").format(path=target)))


@report.command()
@click.option(
    "--to",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="Write the sheets into this folder.",
)
@pass_cli
def sheets(context: CliContext, folder: Path) -> None:
    """Write a break-glass sheet for each system: how to bring it back by hand when nothing of drbackup is left.

    Print them and keep them with the custodians' shares; print anew when a policy or a store changes. They hold
    addresses and public keys, no secret. The small program they name, which reads a vault without drbackup, is written
    beside them: keep a copy of it there, too.
    """
    paths = write_sheets(context.whole_installation(), folder, now=context.now())
    words = ngettext("{n} sheet written to {folder}", "{n} sheets written to {folder}", len(paths))
    lines = [Text(words.format(n=len(paths), folder=folder)), *(Text(f"  {path.name}") for path in paths)]
    lines.append(Text(_("the reader that they name: {path}").format(path=folder / READER)))
    lines.append(Text(_("next: print them and keep them with the custodians' shares")))
    context.show({"folder": str(folder), "files": [str(path) for path in paths]}, *lines)
