"""Broken policy files in an operator's words: what is wrong with them, and what is not known because of it."""

from __future__ import annotations

from drbackup.controller.home.policies import BrokenFile, PolicySet
from drbackup.errors import PolicyError, say
from drbackup.reports.gettext import _, translated


def warning_of(broken: BrokenFile) -> str:
    """One line on a broken file: ``file:line:column: what``, then what is not known of the system because of it."""
    if not broken.system:
        return translated(broken.said)
    words = _("{what}; not known: schedule, objectives, keep and drill of {system}")
    return words.format(what=translated(broken.said), system=broken.system)


def left_out(policies: PolicySet) -> list[PolicyError]:
    """What ``--all`` does not reach: one error for each broken policy.

    A command that was asked for all must fail with them, so that nobody takes the rest for all.
    """
    return [
        PolicyError(
            say("{system} was left out, its policy is broken: {what}", system=broken.system, what=broken.said),
            where=broken.file,
        )
        for broken in policies.broken
        if broken.system
    ]
