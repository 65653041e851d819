"""The rebuild of the whole catalog, from the stores and the keys alone; with the recovery key, of the keys, too.

No store is ever written to. Order of what is written: the keys (all at once), then everything into
``catalog.sqlite.rebuilding``, then its name becomes ``catalog.sqlite``. A crash before that leaves a home without a
catalog, which every other command refuses. The next rebuild goes on with what is there.

What no store has does not come back: runs that did not commit, holds, and the rung "checksummed" (scrub again).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import msgspec

from drbackup.controller.catalog import Catalog
from drbackup.controller.catalog.damage import is_damaged
from drbackup.controller.catalog.drills import NEGATIVE_DRILL, PLAIN_DRILL
from drbackup.controller.collect.statement import SUBJECT, collected_ids
from drbackup.controller.drills.replay import drill_row, rungs
from drbackup.controller.drills.statement import DrillStatement, decode
from drbackup.controller.evidence import keep, objects_in
from drbackup.controller.home.installation import CATALOG_FILE
from drbackup.controller.rebuild.keys import HomeKeys
from drbackup.controller.rebuild.packs import PackScan, Watch
from drbackup.controller.rebuild.points import Fault, Origin, chain_faults, read_points, whole_copies
from drbackup.errors import NOT_SOUND, CatalogUnusable, RunActive, UsageError, say
from drbackup.stores.base import Store
from drbackup.system.durable import put_in_place
from drbackup.system.file_lock import try_file_lock
from drbackup.vault.evidence import Head, check_chain, list_evidence, open_statement, read_head
from drbackup.vault.layout import digest_in_name, timestamp

REBUILDING_FILE = CATALOG_FILE + ".rebuilding"
_BESIDE = ("-wal", "-shm")  # SQLite's own files; one that is left may have rows that the catalog itself lacks
_DRILLS = (PLAIN_DRILL, NEGATIVE_DRILL)


class RebuildReport(msgspec.Struct, frozen=True):
    """What a rebuild found, whether it was written or only looked at."""

    points: int
    packs: int
    bytes: int  # of all packs
    chunks: int  # read this time
    drills: int
    evidence: int  # sound objects of evidence
    faults: tuple[Fault, ...]
    notes: tuple[str, ...]  # what a person should know


@dataclass(slots=True)
class Rebuilding:
    """A rebuild of one home's catalog."""

    origin: Origin
    evidence_folder: Path  # the home's, with evidence that the stores may lack
    now: datetime  # UTC
    watch: Watch = lambda _done, _total, _bytes: None
    _faults: list[Fault] = field(default_factory=list)
    _notes: list[str] = field(default_factory=list)

    def into(self, catalog: Catalog | None) -> RebuildReport:
        """The report, after everything was read and written into ``catalog``; None: only read.

        Again with the same catalog, nothing is written twice. Raises the stores' errors: a store that does not answer
        is not an empty store.
        """
        found = read_points(self.origin, self._faults)
        objects = self._objects(write=catalog is not None)
        self._faults.extend(chain_faults(found, self._collected(objects)))
        packs = catalog.packs if catalog is not None else None
        scan = PackScan(self.origin, packs, self.now, self.watch, self._faults, self._notes)
        scan.run(found)
        for each in found.values():
            point = each.point(whole_copies(each, scan.holds, self._faults))
            if catalog is not None:
                catalog.points.add(point, session=each.record.session, previous=each.record.previous)
        drills = self._evidence(objects, catalog)
        return RebuildReport(
            points=len(found),
            packs=len(scan.listed),
            bytes=scan.stored_bytes,
            chunks=scan.chunks,
            drills=drills,
            evidence=len(objects),
            faults=tuple(self._faults),
            notes=tuple(self._notes),
        )

    def _collected(self, objects: Mapping[str, tuple[Head, bytes]]) -> frozenset[str]:
        """The ids of points whose records were removed on purpose."""
        found: set[str] = set()
        for name, (head, statement) in objects.items():
            if head.subject == SUBJECT:
                try:
                    found |= collected_ids({name: statement})
                except NOT_SOUND as bad:
                    self._faults.append(Fault("", name, bad.message))
        return frozenset(found)

    def _evidence(self, objects: Mapping[str, tuple[Head, bytes]], catalog: Catalog | None) -> int:
        """The number of drills that the evidence tells of. Points climb as far as each drill proved them."""
        heads = [(name, head) for name, (head, _) in objects.items()]
        self._faults.extend(Fault("", "", f"the evidence's chain: {why}") for why in check_chain(heads).faults)
        drills = 0
        for name, (head, statement) in sorted(objects.items(), key=lambda each: each[1][0].sequence):
            if head.subject not in _DRILLS:
                continue
            drills += 1
            drill = self._drill(name, statement)
            if drill is None or catalog is None:
                continue
            catalog.drills.adopt(drill_row(drill, digest_in_name(name)))
            for point, rung in rungs(drill):
                catalog.points.climb(point, rung, now=drill.ended_at)
        return drills

    def _drill(self, name: str, statement: bytes) -> DrillStatement | None:
        try:
            return decode(statement, name)
        except NOT_SOUND as bad:
            self._faults.append(Fault("", name, bad.message))
            return None

    def _objects(self, *, write: bool) -> dict[str, tuple[Head, bytes]]:
        """Every sound object of evidence with its statement, by name: the folder's, and those that only stores have."""
        found: dict[str, tuple[Head, bytes]] = {}
        here = objects_in(self.evidence_folder)
        for name, path in here.items():
            self._take(found, "", name, path.read_bytes())
        for store_name, store in self.origin.stores.items():
            for name in sorted(list_evidence(store)):
                if name in found:
                    continue
                data = self._take_from(found, (store_name, store), name)
                if data and write and name not in here:  # a damaged file is a fault, and left for a person to look at
                    keep(self.evidence_folder, name, data, found[name][1])
        return found

    def _take_from(self, found: dict[str, tuple[Head, bytes]], place: tuple[str, Store], name: str) -> bytes:
        try:
            data = place[1].get(name)
        except NOT_SOUND as bad:
            self._faults.append(Fault(place[0], name, bad.message))
            return b""
        return data if self._take(found, place[0], name, data) else b""

    def _take(self, found: dict[str, tuple[Head, bytes]], store: str, name: str, data: bytes) -> bool:
        try:
            head = read_head(data, self.origin.evidence_key, name)
            found[name] = head, open_statement(head, self.origin.keyring, name)
        except NOT_SOUND as bad:
            self._faults.append(Fault(store, name, bad.message))
            return False
        return True


