"""Broken policy files as an operator hears of them: what is wrong, and what nobody knows because of it."""

from __future__ import annotations

from drbackup.controller.home.policies import BrokenFile, PolicySet
from drbackup.errors import PolicyError, say
from drbackup.reports.gettext import _, translated


def warning_of(broken: BrokenFile) -> str:
    """One line: ``file:line:column: what``; what is not known."""
    if not broken.system:
        return translated(broken.said)
    words = _("{what}; not known: schedule, objectives, keep and drill of {system}")
    return words.format(what=translated(broken.said), system=broken.system)


def left_out(policies: PolicySet) -> list[PolicyError]:
    """What ``--all`` does not reach: one error for each broken policy. Whoever asked for all must not take the rest for
    all."""
    return [
        PolicyError(
            say("{system} was left out, its policy is broken: {what}", system=broken.system, what=broken.said),
            where=broken.file,
        )
        for broken in policies.broken
        if broken.system
    ]
