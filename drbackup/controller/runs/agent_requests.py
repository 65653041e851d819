"""The controller's answers to one session's agent.

Owns what an agent may have. A writer gets the places of its own domain's chunks in packs that this store really holds,
and one signed upload for each pack. A reader gets the packs of its job's points and nothing else. ``stored`` is never
answered while bytes are still on the way. A relayed pack enters the catalog after the store's own answer, a signed one
after the agent's report.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Literal

import msgspec

from drbackup.controller.catalog import Catalog
from drbackup.controller.catalog.packs import Pack
from drbackup.errors import ObjectMissing, ProtocolViolation, say
from drbackup.model.collect import lease_ns, lock_end_ns
from drbackup.model.point import digest_of, kind_of
from drbackup.stores.base import SignedPut, Store
from drbackup.system.instants import to_ns
from drbackup.vault.layout import PACK_KINDS, pack_name
from drbackup.vault.suite import MAX_CHUNK
from drbackup.wire.framing import Body
from drbackup.wire.messages import Note, Place, Progress

MAX_PACK = 256 << 20
NAME_SIZE = 32

Clock = Callable[[], datetime]


def no_news(_news: object) -> None:
    """The listener of a caller who wants to hear nothing."""


class Listeners(msgspec.Struct, frozen=True):
    """The caller's functions for a session's news. The session's threads call them; they must be quick."""

    pinned: Callable[[int, str], None] = lambda _ns, _position: None  # (ns since the epoch, position in the source)
    progress: Callable[[Progress], None] = no_news
    note: Callable[[Note], None] = no_news


class UploadTarget(msgspec.Struct, frozen=True):
    """Where a session's packs go: one domain of one store, with the catalog that knows its packs."""

    catalog: Catalog
    store: Store
    domain: str
    session: str  # its id in the catalog
    now: Clock
    relay: bool = False  # the agent's host has no route to the store (route: tunnel): packs pass through the session
    lock_days: int = 0  # of the store's object lock on each new object; 0: none


class _Telling:
    """The part of every handler that passes an agent's news to the listeners."""

    def __init__(self, listeners: Listeners) -> None:
        self._listeners = listeners

    def pinned(self, pinned_ns: int, position: str) -> None:
        self._listeners.pinned(pinned_ns, position)

    def progress(self, news: Progress) -> None:
        self._listeners.progress(news)

    def note(self, note: Note) -> None:
        self._listeners.note(note)


class BackupRequests(_Telling):
    """The handler of a session that writes. Thread-safe: its only state is the catalog and the store."""

    def __init__(self, target: UploadTarget, listeners: Listeners) -> None:
        super().__init__(listeners)
        self._target = target
        # From the session's begin, so that the catalog never notes a longer lock than the pack has.
        self._locked_ns = lock_end_ns(to_ns(target.now()), target.lock_days)

    def locate(self, ids: bytes) -> tuple[Place, ...]:
        """The places of those of these chunks that lie in this domain's packs in this store."""
        wanted = [ids[begin : begin + NAME_SIZE] for begin in range(0, len(ids), NAME_SIZE)]
        target = self._target
        lease = lease_ns(to_ns(target.now()), target.lock_days)
        return target.catalog.packs.locate(target.domain, target.store.name, wanted, locked_ns=lease)

    def upload(self, kind: str, pack: bytes, size: int) -> SignedPut | Literal["stored"] | None:
        """``stored`` when the store has the pack, else a signed upload, or None for an upload through the session.

        ``size`` in bytes. Raises :class:`ProtocolViolation` for what can't be a pack.
        """
        name = self._name(kind, pack, size)
        target = self._target
        if target.catalog.packs.has(target.domain, kind, pack, target.store.name):
            stat = target.store.stat(name)
            if stat is not None and stat.size == size:
                return "stored"
            target.catalog.packs.forget(target.domain, target.store.name, [(kind, pack)])
        return None if target.relay else target.store.sign_put(name, size, pack)

    def uploaded(self, kind: str, pack: bytes, size: int, places: tuple[Place, ...], body: Body | None) -> None:
        """A guarantee that a relayed pack is in the store, and pack and chunks are in the catalog.

        A crash in between means only that one pack is sent twice. For a signed upload the agent's report is believed
        here. Before the commit the store is asked for every pack
        (:func:`drbackup.controller.copies.presence.missing_packs`), a thousand with one request. Raises
        :class:`ProtocolViolation` and the store's errors.
        """
        name = self._name(kind, pack, size)
        for place in places:
            if place.pack != pack or len(place.id) != NAME_SIZE or not _inside(place, size):
                raise ProtocolViolation(say("a place outside its pack {pack}", pack=pack.hex()[:12]), where=name)
        target = self._target
        if body is not None:
            target.store.put(name, body)  # the session has compared it with its name
        known = Pack(target.domain, kind, pack, size, target.session)
        target.catalog.packs.add(known, target.store.name, places, now=target.now(), locked_ns=self._locked_ns)

    def fetch(self, kind: str, domain: str, pack: bytes, offset: int, length: int) -> bytes | str:
        """No answer: a server that writes backups reads none. Raises :class:`ProtocolViolation`."""
        raise ProtocolViolation("a backup may not read the vault", where=pack.hex())

    def _name(self, kind: str, pack: bytes, size: int) -> str:
        if kind not in PACK_KINDS or len(pack) != NAME_SIZE:
            raise ProtocolViolation(
                say("not a pack: kind {kind}, {n} bytes of name", kind=repr(kind[:20]), n=len(pack))
            )
        if not 0 < size <= MAX_PACK:
            raise ProtocolViolation(
                say("a pack of {size} bytes; at most {max_pack} are taken", size=size, max_pack=MAX_PACK),
                where=pack.hex(),
            )
        return pack_name(self._target.domain, kind, pack)