# --- the home ---------------------------------------------------------------------------------------------------------


def has_catalog(home: Path) -> bool:
    """Whether the home has a catalog that is not damaged."""
    path = home / CATALOG_FILE
    return path.exists() and not is_damaged(path)


def require_lost(home: Path) -> None:
    """A home without a catalog, or with a damaged one: a whole catalog is never replaced.

    Raises :class:`UsageError` for a home with a whole catalog.
    """
    path = home / CATALOG_FILE
    if has_catalog(home):
        raise UsageError(
            say("the catalog {path} is whole", path=path),
            where=str(path),
            hint="it knows more than any rebuilt one; to rebuild it all the same, move it away first",
            safe="nothing was changed",
        )


def look(home: Path, keys: HomeKeys, stores: Mapping[str, Store], *, now: datetime, watch: Watch) -> RebuildReport:
    """The report of what a rebuild would do. Nothing is written.

    Raises :class:`UsageError` for a home with a whole catalog, and the stores' errors.
    """
    require_lost(home)
    return _begin(home, keys, stores, now, watch).into(None)


def rebuild(home: Path, keys: HomeKeys, stores: Mapping[str, Store], *, now: datetime, watch: Watch) -> RebuildReport:
    """The report of a rebuild; the home has its keys and its catalog, durably.

    Raises :class:`UsageError` for a home with a whole catalog, :class:`RunActive` during another rebuild,
    :class:`CatalogUnusable` when the new catalog can't be closed, and the stores' errors.
    """
    require_lost(home)
    keys.settle(home)
    with _alone(home):
        require_lost(home)  # another rebuild may have ended meanwhile
        fresh, path = home / REBUILDING_FILE, home / CATALOG_FILE
        if fresh.exists() and is_damaged(fresh):
            _move_away(fresh, now)
        with Catalog.open(fresh) as catalog:
            report = _begin(home, keys, stores, now, watch).into(catalog)
        if Path(f"{fresh}-wal").exists():
            raise CatalogUnusable(
                say("{fresh} is still open elsewhere", fresh=fresh), where=str(fresh), hint="run the rebuild again"
            )
        _move_away(path, now)  # also a log without its catalog: SQLite would use it for the new catalog
        put_in_place(fresh, path)
    return report


def _begin(home: Path, keys: HomeKeys, stores: Mapping[str, Store], now: datetime, watch: Watch) -> Rebuilding:
    return Rebuilding(keys.origin(stores), home / "evidence", now, watch, list(keys.faults), list(keys.notes))


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    """The right to be the only rebuild of a home; its file lock ends with the process. Raises :class:`RunActive`."""
    lock = try_file_lock(home / f"{REBUILDING_FILE}.lock")
    if lock is None:
        raise RunActive("another rebuild of this home is under way", where=str(home), hint="wait for it")
    with lock:
        yield


def _move_away(path: Path, now: datetime) -> None:
    """A damaged catalog, kept under another name: a person may still read something from it."""
    for end in ("", *_BESIDE):
        old = path.with_name(path.name + end)
        if old.exists():
            old.rename(path.with_name(f"{path.name}.damaged-{timestamp(now)}{end}"))
