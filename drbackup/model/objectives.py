"""Each promise compared with what is true: the RPO now by the newest point, the RTO by the last drill.

The RPO is judged by the age of the *data*: the instant at which a copy was pinned, or its canary's if that is older.
When a run ended, or what its log says, does not count.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from datetime import datetime, timedelta

import msgspec

from drbackup.model.quantities import format_duration
from drbackup.model.verdict import Verdict
from drbackup.system.instants import from_ns

RISK_SHARE = 0.8
"""Beyond this share of the promise a person should look before it breaks."""


class PromiseState(enum.StrEnum):
    """Whether a promise is kept, from good to bad. The words are what ``--json`` shows."""

    OK = "ok"
    AT_RISK = "at-risk"
    BREACHED = "breached"
    NO_POINT = "no-point"  # nothing to judge by: no recovery point, or for an RTO no drill. Never a pass.


_ORDER = tuple(PromiseState)
_CALENDAR = {"day": timedelta(days=1), "week": timedelta(days=7), "month": timedelta(days=31)}
_VERDICTS = frozenset(Verdict)


class DrillStanding(enum.StrEnum):
    """What drills prove of one system. The words are what ``--json`` shows."""

    PROVEN = "proven"
    CONDITIONAL = "conditional"
    FAILED = "failed"
    OVERDUE = "overdue"
    NEVER = "never"
    NONE = "none"  # the policy asks for no drill


class PromiseJudgement(msgspec.Struct, frozen=True):
    """One promise, and whether it is kept."""

    state: PromiseState
    promised: timedelta
    actual: timedelta | None  # None: there is nothing to judge by
    reason: str  # a sentence for a person

    @property
    def kept(self) -> bool:
        """Whether the promise is not broken: ok, or at risk."""
        return self.state in (PromiseState.OK, PromiseState.AT_RISK)


def data_instant(pinned_at: datetime, canary_ns: int = 0) -> datetime:
    """The instant (aware UTC) that a copy's data is surely from: its pin, or its canary (UTC ns) if that is older.

    ``canary_ns`` 0: there is no canary.
    """
    if not canary_ns:
        return pinned_at
    return min(pinned_at, from_ns(canary_ns))


def judge_rpo(promised: timedelta, newest: datetime | None, now: datetime) -> PromiseJudgement:
    """The RPO of one source now. ``newest``: :func:`data_instant` of its newest committed point, None without one."""
    if newest is None:
        return PromiseJudgement(PromiseState.NO_POINT, promised, None, "there is no recovery point")
    age = now - newest
    if age < timedelta(0):
        words = f"the newest point is {format_duration(-age)} in the future: a clock is wrong"
        return PromiseJudgement(PromiseState.AT_RISK, promised, timedelta(0), words)
    words = f"the newest point is {format_duration(age)} old, promised {format_duration(promised)}"
    return PromiseJudgement(_state(age, promised), promised, age, words)


def judge_system_rpo(promised: timedelta, newest: Mapping[str, datetime | None], now: datetime) -> PromiseJudgement:
    """The RPO of a system: that of its worst source, which the reason names. ``newest``: source → data instant."""
    if not newest:
        return judge_rpo(promised, None, now)
    judged = {source: judge_rpo(promised, instant, now) for source, instant in newest.items()}
    worst = max(judged, key=lambda name: (_ORDER.index(judged[name].state), judged[name].actual or timedelta(0)))
    found = judged[worst]
    return PromiseJudgement(found.state, promised, found.actual, f"{worst}: {found.reason}")


def judge_rto(
    promised: timedelta,
    measured: timedelta | None,
    drilled_at: datetime | None,
    now: datetime,
    valid_for: timedelta = timedelta(days=62),
) -> PromiseJudgement:
    """The RTO as the last drill measured it, from the declaration to the end of the last check.

    Without a drill nothing is proven. After a drill older than ``valid_for`` (by default two months), the promise is at
    risk at best.
    """
    if measured is None or drilled_at is None:
        return PromiseJudgement(PromiseState.NO_POINT, promised, None, "no drill has measured it")
    words = f"a drill measured {format_duration(measured)}, promised {format_duration(promised)}"
    state = _state(measured, promised)
    if now - drilled_at > valid_for:
        words += f"; that was {format_duration(timedelta(days=(now - drilled_at).days))} ago"
        state = max(state, PromiseState.AT_RISK, key=_ORDER.index)
    return PromiseJudgement(state, promised, measured, words)


def judge_drill(
    every: timedelta | str | None, verdict: str | None, drilled_at: datetime | None, now: datetime
) -> DrillStanding:
    """What the last ended drill proves now. ``every``: the policy's interval, None when it asks for no drill.

    An unknown verdict counts as failed. A good verdict that is too old proves nothing any more.
    """
    if every is None:
        return DrillStanding.NONE
    if verdict is None or drilled_at is None:
        return DrillStanding.NEVER
    known = Verdict(verdict) if verdict in _VERDICTS else Verdict.FAILED
    if not known.proves:
        return DrillStanding.FAILED
    interval = every if isinstance(every, timedelta) else _CALENDAR[every]
    if now - drilled_at > interval:
        return DrillStanding.OVERDUE
    return DrillStanding.PROVEN if known is Verdict.PASSED else DrillStanding.CONDITIONAL


def _state(actual: timedelta, promised: timedelta) -> PromiseState:
    if actual > promised:
        return PromiseState.BREACHED
    return PromiseState.AT_RISK if actual > promised * RISK_SHARE else PromiseState.OK
