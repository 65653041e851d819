"""Collects as an installation does them: which stores, by which policies, one collect at a time."""

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
    """No progress, for a caller that shows none."""


@dataclass(slots=True)
class NoEraser:
    """An eraser that refuses everything, for a plan that is only looked at. It needs no right to delete."""

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
    """A collector of these stores, or of all when none is named; ``acting`` False: for :meth:`Collector.look` alone.

    Raises :class:`~drbackup.errors.PolicyError` while any policy is broken: the keep rules are not known then. Raises
    :class:`~drbackup.errors.StoreRefused` for a store without a credential for collecting. Raises the vault's errors
    for a store that does not hold our vault: nothing is ever removed there.
    """
    installation.policies.require_whole()
    entries = installation.inventory.stores
    chosen = list(stores) or list(entries)
    for name in chosen:
        installation.vault(name)
    vaults = Vaults(
        installation.catalog,
        {name: installation.store(name) for name in entries},
        {name: open_eraser(name, entries[name]) if acting else NoEraser(name) for name in chosen},
        installation.keyring,
        installation.signer.public,
    )
    return Collector(
        vaults,
        judge=functools.partial(judge_by_policies, installation.policies.policies),
        state=lambda leaving, moment: state_collected(installation, leaving, moment, chosen),
        now=now,
        grace=grace,
        watch=watch,
    )


def adopt_lost(installation: Installation, stores: Sequence[str], *, now: datetime) -> tuple[DrbackupError, ...]:
    """What is wrong with some records of these stores (of all, when empty); the catalog knows all others now.

    It is done before a collect judges anything. A record that the catalog does not know keeps its packs for ever and is
    never collected itself.
    """
    strange: list[DrbackupError] = []
    for name in stores or installation.inventory.stores:
        adopt_records(installation, name, strange=strange, now=now)
    return tuple(strange)


@contextmanager
def collecting_alone(installation: Installation) -> Iterator[None]:
    """The right to be the only collect of a home; its file lock ends with the process.

    Raises :class:`RunActive` while another collect has it.
    """
    lock = try_file_lock(installation.home / COLLECT_LOCK_FILE)
    if lock is None:
        where = str(installation.home)
        raise RunActive("another collect of this home is under way", where=where, hint="wait for it")
    with lock:
        yield
