"""Catching up: every store gets the points that the policies promise it, whether or not a new backup is due.

A store may have been away for days, a policy may name a new store, a controller may have been killed between two
copies. The catalog knows what is lacking, so nothing else needs to be remembered. The oldest point is copied first, so
that a store's chain of records grows without a gap.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from drbackup.controller.copies.replicate import Copier
from drbackup.controller.evidence import objects_in, publish
from drbackup.controller.home.installation import Installation
from drbackup.errors import DrbackupError, Interrupted, StoreUnavailable
from drbackup.model.point import Point

Watch = Callable[[int, int], None]  # points done, points in all


@dataclass(slots=True)
class CatchUpResult:
    """What one store got, and what it still lacks."""

    store: str
    copied: list[Point] = field(default_factory=list)
    behind: dict[str, DrbackupError] = field(default_factory=dict)  # point's id → why it is still lacking
    away: DrbackupError | None = None  # why the store could not be written to at all

    @property
    def good(self) -> bool:
        """Whether the store lacks nothing any more."""
        return self.away is None and not self.behind


def lacking(installation: Installation, store: str) -> list[Point]:
    """The points that the policies promise to a store and that it lacks, oldest first."""
    points = installation.catalog.points
    found = [
        point
        for system, policy in installation.policies.policies.items()
        if store in policy.copies
        for source in policy.sources
        for point in points.lacking(system, source.name, store)
    ]
    return sorted(found, key=lambda point: (point.committed_at, point.id))


def catch_up(
    installation: Installation,
    *,
    now: Callable[[], datetime],
    stores: tuple[str, ...] = (),
    stop: threading.Event | None = None,
    watch: Watch | None = None,
) -> tuple[CatchUpResult, ...]:
    """The result for each store that lacked points: of the stores named, or of the whole inventory.

    Evidence that any store lacks is copied, too. A store's errors are in its result. Raises :class:`Interrupted` when
    ``stop`` is set; what was copied stays.
    """
    work = _CatchUpPass(installation, now, stop, watch)
    wanted = {name: lacking(installation, name) for name in stores or tuple(installation.inventory.stores)}
    found = tuple(work.bring(name, points) for name, points in wanted.items() if points)
    if objects_in(installation.evidence_folder):
        publish(installation)
    return found


class _CatchUpPass:
    """One pass over all stores. A store that does not answer is asked once, and not once for each point."""

    def __init__(
        self,
        installation: Installation,
        now: Callable[[], datetime],
        stop: threading.Event | None,
        watch: Watch | None,
    ) -> None:
        self._installation = installation
        self._now = now
        self._stop = stop
        self._watch = watch
        self._away: dict[str, DrbackupError] | None = None

    def bring(self, store: str, points: list[Point]) -> CatchUpResult:
        """The result of copying these points to one store, in this order."""
        result = CatchUpResult(store)
        copier = Copier(self._installation, self._installation.store(store), self._now)
        for number, point in enumerate(points, 1):
            if self._stop is not None and self._stop.is_set():
                raise Interrupted("catching up was stopped")
            away = self._stores_away()
            if store in away:
                result.away = away[store]
                break
            try:
                copier.point(point, without=away)
            except DrbackupError as failed:
                result.behind[point.id] = failed
                if isinstance(failed, StoreUnavailable):
                    self._away = None  # a store has just gone away: ask which
            else:
                result.copied.append(point)
            if self._watch is not None:
                self._watch(number, len(points))
        return result

    def _stores_away(self) -> dict[str, DrbackupError]:
        if self._away is None:
            self._away = {}
            for name in self._installation.inventory.stores:
                try:
                    self._installation.vault(name)  # without our vault, nothing there is written or trusted
                except DrbackupError as away:
                    self._away[name] = away
        return self._away
