"""Reading many objects of a store back: several at once, and not faster than a limit.

Invariant: a store that went away is never taken for one that is damaged.
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

_LOOK_SECONDS = 0.5  # the longest wait between two looks at ``stop``


def readers_for(entry: StoreEntry) -> int:
    """The number of large reads that a store gets at once. Each holds one small piece in memory, not the object."""
    return entry.place.readers


class RateLimit:
    """A limit of ``rate`` bytes a second on average (0: no limit), shared by all readers.

    When the block is left, or the caller's ``stop`` is set, every reader that waits for its turn ends.
    """

    def __init__(
        self,
        rate: int = 0,
        stop: threading.Event | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], object] | None = None,
    ) -> None:
        """``clock``: monotonic seconds. ``wait`` is called with seconds; by default it also ends with the block."""
        self._bucket = TokenBucket(rate, burst_seconds=0, clock=clock)
        self._stop = stop
        self._over = threading.Event()
        self._wait = wait or self._over.wait

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_end: object) -> None:
        self._over.set()

    def turn(self) -> None:
        """A reader's turn, once the bytes read so far are within the limit.

        Raises :class:`Interrupted` when the reading shall end.
        """
        while True:
            if self._over.is_set() or (self._stop is not None and self._stop.is_set()):
                raise Interrupted("reading back was stopped")
            if (left := self._bucket.owed()) <= 0:
                return
            self._wait(min(left, _LOOK_SECONDS))

    def spent(self, size: int) -> None:
        """``size`` more bytes that were read, counted against the limit."""
        self._bucket.spend(size)


class ReadResult(msgspec.Struct, frozen=True):
    """One object that was read back."""

    name: str
    size: int  # bytes read, damaged or not
    why: str = ""  # what is wrong with it; empty: it is whole
    missing: bool = False  # whether there was nothing at all


def read_back(store: Store, names: Iterable[str], rate_limit: RateLimit, readers: int) -> Iterator[ReadResult]:
    """The result for each object, in order.

    Raises the store's errors when it does not answer: what could not be read is neither whole nor damaged.
    """

    def check(name: str) -> ReadResult:
        rate_limit.turn()
        try:
            size = store.check(name)
        except ObjectMissing as gone:
            return ReadResult(name, 0, gone.message, missing=True)
        except ObjectCorrupt as bad:
            stat = store.stat(name)  # it was read, too, and counts against the limit
            size = stat.size if stat is not None else 0
            rate_limit.spent(size)
            return ReadResult(name, size, bad.message)
        rate_limit.spent(size)
        return ReadResult(name, size)

    for _, seen in ahead(check, names, readers):
        yield seen


def read_records(store: Store, names: Iterable[str], evidence_key: bytes) -> Iterator[tuple[str, Record | str]]:
    """A pair for each name, in order: the name, and its record or what is wrong with it. Raises the store's errors."""

    def read(name: str) -> Record | str:
        try:
            return read_record(store, name, evidence_key)
        except NOT_SOUND as bad:
            return bad.message

    return ahead(read, names)


def list_few(store: Store, prefixes: tuple[str, ...]) -> list[str]:
    """The names below any of ``prefixes``, of which a vault has few. Raises the store's errors.

    A small vault is listed as a whole, which is one request to a bucket instead of one for each prefix. When the vault
    turns out to be larger, each prefix is listed.
    """
    all_names = [stat.name for stat in itertools.islice(store.list(PREFIX), LISTED_AT_ONCE)]
    if len(all_names) < LISTED_AT_ONCE:
        return [name for name in all_names if name.startswith(prefixes)]
    return [stat.name for prefix in prefixes for stat in store.list(prefix)]


def witness(store: Store, evidence_key: bytes) -> str:
    """The name of a sound object that only our vault has. While it can be read, the store is there and is ours.

    It is the vault's description, or else any sound record. Raises :class:`VaultMissing`, or the description's error,
    when there is neither. An empty folder is a disk that is not mounted, and not a vault that lost everything.
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
    """A store that is still there: its witness can be read.

    Raises :class:`StoreUnavailable` when it can't. Then nothing else may be called missing or damaged.
    """
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
