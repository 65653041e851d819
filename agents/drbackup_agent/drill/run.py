"""A drill on the drill host: restores points into a sandbox, measures the checks, wipes, and times each part.

The agent measures and never judges. One source that can't be restored does not stop the others: its failure is part of
the result, and the checks that need it say so. The sandbox is always wiped, after a failure, a cancellation or a lost
connection too. Only a completed drill has a result.

Nothing of the restored data leaves this host: results carry counts, digests and the names of tables and objects.
"""

from __future__ import annotations

import contextlib
import logging
import os
import platform
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

import msgspec

from drbackup import __version__
from drbackup.errors import AgentDied, DrbackupError, Interrupted
from drbackup.system.ticking import ticking
from drbackup.vault.keys import Keyring
from drbackup.vault.read.read_ahead import PackFetch
from drbackup.wire.messages import DrillJob, DrillResult, Measured, PhaseTime, Progress, RestoreResult
from drbackup.wire.specs import PointRef
from drbackup_agent.drill.checks.kinds import measure
from drbackup_agent.drill.phase_times import ATTRIBUTION, Meters, TimedFetch, TimedReader
from drbackup_agent.drill.sandbox import Sandbox, Wipe, open_sandbox
from drbackup_agent.drill.without_content import without_content
from drbackup_agent.sources.base import DrillStage, Watch
from drbackup_agent.sources.files.restore import folder_request, restore_folder
from drbackup_agent.sources.kinds import kind_named
from drbackup_agent.sources.restored import Refuted, RestoredCopy

log = logging.getLogger("drbackup_agent.drill.run")
_TICK_SECONDS = 5.0


class Listener(Protocol):
    """The one that waits for the drill's result: it is told of the progress and may end the drill."""

    cancelled: threading.Event  # set when the drill should stop

    def tell(self, message: Progress) -> None:
        """The progress is sent. Raises :class:`AgentDied` when the connection has ended."""
        ...

    def check(self) -> None:
        """The drill may go on when this returns. Raises the reason once it should stop."""
        ...


def run_drill(job: DrillJob, link: Listener, fetch: PackFetch, state_folder: Path, keyring: Keyring) -> DrillResult:
    """The result of the whole drill. It says whether the wipe of the sandbox was proven.

    Raises :class:`Interrupted` or :class:`AgentDied` when nobody waits for the result any more. Raises
    :class:`~drbackup.errors.HostUnsuitable` when no sandbox can be made. Every other failure is part of the result.
    """
    drill = _Drill(job, link, fetch, keyring)
    parent = Path(job.sandbox) if job.sandbox else state_folder / "sandbox"
    with drill.ticking(), open_sandbox(parent) as sandbox:
        drill.restore_all(sandbox)
        drill.check_all()
        drill.look_around(sandbox)
        with drill.phase("", "wipe"):
            wiped = sandbox.wipe()
    return drill.result(wiped)


