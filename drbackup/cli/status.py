"""``drbackup status``: every system and what needs a person, on one screen."""

from __future__ import annotations

import click

from drbackup.cli.context import CliContext, pass_cli
from drbackup.errors import ObjectiveBreached, say, say_all
from drbackup.reports.gettext import _
from drbackup.reports.overview import overview_of
from drbackup.reports.status import document, render


@click.command()
@pass_cli
def status(context: CliContext) -> None:
    """Show every system: newest points and how far they are proven, RPO now against the promise, last drill.

    What needs a person stands at the bottom. Exit code 20 when a promised RPO or RTO does not hold, or is not known
    because a policy is broken.
    """
    installation = context.installation()
    overview = overview_of(installation, context.now())
    height = context.console.height if context.console.is_terminal else 0
    context.show(document(overview), render(overview, context.zone(), context.console.width, height))
    breached, unknown = ", ".join(overview.breached), ", ".join(overview.unknown)
    said = [say("promise broken: {systems}", systems=breached)] if breached else []
    said += [say("promise not known: {systems}", systems=unknown)] if unknown else []
    if overview.breached or overview.unknown:
        raise ObjectiveBreached(
            say_all(said),
            safe=_("all points but those that are damaged") if overview.lost else None,
            hint=_("do what stands under “Needs a person”, the ✗ first"),
        )
