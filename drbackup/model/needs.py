"""What a person must do, decided in one place: from what is known and ``now`` to codes with their figures.

Pure, and without texts in any language. Status, check and the month report show the same needs, each in its own form.
An alarm or a metric can read them, too.

Invariants: what is not proven is a need, and a source without any point is an urgent one. While a source's backup runs,
the age of its newest point alone is no need.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta

import msgspec

from drbackup.errors import Failure
from drbackup.model.objectives import (
    DrillStanding,
    PromiseJudgement,
    PromiseState,
    judge_drill,
    judge_rpo,
    judge_rto,
)
from drbackup.model.scrub import Wounded

RENEWED_WITHIN = timedelta(days=3)
"""How long ago locks may have been renewed: a daemon renews them every day, so two were missed."""


class NeedCode(enum.StrEnum):
    """Why a person is needed. The values are stable: they stand in ``--json`` documents."""

    POLICY_BROKEN = "policy-broken"  # nobody knows what the system is promised
    BACKUP_FAILED = "backup-failed"
    BACKUP_MISSED = "backup-missed"
    NEVER_BACKED_UP = "never-backed-up"
    NOTHING_WHOLE = "nothing-whole"  # there are points, and none is whole in any copy
    RPO_AT_RISK = "rpo-at-risk"
    RPO_BREACHED = "rpo-breached"
    POINT_IN_FUTURE = "point-in-future"  # the newest point's instant is in the future: a clock is wrong
    COPY_DAMAGED = "copy-damaged"  # it can be repaired from another copy
    EVERY_COPY_DAMAGED = "every-copy-damaged"  # the copies may repair each other in part
    ONLY_COPY_DAMAGED = "only-copy-damaged"  # nothing can repair it
    COPY_LACKING = "copy-lacking"  # a store has not got its copy yet
    NO_DRILL_ASKED = "no-drill-asked"
    NEVER_DRILLED = "never-drilled"
    DRILL_OVERDUE = "drill-overdue"
    DRILL_FAILED = "drill-failed"
    RTO_BREACHED = "rto-breached"
    READ_BACK_FAILED = "read-back-failed"
    READ_BACK_LATE = "read-back-late"
    LOCKS_NOT_RENEWED = "locks-not-renewed"


class NeedSeverity(enum.StrEnum):
    """How urgent a need is."""

    URGENT = "urgent"  # an objective is broken, a proof failed, or damage can still be repaired
    NOTICE = "notice"  # nothing is broken yet


class Need(msgspec.Struct, frozen=True, kw_only=True):
    """One thing a person should do. A figure that a code does not have is empty, 0 or None."""

    code: NeedCode
    severity: NeedSeverity
    system: str = ""  # empty: of a store, or of a policy file that names no system
    source: str = ""  # empty: of the whole system
    file: str = ""  # a broken policy's
    stores: tuple[str, ...] = ()
    count: int = 0  # points
    lost: int = 0  # points of this source that are whole in no copy
    at: datetime | None = None  # aware UTC, when it happened last
    seen: timedelta | None = None  # the age or length that is measured against the promise
    promised: timedelta | None = None
    drill: str = ""  # the drill's id
    failure: Failure | None = None  # what went wrong

    @property
    def urgent(self) -> bool:
        """Whether it must not wait."""
        return self.severity is NeedSeverity.URGENT


class BadEnd(msgspec.Struct, frozen=True):
    """A run that did not do what it was for."""

    at: datetime  # when it ended, or should have begun
    failure: Failure
    missed: bool = False  # it never began


class LastDrill(msgspec.Struct, frozen=True):
    """The newest ended drill of a system."""

    id: str
    started_at: datetime
    verdict: str  # a value of :class:`drbackup.model.verdict.Verdict`
    rto: timedelta | None = None  # as measured
    findings: tuple[str, ...] = ()  # why it failed


class ProtectedSource(msgspec.Struct, frozen=True):
    """One source, with what is known of its points."""

    name: str
    newest: datetime | None = None  # when the newest point was pinned of which a copy is not known to be damaged
    running: bool = False  # a backup is under way
    failed: BadEnd | None = None  # its last run, if that failed or was missed
    damaged: Sequence[Wounded] = ()
    lacking: Mapping[str, int] = {}  # store → points promised to it that it has not got and another could give

    @property
    def lost(self) -> int:
        """The number of points that are whole in no copy."""
        return sum(each.lost for each in self.damaged)

    def rpo(self, promised: timedelta, now: datetime) -> PromiseJudgement:
        """The RPO ``promised``, judged by the newest point."""
        return judge_rpo(promised, self.newest, now)


class SystemFacts(msgspec.Struct, frozen=True):
    """One system: what its policy promises and what is known of it."""

    system: str
    promised_rpo: timedelta
    promised_rto: timedelta
    drill_every: timedelta | str | None  # as the policy says it; None: it asks for no drill
    sources: tuple[ProtectedSource, ...]
    drill: LastDrill | None = None

    def rto(self, now: datetime) -> PromiseJudgement:
        """The promised RTO, judged by the last drill."""
        drill = self.drill
        return judge_rto(self.promised_rto, drill.rto if drill else None, drill.started_at if drill else None, now)

    def drilled(self, now: datetime) -> DrillStanding:
        """What the last drill proves of the system at ``now``."""
        drill = self.drill
        return judge_drill(self.drill_every, drill.verdict if drill else None, drill.started_at if drill else None, now)


class StoreFacts(msgspec.Struct, frozen=True):
    """One store, with when its bytes were read back."""

    name: str
    read_back_failed: BadEnd | None = None  # the last reading, if that failed
    oldest: datetime | None = None  # of each copy's last proof that it is whole, the oldest; None: nothing is stored
    within: timedelta | None = None  # every byte is to be read back within so long; None: not looked at


class LockFacts(msgspec.Struct, frozen=True):
    """The object locks that must be renewed."""

    stores: tuple[str, ...]  # those that lock objects
    renewed_at: datetime | None  # when locks were last renewed; None: never


class BrokenPolicy(msgspec.Struct, frozen=True):
    """A policy file that is wrong, so that nothing in it is used."""

    file: str
    system: str  # empty: it names none
    message: str  # file:line:column: what is wrong


class CityFacts(msgspec.Struct, frozen=True):
    """Everything that needs are decided from."""

    systems: tuple[SystemFacts, ...] = ()
    stores: tuple[StoreFacts, ...] = ()
    locks: LockFacts | None = None  # None: nothing is locked, or nobody looked
    broken: tuple[BrokenPolicy, ...] = ()


def needs_of(facts: CityFacts, now: datetime) -> tuple[Need, ...]:
    """Every need at ``now``. Urgent ones come first, then the order is that of policies, systems and stores."""
    needs = [*_policy_needs(facts.broken)]
    for system in facts.systems:
        for source in system.sources:
            needs += _source_needs(system, source, now)
        for source in system.sources:
            needs += _copy_needs(system, source)
        needs += _drill_needs(system, now)
    for store in facts.stores:
        needs += _store_needs(store, now)
    needs += _lock_needs(facts.locks, now)
    return tuple(sorted(needs, key=lambda need: not need.urgent))


def _severity(*, urgent: bool) -> NeedSeverity:
    return NeedSeverity.URGENT if urgent else NeedSeverity.NOTICE


def _policy_needs(broken: Sequence[BrokenPolicy]) -> Iterator[Need]:
    """The needs of broken policies. They come first, because nothing else can be said of such a system."""
    for each in broken:
        yield Need(
            code=NeedCode.POLICY_BROKEN,
            severity=NeedSeverity.URGENT,
            system=each.system,
            file=each.file,
            failure=Failure("PolicyError", each.message, where=each.file),
        )


def _source_needs(system: SystemFacts, source: ProtectedSource, now: datetime) -> Iterator[Need]:
    rpo = source.rpo(system.promised_rpo, now)
    code, failed = _code_of(source, rpo, now), source.failed
    if code is not None:
        yield Need(
            code=code,
            severity=_severity(urgent=not rpo.kept),
            system=system.system,
            source=source.name,
            lost=source.lost,
            at=failed.at if failed else source.newest,
            seen=rpo.actual,
            promised=rpo.promised,
            failure=failed.failure if failed else None,
        )


def _code_of(source: ProtectedSource, rpo: PromiseJudgement, now: datetime) -> NeedCode | None:
    """The one need of a source's newest point, if any. A failed run comes before the age of the point."""
    if source.failed is not None:
        return NeedCode.BACKUP_MISSED if source.failed.missed else NeedCode.BACKUP_FAILED
    if source.running:
        return None
    if source.newest is None:
        if not source.lost:
            return NeedCode.NEVER_BACKED_UP
        # Otherwise the need for the damage tells the person to back up.
        return NeedCode.NOTHING_WHOLE if all(each.mendable for each in source.damaged) else None
    if source.newest > now:
        return NeedCode.POINT_IN_FUTURE
    return {PromiseState.AT_RISK: NeedCode.RPO_AT_RISK, PromiseState.BREACHED: NeedCode.RPO_BREACHED}.get(rpo.state)


