"""The lease of a run while it works: a thread renews it and writes the latest counters.

When the lease is lost, or ran out because it couldn't be renewed, the run's stop event is set. Then the session is
cancelled and nothing more is committed. A killed controller simply stops renewing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from types import TracebackType
from typing import Self

from drbackup.controller.catalog.holder import this_process
from drbackup.controller.catalog.runs import Claim, Counters, LeaseRequest, Runs
from drbackup.errors import CatalogUnusable, DrbackupError, RunLost, say
from drbackup.wire.messages import Progress

RUN_LEASE = timedelta(seconds=90)
BEAT_SECONDS = 2.0  # between two renewals


def lease_request(now: datetime) -> LeaseRequest:
    """This process's request for a lease from ``now`` on."""
    return LeaseRequest(this_process(), now, now + RUN_LEASE)


class RunStop(threading.Event):
    """The stop event of one run. It also counts as set when its caller's event is.

    A lost lease ends its own run only, because the caller's event is often shared by many runs. Also, a renewal just
    after a run was committed finds no lease any more, and that must not stop the others. Poll :meth:`is_set`: ``wait``
    ignores the caller's event.
    """

    def __init__(self, callers: threading.Event | None) -> None:
        super().__init__()
        self._callers = callers

    def is_set(self) -> bool:
        """Whether this run must end, because its lease is lost or its caller wants it to."""
        return super().is_set() or (self._callers is not None and self._callers.is_set())


class Lease:
    """The lease of one claim, renewed while the ``with`` block runs. ``stop`` is set when it is lost."""

    def __init__(self, runs: Runs, claim: Claim, now: Callable[[], datetime], stop: threading.Event) -> None:
        self._runs = runs
        self._claim = claim
        self._now = now
        self._stop = stop
        self._until = now() + RUN_LEASE
        self._over = threading.Event()
        self._latest: Progress | None = None
        self._lost: DrbackupError | None = None
        self._thread = threading.Thread(target=self._beat, name=f"lease {claim.run}", daemon=True)

    def hear(self, news: Progress) -> None:
        """The latest counters are written with the next renewal. Never blocks."""
        self._latest = news

    def require(self) -> None:
        """A guarantee that the lease has not ended. Raises the error that ended it."""
        if self._lost is not None:
            raise self._lost

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _beat(self) -> None:
        while not self._over.wait(BEAT_SECONDS):
            until = self._now() + RUN_LEASE
            try:
                self._runs.renew(self._claim, until=until, counters=self._counters())
                self._until = until
            except RunLost as lost:
                self._give_up(lost)
                return
            except CatalogUnusable as trouble:
                # A full disk may have room again before the lease ends; until then nobody else may take the run.
                if self._now() >= self._until:
                    self._give_up(trouble)
                    return
            except Exception as bug:  # noqa: BLE001 — for any error the run must stop
                # If this thread ended in silence, the lease would run out and another run begin while we go on.
                self._give_up(
                    DrbackupError(
                        say("the lease could not be renewed: {kind}: {why}", kind=type(bug).__name__, why=bug)
                    )
                )
                return

    def _give_up(self, why: DrbackupError) -> None:
        self._lost = why
        self._stop.set()

    def _counters(self) -> Counters | None:
        news = self._latest
        return None if news is None else Counters(news.phase, news.done, news.stored, news.entries)