class ReadablePacks(msgspec.Struct, frozen=True):
    """The packs that a reading session may fetch."""

    # (domain, kind letter, SHA-256) → the store to read it from
    packs: Mapping[tuple[str, str, bytes], Store] = msgspec.field(default_factory=dict)

    @classmethod
    def of(cls, points: Iterable[tuple[str, Iterable[bytes], Store]]) -> ReadablePacks:
        """The packs of points that are given as (domain, packs as in a record: kind letter + SHA-256, store)."""
        found: dict[tuple[str, str, bytes], Store] = {}
        for domain, packs, store in points:
            for each in packs:
                found[domain, kind_of(each), digest_of(each)] = store
        return cls(found)


def _inside(place: Place, size: int) -> bool:
    """Whether a place is possible in a pack of ``size`` bytes; later runs and their readers will rely on it."""
    fits = 0 < place.size <= size and 0 <= place.offset <= size - place.size
    return fits and 0 <= place.ordinal < size and 0 <= place.raw <= MAX_CHUNK


class ReadingRequests(_Telling):
    """The handler of a restore or a drill: it answers with the job's packs and accepts none. Thread-safe."""

    def __init__(self, readable: ReadablePacks, listeners: Listeners, *, relay: bool = False) -> None:
        super().__init__(listeners)
        self._readable = readable
        self._relay = relay

    def locate(self, ids: bytes) -> tuple[Place, ...]:
        raise ProtocolViolation("this job writes nothing to the vault")

    def upload(self, kind: str, pack: bytes, size: int) -> SignedPut | Literal["stored"] | None:
        raise ProtocolViolation("this job writes nothing to the vault", where=pack.hex())

    def uploaded(self, kind: str, pack: bytes, size: int, places: tuple[Place, ...], body: Body | None) -> None:
        raise ProtocolViolation("this job writes nothing to the vault", where=pack.hex())

    def fetch(self, kind: str, domain: str, pack: bytes, offset: int, length: int) -> bytes | str:
        """A URL when the store can sign, else the bytes; those past the end are left out.

        ``offset`` and ``length`` in bytes. Raises :class:`ProtocolViolation` for a pack that the job does not need,
        :class:`ObjectMissing` and the store's errors.
        """
        store = self._readable.packs.get((domain, kind, pack))
        if store is None:
            raise ProtocolViolation("a pack was asked for that this job's points do not need", where=pack.hex())
        name = pack_name(domain, kind, pack)
        url = None if self._relay else store.sign_get(name)
        if url is not None:
            return url
        stat = store.stat(name)
        if stat is None:
            raise ObjectMissing(say("store {store} has no {name}", store=store.name, name=name), where=name)
        return store.get(name, offset, max(0, min(length, stat.size - offset))) if offset < stat.size else b""
