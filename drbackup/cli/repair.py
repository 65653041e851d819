"""``drbackup vault repair`` and ``catch-up``: give each store what it lacks, from the other stores."""

from __future__ import annotations

from collections.abc import Sequence

import click
from rich.text import Text

from drbackup.cli.context import CliContext, JsonObject, pass_cli
from drbackup.cli.next_steps import remaining, untouched
from drbackup.cli.places import require_stores
from drbackup.cli.progress import counting, stopping
from drbackup.controller.copies.catch_up import CatchUpResult, catch_up
from drbackup.controller.copies.diagnose import Defect, Diagnosis, diagnose
from drbackup.controller.copies.repair import Repaired, repair
from drbackup.controller.home.installation import Installation
from drbackup.errors import DoneInPart, DrbackupError, ObjectCorrupt, say, say_all
from drbackup.reports.figures import size
from drbackup.reports.gettext import _, translated
from drbackup.reports.plurals import objects
from drbackup.reports.plurals import points as count_points
from drbackup.reports.shortened import few, rest

_SHOWN = 20  # objects named on a screen


@click.command("repair")
@click.argument("stores", metavar="[STORE]…", nargs=-1)
@click.option("--apply", "apply", is_flag=True, help="Really do it.")
@pass_cli
def repair_command(context: CliContext, stores: tuple[str, ...], apply: bool) -> None:
    """Mend what scrub found damaged or missing in all stores (or in those named) with the other stores' copies.

    Without --apply it says what it would do. Good bytes are never rewritten and nothing is deleted: a damaged file is
    set aside, a damaged version stays below the new one. Every mended object is read back. Needs no key. Exit code 1
    when something is whole in no store: it is named, with the points that need it; 3 when only a part could be mended.
    """
    require_stores(stores, context.installation().policies.inventory.stores)
    installation = context.installation()
    with counting(context, _("looking for damage")) as watch:
        diagnosis = diagnose(installation, stores, now=context.now, watch=watch)
    if not apply:
        context.show(_document(diagnosis, None), *_plan_lines(diagnosis))
        _complain(installation, diagnosis, [defect for defect in diagnosis.defects if not defect.sound_stores], stores)
        return
    with counting(context, _("mending")) as watch, stopping() as stop:
        repaired = repair(installation, diagnosis, now=context.now, stop=stop, watch=watch)
    context.show(_document(diagnosis, repaired), *_done_lines(diagnosis, repaired))
    failed = [defect for defect, _error in repaired.failed]
    if failed and repaired.mended:
        words = _("mended: {mended}; not mended: {failed}: {names}")
        counts = {"mended": objects(len(repaired.mended)), "failed": objects(len(failed))}
        raise DoneInPart(
            words.format(**counts, names=_names(failed)),
            safe=untouched(),
            hint=_next(installation, diagnosis, failed),
        )
    _complain(installation, diagnosis, failed, stores)


def _complain(installation: Installation, diagnosis: Diagnosis, lost: list[Defect], wanted: tuple[str, ...]) -> None:
    """An error for what can't be repaired, else for stores that could not be read; none when both are empty.

    Raises :class:`ObjectCorrupt`; :class:`DoneInPart` when some stores were read, or the first store's own error.
    """
    if lost:
        raise ObjectCorrupt(
            _("can't be mended: {objects}: {names}").format(objects=objects(len(lost)), names=_names(lost)),
            safe=untouched(),
            hint=_next(installation, diagnosis, lost),
        )
    away = {name: error for name, error in diagnosis.away.items() if not wanted or name in wanted}
    if away and not diagnosis.stores:
        raise next(iter(away.values()))
    if away:
        reasons = say_all(say("{name}: {what}", name=name, what=error.said) for name, error in away.items())
        raise DoneInPart(say("not looked at: {reasons}", reasons=reasons), hint=next(iter(away.values())).said_hint)


def _next(installation: Installation, diagnosis: Diagnosis, lost: list[Defect]) -> str:
    """The next step for what is lost: a store that is away may have it; else its source is backed up again."""
    rest = remaining(installation.catalog, (point for defect in lost for point in defect.points))
    if not diagnosis.away:
        return rest
    words = _("{stores} could not be read and may have it whole: try again when that is mended; else {rest}")
    return words.format(stores=", ".join(sorted(diagnosis.away)), rest=rest)


def _nowhere(diagnosis: Diagnosis) -> str:
    return _("whole in no store that answers") if diagnosis.away else _("whole in no store")


def _names(defects: list[Defect]) -> str:
    points = sorted({point[:12] for defect in defects for point in defect.points})
    words = translated(few([f"{defect.store}: {defect.name}" for defect in defects]))
    return words + (f"; points: {translated(few(points, ', '))}" if points else "")


def _defect_line(defect: Defect, end: str, style: str) -> Text:
    line = Text("  ✗ " if style == "red" else "  • ", style=style)
    line.append(f"{defect.store}: {translated(defect.why)}")
    if defect.points:
        line.append(f" ({count_points(len(defect.points))})")
    return line.append(f" → {end}")


def _rest(found: Sequence[object]) -> list[Text]:
    more = len(found) - _SHOWN
    return [Text("  " + rest(more), style="dim")] if more > 0 else []


