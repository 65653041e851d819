"""``drbackup recover``: brings back all systems, or some and what they need, in dependency order.

Without ``--apply`` it shows the plan and the preflight and changes nothing. When it is run again after an interruption,
it continues where it stopped.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import click
import msgspec
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from drbackup.cli.context import CliContext, JsonObject, pass_cli
from drbackup.cli.keys import read_secret
from drbackup.cli.places import did_you_mean, moment
from drbackup.cli.policy_warnings import left_out
from drbackup.cli.progress import Bars, stopping
from drbackup.controller.home.policies import PolicySet
from drbackup.controller.restore.recovery import (
    DONE,
    FAILED,
    RUNNING,
    RecoveryOptions,
    RecoveryOutcome,
    SystemOutcome,
    run_recovery,
)
from drbackup.controller.restore.recovery_plan import PreflightLine, RecoveryPlan, beyond_plan, plan_recovery
from drbackup.errors import (
    DoneInPart,
    DrbackupError,
    Failure,
    ObjectiveBreached,
    Said,
    UsageError,
    from_fields,
    say,
    say_all,
)
from drbackup.model.point import SourceName
from drbackup.reports.figures import size, span
from drbackup.reports.gettext import _, translated
from drbackup.reports.layout import foldable
from drbackup.reports.tables import plain_table, right
from drbackup.wire.messages import Progress


class RecoverCommand(msgspec.Struct, frozen=True):
    """The command's options as given."""

    everything: bool  # --all: every system
    at: str  # latest, or an ISO 8601 time: the newest points from then or before
    folder: Path | None  # restore below it on this machine; None: where the sources live
    replace: bool  # data that is there already may be replaced
    key: Path | None  # an unsealing key's file; None: the drill key while it lies in the home
    apply: bool  # False: show the plan and the preflight only


