"""What needs a person, in words: one sentence and one next step for each code, and the form for ``--json``.

Owns only the words; :mod:`drbackup.model.needs` decides what the needs are. A command in a step is written as it is
typed. Where an error has its own hint, the hint is the step.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec

from drbackup.errors import Failure
from drbackup.model.needs import Need, NeedCode
from drbackup.model.point import SourceName
from drbackup.reports.figures import age, iso, span
from drbackup.reports.gettext import _, ngettext, translated


class NeedWords(msgspec.Struct, frozen=True):
    """A need as a person reads it."""

    subject: str  # a system, SYSTEM/SOURCE, a store or a file
    what: str  # one sentence, without the subject
    next: str  # a command, or what to do
    urgent: bool  # shown first, with another mark


def words_of(need: Need, now: datetime) -> NeedWords:
    """The need in the reader's language, with ages as of ``now``."""
    return NeedWords(
        subject_of(need),
        _SENTENCES[need.code](need).format(**_figures(need, now)),
        _STEPS[need.code](need),
        need.urgent,
    )


def subject_of(need: Need) -> str:
    """What the need is about: SYSTEM, SYSTEM/SOURCE, a file, or the names of stores."""
    if need.system:
        return str(SourceName(need.system, need.source))
    return need.file or ", ".join(need.stores)


def need_document(need: Need, now: datetime) -> dict[str, Any]:
    """The need for ``--json``: its words, its code and every figure. Durations in seconds, instants in UTC."""
    words = words_of(need, now)
    return {
        "subject": words.subject,
        "what": words.what,
        "next": words.next,
        "urgent": need.urgent,
        "code": str(need.code),
        "severity": str(need.severity),
        "system": need.system,
        "source": need.source,
        "file": need.file,
        "stores": list(need.stores),
        "points": need.count,
        "at": iso(need.at) if need.at else None,
        "seconds": need.seen.total_seconds() if need.seen is not None else None,
        "promised_seconds": need.promised.total_seconds() if need.promised is not None else None,
        "drill": need.drill,
        "error": _failure_document(need.failure) if need.failure else None,
    }


def _failure_document(failure: Failure) -> dict[str, str]:
    texts = {"message": failure.message, "host": failure.host, "where": failure.where, "hint": failure.hint}
    return {"code": failure.code} | {name: str(text) for name, text in texts.items()}


def _figures(need: Need, now: datetime) -> dict[str, object]:
    failure = need.failure
    return {
        "n": need.count,
        "store": ", ".join(need.stores),
        "when": age(need.at, now) if need.at else _("never"),
        "seen": span(need.seen) if need.seen is not None else "",
        "promise": span(need.promised) if need.promised is not None else "",
        "why": (translated(failure.message) or failure.code) if failure else "",
    }


def _point_age(need: Need) -> str:
    if need.lost:
        return _("newest whole point is {seen} old, promised {promise}")
    return _("newest point is {seen} old, promised {promise}")


def _copy_damaged(need: Need) -> str:
    return ngettext("{n} point is damaged in store {store}", "{n} points are damaged in store {store}", need.count)


def _every_copy_damaged(need: Need) -> str:
    return ngettext(
        "{n} point is damaged in every copy ({store}); only what is whole in one of them can be mended",
        "{n} points are damaged in every copy ({store}); only what is whole in one of them can be mended",
        need.count,
    )


def _only_copy_damaged(need: Need) -> str:
    return ngettext(
        "{n} point is damaged in store {store}, its only copy: nothing can mend it",
        "{n} points are damaged in store {store}, their only copy: nothing can mend them",
        need.count,
    )


def _copy_lacking(need: Need) -> str:
    return ngettext("{n} point is not in store {store} yet", "{n} points are not in store {store} yet", need.count)


def _drill_failed(need: Need) -> str:
    return _("drill failed {when}: {why}") if need.failure else _("drill failed {when}")


