"""Reading many objects of a store back: several at once, at most so fast, and never mistaking a store that went away
for one that is damaged.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Self

import msgspec

from drbackup.controller.copies.presence import LISTED_AT_ONCE
from drbackup.errors import (
    NOT_SOUND,
    DrbackupError,
    Interrupted,
    ObjectCorrupt,
    ObjectMissing,
    SignatureInvalid,
    StoreUnavailable,
    VaultMissing,
    say,
)
from drbackup.model.inventory import StoreEntry
from drbackup.stores.base import Store
from drbackup.system.ahead import ahead
from drbackup.system.token_bucket import TokenBucket
from drbackup.vault.description import read_vault
from drbackup.vault.layout import PREFIX, VAULT_NAME
from drbackup.vault.record import Record, list_records, read_record

_LOOK_SECONDS = 0.5


def readers_for(entry: StoreEntry) -> int:
    """How many large reads a store is given at once. Memory: each holds one small piece, not the object."""
    return entry.place.readers


class RateLimit:
    """At most ``rate`` bytes a second on the average (0: as fast as it goes), shared by all readers.

    Leaving the block, or the caller's ``stop``, ends every reader that waits for its turn.
    """

    def __init__(
        self,
        rate: int = 0,
        stop: threading.Event | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], object] | None = None,
    ) -> None:
        """``wait`` is called with seconds; by default it ends with the block, too."""
        self._bucket = TokenBucket(rate, burst_seconds=0, clock=clock)
        self._stop = stop
        self._over = threading.Event()
        self._wait = wait or self._over.wait

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_end: object) -> None:
        self._over.set()

    def turn(self) -> None:
        """Wait until what was read is paid for. Raises :class:`Interrupted` when the reading shall end."""
        while True:
            if self._over.is_set() or (self._stop is not None and self._stop.is_set()):
                raise Interrupted("reading back was stopped")
            if (left := self._bucket.owed()) <= 0:
                return
            self._wait(min(left, _LOOK_SECONDS))

    def spent(self, size: int) -> None:
        """So many bytes were read."""
        self._bucket.spend(size)


class ReadResult(msgspec.Struct, frozen=True):
    """One object read back. ``size``: bytes read for it, damaged or not. ``why`` is empty when it is whole;
    ``missing``: there was nothing at all."""

    name: str
    size: int
    why: str = ""
    missing: bool = False


def read_back(store: Store, names: Iterable[str], rate_limit: RateLimit, readers: int) -> Iterator[ReadResult]:
    """Each object, in order. Raises the store's errors when it does not answer: what could not be read is neither
    whole nor damaged."""

    def check(name: str) -> ReadResult:
        rate_limit.turn()
        try:
            size = store.check(name)
        except ObjectMissing as gone:
            return ReadResult(name, 0, gone.message, missing=True)
        except ObjectCorrupt as bad:
            stat = store.stat(name)  # it was read, too, and is paid for
            size = stat.size if stat is not None else 0
            rate_limit.spent(size)
            return ReadResult(name, size, bad.message)
        rate_limit.spent(size)
        return ReadResult(name, size)

    for _, seen in ahead(check, names, readers):
        yield seen


def read_records(store: Store, names: Iterable[str], evidence_key: bytes) -> Iterator[tuple[str, Record | str]]:
    """(name, the record or what is wrong with it) of each, in order."""

    def read(name: str) -> Record | str:
        try:
            return read_record(store, name, evidence_key)
        except NOT_SOUND as bad:
            return bad.message

    return ahead(read, names)


def list_few(store: Store, prefixes: tuple[str, ...]) -> list[str]:
    """Names below any of ``prefixes``, of which a vault has few. A small vault is listed as a whole, by one request of
    a bucket instead of one a prefix; one that shows to be larger is asked for each."""
    all_names = [stat.name for stat in itertools.islice(store.list(PREFIX), LISTED_AT_ONCE)]
    if len(all_names) < LISTED_AT_ONCE:
        return [name for name in all_names if name.startswith(prefixes)]
    return [stat.name for prefix in prefixes for stat in store.list(prefix)]


def witness(store: Store, evidence_key: bytes) -> str:
    """The name of a sound object that only our vault has: as long as it can be read, the store is there and ours.

    The vault's description, else any sound record. Raises :class:`VaultMissing` when there is neither: an empty folder
    is a disk that is not mounted, and not a vault that lost everything.
    """
    problem: DrbackupError
    try:
        read_vault(store, evidence_key)
        return VAULT_NAME
    except (VaultMissing, ObjectCorrupt, SignatureInvalid) as bad:
        problem = bad
    for stat in list_records(store):
        try:
            read_record(store, stat.name, evidence_key)
        except NOT_SOUND:
            continue
        return stat.name
    raise problem


def require_there(store: Store, name: str, evidence_key: bytes) -> None:
    """Raises :class:`StoreUnavailable` when the witness can't be read any more: then nothing else is to be called
    missing or damaged."""
    try:
        _look(store, name, evidence_key)
    except (VaultMissing, *NOT_SOUND) as gone:
        raise StoreUnavailable(
            say("store {store} went away while it was read: {what}", store=store.name, what=gone.said),
            where=name,
            hint="check that its disk is mounted, then run it again: what was read is remembered",
        ) from gone


def _look(store: Store, name: str, evidence_key: bytes) -> None:
    if name == VAULT_NAME:
        read_vault(store, evidence_key)
    else:
        read_record(store, name, evidence_key)
