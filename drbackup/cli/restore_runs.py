"""What ``drbackup restore`` does: it makes a plan, shows it where existing data may be touched, and restores."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
from rich.text import Text

from drbackup.cli.context import CliContext
from drbackup.cli.keys import read_secret
from drbackup.cli.places import find_point
from drbackup.cli.progress import Bars, stopping
from drbackup.controller.restore.restore import RestoreOptions, restore_point
from drbackup.controller.runs.agent import Connector
from drbackup.controller.runs.specs import source_spec
from drbackup.errors import PolicyError, UsageError, say
from drbackup.model.point import Point
from drbackup.reports import plurals
from drbackup.reports.figures import age, local, size
from drbackup.reports.gettext import _, ngettext
from drbackup.reports.tables import facts_table
from drbackup.wire.messages import Note, Progress, RestoreResult
from drbackup.wire.specs import FolderTarget, InPlaceTarget, RestoreTarget


class RestorePlan(msgspec.Struct, frozen=True):
    """What a restore would do."""

    point: Point
    agent: str  # empty: a process on this machine
    target: RestoreTarget
    where: str  # the target in words
    paths: tuple[str, ...]  # files or folders of the point; empty: everything
    replace: bool  # data that is there already may be replaced
    key: Path | None  # an unsealing key's file; None: the drill key while it lies in the home, else the agent's own

    @property
    def touches_data(self) -> bool:
        """Whether the restore may meet existing data, so that it needs ``--apply``."""
        return self.replace or isinstance(self.target, InPlaceTarget)


class RestoreCommand(msgspec.Struct, frozen=True):
    """The command's options as given."""

    point: str  # an id, the beginning of one, or SYSTEM/SOURCE
    at: str  # latest or an ISO 8601 time, with SYSTEM/SOURCE; empty: latest
    folder: Path | None
    in_place: bool
    database: str | None  # another database's name, or another SQLite file
    paths: tuple[str, ...]  # files or folders of the point; empty: everything
    agent: str  # empty: this machine for a folder, else the source's own agent
    replace: bool  # data that is there already may be replaced
    key: Path | None  # an unsealing key's file; None: see RestorePlan
    apply: bool  # False: show the plan only, where existing data may be touched


def bring_back(context: CliContext, request: RestoreCommand, connect: Connector) -> None:
    """A restore by the command's options, with its result shown; or its plan alone where ``--apply`` is needed.

    Raises the :class:`~drbackup.errors.DrbackupError` of the restore, and :class:`UsageError` for wrong options.
    """
    plan = _plan(context, find_point(context, request.point, request.at), request)
    facts = facts_table(_facts(context, plan))
    if plan.touches_data and not request.apply:
        again = Text(_("Nothing was changed. Say --apply to do it."), style="bold yellow")
        context.show({"applied": False, "plan": _document(plan)}, facts, again)
        return
    if plan.touches_data and not context.json:
        context.err.print(facts)
    result = _restore(context, plan, connect)
    words = _("{entries}, {files}, {size} restored to {where}; every byte matched its digest")
    figures = {"entries": plurals.entries(result.entries), "files": plurals.files(result.files)}
    text = words.format(where=plan.where, size=size(result.content_bytes), **figures)
    lines = [Text("✓ " + text, style="bold green")]
    if result.skipped:
        words = ngettext(
            "{n} was there already from an interrupted restore",
            "{n} were there already from an interrupted restore",
            result.skipped,
        )
        lines.append(Text(words.format(n=result.skipped)))
    lines += [Text(f"  ! {note}", style="yellow") for note in result.notes]
    context.show({"applied": True, "plan": _document(plan), "result": _result(result)}, *lines)


def _plan(context: CliContext, point: Point, request: RestoreCommand) -> RestorePlan:
    if sum((request.folder is not None, request.in_place, request.database is not None)) != 1:
        raise UsageError("say where to: exactly one of --to FOLDER, --in-place, --database NAME")
    if request.agent:
        context.installation().agent(request.agent)  # a wrong name is refused before anything else
    target: RestoreTarget
    if request.folder is not None:
        folder = request.folder if request.agent else request.folder.absolute()
        if not folder.is_absolute():
            raise UsageError("--to on another host must be an absolute path")
        target, agent, where = FolderTarget(str(folder)), request.agent, str(folder)
    else:
        target, home, where = _at_home(context, point, request.database)
        agent = request.agent or home
    return RestorePlan(point, agent, target, where, request.paths, request.replace, request.key)


def _at_home(context: CliContext, point: Point, database: str | None) -> tuple[InPlaceTarget, str, str]:
    """(target, the source's own agent, the target in words) by the policy in force now.

    Raises :class:`PolicyError` when that is broken, :class:`UsageError` when it does not know the source or database.
    """
    try:
        policy = context.installation().policy(point.system)
    except (PolicyError, UsageError) as unknown:
        hint = say(
            "only the policy knows where {system} lives; without it: --to FOLDER brings the data back",
            system=point.system,
        )
        unknown.reword(unknown.said, hint=hint)
        raise
    source = policy.source(point.source)
    if source is None:
        raise UsageError(
            say("no policy names {source_name} any more", source_name=point.source_name),
            hint="restore it with --to FOLDER",
        )
    settings = source.settings
    if database is not None:
        other = settings.at_database(database, os.path.abspath(database))
        if other is None:
            raise UsageError(
                say("{source_name} is no database, but {kind}", source_name=point.source_name, kind=source.kind)
            )
        settings = other
    where = f"{source.kind} {settings.lives()} @ {source.agent}"
    return InPlaceTarget(source_spec(source, settings)), source.agent, where


def _restore(context: CliContext, plan: RestorePlan, connect: Connector) -> RestoreResult:
    what = str(plan.point.source_name)
    key = read_secret(plan.key) if plan.key is not None else None
    with Bars(context) as bars, stopping() as stop:

        def progress(news: Progress) -> None:
            bars.update(what, news.phase, news.done, news.total or plan.point.totals.bytes, 0)

        def note(line: Note) -> None:
            bars.note(what, line.text, warning=line.level == "warning")

        options = RestoreOptions(
            plan.target,
            agent=plan.agent,
            paths=tuple(os.fsencode(path.strip("/")) for path in plan.paths),
            replace=plan.replace,
            key=key,
            on_progress=progress,
            on_note=note,
            stop=stop,
            connect=connect,
        )
        return restore_point(context.installation(), plan.point, options, now=context.now)


def _facts(context: CliContext, plan: RestorePlan) -> list[tuple[str, str]]:
    point = plan.point
    instant = f"{local(point.pinned_at, context.zone())}, {age(point.pinned_at, context.now())}"
    return [
        (_("Point"), f"{point.short}  {point.source_name}"),
        (_("Instant"), instant),
        (_("Size"), size(point.totals.bytes)),
        (_("Only"), ", ".join(plan.paths) or _("everything")),
        (_("To"), plan.where),
        (_("On"), plan.agent or _("this machine")),
        (_("Existing data"), _("is REPLACED") if plan.replace else _("is never touched: the restore stops at it")),
    ]


def _document(plan: RestorePlan) -> dict[str, object]:
    return {
        "point": plan.point.id,
        "system": plan.point.system,
        "source": plan.point.source,
        "to": plan.where,
        "on": plan.agent or None,
        "paths": list(plan.paths),
        "replace": plan.replace,
    }


def _result(result: RestoreResult) -> dict[str, object]:
    return {
        "entries": result.entries,
        "files": result.files,
        "bytes": result.content_bytes,
        "skipped": result.skipped,
        "notes": list(result.notes),
    }