_SENTENCES: dict[NeedCode, Callable[[Need], str]] = {
    NeedCode.POLICY_BROKEN: lambda _need: _("its policy is broken, nobody knows what it promises: {why}"),
    NeedCode.BACKUP_FAILED: lambda _need: _("backup failed {when}: {why}"),
    NeedCode.BACKUP_MISSED: lambda _need: _("backup missed {when}: {why}"),
    NeedCode.NEVER_BACKED_UP: lambda _need: _("was never backed up"),
    NeedCode.NOTHING_WHOLE: lambda _need: _("no point is whole in any copy"),
    NeedCode.RPO_AT_RISK: _point_age,
    NeedCode.RPO_BREACHED: _point_age,
    NeedCode.POINT_IN_FUTURE: lambda _need: _("newest point is from a time to come ({when}): a clock is wrong"),
    NeedCode.COPY_DAMAGED: _copy_damaged,
    NeedCode.EVERY_COPY_DAMAGED: _every_copy_damaged,
    NeedCode.ONLY_COPY_DAMAGED: _only_copy_damaged,
    NeedCode.COPY_LACKING: _copy_lacking,
    NeedCode.NO_DRILL_ASKED: lambda _need: _("its policy asks for no drill"),
    NeedCode.NEVER_DRILLED: lambda _need: _("was never drilled"),
    NeedCode.DRILL_OVERDUE: lambda _need: _("last drill {when}: overdue"),
    NeedCode.DRILL_FAILED: _drill_failed,
    NeedCode.RTO_BREACHED: lambda _need: _("a drill measured an RTO of {seen}, promised {promise}"),
    NeedCode.READ_BACK_FAILED: lambda _need: _("reading store {store} back failed {when}: {why}"),
    NeedCode.READ_BACK_LATE: lambda _need: _("a copy was not read back for {seen}, promised within {promise}"),
    NeedCode.LOCKS_NOT_RENEWED: lambda _need: _("locks were last renewed: {when}"),
}


def _hint(need: Need) -> str:
    return translated(need.failure.hint) if need.failure else ""


def _back_up(need: Need) -> str:
    return _hint(need) or f"drbackup backup {subject_of(need)}"


def _scrub(need: Need) -> str:
    return _hint(need) or f"drbackup vault scrub {need.stores[0]}"


def _show_drill(need: Need) -> str:
    return f"drbackup drill show {need.drill}"


def _drill(need: Need) -> str:
    return f"drbackup drill run {need.system}"


def _after_loss(need: Need) -> str:
    return f"drbackup backup {subject_of(need)}" if need.urgent else f"drbackup points list {subject_of(need)}"


_STEPS: dict[NeedCode, Callable[[Need], str]] = {
    NeedCode.POLICY_BROKEN: lambda _need: "drbackup policy check",
    NeedCode.BACKUP_FAILED: _back_up,
    NeedCode.BACKUP_MISSED: _back_up,
    NeedCode.NEVER_BACKED_UP: _back_up,
    NeedCode.NOTHING_WHOLE: _back_up,
    NeedCode.RPO_AT_RISK: _back_up,
    NeedCode.RPO_BREACHED: _back_up,
    NeedCode.POINT_IN_FUTURE: lambda _need: _("set the clocks here and at the source by NTP, then back it up again"),
    NeedCode.COPY_DAMAGED: lambda need: f"drbackup vault repair {need.stores[0]}",
    NeedCode.EVERY_COPY_DAMAGED: lambda _need: "drbackup vault repair",
    NeedCode.ONLY_COPY_DAMAGED: _after_loss,
    NeedCode.COPY_LACKING: lambda need: f"drbackup vault catch-up {need.stores[0]}",
    NeedCode.NO_DRILL_ASKED: lambda _need: _("add a drill to its policy"),
    NeedCode.NEVER_DRILLED: _drill,
    NeedCode.DRILL_OVERDUE: _drill,
    NeedCode.DRILL_FAILED: _show_drill,
    NeedCode.RTO_BREACHED: _show_drill,
    NeedCode.READ_BACK_FAILED: _scrub,
    NeedCode.READ_BACK_LATE: _scrub,
    NeedCode.LOCKS_NOT_RENEWED: lambda _need: _("run the daemon, or drbackup vault collect --apply"),
}
