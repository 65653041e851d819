"""``drbackup vault collect``: removes from the stores what no policy keeps and no point needs."""

from __future__ import annotations

from datetime import timedelta

import click
from rich.console import RenderableType
from rich.text import Text

from drbackup.cli.context import CliContext, JsonObject, pass_cli
from drbackup.cli.places import require_stores
from drbackup.cli.progress import counting
from drbackup.cli.quantities import read_age
from drbackup.controller.collect.collect import CollectReport
from drbackup.controller.collect.renew_locks import Renewal, Renewer, lockers_of, note_renewal
from drbackup.controller.collect.setup import adopt_lost, collecting_alone, collector
from drbackup.errors import DoneInPart
from drbackup.model.collect import COLLECT_GRACE, CollectPlan
from drbackup.reports import plurals
from drbackup.reports.collect import going_lines, packs_table, plan_document, points_table
from drbackup.reports.figures import iso, local, size
from drbackup.reports.gettext import _, translated
from drbackup.reports.shortened import few


@click.command("collect")
@click.argument("stores", metavar="[STORE]…", nargs=-1)
@click.option(
    "--grace",
    callback=read_age,
    metavar="AGE",
    help="So long after nothing needs a pack any more it is erased; 2d at least [7d].",
)
@click.option("--apply", "apply", is_flag=True, help="Really do it.")
@pass_cli
def collect_command(context: CliContext, stores: tuple[str, ...], grace: timedelta | None, apply: bool) -> None:
    """Remove points that no keep rule covers, and in two phases the packs that no point needs any more.

    Without --apply it shows what would go, what stays and why. Held points, the newest of each source, whatever a lock
    still holds and whatever an open session might need stay. A pack is condemned first and erased by a later collect,
    when the grace is over. An s3 store needs collect_credentials_file in inventory.yaml. With --apply the locks of what
    stays are renewed, too. Exit code 3 when something could not be judged or is missing.
    """
    installation = context.whole_installation()
    require_stores(stores, installation.inventory.stores)
    with counting(context, _("collecting")) as watch:
        work = collector(
            installation,
            stores,
            context.now,
            grace=grace or COLLECT_GRACE,
            acting=apply,
            watch=lambda _what, done, total: watch(done, total, 0),
        )
        if not apply:
            plan, survey = work.look()
            document: JsonObject = {"applied": False, "plan": plan_document(plan), "notes": list(survey.notes)}
            context.show(document, *_plan_lines(context, plan, survey.notes), *_promise(plan))
            return
        with collecting_alone(installation):
            strange = [each.said for each in adopt_lost(installation, stores, now=context.now())]
            report = work.apply()
            renewed = Renewer(work.vaults, lockers_of(installation, stores), context.now()).renew(report.survey)
            if not stores:
                note_renewal(installation, context.now())
    notes = (
        *strange,
        *report.survey.notes,
        *(f"{each.store}: {name} is missing" for each in renewed for name in each.missing),
    )
    shown = _report_document(report, renewed, notes)
    context.show(shown, *_plan_lines(context, report.plan, notes), *_outcome(context, report, renewed))
    if notes:
        raise DoneInPart(
            _("not everything could be judged: {notes}").format(notes=translated(few(notes))),
            safe=_("what could not be judged stays"),
            hint=_("drbackup vault scrub says what is damaged and what can be done"),
        )


def _plan_lines(context: CliContext, plan: CollectPlan, notes: tuple[str, ...]) -> list[RenderableType]:
    zone = context.zone()
    lines: list[RenderableType] = [points_table(plan, zone)] if plan.points else []
    lines += [*going_lines(plan, zone), "", packs_table(plan, zone), ""]
    return lines + [Text(f"  ! {note}", style="yellow") for note in notes]


def _promise(plan: CollectPlan) -> list[Text]:
    if plan.nothing_to_do:
        return [Text(_("There is nothing to collect now."), style="green")]
    words = _("{now} would become free now, {later} later, behind the grace or a lock.")
    line = words.format(now=size(plan.freed), later=size(plan.freed_later))
    return [Text(line, style="bold"), Text(_("Nothing was changed. Say --apply to do it."), style="bold yellow")]


def _outcome(context: CliContext, report: CollectReport, renewed: tuple[Renewal, ...]) -> list[Text]:
    words = _("{points} removed; {packs} erased, {size}; {later} become free later")
    figures = {"points": plurals.points(len(report.removed)), "packs": plurals.packs(report.erased)}
    sizes = {"size": size(report.erased_bytes), "later": size(report.plan.freed_later)}
    lines = [Text(words.format(**figures, **sizes), style="bold green")]
    for kept in report.kept:
        until = local(kept.until, context.zone()) if kept.until else _("a legal hold is lifted")
        words = _("{store}: {name} stays until {until}")
        lines.append(Text("  " + words.format(store=kept.store, name=kept.name, until=until)))
    for each in renewed:
        words = _("{store}: locks renewed of {packs} and {records}")
        figures = {"packs": plurals.packs(each.packs), "records": plurals.records(each.records)}
        lines.append(Text(words.format(store=each.store, **figures)))
    return lines


def _report_document(report: CollectReport, renewed: tuple[Renewal, ...], notes: tuple[str, ...]) -> JsonObject:
    return {
        "applied": True,
        "plan": plan_document(report.plan),
        "removed": [point.id for point in report.removed],
        "erased_packs": report.erased,
        "erased_bytes": report.erased_bytes,
        "kept": [
            {"store": kept.store, "name": kept.name, "until": iso(kept.until) if kept.until else None}
            for kept in report.kept
        ],
        "renewed": [
            {"store": each.store, "packs": each.packs, "records": each.records, "missing": list(each.missing)}
            for each in renewed
        ],
        "notes": list(notes),
    }