class _Drill:
    """One drill while it runs. Times are seconds since the job's start on a monotonic clock."""

    def __init__(self, job: DrillJob, link: Listener, fetch: PackFetch, keyring: Keyring) -> None:
        self._job = job
        self._link = link
        self._keyring = keyring
        self._begun = time.monotonic()
        self._fetch = fetch
        self._copies: dict[str, RestoredCopy] = {}
        self._phases: list[PhaseTime] = []
        self._measured: list[Measured] = []
        self._canaries: dict[str, int] = {}
        self._restored: dict[str, RestoreResult] = {}
        self._failures: dict[str, str] = {}
        self._host: dict[str, str] = {"agent": __version__}
        self._doing = "sandbox"
        self._done = 0

    def ticking(self) -> AbstractContextManager[None]:
        """A block during which the controller is told every few seconds that the drill still works.

        Building an index or counting a large table moves no bytes for longer than a session may stall. The tools
        themselves are bounded by ``limits.stall_seconds``.
        """
        return ticking(_TICK_SECONDS, self._tell, self._link.cancelled)

    def _tell(self) -> None:
        """Sends the progress: what is being done, bytes fetched for it, and (as entries) the seconds so far."""
        with contextlib.suppress(AgentDied):  # the main thread gets the same error and reports it
            self._link.tell(Progress(self._doing, self._done, entries=int(self._now())))

    @contextmanager
    def phase(self, source: str, name: str) -> Iterator[None]:
        """A block whose time is kept as one phase, even when it fails. No other phase may overlap it."""
        begin = self._now()
        try:
            yield
        finally:
            self._phases.append(PhaseTime(source, name, begin, self._now()))

    def restore_all(self, sandbox: Sandbox) -> None:
        """Every point is restored, or its failure is kept. One at a time: no other restore slows the measured one."""
        for number, point in enumerate(self._job.points):
            self._link.check()
            try:
                self._restore(point, f"{number:02d}", sandbox)
            except (AgentDied, Interrupted):
                raise
            except DrbackupError as failure:
                log.error("%s was not restored: %s: %s", point.source, failure.code, without_content(failure))
                self._failures[point.source] = without_content(failure)
                self._copies.pop(point.source, None)

    def check_all(self) -> None:
        """Every canary is read and every check measured. The canaries come first: they are the measured RPO."""
        for source, copy in self._copies.items():
            with self.phase(source, "check"):
                try:
                    self._canaries[source] = copy.canary_ns()
                except (DrbackupError, Refuted) as none:
                    self._link.check()
                    log.warning("%s: no canary can be read: %s", source, type(none).__name__)
        for check in self._job.checks:
            self._link.check()
            self._begin(f"check {check.number + 1}")
            with self.phase(check.source, "check"):
                self._measured.append(measure(check, self._copies))

    def look_around(self, sandbox: Sandbox) -> None:
        """The drill host's facts are kept for the result, while the sandbox is still there."""
        free = shutil.disk_usage(sandbox.folder).free
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        self._host |= {
            "hostname": socket.gethostname(),
            "platform": f"{platform.system()} {platform.release()} {platform.machine()}",
            "python": platform.python_version(),
            "cpus": str(os.cpu_count() or 1),
            "memory": f"{memory >> 20} MiB",
            "free": f"{free >> 20} MiB",
            "sandbox": str(sandbox.folder.parent),
            "attribution": ATTRIBUTION,
        }

    def result(self, wiped: Wipe) -> DrillResult:
        """Everything that was measured, and what the wipe showed."""
        return DrillResult(
            measured=tuple(self._measured),
            phases=tuple(self._phases),
            canaries={source: ns for source, ns in self._canaries.items() if ns},
            restored=self._restored,
            failures=self._failures,
            wiped=wiped.proven,
            wipe_proof=wiped.text,
            host=self._host,
        )

    def _begin(self, what: str) -> None:
        self._doing, self._done = what, 0
        self._tell()

    def _fetched(self, done: int) -> None:
        self._done = done
        self._tell()

    # --- one point ---------------------------------------------------------------------------------------------------

    def _restore(self, point: PointRef, place: str, sandbox: Sandbox) -> None:
        meters = Meters(self._fetched)
        self._begin(f"restore {point.source}")
        with self.phase(point.source, "locate"):
            reader = TimedReader(TimedFetch(self._fetch, meters), self._keyring, point.domain, point.root)
            reader.meters = meters
            next(iter(reader.entries()), None)  # the tree's top and first page: found, opened and authenticated
        meters.restart()
        stage = DrillStage(
            source=point.source,
            reader=reader,
            place=place,
            sandbox=sandbox,
            watch=self._watch(),
            stall_seconds=self._job.limits.stall_seconds,
            into_folder=lambda: self._into_folder(point, sandbox.folder / place, reader),
            phase=lambda name: self.phase(point.source, name),
            restoring=lambda: self._shared(point.source, reader.meters),
            tell_host=self._host.update,
        )
        self._copies[point.source], self._restored[point.source] = kind_named(point.kind).drill(stage)

    def _into_folder(self, point: PointRef, folder: Path, reader: TimedReader) -> RestoreResult:
        with self._shared(point.source, reader.meters):
            result = restore_folder(reader, folder_request(str(folder), point.point), self._watch())
        # The notes of a folder's restore name files; a database's name roles and settings, and those may be told.
        return msgspec.structs.replace(result, notes=())

    @contextmanager
    def _shared(self, source: str, meters: Meters) -> Iterator[None]:
        """A block whose time is divided into fetch, decrypt and restore, even when it fails."""
        begin = self._now()
        try:
            yield
        finally:
            fetch, decrypt, restore = meters.shares(self._now() - begin)
            for name, length in (("fetch", fetch), ("decrypt", decrypt), ("restore", restore)):
                self._phases.append(PhaseTime(source, name, begin, begin + length))
                begin += length

    def _watch(self) -> Watch:
        return Watch(cancelled=self._link.cancelled.is_set)

    def _now(self) -> float:
        return time.monotonic() - self._begun
