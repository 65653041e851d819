"""The pages of a restored notebook, measured."""

from __future__ import annotations

from drbackup.wire.messages import Measured
from drbackup.wire.specs import CheckSpec
from drbackup_agent.drill.checks.base import Copies


def measure_pages(check: CheckSpec, copies: Copies) -> Measured:
    """As many as its lines fill."""
    lines = sum(counted.rows for counted in copies[check.source].counted())
    return Measured(check.number, value=str(-(-lines // int(check.query))), compared=lines)
