"""What a test needs from the machine: a skip where it is missing, a failure where it must be there.

``DRBACKUP_MUST_RUN=postgres,sshd,s3,root`` names capabilities whose absence fails the test instead of skipping it, so
that a build machine which lost its PostgreSQL does not go green. With ``CI`` set every other skip fails as well, unless
``tests/allowed-skips.txt`` lists the test with a reason.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path

import pytest

CAPABILITIES = ("postgres", "sshd", "s3", "systemd", "root")
ALLOWED = Path(__file__).parents[2] / "allowed-skips.txt"


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


def allowed_skips() -> dict[str, str]:
    """Test id (without parameters) → why it may skip, from lines ``id: reason``."""
    lines = [line for line in ALLOWED.read_text().splitlines() if line.strip() and not line.startswith("#")]
    return {name.strip(): reason.strip() for name, reason in (line.rsplit(": ", 1) for line in lines)}


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
    elif report.skipped and os.environ.get("CI") and item.nodeid.split("[")[0] not in allowed_skips():
        report.outcome = "failed"
        report.longrepr = f"skipped, and tests/allowed-skips.txt gives no reason for it: {report.longrepr}"
    return report
