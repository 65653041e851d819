"""Every kind of check that this agent can measure on restored copies, in one list. The controller judges the answers.

A new kind is its module beside this one, a line in :data:`CHECK_KINDS`, and the controller's half of it
(``docs/drills.md``: to add a kind of check).
"""

from __future__ import annotations

import os

from drbackup.errors import AgentDied, DrbackupError, Interrupted
from drbackup.wire.messages import Measured
from drbackup.wire.specs import CheckSpec
from drbackup_agent.drill.checks.across import measure_across
from drbackup_agent.drill.checks.base import Copies, Measure
from drbackup_agent.drill.checks.counts import measure_counts
from drbackup_agent.drill.checks.files import measure_files
from drbackup_agent.drill.checks.sql import measure_sql
from drbackup_agent.drill.without_content import without_content
from drbackup_agent.sources.restored import Refuted

CHECK_KINDS: dict[str, Measure] = {
    "sql": measure_sql,
    "counts": measure_counts,
    "files": measure_files,
    "across": measure_across,
}


def measure(check: CheckSpec, copies: Copies) -> Measured:
    """One check's answer. What stops a check becomes its ``error``, so that the other checks are still measured.

    Raises :class:`AgentDied` and :class:`Interrupted` only, because they end the whole drill.
    """
    if check.source not in copies:
        return Measured(check.number, error=f"source {check.source} was not restored")
    if check.kind not in CHECK_KINDS:
        return Measured(check.number, error=f"this agent knows no check of kind {check.kind}")
    try:
        return CHECK_KINDS[check.kind](check, copies)
    except (AgentDied, Interrupted):
        raise  # the whole drill is over, not this check
    except DrbackupError as failed:
        return Measured(check.number, error=without_content(failed))
    except (Refuted, OSError) as failed:
        return Measured(check.number, error=_safe(failed))


def _safe(failed: Exception) -> str:
    if isinstance(failed, OSError):  # its text would name a file
        return f"the restored copy can't be read: {os.strerror(failed.errno or 0)}"
    return str(failed)
