"""The steps of the demo, one after the other, each with its time, each carried out by the real command.

Owns the order of the steps. The demo fails when a step fails or a command ends with an exit code other than 0. It also
fails for any difference between the city before the fire and after its recovery. Nothing is tried twice.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from drbackup.cli.demo_city import settings
from drbackup.cli.demo_city.city import City, Fingerprint, differences
from drbackup.reports.gettext import _

Command = Callable[[list[str]], int]
_MOST_DIFFERENCES = 10


class StepFailed(Exception):
    """A step that did not end as it must. ``exit_code``: what the demo ends with."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class StoryStep(msgspec.Struct, frozen=True):
    """One step that was carried out."""

    title: str  # in the reader's language
    seconds: float  # that it took
    saw: str  # its result in a few words, or why it failed
    good: bool


@dataclass(frozen=True)
class Stage:
    """The demo's folder, the paths in it, and its city."""

    folder: Path  # absolute
    city: City

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def policies(self) -> Path:
        return self.folder / "policies"

    @property
    def agents(self) -> Path:
        return self.folder / "agents"

    @property
    def custodians(self) -> Path:
        return self.folder / "custodians"

    @property
    def key(self) -> Path:
        return self.folder / "recovery.key"

    @property
    def report(self) -> Path:
        return self.folder / "report.html"


@dataclass
class Story:
    """The demo, with the steps that were carried out so far."""

    stage: Stage
    command: Command  # runs one ``drbackup`` command line and returns its exit code
    tell: Callable[[str], None]  # prints a heading
    steps: list[StoryStep] = field(default_factory=list)
    before: Fingerprint = field(default_factory=dict)  # the city before the fire

    def play(self) -> bool:
        """Whether all steps succeeded. They run in order, until one fails; ``exit_code`` is then that step's.

        Raises every exception but :class:`StepFailed`, for example an interrupt.
        """
        for title, act in self._acts():
            self.tell(f"{len(self.steps) + 1}. {title}")
            begun = time.monotonic()
            try:
                saw = act()
            except StepFailed as failed:
                self.steps.append(StoryStep(title, time.monotonic() - begun, str(failed), good=False))
                self.exit_code = failed.exit_code
                return False
            self.steps.append(StoryStep(title, time.monotonic() - begun, saw, good=True))
        return True

    exit_code = 0

    def _acts(self) -> Iterator[tuple[str, Callable[[], str]]]:
        yield _("A city: four bureaus, a base joined from them, scanned files"), self._build
        yield _("An installation: keys for five custodians, a vault, policies"), self._found
        yield _("The first backup"), self._back_up
        yield _("A day's work changes the data"), self._work
        yield _("The second backup sends only what changed"), self._back_up
        yield _("Recovery points, and how the city stands"), self._look
        yield _("FIRE: every department's machine is gone"), self._burn
        yield _("New, empty machines; three custodians bring their shares"), self._deliver
        yield _("Recovery in dependency order"), self._recover
        yield _("Is everything as it was before the fire?"), self._compare
        yield _("Every byte in the store is read back, without any key"), self._scrub
        yield _("A drill: restored into a sandbox, checked, measured, wiped"), self._drill
        yield _("Evidence and report"), self._report

    # --- acts -------------------------------------------------------------------------------------------------------

    def _build(self) -> str:
        self.stage.city.build()
        seen = self.stage.city.fingerprint()
        return _("{engine}; {tables} tables, {files} files").format(engine=self.stage.city.engine, **_counts(seen))

    def _found(self) -> str:
        stage = self.stage
        settings.write(stage.city, stage.policies, stage.agents, stage.folder / "store")
        self._run("policy", "check")
        self._run("init", "--custodians", "3-of-5", "--shares-folder", str(stage.custodians))
        drill_host = stage.agents / settings.DRILL_HOST
        drill_host.mkdir(parents=True)
        shutil.move(stage.home / "keys" / "drill.key", drill_host / "drill.key")  # as init asks
        return _("3 of 5 custodians; drill key moved to {host}").format(host=settings.DRILL_HOST)

    def _back_up(self) -> str:
        self._run("backup", "--all")
        return _("store holds {size} MiB").format(size=_mebibytes(self.stage.folder / "store"))

    def _work(self) -> str:
        earlier = self.stage.city.fingerprint()
        self.stage.city.work_a_day()
        changed = len(differences(earlier, self.stage.city.fingerprint()))
        if not changed:
            raise StepFailed("the day's work changed nothing")
        return _("{n} tables and files differ").format(n=changed)

    def _look(self) -> str:
        self._run("points", "list")
        self._run("points", "diff", *self._two_points("enterprise-base", "scans"))
        self._run("status")
        return _("every promise holds")

    def _burn(self) -> str:
        self.before = self.stage.city.fingerprint()
        counts = _counts(self.before)
        if not counts["tables"] or not counts["files"]:
            raise StepFailed("there was nothing to burn, so nothing can be proven")
        self.stage.city.burn()
        return _("{tables} tables and {files} files destroyed").format(**counts)

    def _deliver(self) -> str:
        self.stage.city.deliver()
        left = self.stage.city.fingerprint()
        if any(left.values()):
            raise StepFailed(f"the new machines are not empty: {left}")
        shares = sorted(self.stage.custodians.iterdir())[1:4]
        self._run("keys", "combine", *map(str, shares), "--to", str(self.stage.key))
        return _("recovery key joined from 3 shares")

    def _recover(self) -> str:
        self._run("recover", "--all", "--key", str(self.stage.key), "--apply")
        return _("all systems are back")

    def _compare(self) -> str:
        found = differences(self.before, self.stage.city.fingerprint())
        if found:
            more = "" if len(found) <= _MOST_DIFFERENCES else f"\n… and {len(found) - _MOST_DIFFERENCES} more"
            raise StepFailed(f"{len(found)} differences:\n" + "\n".join(found[:_MOST_DIFFERENCES]) + more)
        words = _("identical: {tables} tables by rows and checksum, {files} files by SHA-256, mode and time")
        return words.format(**_counts(self.before))

    def _scrub(self) -> str:
        self._run("vault", "scrub")
        return _("all whole")

    def _drill(self) -> str:
        self._run("drill", "run", "--all", "--jobs", "3")
        return _("passed")

    def _report(self) -> str:
        self._run("evidence", "verify", "--stores")
        self._run("report", "month", "--format", "html", "--to", str(self.stage.report))
        self._run("status")
        return self.stage.report.name

    # --- inside -----------------------------------------------------------------------------------------------------

    def _run(self, *words: str) -> None:
        """One command line with exit code 0. Raises :class:`StepFailed` with any other exit code."""
        code = self.command(list(words))
        if code:
            raise StepFailed(f"drbackup {' '.join(words)}: exit code {code}", code)

    def _two_points(self, system: str, source: str) -> tuple[str, str]:
        """The short ids of a source's oldest and newest point."""
        from drbackup.controller.catalog import Catalog

        with Catalog.open(self.stage.home / "catalog.sqlite") as catalog:
            points = list(catalog.points.list(system=system, source=source))
        return points[-1].short, points[0].short


def _counts(seen: Fingerprint) -> dict[str, int]:
    files = sum(len(things) for place, things in seen.items() if place in {"scans", "network"})
    return {"files": files, "tables": sum(len(things) for things in seen.values()) - files}


def _mebibytes(folder: Path) -> str:
    return f"{sum(path.stat().st_size for path in folder.rglob('*') if path.is_file()) / (1 << 20):.1f}"
