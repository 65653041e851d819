"""What a test needs from the machine: a skip where it is missing, a failure where it must be there.

``DRBACKUP_MUST_RUN=postgres,sshd,s3,root`` names capabilities whose absence fails the test instead of skipping it, so
that a build machine which lost its PostgreSQL does not go green.
"""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest

CAPABILITIES = ("postgres", "sshd", "s3", "root")


def must_run() -> frozenset[str]:
    """The capabilities that may not be missing here."""
    return frozenset(filter(None, (word.strip() for word in os.environ.get("DRBACKUP_MUST_RUN", "").split(","))))


def require(capability: str, present: bool, reason: str) -> None:
    """Skip the test when ``present`` is False, or fail it when this machine must have the capability."""
    if present:
        return
    if capability in must_run():
        pytest.fail(f"DRBACKUP_MUST_RUN names {capability}, but: {reason}", pytrace=False)
    pytest.skip(reason)


@pytest.hookimpl
def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("root"):
        require("root", os.geteuid() == 0, "needs root")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Any skip of a test that is marked with a capability this machine must have is a failure."""
    report = yield
    wanted = sorted(must_run() & {mark.name for mark in item.iter_markers()})
    if report.skipped and wanted and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"DRBACKUP_MUST_RUN names {', '.join(wanted)}, but the test was skipped: {report.longrepr}"
    return report
