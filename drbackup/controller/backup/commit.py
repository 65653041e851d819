"""The last step of a backup: the other copies' packs, the signed record in every store, the catalog's row.

The record's arrival in the first copy's store is the commit. Before it the point does not exist; afterwards nothing
takes it back. When another store can't take its copy, the run is done in part, never failed.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
from collections.abc import Callable
from datetime import datetime

import msgspec
from msgspec.structs import replace

from drbackup.controller.backup.adopt import point_of
from drbackup.controller.copies.fetch_any import ObjectSources
from drbackup.controller.copies.replicate import Copier
from drbackup.controller.home.installation import Installation
from drbackup.errors import (
    DoneInPart,
    DrbackupError,
    ObjectCorrupt,
    ObjectMissing,
    PacksMissing,
    ProtocolViolation,
    Said,
    say,
    say_all,
)
from drbackup.model.collect import lock_end_ns
from drbackup.model.point import Point, SourceFacts, Totals
from drbackup.model.policy import Policy, SourcePolicy
from drbackup.system.instants import to_ns
from drbackup.vault.record import Commit, Record, Sealed, encode_record, make_record
from drbackup.wire.decode_errors import UNREADABLE
from drbackup.wire.messages import BackupResult

EARLIER_POINTS = 50  # at most copied to a store before a run's own: its commit must not wait for a whole history


class Committer(msgspec.Struct, frozen=True):
    """The commit of one agent's result: first :meth:`copy_packs`, then :meth:`commit`, then :meth:`shortfall`."""

    installation: Installation
    policy: Policy
    source: SourcePolicy
    session: str
    now: Callable[[], datetime]
    require_young: Callable[[], None] = lambda: None  # raises when the run is too old to commit
    # Both are filled as the steps go.
    lagging: dict[str, DrbackupError] = msgspec.field(default_factory=dict)  # store → why it has no copy of the point
    behind: dict[str, DrbackupError] = msgspec.field(default_factory=dict)  # store → why it lacks earlier points

    def copy_packs(self, result: BackupResult) -> None:
        """A guarantee that each other copy's store has the result's packs, or is in :attr:`lagging` with the reason.

        Raises :class:`ObjectCorrupt` when the first store returns other bytes than were sent. Then there is nothing to
        commit; the catalog forgets the pack, so that the next run sends it again.
        """
        first = self.installation.store(self.policy.copies[0])
        for name in self.policy.copies[1:]:
            try:
                # From the first store alone, although others may have them: what is committed is whole in the first.
                copier = self._copier(name)
                copier.packs(ObjectSources(self.installation, (first,)), self.source.agent, result.packs)
            except ObjectCorrupt:
                raise  # forgotten by then: the next run sends it again
            except DrbackupError as unready:
                self.lagging[name] = unready

    def commit(self, result: BackupResult) -> Point:
        """The committed point: its record is in the first copy's store, then in the others, then in the catalog.

        A crash in between is found by :func:`drbackup.controller.backup.adopt.reconcile_dead_runs`. Raises
        :class:`RunTooLong`, :class:`ProtocolViolation` or the first store's errors.
        """
        record, sealed = self._record(result)
        identity, name, data = encode_record(record, self.installation.signer)
        first, *others = self.policy.copies
        begun = to_ns(self.now())
        self._put_in_time(first, name, data)
        held = [first]
        for other in others:
            if other in self.lagging:
                continue
            try:
                self.installation.store(other).put(name, data)
                held.append(other)
            except DrbackupError as failed:
                self.lagging[other] = failed
        point = point_of(record, sealed, (identity, name), tuple(held))
        catalog, stores = self.installation.catalog, self.installation.inventory.stores
        catalog.points.add(point, session=self.session, previous=record.previous)
        for store in held:
            catalog.lifecycle.lock_record(point.id, store, lock_end_ns(begun, stores[store].lock_days))
        return point

    def _put_in_time(self, store_name: str, name: str, data: bytes) -> None:
        """The commit itself, only while the run is young: collect relies on it that no record comes late.

        A process may be suspended for weeks between its last reading of the clock and the upload of the record. So the
        address is signed first: it is valid for minutes by the store's own clock, which refuses a later upload. A
        folder can't refuse; there the clock is read as late as possible.
        """
        store = self.installation.store(store_name)
        signed = store.sign_put(name, len(data), hashlib.sha256(data).digest())
        self.require_young()
        if signed is None:
            store.put(name, data)
            return
        from drbackup.stores.s3.signed import put_signed  # with its HTTP library, which a folder's runs need not load

        entry = self.installation.inventory.stores[store_name]
        put_signed(signed.url, signed.headers, data, ca_file=entry.place.trusted_ca)

    def shortfall(self, point: Point) -> DoneInPart | None:
        """The error to raise when a copy, or earlier points of one, are lacking. None when nothing is."""
        if not self.lagging and not self.behind:
            return None
        lacks = [say("not in {store}: {what}", store=store, what=error.said) for store, error in self.lagging.items()]
        lacks += [
            say("{store} lacks earlier points: {what}", store=store, what=error.said)
            for store, error in self.behind.items()
        ]
        reasons = say_all(lacks)
        lacking = (error for error in (*self.lagging.values(), *self.behind.values()) if type(error) is PacksMissing)
        by_itself = say("what is lacking is copied by itself; check the store (drbackup store probe)")
        hint: Said = next((error.said_hint for error in lacking), by_itself)
        return DoneInPart(
            say(
                "{system}/{source}: point {point} is committed in {copies}; {reasons}",
                system=point.system,
                source=point.source,
                point=point.short,
                copies=", ".join(point.copies),
                reasons=reasons,
            ),
            where=point.id,
            hint=hint,
        )

    def _copier(self, name: str) -> Copier:
        """A copier into a store, after it was given the earlier points it lacks, oldest first: its chain has no gap.

        At most :data:`EARLIER_POINTS` are copied. The new point is copied all the same, and the run says what is left.
        """
        self.installation.vault(name)  # raises for a vault that is not ours: nothing is written there
        copier = Copier(self.installation, self.installation.store(name), self.now)
        lacking = self.installation.catalog.points.lacking(self.policy.system, self.source.name, name)
        for point in itertools.islice(lacking, EARLIER_POINTS):
            # What prevents the copying of an old point must not prevent that of this one, which is whole. When no store
            # has the old one whole, this run need not say it: scrub, status and the daemon's log do.
            with contextlib.suppress(ObjectCorrupt, ObjectMissing):
                try:
                    copier.point(point)
                except PacksMissing as broken:
                    self.behind[name] = broken
        if left := {point.id for point in lacking}:
            self._say_left(name, len(left - self.installation.catalog.scrubs.lost()))
        return copier

    def _say_left(self, store: str, left: int) -> None:
        """Notes in ``behind`` how many earlier points could be copied and were not by this run."""
        if left:
            words = say(
                "{left} of them are left to catching up (at once: drbackup vault catch-up {store})",
                left=left,
                store=store,
            )
            self.behind.setdefault(store, DoneInPart(words))

    def _record(self, result: BackupResult) -> tuple[Record, Sealed]:
        try:
            facts = msgspec.msgpack.decode(result.facts, type=SourceFacts)
        except UNREADABLE as bad:
            raise ProtocolViolation(
                say("the agent's facts can't be read: {why}", why=bad), host=self.source.agent
            ) from bad
        totals = Totals(
            entries=result.entries,
            files=result.files,
            rows=result.rows,
            bytes=result.content_bytes,
            new_bytes=result.new_bytes,
            stored_bytes=result.stored_bytes,
        )
        sealed = Sealed(result.root, replace(facts, kind=str(self.source.kind)), totals)
        commit = Commit(
            system=self.policy.system,
            source=self.source.name,
            domain=self.source.agent,
            session=self.session,
            committed_ns=to_ns(self.now()),
            previous=self.installation.catalog.points.previous(self.policy.system, self.source.name),
            packs=result.packs,
            content=sealed,
        )
        return make_record(commit, self.installation.vault(self.policy.copies[0]).recipients), sealed