def _copy_needs(system: SystemFacts, source: ProtectedSource) -> Iterator[Need]:
    """The needs of damaged or lacking copies.

    Damage is urgent while another copy can still repair it. A lacking copy is not: it is copied later by itself.
    """

    def need(code: NeedCode, stores: tuple[str, ...], count: int, *, urgent: bool) -> Need:
        return Need(
            code=code,
            severity=_severity(urgent=urgent),
            system=system.system,
            source=source.name,
            stores=stores,
            count=count,
            lost=source.lost,
        )

    mendable = [each for each in source.damaged if not each.lost]
    for store, count in sorted(Counter(store for each in mendable for store in each.damaged).items()):
        yield need(NeedCode.COPY_DAMAGED, (store,), count, urgent=True)
    if torn := [each for each in source.damaged if each.lost and each.mendable]:
        stores = tuple(sorted({store for each in torn for store in each.damaged}))
        yield need(NeedCode.EVERY_COPY_DAMAGED, stores, len(torn), urgent=_uncovered(source, torn))
    only = [each for each in source.damaged if not each.mendable]
    for store, count in sorted(Counter(each.damaged[0] for each in only).items()):
        here = [each for each in only if each.damaged[0] == store]
        # A new backup saves what the source still has. Once there is one, the person only has to know of the loss.
        yield need(NeedCode.ONLY_COPY_DAMAGED, (store,), count, urgent=_uncovered(source, here))
    for store, count in source.lacking.items():
        yield need(NeedCode.COPY_LACKING, (store,), count, urgent=False)