@click.command()
@click.argument("systems", metavar="[SYSTEM]…", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Every system.")
@click.option("--at", default="latest", metavar="TIME|latest", help="The newest points not younger than this time.")
@click.option(
    "--to",
    "folder",
    type=click.Path(path_type=Path),
    help="Below this folder on this machine, instead of where the sources live.",
)
@click.option("--replace", is_flag=True, help="Data that is there already may go.")
@click.option("--key", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="An unsealing key's file.")
@click.option("--apply", "apply", is_flag=True, help="Really do what the plan says.")
@pass_cli
def recover(context: CliContext, /, systems: tuple[str, ...], **asked: object) -> None:
    """Bring systems back, and first what they depend on; systems that do not wait for each other at the same time.

    Without --apply the plan and the preflight are shown. The clock of every promised RTO runs from the start. Exit code
    3 when only a part came back, 20 when all came back but later than promised.
    """
    request = RecoverCommand(**asked)  # type: ignore[arg-type]
    if bool(systems) == request.everything:
        raise UsageError("name systems, or say --all")
    installation = context.installation()
    for system in systems:
        installation.policies.require_known(system)
        if system not in installation.policies.policies:
            raise UsageError(
                say("no system {system}", system=repr(system)),
                hint=did_you_mean(system, installation.policies.policies),
            )
    plan = plan_recovery(installation, systems, when=moment(context, request.at))
    if not context.json:
        context.err.print(_plan_table(plan))
    missing = [] if systems else _left_out(installation.policies)
    outcome = _carry_out(context, plan, request)
    lines = [*_lines(outcome, wide=context.view().wide), *(Text(f"  ✗ {words}", style="red") for words in missing)]
    context.show(_document(plan, outcome) | {"left_out": missing}, *lines)
    failure = _failure(outcome)
    if failure is None and missing:
        hint = _("restore their points with: drbackup restore SYSTEM/SOURCE --to FOLDER")
        failure = DoneInPart(say_all(missing), hint=hint)
    if failure is not None:
        raise failure


def _carry_out(context: CliContext, plan: RecoveryPlan, request: RecoverCommand) -> RecoveryOutcome:
    sizes = {str(SourceName(step.system, each.source)): each.bytes for step in plan.steps for each in step.sources}
    with Bars(context) as bars, stopping() as stop:

        def progress(what: str, news: Progress) -> None:
            bars.update(what, news.phase, news.done, news.total or sizes.get(what, 0), 0)

        def step(what: str, state: str) -> None:
            if state == RUNNING:
                bars.begin(what)
            else:
                bars.end(what, state_word(state), good=state == DONE)

        options = RecoveryOptions(
            apply=request.apply,
            target_folder=request.folder.absolute() if request.folder is not None else None,
            replace=request.replace,
            key=read_secret(request.key) if request.key is not None else None,
            on_progress=progress,
            on_step=step,
            stop=stop,
        )
        return run_recovery(context.installation(), plan, options, now=context.now)


def _left_out(known: PolicySet) -> list[str]:
    """The systems that ``--all`` does not reach, one line each with the reason."""
    words = _("{system} was left out, it needs {other} first, whose policy is broken")
    needing = [words.format(system=system, other=other) for system, other in beyond_plan(known).items()]
    return [*(translated(each.said) for each in left_out(known)), *needing]


def _failure(outcome: RecoveryOutcome) -> DrbackupError | None:
    """The error that the command ends with, None when all is back in time. A common cause keeps its own exit code."""
    if not outcome.applied:
        bad = [line for line in outcome.preflight if not line.good]
        failures = [line.failure or Failure(DrbackupError.__name__, line.said) for line in bad]
        return _alike(failures, say("the preflight failed: {reasons}", reasons=_reasons(failures))) if bad else None
    lost = [each for each in outcome.systems if each.state != DONE]
    done = [each.system for each in outcome.systems if each.state == DONE]
    if lost and done:
        words = _("back: {done}; not back: {lost}")
        return DoneInPart(
            words.format(done=", ".join(done), lost=", ".join(each.system for each in lost)),
            hint=_("mend what the lines above name and run the same command again: it goes on from here"),
        )
    if lost:
        failures = [failure for each in lost for failure in each.failures.values()]
        return _alike(failures, say("nothing came back: {reasons}", reasons=_reasons(failures)))
    late = [each.system for each in outcome.systems if not each.kept]
    if late:
        return ObjectiveBreached(_("back, but later than promised: {systems}").format(systems=", ".join(late)))
    return None


def _alike(failures: list[Failure], message: str) -> DrbackupError:
    """An error with ``message`` and of the class that all failures share, else a :class:`DrbackupError`."""
    codes, hints = {failure.code for failure in failures}, {failure.hint for failure in failures}
    fields = {"message": message, "hint": hints.pop() if len(hints) == 1 else ""}
    return from_fields(codes.pop() if len(codes) == 1 else DrbackupError.__name__, fields)


def _reasons(failures: list[Failure]) -> Said:
    """The failures' reasons in one text, each once."""
    return say_all(dict.fromkeys(failure.said for failure in failures))


# --- output -----------------------------------------------------------------------------------------------------------


def state_word(state: str) -> str:
    """A system's or source's state in the reader's language."""
    return {DONE: _("back"), FAILED: _("not back"), "held-back": _("held back")}.get(state, state)


def _plan_table(plan: RecoveryPlan) -> Table:
    table = right(plain_table(_("Wave"), _("System"), _("Source"), _("Point"), _("Size"), "RTO", _("After")), 4)
    foldable(table, 6)
    for step in plan.steps:
        for number, source in enumerate(step.sources):
            first = number == 0
            table.add_row(
                str(step.wave + 1) if first else "",
                Text(step.system, style="bold") if first else "",
                source.source,
                source.point[:12] or Text(_("none"), style="bold red"),
                size(source.bytes),
                span_of(step.rto) if first else "",
                "\n".join(step.after) if first else "",
            )
    return table


def span_of(seconds: float) -> str:
    """Seconds as a person reads them, like ``3 h 20 min``."""
    return span(timedelta(seconds=round(seconds, 1)))


def _lines(outcome: RecoveryOutcome, *, wide: bool) -> list[RenderableType]:
    bad = [_preflight_line(line) for line in outcome.preflight if not line.good]
    good = len(outcome.preflight) - len(bad)
    lines: list[RenderableType] = [Text(_("preflight: {good} good, {bad} bad").format(good=good, bad=len(bad))), *bad]
    if not outcome.applied:
        return [*lines, Text(_("Nothing was changed. Say --apply to do it."), style="bold yellow")]
    if outcome.resumed:
        lines.append(Text(_("an unfinished recovery was gone on with"), style="yellow"))
    title, sources = ([_("Title")], [_("Sources")]) if wide else ([], [])
    table = plain_table("", _("System"), *title, _("State"), "RTO", _("Promised"), *sources)
    for each in outcome.systems:
        mark = Text("✓", style="bold green") if each.state == DONE else Text("✗", style="bold red")
        rto = Text("-" if each.rto is None else span_of(each.rto.total_seconds()))
        rto.stylize("green" if each.kept else "bold red")
        promised = span_of(each.promised.total_seconds())
        row: list[str | Text] = [
            mark,
            each.system,
            *([each.title] if wide else []),
            state_word(each.state),
            rto,
            promised,
        ]
        table.add_row(*row, *([_details(each)] if wide else []))
    lines.append(table)
    if not wide:  # a narrow screen keeps its lines for what went wrong
        lines += [Text(f"  ✗ {each.system}: {_details(each)}") for each in outcome.systems if each.state != DONE]
    if outcome.evidence is not None:
        lines.append(Text(_("evidence: {path}").format(path=outcome.evidence.statement_path), style="dim"))
    return lines


def _details(outcome: SystemOutcome) -> str:
    failures = {source: failure.said for source, failure in outcome.failures.items()}
    return "; ".join(
        f"{source}: {translated(failures.get(source, detail))}" for source, detail in outcome.details.items()
    )


def _preflight_line(line: PreflightLine) -> Text:
    return (
        Text("  ✗ ", style="bold red").append(line.what, style="bold").append(f"  {translated(line.said)}", style="red")
    )


def _document(plan: RecoveryPlan, outcome: RecoveryOutcome) -> JsonObject:
    return {
        "id": outcome.id or None,
        "applied": outcome.applied,
        "resumed": outcome.resumed,
        "complete": outcome.complete,
        "plan": [
            {
                "wave": step.wave,
                "system": step.system,
                "after": list(step.after),
                "reconnect": list(step.reconnect),
                "rto_seconds": step.rto,
                "sources": [
                    {"source": source.source, "agent": source.agent, "point": source.point or None}
                    | {"bytes": source.bytes, "missing": source.missing or None}
                    for source in step.sources
                ],
            }
            for step in plan.steps
        ],
        "preflight": [{"what": line.what, "good": line.good, "said": line.said} for line in outcome.preflight],
        "systems": [
            {
                "system": each.system,
                "state": each.state,
                "rto_seconds": each.rto.total_seconds() if each.rto is not None else None,
                "promised_seconds": each.promised.total_seconds(),
                "kept": each.kept,
                "details": each.details,
            }
            for each in outcome.systems
        ],
        "evidence": str(outcome.evidence.statement_path) if outcome.evidence else None,
    }