def _plan_lines(diagnosis: Diagnosis) -> list[Text]:
    lines = []
    for defect in diagnosis.defects[:_SHOWN]:
        end = _("from {store}").format(store=defect.sound_stores[0]) if defect.sound_stores else _nowhere(diagnosis)
        lines.append(_defect_line(defect, end, "yellow" if defect.sound_stores else "red"))
    lines += _rest(diagnosis.defects)
    lines += [Text(f"  ! {name}: {translated(error.said)}", style="yellow") for name, error in diagnosis.away.items()]
    mendable = [defect for defect in diagnosis.defects if defect.sound_stores]
    if not diagnosis.stores:
        return lines
    if not diagnosis.defects:
        words = _("✓ nothing to mend in {stores}").format(stores=", ".join(diagnosis.stores))
        return [*lines, Text(words, style="green")]
    lost = len(diagnosis.defects) - len(mendable)
    if not mendable:
        words = _("Nothing can be mended: {objects}, {nowhere}.")
        return [*lines, Text(words.format(objects=objects(lost), nowhere=_nowhere(diagnosis)), style="bold red")]
    words = _("to mend: {objects}, {size} to fetch")
    text = words.format(objects=objects(len(mendable)), size=size(sum(defect.size for defect in mendable)))
    if not lost:
        return [*lines, Text(text), Text(_("Nothing was changed. Say --apply to do it."), style="bold yellow")]
    lines.append(Text(text + "; " + _("can't be mended: {objects}").format(objects=objects(lost))))
    return [*lines, Text(_("Nothing was changed. Say --apply to mend what can be mended."), style="bold yellow")]


def _done_lines(diagnosis: Diagnosis, repaired: Repaired) -> list[Text]:
    lines = []
    for defect, donor in repaired.mended[:_SHOWN]:
        lines.append(Text("  ✓ ", style="green").append(f"{defect.store}: {defect.name} ← {donor}"))
    lines += _rest(repaired.mended)
    for defect, error in repaired.failed[:_SHOWN]:
        lines.append(
            _defect_line(defect, translated(error.said) if defect.sound_stores else _nowhere(diagnosis), "red")
        )
    lines += _rest(repaired.failed)
    words = _("mended and read back: {mended}; not mended: {failed}; points proven now: {points}")
    points = ", ".join(f"{store} {count}" for store, count in repaired.proven.items()) or "–"
    counts = {"mended": objects(len(repaired.mended)), "failed": objects(len(repaired.failed))}
    return [*lines, Text(words.format(**counts, points=points), style="bold red" if repaired.failed else "bold green")]


def _document(diagnosis: Diagnosis, repaired: Repaired | None) -> JsonObject:
    document: JsonObject = {
        "applied": repaired is not None,
        "stores": diagnosis.stores,
        "away": {name: error.message for name, error in diagnosis.away.items()},
        "damaged": [_defect(defect) for defect in diagnosis.defects],
    }
    if repaired is not None:
        document["mended"] = [_defect(defect) | {"from": donor} for defect, donor in repaired.mended]
        document["failed"] = [_defect(defect) | {"error": error.message} for defect, error in repaired.failed]
        document["proven"] = repaired.proven
    return document


def _defect(defect: Defect) -> JsonObject:
    return {
        "store": defect.store,
        "name": defect.name,
        "kind": defect.kind.name.lower(),
        "why": defect.why,
        "points": list(defect.points),
        "donors": list(defect.sound_stores),
        "bytes": defect.size,
    }


# --- catch up ---------------------------------------------------------------------------------------------------------


@click.command("catch-up")
@click.argument("stores", metavar="[STORE]…", nargs=-1)
@pass_cli
def catch_up_command(context: CliContext, stores: tuple[str, ...]) -> None:
    """Bring all stores (or those named) the points that their policies promise them and that they lack.

    The daemon does it by itself; this is for the hour when nobody wants to wait. Only adds; what is there is not sent
    again. Exit code 3 when a store still lacks something.
    """
    require_stores(stores, context.installation().policies.inventory.stores)
    with counting(context, _("copying points")) as watch, stopping() as stop:
        found = catch_up(context.installation(), now=context.now, stores=stores, stop=stop, watch=watch)
    lines = [_caught_line(result) for result in found]
    nothing = Text(_("✓ nothing to copy: the catalog knows every point promised to a store to be there"), style="green")
    context.show({"stores": [_caught_document(result) for result in found]}, *(lines or [nothing]))
    errors: list[DrbackupError] = [error for each in found for error in (each.away, *each.behind.values()) if error]
    if errors:
        reasons = few([error.said for error in errors])
        raise DoneInPart(
            say(
                "still behind: {n} point or store: {reasons}"
                if len(errors) == 1
                else "still behind: {n} points or stores: {reasons}",
                n=len(errors),
                reasons=reasons,
            ),
            hint=errors[0].said_hint,
        )


def _caught_line(result: CatchUpResult) -> Text:
    line = Text("✓ " if result.good else "✗ ", style="bold green" if result.good else "bold red")
    line.append(result.store, style="bold")
    line.append("  " + _("{points} copied").format(points=count_points(len(result.copied))))
    if result.away is not None:
        line.append(f"\n    {translated(result.away.said)}", style="red")
    for point, error in result.behind.items():
        line.append(f"\n    {point[:12]}: {translated(error.said)}", style="red")
    return line


def _caught_document(result: CatchUpResult) -> JsonObject:
    return {
        "store": result.store,
        "copied": [point.id for point in result.copied],
        "behind": {point: error.message for point, error in result.behind.items()},
        "away": result.away.message if result.away else "",
    }