def _uncovered(source: ProtectedSource, lost: Sequence[Wounded]) -> bool:
    """Whether the newest of these lost points is newer than every whole point of the source."""
    return source.newest is None or source.newest < max(each.pinned_at for each in lost)


def _drill_needs(system: SystemFacts, now: datetime) -> Iterator[Need]:
    drill, rto = system.drill, system.rto(now)
    code = {
        DrillStanding.NONE: NeedCode.NO_DRILL_ASKED,
        DrillStanding.NEVER: NeedCode.NEVER_DRILLED,
        DrillStanding.OVERDUE: NeedCode.DRILL_OVERDUE,
        DrillStanding.FAILED: NeedCode.DRILL_FAILED,
    }.get(system.drilled(now))
    if code is None and rto.state is PromiseState.BREACHED:
        code = NeedCode.RTO_BREACHED
    if code is None:
        return
    failed = code is NeedCode.DRILL_FAILED and drill is not None and drill.findings
    yield Need(
        code=code,
        severity=_severity(urgent=code in {NeedCode.DRILL_FAILED, NeedCode.RTO_BREACHED}),
        system=system.system,
        at=drill.started_at if drill else None,
        seen=rto.actual,
        promised=rto.promised,
        drill=drill.id if drill else "",
        failure=Failure("DrillFailed", drill.findings[0]) if failed and drill else None,
    )


def _store_needs(store: StoreFacts, now: datetime) -> Iterator[Need]:
    if (failed := store.read_back_failed) is not None:
        yield Need(
            code=NeedCode.READ_BACK_FAILED,
            severity=NeedSeverity.NOTICE,
            stores=(store.name,),
            at=failed.at,
            failure=failed.failure,
        )
    if store.oldest is not None and store.within is not None and now - store.oldest > store.within:
        yield Need(
            code=NeedCode.READ_BACK_LATE,
            severity=NeedSeverity.NOTICE,
            stores=(store.name,),
            at=store.oldest,
            seen=now - store.oldest,
            promised=store.within,
        )


def _lock_needs(locks: LockFacts | None, now: datetime) -> Iterator[Need]:
    """The need for a renewal of locks. Without one, they end, whatever still relies on them."""
    if locks is None or not locks.stores:
        return
    if locks.renewed_at is None or now - locks.renewed_at > RENEWED_WITHIN:
        yield Need(
            code=NeedCode.LOCKS_NOT_RENEWED,
            severity=NeedSeverity.NOTICE,
            stores=locks.stores,
            at=locks.renewed_at,
            promised=RENEWED_WITHIN,
        )
