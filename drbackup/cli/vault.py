"""``drbackup vault``: what can be done with a store's vault as a whole."""

from __future__ import annotations

import click
from rich.text import Text

from drbackup.cli.context import CliContext, pass_cli
from drbackup.cli.places import did_you_mean
from drbackup.cli.progress import counting
from drbackup.controller.scrubbing import ScrubReport, forget_damaged, remember, scrub
from drbackup.errors import ObjectCorrupt, UsageError
from drbackup.reports.figures import size
from drbackup.reports.words import _


@click.group()
def vault() -> None:
    """Read a store's vault back."""


@vault.command("scrub")
@click.argument("stores", metavar="[STORE]…", nargs=-1)
@click.option("--system", default="", help="Only this system's points.")
@pass_cli
def scrub_command(context: CliContext, stores: tuple[str, ...], system: str) -> None:
    """Read every byte of all stores (or of those named) back and compare it with its name. Needs no key.

    Points whose every pack is whole climb to "checksummed". Exit code 1 when anything is damaged or missing.
    """
    installation = context.installation()
    known = installation.policies.inventory.stores
    for name in stores:
        if name not in known:
            raise UsageError(f"no store {name!r}", hint=did_you_mean(name, known))
    reports: list[ScrubReport] = []
    for name in stores or known:
        with counting(context, _("reading back {store}").format(store=name)) as watch:
            key = installation.vault(name).evidence_key
            report = scrub(installation.store(name), key, system=system, watch=watch)
        remember(installation.catalog.points, report, now=context.now())
        forget_damaged(installation.catalog.packs, report)
        reports.append(report)
    context.show({"stores": [_document(report) for report in reports]}, *[_line(report) for report in reports])
    damages = [f"{report.store}: {damage.why}" for report in reports for damage in report.damages]
    if damages:
        raise ObjectCorrupt("; ".join(damages[:5]), safe=_("the points that do not need these objects are whole"))


def _line(report: ScrubReport) -> Text:
    line = Text("✓ " if report.good else "✗ ", style="bold green" if report.good else "bold red")
    line.append(report.store, style="bold")
    words = _("{packs} packs, {size} read back; {points} points proven, {damages} objects damaged or missing")
    figures = {"packs": report.packs, "size": size(report.bytes), "points": len(report.proven)}
    line.append("  " + words.format(damages=len(report.damages), **figures))
    for damage in report.damages:
        line.append(f"\n    {damage.why} ({len(damage.points)} points)", style="red")
    return line


def _document(report: ScrubReport) -> dict[str, object]:
    return {
        "store": report.store,
        "records": report.records,
        "packs": report.packs,
        "bytes": report.bytes,
        "proven": list(report.proven),
        "damages": [
            {"name": damage.name, "why": damage.why, "points": list(damage.points)} for damage in report.damages
        ],
    }
