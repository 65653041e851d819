"""Collecting and lock renewal as an installation does them: which stores, by which policies, one collect at a time."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from drbackup.controller.backup.adopt import adopt_records
from drbackup.controller.collect.collect import Collector, Vaults, Watch, judge_by_policies
from drbackup.controller.collect.statement import state_collected
from drbackup.controller.home.installation import Installation
from drbackup.errors import DrbackupError, RunActive, StoreRefused, say
from drbackup.model.collect import COLLECT_GRACE
from drbackup.stores.erase import Erased
from drbackup.stores.registry import open_eraser
from drbackup.system.file_lock import try_file_lock

COLLECT_LOCK_FILE = "collect.lock"


def unwatched(_what: str, _done: int, _total: int) -> None:
    """Nobody looks on."""


@dataclass(slots=True)
class NoEraser:
    """Stands where an eraser would while a plan is only looked at: that needs no right to delete."""

    name: str

    def erase(self, name: str) -> Erased:
        raise StoreRefused(
            say("store {store} was opened to be looked at, not to remove {name}", store=self.name, name=name),
            where=name,
        )


def collector(
    installation: Installation,
    stores: Sequence[str],
    now: Callable[[], datetime],
    *,
    grace: timedelta = COLLECT_GRACE,
    watch: Watch = unwatched,
    acting: bool = True,
) -> Collector:
    """A collector of these stores (of all, when empty); with ``acting`` False for :meth:`Collector.look` alone.

    Raises :class:`~drbackup.errors.PolicyError` while any policy is broken: nobody knows then how long what is kept.
    Raises :class:`~drbackup.errors.StoreRefused` for a store without a collecting credential, and what a store that is
    not ours raises: nothing is ever removed where our vault is not.
    """
    installation.policies.require_whole()
    entries = installation.inventory.stores
    chosen = list(stores) or list(entries)
    for name in chosen:
        installation.vault(name)
    grounds = Vaults(
        installation.catalog,
        {name: installation.store(name) for name in entries},
        {name: open_eraser(name, entries[name]) if acting else NoEraser(name) for name in chosen},
        installation.keyring,
        installation.signer.public,
    )
    return Collector(
        grounds,
        judge=functools.partial(judge_by_policies, installation.policies.policies),
        state=lambda leaving, moment: state_collected(installation, leaving, moment, chosen),
        now=now,
        grace=grace,
        watch=watch,
    )


def adopt_lost(installation: Installation, stores: Sequence[str], *, now: datetime) -> tuple[DrbackupError, ...]:
    """Let the catalog know every record of these stores before anything is judged; what was strange about some.

    A record it does not know keeps its packs for ever and is never collected itself.
    """
    strange: list[DrbackupError] = []
    for name in stores or installation.inventory.stores:
        adopt_records(installation, name, strange=strange, now=now)
    return tuple(strange)


@contextmanager
def collecting_alone(installation: Installation) -> Iterator[None]:
    """One collect of a home at a time; the file lock dies with its process. Raises :class:`RunActive`."""
    lock = try_file_lock(installation.home / COLLECT_LOCK_FILE)
    if lock is None:
        where = str(installation.home)
        raise RunActive("another collect of this home is under way", where=where, hint="wait for it")
    with lock:
        yield
