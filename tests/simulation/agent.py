"""An agent of the simulation: the real packs, trees and index deltas, written by one thread.

The real writer (:mod:`drbackup.vault.write.writer`) does the same with several threads, whose order no seed decides; it
is shown against crashes in ``tests/property/test_vault_crashes.py``. What matters to a collector is what an agent
relies on, and that is all here: places it was told of, packs its own cache remembers from sessions that may never have
committed, packs it sent itself, and addresses that run out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
from blake3 import blake3

from drbackup.controller.runs.agent_requests import BackupRequests
from drbackup.errors import AgentDied, StoreRefused
from drbackup.model.point import SourceFacts
from drbackup.vault.layout import DATA, INDEX, TREE, pack_name
from drbackup.vault.pack import PackBuilder, SessionKey
from drbackup.vault.suite import chunk_id, content_digest, derive
from drbackup.vault.tree import Entry, EntryKind, Extent, PageRef, Root, encode_page
from drbackup.wire.messages import BackupJob, BackupResult, Place
from tests.simulation.stage import Stage
from tests.simulation.store import SimStore, put_signed

CHUNKS_IN_A_PACK = 2
Tree = Mapping[bytes, bytes]


@dataclass
class Server:
    """A department's server. ``trees``: source → path → content, as it is now; ``cache``: source → path → (content
    digest, extents), what its agent remembers on its own disk; ``pinned``: session → the tree it copies."""

    name: str
    stage: Stage
    trees: dict[str, dict[bytes, bytes]] = field(default_factory=dict)
    cache: dict[str, dict[bytes, tuple[bytes, tuple[Extent, ...]]]] = field(default_factory=dict)
    pinned: dict[str, dict[bytes, bytes]] = field(default_factory=dict)

    def back_up(self, job: BackupJob, handler: BackupRequests, store: SimStore) -> BackupResult:
        """One session. Raises what the handler and the store raise, and :class:`AgentDied`."""
        tree = dict(self.trees[job.source])
        self.pinned[job.session] = tree
        now = self.stage.clock.ns // 1000 * 1000
        self.say("pins")
        handler.pinned(now, "")
        remembered = self._remembered(job)
        writer = _Writer(self, handler, store, job)
        entries = writer.files(tree, remembered)
        result = writer.finish(entries, SourceFacts(now, "files"))
        self.say("remembers")
        self.cache[job.source] = {entry.path: (entry.digest, entry.extents) for entry in entries}
        return result

    def _remembered(self, job: BackupJob) -> dict[bytes, tuple[bytes, tuple[Extent, ...]]]:
        """What is in the cache and may be relied on. Some agents are old and have never heard of retired packs."""
        if not job.use_cache:
            return {}
        known = self.cache.get(job.source, {})
        if self.stage.rng.random() < 0.2:
            return known
        bad = set(job.retired)
        return {path: row for path, row in known.items() if not any(each.place.pack in bad for each in row[1])}

    def say(self, what: str) -> None:
        """A step on the wire: the agent may be gone, alone."""
        self.stage.point(f"agent {what}")
        if self.stage.fault():
            self.stage.note(f"{self.name}'s agent dies")
            raise AgentDied("the agent died", host=self.name)


@dataclass(frozen=True, slots=True)
class Line:
    """The connection to one server's agent, and the store its packs go to."""

    server: Server
    store: SimStore


def run_session(
    line: Line, job: BackupJob, handler: BackupRequests, *_limits: object, **_options: object
) -> BackupResult:
    """Stands for :func:`drbackup.fleet.session.run_session`: the same questions, asked of the same handler."""
    return line.server.back_up(job, handler, line.store)


