"""``drbackup status``: one screen."""

from __future__ import annotations

import click

from drbackup.cli.context import CliContext, pass_cli
from drbackup.errors import ObjectiveBreached
from drbackup.reports.estate import judge, recall
from drbackup.reports.status import document, render
from drbackup.reports.words import _


@click.command()
@pass_cli
def status(context: CliContext) -> None:
    """Show every system: newest points and how far they are proven, RPO now against the promise, last drill.

    What needs a person stands at the bottom. Exit code 20 when a promised RPO or RTO does not hold.
    """
    installation = context.installation()
    policies = list(installation.policies.policies.values())
    memory = recall(installation.catalog, policies)
    estate = judge(installation.policies.inventory.title, policies, memory, context.now())
    height = context.console.height if context.console.is_terminal else 0
    context.show(document(estate), render(estate, context.zone(), context.console.width, height))
    if estate.breached:
        raise ObjectiveBreached(
            _("promise broken: {systems}").format(systems=", ".join(estate.breached)),
            safe=_("all points but those that are damaged") if estate.lost else None,
            hint=_("do what stands under “Needs a person”, the ✗ first"),
        )
