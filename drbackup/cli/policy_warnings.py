"""Broken policy files as an operator hears of them: what is wrong, and what nobody knows because of it."""

from __future__ import annotations

from drbackup.controller.home.policies import BrokenFile, PolicySet
from drbackup.errors import PolicyError
from drbackup.reports.gettext import _


def warning_of(broken: BrokenFile) -> str:
    """One line: ``file:line:column: what``; what is not known."""
    if not broken.system:
        return str(broken)
    words = _("{what}; not known: schedule, objectives, keep and drill of {system}")
    return words.format(what=broken, system=broken.system)


def left_out(policies: PolicySet) -> list[PolicyError]:
    """What ``--all`` does not reach: one error for each broken policy. Whoever asked for all must not take the rest for
    all."""
    words = _("{system} was left out, its policy is broken: {what}")
    return [
        PolicyError(words.format(system=broken.system, what=broken), where=broken.file)
        for broken in policies.broken
        if broken.system
    ]
