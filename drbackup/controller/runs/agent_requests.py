"""The controller's answers to one session's agent.

Owns what an agent may have: places of its own domain's chunks in packs that this store really holds, one signed upload
a pack, and, for readers, the packs of its job's points and nothing else. "Stored" is never said of bytes that are still
on the way: a relayed pack is remembered behind the store's own answer, a signed one behind the agent's.
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


class Listeners(msgspec.Struct, frozen=True):
    """What the caller wants to hear of a session. Called from the session's threads; must be quick."""

    pinned: Callable[[int, str], None] = lambda _ns, _position: None
    progress: Callable[[Progress], None] = lambda _news: None
    note: Callable[[Note], None] = lambda _note: None


class UploadTarget(msgspec.Struct, frozen=True):
    """Where a session's packs go: one domain of one store, known to one catalog. ``relay``: the agent's host has no
    route to the store (``route: tunnel``), so everything goes through the session. ``lock_days``: how long the store
    locks what it takes."""

    catalog: Catalog
    store: Store
    domain: str
    session: str
    now: Clock
    relay: bool = False
    lock_days: int = 0


class _Telling:
    """What every handler does with an agent's news: passes it on to whoever listens."""

    def __init__(self, listeners: Listeners) -> None:
        self._listeners = listeners

    def pinned(self, pinned_ns: int, position: str) -> None:
        self._listeners.pinned(pinned_ns, position)

    def progress(self, news: Progress) -> None:
        self._listeners.progress(news)

    def note(self, note: Note) -> None:
        self._listeners.note(note)


class BackupRequests(_Telling):
    """The handler of a session that writes. Thread-safe: its state is the catalog and the store."""

    def __init__(self, target: UploadTarget, listeners: Listeners) -> None:
        super().__init__(listeners)
        self._target = target
        # Counted from the session's begin, so that no pack is believed locked for longer than it is.
        self._locked_ns = lock_end_ns(to_ns(target.now()), target.lock_days)

    def locate(self, ids: bytes) -> tuple[Place, ...]:
        """Chunks of our domain that lie in packs this store holds."""
        wanted = [ids[begin : begin + NAME_SIZE] for begin in range(0, len(ids), NAME_SIZE)]
        target = self._target
        lease = lease_ns(to_ns(target.now()), target.lock_days)
        return target.catalog.packs.locate(target.domain, target.store.name, wanted, locked_ns=lease)

    def upload(self, kind: str, pack: bytes, size: int) -> SignedPut | Literal["stored"] | None:
        """``stored`` when the store has it, a signed upload when the store can sign, None: through this connection."""
        name = self._name(kind, pack, size)
        target = self._target
        if target.catalog.packs.has(target.domain, kind, pack, target.store.name):
            stat = target.store.stat(name)
            if stat is not None and stat.size == size:
                return "stored"
            target.catalog.packs.forget(target.domain, target.store.name, [(kind, pack)])
        return None if target.relay else target.store.sign_put(name, size, pack)

    def uploaded(self, kind: str, pack: bytes, size: int, places: tuple[Place, ...], body: Body | None) -> None:
        """Store the body, if it comes through us, and remember pack and chunks. A crash in between costs one pack sent
        twice.

        An agent's word that its own upload was taken is believed for as long as this costs bytes only: before the
        commit the store is asked for every pack (:func:`drbackup.controller.copies.presence.missing_packs`), with one
        request for a thousand of them instead of one for each."""
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
        """A server that writes backups reads none."""
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
    """What a reading session may fetch: (domain, kind, pack) → the store to read it from."""

    packs: Mapping[tuple[str, str, bytes], Store] = msgspec.field(default_factory=dict)

    @classmethod
    def of(cls, points: Iterable[tuple[str, Iterable[bytes], Store]]) -> ReadablePacks:
        """From points as (domain, packs as in a record: kind letter + name, store)."""
        found: dict[tuple[str, str, bytes], Store] = {}
        for domain, packs, store in points:
            for each in packs:
                found[domain, kind_of(each), digest_of(each)] = store
        return cls(found)


def _inside(place: Place, size: int) -> bool:
    """Whether a place can be true for a pack of ``size`` bytes; later runs and their readers will rely on it."""
    fits = 0 < place.size <= size and 0 <= place.offset <= size - place.size
    return fits and 0 <= place.ordinal < size and 0 <= place.raw <= MAX_CHUNK


class ReadingRequests(_Telling):
    """The handler of a restore or a drill: it hands out the job's packs and takes nothing. Thread-safe."""

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
        """A URL when the store can sign, else the bytes; reading past the end gives what is there."""
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
