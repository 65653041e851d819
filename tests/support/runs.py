"""The controller's runs as tests ask for them: options as keywords, and the wall's clock unless another is given."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from drbackup.controller.backup import run as backup
from drbackup.controller.drills import run as drills
from drbackup.controller.home.installation import Installation
from drbackup.controller.restore import recovery, restore
from drbackup.controller.restore.recovery_plan import RecoveryPlan
from drbackup.model.point import Point
from drbackup.wire.messages import RestoreResult

Clock = Callable[[], datetime]


def wall() -> datetime:
    """The present instant, UTC."""
    return datetime.now(UTC)


def run_backup(installation: Installation, system: str, source: str, *, now: Clock = wall, **options: Any) -> Point:
    """:func:`drbackup.controller.backup.run.run_backup`."""
    return backup.run_backup(installation, system, source, backup.BackupOptions(**options), now=now)


def restore_point(installation: Installation, point: Point, *, now: Clock = wall, **options: Any) -> RestoreResult:
    """:func:`drbackup.controller.restore.restore.restore_point`."""
    return restore.restore_point(installation, point, restore.RestoreOptions(**options), now=now)


def run_drill(installation: Installation, system: str, *, now: Clock = wall, **options: Any) -> drills.DrillOutcome:
    """:func:`drbackup.controller.drills.run.run_drill`."""
    return drills.run_drill(installation, system, drills.DrillOptions(**options), now=now)


def run_recovery(
    installation: Installation, plan: RecoveryPlan, *, now: Clock = wall, **options: Any
) -> recovery.RecoveryOutcome:
    """:func:`drbackup.controller.restore.recovery.run_recovery`."""
    return recovery.run_recovery(installation, plan, recovery.RecoveryOptions(**options), now=now)
