"""``drbackup vault scrub``: reads stores back and says what is damaged or missing. It needs no key."""

from __future__ import annotations

from datetime import timedelta

import click
from rich.text import Text

from drbackup.cli.context import CliContext, pass_cli
from drbackup.cli.next_steps import remaining, untouched
from drbackup.cli.places import require_stores
from drbackup.cli.progress import counting
from drbackup.cli.quantities import read_age, read_rate
from drbackup.controller.catalog import Catalog
from drbackup.controller.copies.diagnose import STORE_IS_ILL
from drbackup.controller.copies.scrub import ScrubReport, ScrubRequest, scrub
from drbackup.errors import DoneInPart, DrbackupError, ObjectCorrupt, VaultMissing, say, say_all
from drbackup.reports.figures import age, iso, size, span
from drbackup.reports.gettext import _, translated
from drbackup.reports.plurals import objects, packs, points
from drbackup.reports.shortened import few
from drbackup.vault.layout import split_pack_name


@click.command("scrub")
@click.argument("stores", metavar="[STORE]…", nargs=-1)
@click.option("--system", default="", help="Only this system's points.")
@click.option(
    "--days", type=click.IntRange(1), help="Only today's share, so that every byte is read back within so many days."
)
@click.option(
    "--unread-for", callback=read_age, metavar="AGE", help="Only what was not read back for so long, like 12h or 7d."
)
@click.option("--rate", callback=read_rate, metavar="BYTES/S", help="At most so fast, like 50MB/s.")
@pass_cli
def scrub_command(
    context: CliContext,
    stores: tuple[str, ...],
    system: str,
    days: int | None,
    unread_for: timedelta | None,
    rate: int,
) -> None:
    """Read every byte of all stores (or of those named) back and compare it with its name. Needs no key.

    Points whose every pack is whole climb to "checksummed". What was read is remembered as it is read: a scrub that was
    interrupted goes on with --unread-for, and with --days it goes on by itself. Exit code 1 when anything is damaged or
    missing; then: drbackup vault repair. Exit code 3 when a store could not be read at all, and others could.
    """
    installation = context.installation()
    known = installation.policies.inventory.stores
    require_stores(stores, known)
    within = None if days is None else timedelta(days=days)
    reports: list[ScrubReport] = []
    away: dict[str, DrbackupError] = {}
    for name in stores or known:
        with counting(context, _("reading back {store}").format(store=name)) as watch:
            request = ScrubRequest(system=system, within=within, unread_for=unread_for, rate=rate, watch=watch)
            try:
                reports.append(scrub(installation, name, request, now=context.now))
            except (
                *STORE_IS_ILL,
                VaultMissing,
            ) as ill:  # the other stores are still read; this one is named after them
                away[name] = ill
    lines = [line for report in reports for line in _lines(context, report)]
    lines += [Text(f"! {name}: {translated(ill.said)}", style="bold yellow") for name, ill in away.items()]
    unread = {name: ill.message for name, ill in away.items()}
    context.show({"stores": [_document(report) for report in reports], "away": unread}, *lines)
    damages = [
        say("{store}: {why}", store=report.store, why=say(damage.why))
        for report in reports
        for damage in report.damages
    ]
    if damages:
        raise ObjectCorrupt(
            few(damages),
            safe=untouched(),
            hint=_next(installation.catalog, reports),
        )
    if away and reports:
        reasons = say_all(say("{name}: {what}", name=name, what=ill.said) for name, ill in away.items())
        raise DoneInPart(say("not read back: {stores}", stores=reasons), hint=next(iter(away.values())).said_hint)
    if away:
        raise next(iter(away.values()))


def _next(catalog: Catalog, reports: list[ScrubReport]) -> str:
    """The next step: a repair, unless no point needs what is damaged, or all that do have no second copy."""
    found = [damage for report in reports for damage in report.damages]
    damages = [damage for damage in found if damage.points or split_pack_name(damage.name) is None]
    if not damages:
        return _("nothing is to be done: no restore needs them, and a rebuild reads the trees instead of an index")
    wounded = [each for hurt in catalog.scrubs.damage().values() for each in hurt]
    alone = {each.point for each in wounded if not each.mendable}
    if all(damage.points and alone.issuperset(damage.points) for damage in damages):
        return _("there is no second copy to mend from; {rest}").format(rest=remaining(catalog, alone))
    if any(each.lost for each in wounded):
        return _("see what the other copies can mend: drbackup vault repair")
    return _("see what the other copies can mend: drbackup vault repair; until then restore from another copy")


def _lines(context: CliContext, report: ScrubReport) -> list[Text]:
    line = Text("✓ " if report.good else "✗ ", style="bold green" if report.good else "bold red")
    line.append(report.store, style="bold")
    words = _("{packs}, {size} read back; {points} proven; damaged or missing: {objects}")
    figures = {"packs": packs(report.packs), "size": size(report.bytes), "points": points(len(report.proven))}
    line.append("  " + words.format(objects=objects(len(report.damages)), **figures))
    for damage in report.damages:
        needed = points(len(damage.points)) if damage.points else _("no point needs it")
        line.append(f"\n    {translated(damage.why)} ({needed})", style="red")
    lines = [line]
    covered = report.coverage
    if covered.oldest is not None:
        words = _("{read} of {all} read back within {period}; longest unread: {age}")
        when = age(covered.oldest, context.now())
        unread = when if covered.oldest_read else _("stored {age}, never read").format(age=when)
        sizes = {"read": size(covered.bytes_read), "all": size(covered.bytes)}
        text = words.format(**sizes, period=span(report.within), age=unread)
        lines.append(Text(f"    {text}", style="dim"))
    return lines


def _document(report: ScrubReport) -> dict[str, object]:
    covered = report.coverage
    return {
        "store": report.store,
        "records": report.records,
        "packs": report.packs,
        "bytes": report.bytes,
        "proven": list(report.proven),
        "damages": [
            {"name": damage.name, "why": damage.why, "points": list(damage.points)} for damage in report.damages
        ],
        "coverage": {
            "within_seconds": int(report.within.total_seconds()),
            "packs": covered.packs,
            "bytes": covered.bytes,
            "packs_read": covered.packs_read,
            "bytes_read": covered.bytes_read,
            "longest_unread": covered.oldest_name,
            "last_known_whole": iso(covered.oldest) if covered.oldest else None,
            "ever_read": covered.oldest_read,
        },
    }