class _Writer:
    """One session's packs."""

    def __init__(self, server: Server, handler: BackupRequests, store: SimStore, job: BackupJob) -> None:
        self._server, self._handler, self._store, self._job = server, handler, store, job
        self._id_key = job.keys.chunk_id_key.value
        self._packs: set[bytes] = set()
        self._tables: list[tuple[bytes, tuple[Place, ...]]] = []
        self._stored = self._new = 0

    def files(self, tree: Tree, remembered: Mapping[bytes, tuple[bytes, tuple[Extent, ...]]]) -> list[Entry]:
        """Every file, one chunk each; unchanged ones are not read again."""
        digests = {path: content_digest(data) for path, data in tree.items()}
        kept = {
            path: remembered[path][1]
            for path, digest in digests.items()
            if path in remembered and remembered[path][0] == digest
        }
        places = self._chunks(DATA, self._id_key, [tree[path] for path in sorted(tree) if path not in kept])
        entries = []
        for path in sorted(tree):
            data = tree[path]
            extents = kept.get(path) or (Extent(places[data], 0, len(data)),)
            self._packs.update(b"p" + extent.place.pack for extent in extents)
            digest = blake3(data).digest()
            entry = Entry(path, EntryKind.FILE, size=len(data), digest=digest, extents=extents)
            entries.append(entry)
        return entries

    def finish(self, entries: Sequence[Entry], facts: SourceFacts) -> BackupResult:
        """The page, the top, the index delta; what the session amounts to."""
        tree_key = derive(self._id_key, "tree-chunk-id")
        page = encode_page(entries)
        refs = [PageRef(entries[0].path, self._chunks(TREE, tree_key, [page])[page])] if entries else []
        top = msgspec.msgpack.encode(refs)
        top_place = self._chunks(TREE, tree_key, [top])[top]
        self._packs.update(b"t" + place.pack for place in (top_place, *(ref.place for ref in refs)))
        packs = tuple(sorted(self._packs))
        size = sum(entry.size for entry in entries)
        # Needed by no reader: left out most often, for the time it costs.
        if self._tables and self._server.stage.rng.random() < 0.3:
            deltas = [msgspec.msgpack.encode((self._job.session, name, places)) for name, places in self._tables]
            self._pack(INDEX, derive(tree_key, "index-id"), deltas)
        return BackupResult(
            root=msgspec.msgpack.encode(Root(top_place, len(entries), len(entries), 0, size, len(packs))),
            packs=packs,
            facts=msgspec.msgpack.encode(facts),
            entries=len(entries),
            files=len(entries),
            rows=0,
            content_bytes=size,
            new_bytes=self._new,
            stored_bytes=self._stored,
        )

    def _chunks(self, kind: str, id_key: bytes, contents: Iterable[bytes]) -> dict[bytes, Place]:
        """Where each content lies, after sending what the handler does not know."""
        ids = {data: chunk_id(id_key, data) for data in contents}
        if not ids:
            return {}
        self._server.say("asks what is missing")
        found = {place.id: place for place in self._handler.locate(b"".join(ids.values()))}
        missing = [data for data, identity in ids.items() if identity not in found]
        for begin in range(0, len(missing), CHUNKS_IN_A_PACK):
            found |= {place.id: place for place in self._pack(kind, id_key, missing[begin : begin + CHUNKS_IN_A_PACK])}
        return {data: found[identity] for data, identity in ids.items()}

    def _pack(self, kind: str, id_key: bytes, contents: Sequence[bytes]) -> tuple[Place, ...]:
        builder = PackBuilder(SessionKey.new(kind, self._job.keys), memoryview(bytearray(8192)))
        for data in contents:
            builder.add(chunk_id(id_key, data), len(data), data)
        name, whole = builder.finish()
        body = bytes(whole)
        rows = zip(builder.rows, builder.offsets, strict=True)
        places = tuple(Place(row.id, name, number, at, row.size, row.raw) for number, (row, at) in enumerate(rows))
        try:
            self._send(kind, name, body, places)
        except StoreRefused:  # the address ran out: one new one, as the real destination does
            self._send(kind, name, body, places)
        self._stored += len(body)
        self._new += sum(map(len, contents))
        if kind != INDEX:
            self._tables.append((name, places))
        return places

    def _send(self, kind: str, name: bytes, body: bytes, places: tuple[Place, ...]) -> None:
        self._server.say(f"has a pack {kind}/{name.hex()[:8]}")
        way = self._handler.upload(kind, name, len(body))
        if way == "stored":
            return
        if way is not None:
            assert way.url == pack_name(self._job.keys.domain, kind, name)
            put_signed(way.url, way.headers, body)
        self._handler.uploaded(kind, name, len(body), places, None if way is not None else body)
