"""``drbackup drill``: proves that points can be restored, and shows what was proven."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from datetime import timedelta

import click
import msgspec
from rich.console import RenderableType
from rich.text import Text

from drbackup.cli.context import CliContext, JsonObject, pass_cli
from drbackup.cli.json_rows import JsonRows
from drbackup.cli.places import did_you_mean, split_place
from drbackup.cli.policy_warnings import left_out
from drbackup.cli.progress import Bars, side_by_side
from drbackup.controller.catalog.drills import Drill
from drbackup.controller.drills.run import DrillOptions, DrillOutcome, run_drill
from drbackup.controller.drills.statement import CheckOutcome, decode
from drbackup.controller.evidence import find
from drbackup.errors import DrillFailed, UsageError, say
from drbackup.model.verdict import BrokenRule, JudgedCheck, Rule
from drbackup.reports import plurals
from drbackup.reports.bilingual import RULES
from drbackup.reports.drill import write_report
from drbackup.reports.failures import joined
from drbackup.reports.figures import span
from drbackup.reports.gettext import _, language, ngettext
from drbackup.reports.shortened import rest_by_limit
from drbackup.reports.tables import (
    VERDICT_STYLES,
    drill_document,
    drill_facts,
    drills_table,
    facts_table,
    plain_table,
    verdict_word,
)
from drbackup.wire.messages import Note, Progress

_ON_A_SCREEN = 50  # rows, unless --limit says another number


class DrillChoice(msgspec.Struct, frozen=True):
    """What to drill, as asked for on the command line."""

    choice: str  # latest, the beginning of an id, a time; empty: latest
    store: str  # empty: chosen at random
    negative: bool  # flip one byte on the way: the drill must find it


@click.group()
def drill() -> None:
    """Prove that recovery points can be restored, on the drill host, from the store alone."""


@drill.command()
@click.argument("systems", metavar="[SYSTEM]…", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Every system whose policy asks for a drill.")
@click.option("--point", "choice", default="", metavar="latest|ID|TIME", help="Another point than the newest.")
@click.option("--store", default="", help="From this copy [drawn by lot].")
@click.option(
    "--jobs",
    type=click.IntRange(1, 16),
    default=1,
    show_default=True,
    help="So many drills at once; they slow each other's RTO.",
)
@click.option("--negative", is_flag=True, help="Flip a byte on the way: the drill must find it.")
@pass_cli
def run(context: CliContext, /, systems: tuple[str, ...], everything: bool, jobs: int, **asked: object) -> None:
    """Drill systems now: restore into a sandbox, run the policy's checks, measure RTO and RPO, wipe, sign.

    Exit code 21 unless every drill passed, if need be with conditions.
    """
    how = msgspec.convert(asked, DrillChoice)
    chosen = _chosen(context, systems, everything=everything)
    with Bars(context) as bars:

        def one(system: str) -> Callable[[threading.Event], DrillOutcome]:
            return lambda stop: _drill_one(context, bars, system, how, stop)

        outcomes = side_by_side([one(system) for system in chosen], jobs)
    shown: list[RenderableType] = []
    for outcome in outcomes:
        shown += _negative_lines(outcome) if how.negative and outcome.verdict.proves else _outcome_lines(outcome)
    context.show({"drills": [_outcome_document(outcome) for outcome in outcomes]}, *shown)
    failed = [outcome for outcome in outcomes if not outcome.verdict.proves]
    if failed:
        words = _("{n} of {drills} failed: {systems}")
        names = ", ".join(outcome.system for outcome in failed)
        raise DrillFailed(words.format(n=len(failed), drills=plurals.drills(len(outcomes)), systems=names))
    if everything and (missing := left_out(context.installation().policies)):
        raise joined(missing, [outcome.system for outcome in outcomes], partly=False)


def _chosen(context: CliContext, systems: tuple[str, ...], *, everything: bool) -> list[str]:
    policies = context.installation().policies.policies
    if bool(systems) == everything:
        raise UsageError("name systems, or say --all")
    for system in systems:
        context.installation().policies.require_known(system)
        if system not in policies:
            raise UsageError(say("no system {system}", system=repr(system)), hint=did_you_mean(system, policies))
    return list(systems) or [name for name, policy in policies.items() if policy.drill is not None]


def _drill_one(context: CliContext, bars: Bars, system: str, how: DrillChoice, stop: threading.Event) -> DrillOutcome:
    bars.begin(system)

    def progress(news: Progress) -> None:
        bars.update(system, news.phase, news.done, news.total, 0)

    def note(line: Note) -> None:
        bars.note(system, line.text, warning=line.level == "warning")

    options = DrillOptions(
        point_choice=how.choice, store=how.store, negative=how.negative, on_progress=progress, on_note=note, stop=stop
    )
    outcome = run_drill(context.installation(), system, options, now=context.now)
    write_report(outcome.evidence)
    bars.end(system, verdict_word(outcome.verdict), good=outcome.verdict.proves)
    return outcome


@drill.command("list")
@click.argument("system", required=False, default="")
@click.option("--limit", type=click.IntRange(1), help=f"At most so many [{_ON_A_SCREEN}; all with --json].")
@pass_cli
def list_drills(context: CliContext, system: str, limit: int | None) -> None:
    """List drills, newest first."""
    if system:
        system = split_place(context, system)[0]
    drills = context.installation().catalog.drills
    if context.json:
        rows = JsonRows(map(drill_document, itertools.islice(drills.list(system=system), limit)))
        context.show({"drills": rows, "more": drills.count(system=system) - len(rows)})
        return
    found = drills.newest(limit or _ON_A_SCREEN, system=system)
    if not found:
        context.show({}, Text(_("no drills yet: run drbackup drill run"), style="yellow"))
        return
    more = drills.count(system=system) - len(found)
    last = [Text(rest_by_limit(more), style="dim")] if more > 0 else []
    context.show({}, drills_table(found, context.view()), *last)


@drill.command()
@click.argument("drill_id", metavar="DRILL|SYSTEM")
@pass_cli
def show(context: CliContext, drill_id: str) -> None:
    """Show one drill: its verdict with all reasons, every check, phases and where its report lies."""
    found = _find(context, drill_id)
    lines: list[RenderableType] = [facts_table(drill_facts(found, context.view()))]
    document = drill_document(found)
    if found.evidence:
        evidence = find(context.installation().evidence_folder, found.evidence)
        statement = decode(evidence.statement_path.read_bytes(), evidence.statement_path.name)
        report = evidence.report_path if evidence.report_path.exists() else write_report(evidence)
        checks = plain_table("", _("Check"), _("Source"), _("Expected"), _("Seen"), _("Compared"))
        checks.columns[0].min_width, checks.columns[1].min_width = 1, 6
        for column in checks.columns[2:5]:
            column.no_wrap = False
        for each in statement.checks:
            mark = Text("✓", style="green") if each.passed else Text("✗", style="bold red")
            compared = str(each.compared) if each.compared else ""
            checks.add_row(mark, each.kind, _ends(each), each.expected, each.seen, compared)
        phases = plain_table(_("Phase"), _("Source"), _("Seconds"))
        spent: dict[tuple[str, str], float] = {}
        for phase in statement.phases:
            key = (phase.phase, phase.source)
            spent[key] = spent.get(key, 0.0) + phase.end - phase.begin
        for (name, source), seconds in spent.items():
            phases.add_row(name, source, f"{seconds:.2f}")
        paths = facts_table([(_("Evidence"), str(evidence.statement_path)), (_("Report"), str(report))])
        lines += ["", checks, "", phases, "", paths]
        document |= {"statement": str(evidence.statement_path), "report": str(report)}
        document["checks"] = [
            {"number": each.number, "kind": each.kind, "source": each.source, "other": each.other}
            | {"expected": each.expected, "seen": each.seen, "compared": each.compared, "passed": each.passed}
            | {"wrong": list(each.wrong), "reason": each.reason}
            for each in statement.checks
        ]
    context.show({"drill": document}, *lines)


def _find(context: CliContext, word: str) -> Drill:
    """The drill with this id or this beginning of an id, or the last one of a system. Raises :class:`UsageError`."""
    drills = context.installation().catalog.drills
    if word in context.installation().policies.policies:
        last = drills.last(word)
        if last is None:
            raise UsageError(
                say("{word} was never drilled", word=word), hint=say("drbackup drill run {word}", word=word)
            )
        return last
    found = [each for each in drills.list() if each.id.startswith(word)]
    if len(found) != 1 and not any(each.id == word for each in found):
        raise UsageError(
            say(
                "several drills begin with {word}, and no system is named so"
                if found
                else "no drill begins with {word}, and no system is named so",
                word=repr(word),
            ),
            hint="see: drbackup drill list",
        )
    return next((each for each in found if each.id == word), found[0])


def _ends(check: CheckOutcome) -> str:
    return f"{check.source} → {check.other}" if check.other else check.source


def _outcome_lines(outcome: DrillOutcome) -> list[RenderableType]:
    head = Text(verdict_word(outcome.verdict), style=VERDICT_STYLES[str(outcome.verdict)])
    head.append(f"  {outcome.system}", style="bold")
    for name, length in (("RTO", outcome.rto), ("RPO", outcome.rpo)):
        head.append(f"  {name} {'-' if length is None else span(_rounded(length))}")
    good, total = sum(1 for each in outcome.checks if each.passed), len(outcome.checks)
    words = ngettext("{good} of {n} check passed", "{good} of {n} checks passed", total)
    head.append("  " + words.format(good=good, n=total))
    lines: list[RenderableType] = [head]
    lines += [
        Text(f"    {_reason(reason)}", style="yellow" if reason.is_condition else "red") for reason in outcome.reasons
    ]
    lines += [_check_line(each) for each in outcome.checks if not each.passed]
    lines.append(Text("    " + _("report: {path}").format(path=outcome.report_path), style="dim"))
    return lines


def _negative_lines(outcome: DrillOutcome) -> list[RenderableType]:
    """The lines of a negative drill that passed: it found the flipped byte, so its checks failed, as they must."""
    head = Text(verdict_word(outcome.verdict), style=VERDICT_STYLES[str(outcome.verdict)])
    head.append(f"  {outcome.system}", style="bold")
    head.append("  " + _("one byte was flipped on the way, and the drill found it"))
    return [head, Text("    " + _("report: {path}").format(path=outcome.report_path), style="dim")]


def _check_line(judged: JudgedCheck) -> Text:
    check = judged.check
    line = Text(f"    ✗ {check.kind} {check.source}: {judged.reason}", style="red")
    for wrong in judged.seen.wrong if judged.seen else ():
        line.append(f"\n        {wrong}")
    return line


def _reason(reason: BrokenRule) -> str:
    words = RULES[Rule(reason.rule)]
    text = words.zh if language() == "zh_CN" else words.en
    figures = " / ".join(part for part in (reason.seen, reason.promised) if part)
    return ": ".join(part for part in (text, reason.subject, figures) if part)


def _rounded(length: timedelta) -> timedelta:
    return timedelta(seconds=round(length.total_seconds(), 1))


def _outcome_document(outcome: DrillOutcome) -> JsonObject:
    return {
        "id": outcome.id,
        "system": outcome.system,
        "verdict": str(outcome.verdict),
        "rto_seconds": outcome.rto.total_seconds() if outcome.rto else None,
        "rpo_seconds": outcome.rpo.total_seconds() if outcome.rpo else None,
        "reasons": [
            {"rule": str(each.rule), "subject": each.subject, "seen": each.seen, "promised": each.promised}
            for each in outcome.reasons
        ],
        "checks": [
            {"number": each.check.number, "kind": each.check.kind, "source": each.check.source, "passed": each.passed}
            for each in outcome.checks
        ],
        "evidence": outcome.evidence_id,
        "statement": str(outcome.statement_path),
        "report": str(outcome.report_path),
    }
