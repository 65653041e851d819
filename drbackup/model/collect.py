"""What goes from the stores, what stays, and why: a pure decision that a person reads before anybody acts on it.

Two phases, days apart. A point that no rule keeps loses its record; packs that no record names any more, and are old
enough, are *condemned*: from then on nothing new relies on them. A condemned pack that is in no record even a grace
later is *erased*. The grace is far longer than a session may take to commit, so whatever relied on a pack before it was
condemned has its record by then, and that record pardons it. No lock is taken and no agent's clock is asked.

Invariants: never goes a point that retention keeps, the newest of its source, or a part of a group whose rest stays;
never goes a pack that a record names which stays, in whatever store that record lies; what could not be read counts as
naming everything.
"""

from __future__ import annotations

import enum
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from datetime import timedelta

import msgspec

from drbackup.model.point import PackId, Point, kind_of
from drbackup.model.retention import Ruling

SESSION_MOST = timedelta(hours=24)  # a run older than this commits nothing any more
LEASE_MARGIN = timedelta(hours=1)
PACK_LEASE = SESSION_MOST + LEASE_MARGIN  # a new point relies on a pack only if it is locked for so long from now
COLLECT_GRACE = timedelta(days=7)
GRACE_LEAST = 2 * SESSION_MOST
SPARSE = 0.5  # a pack with a smaller living share is retired
PACK_OVERHEAD = (
    8 << 10
)  # bytes: a small pack is mostly sealed keys and table, and retiring it would free next to nothing
RENEW_BELOW = 2 / 3  # of a store's lock: what has less left is locked anew
RENEW_EVERY = timedelta(days=1)
LOCK_LEAST = -(-(PACK_LEASE + RENEW_EVERY) // (timedelta(days=1) * RENEW_BELOW))
"""Days. A lock that had just enough left not to be renewed has a day less before it is looked at again: a shorter one
may then have too little left to serve as a lease."""
_INDEX = "i"
_NS = timedelta(microseconds=1)


class Why(enum.StrEnum):
    """One reason each. The values are stable: they stand in ``--json`` and in signed statements."""

    # a point stays
    HELD = "held"  # by a person; the detail says why
    KEPT = "kept"  # by its policy; the detail says by which rules
    NEWEST = "newest"  # the source's next record will name it
    ELSEWHERE = "elsewhere"  # a copy lies in a store that is not collected now
    GROUP = "group"  # another member of its group stays
    # a point or a pack stays
    LOCKED = "locked"
    # a pack stays
    YOUNG = "young"  # a session may still be about to name it
    BUSY = "busy"  # its domain has an open session
    CONDEMNED = "condemned"  # since less than the grace
    UNREAD = "unread"  # a record that may name it can't be read
    TELLS = "tells"  # an index of packs that stay
    NEEDED = "needed"
    # goes
    EXPIRED = "expired"  # a point: no keep rule covers it
    UNNEEDED = "unneeded"  # a pack: no record names it
    SPARSE = "sparse"


class Act(enum.StrEnum):
    """What is done with one pack in one store."""

    STAY = "stay"
    CONDEMN = "condemn"
    ERASE = "erase"
    PARDON = "pardon"
    RETIRE = "retire"


class DecisionReason(msgspec.Struct, frozen=True):
    """Why, with what a person wants to know about it. ``until_ns``: UTC ns, 0 when it has no end."""

    why: Why
    detail: str = ""
    until_ns: int = 0


# --- points ---------------------------------------------------------------------------------------------------------


class PointContext(msgspec.Struct, frozen=True):
    """Where and when points are judged. ``stores``: the inventory's; ``collected``: those collected now; ``locks``:
    (point id, store) → UTC ns until when that record can't be removed."""

    now_ns: int
    stores: AbstractSet[str]
    collected: AbstractSet[str]
    locks: Mapping[tuple[str, str], int] = msgspec.field(default_factory=dict)


class PointDecision(msgspec.Struct, frozen=True):
    """One point, whether it goes, and every reason."""

    point: Point
    goes: bool
    reasons: tuple[DecisionReason, ...]


def decide_points(rulings: Iterable[Ruling], ground: PointContext) -> tuple[PointDecision, ...]:
    """Judge all points of all systems, in the order given. A point goes from all its stores or from none."""
    judged = list(rulings)
    newest: dict[tuple[str, str], Point] = {}
    for point in (ruling.point for ruling in judged):
        known = newest.setdefault((point.system, point.source), point)
        if point.committed_at >= known.committed_at:
            newest[point.system, point.source] = point
    last = {point.id for point in newest.values()}
    stays = {ruling.point.id: _stays(ruling, ruling.point.id in last, ground) for ruling in judged}
    groups = {ruling.point.group for ruling in judged if stays[ruling.point.id]}
    decisions = []
    for point in (ruling.point for ruling in judged):
        reasons = stays[point.id]
        if not reasons and point.group and point.group in groups:
            reasons = (DecisionReason(Why.GROUP, point.group),)
        decisions.append(PointDecision(point, not reasons, reasons or (DecisionReason(Why.EXPIRED),)))
    return tuple(decisions)


def _stays(ruling: Ruling, newest: bool, ground: PointContext) -> tuple[DecisionReason, ...]:
    point = ruling.point
    reasons = [DecisionReason(Why.HELD, point.held)] if point.held else []
    if ruling.keep:
        reasons.append(DecisionReason(Why.KEPT, ", ".join(ruling.reasons)))
    if newest and not reasons:
        reasons.append(DecisionReason(Why.NEWEST))
    if reasons:
        return tuple(reasons)
    copies = [store for store in point.copies if store in ground.stores]
    elsewhere = [store for store in copies if store not in ground.collected]
    if elsewhere:
        reasons.append(DecisionReason(Why.ELSEWHERE, ", ".join(elsewhere)))
    for store in copies:
        until = ground.locks.get((point.id, store), 0)
        if until > ground.now_ns:
            reasons.append(DecisionReason(Why.LOCKED, store, until))
    return tuple(reasons)


# --- packs ----------------------------------------------------------------------------------------------------------


class PackCopy(msgspec.Struct, frozen=True):
    """One pack in one store, as the catalog knows it. ``pack``: kind letter + SHA-256; times UTC ns, 0: not yet.

    ``known`` False: only the store's listing has it; then ``stored_ns`` is the store's own time, 0 when it tells none.
    """

    store: str
    domain: str
    pack: PackId
    size: int
    stored_ns: int
    session: str = ""
    locked_ns: int = 0
    retired_ns: int = 0
    condemned_ns: int = 0
    known: bool = True

    @property
    def kind(self) -> str:
        return kind_of(self.pack)


class Needs(msgspec.Struct, frozen=True):
    """What records that stay name. By domain: the packs, as in :attr:`PackCopy.pack`.

    ``live``: (domain, pack) → bytes in use of those that were counted. ``unread``: domain → the record that could not
    be read; the domain ``""`` means that it may be any.
    """

    packs: Mapping[str, AbstractSet[bytes]]
    live: Mapping[tuple[str, bytes], int] = msgspec.field(default_factory=dict)
    unread: Mapping[str, str] = msgspec.field(default_factory=dict)


class Rules(msgspec.Struct, frozen=True):
    """When packs are judged. ``busy``: domain → the session that is open there."""

    now_ns: int
    grace: timedelta = COLLECT_GRACE
    busy: Mapping[str, str] = msgspec.field(default_factory=dict)

    @property
    def grace_ns(self) -> int:
        return self.grace // _NS * 1000


class PackDecision(msgspec.Struct, frozen=True):
    """One pack in one store, and what is done with it."""

    copy: PackCopy
    act: Act
    reason: DecisionReason


def decide_packs(copies: Iterable[PackCopy], needs: Needs, rules: Rules) -> tuple[PackDecision, ...]:
    """Judge every pack of every store, in the order given."""
    every = list(copies)
    told: dict[tuple[str, str], set[str]] = defaultdict(set)
    for copy in every:
        if copy.pack in needs.packs.get(copy.domain, ()):
            told[copy.store, copy.domain].add(copy.session)
    decisions = []
    for copy in every:
        if copy.pack in needs.packs.get(copy.domain, ()):
            act, reason = _needed(copy, needs)
        elif copy.kind == _INDEX and (not copy.session or copy.session in told[copy.store, copy.domain]):
            act, reason = Act.STAY, DecisionReason(Why.TELLS)
        else:
            act, reason = _unneeded(copy, needs, rules)
        decisions.append(PackDecision(copy, act, reason))
    return tuple(decisions)


def _needed(copy: PackCopy, needs: Needs) -> tuple[Act, DecisionReason]:
    if copy.condemned_ns:
        return Act.PARDON, DecisionReason(Why.NEEDED)
    live, room = needs.live.get((copy.domain, copy.pack)), copy.size - PACK_OVERHEAD
    if live is not None and not copy.retired_ns and live < SPARSE * room:
        return Act.RETIRE, DecisionReason(Why.SPARSE, f"{live / room:.0%}")
    return Act.STAY, DecisionReason(Why.NEEDED)


def _unneeded(copy: PackCopy, needs: Needs, rules: Rules) -> tuple[Act, DecisionReason]:
    """In this order: what is not over yet comes before what somebody could change."""
    unread = needs.unread.get(copy.domain) or needs.unread.get("")
    grown = copy.stored_ns + rules.grace_ns if copy.stored_ns else 0
    ripe = copy.condemned_ns + rules.grace_ns
    # A pack whose lock holds for long takes its room anyway: meanwhile new points may still use it. It is condemned so
    # early that it can be erased when the lock is over.
    free = copy.locked_ns - (0 if copy.condemned_ns else rules.grace_ns)
    if not copy.condemned_ns and (not grown or grown > rules.now_ns):
        return Act.STAY, DecisionReason(Why.YOUNG, until_ns=grown)
    if copy.condemned_ns and ripe > rules.now_ns:
        return Act.STAY, DecisionReason(Why.CONDEMNED, until_ns=ripe)
    if free > rules.now_ns:
        return Act.STAY, DecisionReason(Why.LOCKED, copy.store, copy.locked_ns)
    if unread:
        return Act.STAY, DecisionReason(Why.UNREAD, unread)
    if copy.domain in rules.busy:
        return Act.STAY, DecisionReason(Why.BUSY, rules.busy[copy.domain])
    return (Act.ERASE if copy.condemned_ns else Act.CONDEMN), DecisionReason(Why.UNNEEDED)


# --- the plan -------------------------------------------------------------------------------------------------------


class CollectPlan(msgspec.Struct, frozen=True):
    """What one collect would do. Bytes are stored bytes, of all stores together."""

    points: tuple[PointDecision, ...]
    packs: tuple[PackDecision, ...]

    @property
    def going(self) -> tuple[PointDecision, ...]:
        return tuple(each for each in self.points if each.goes)

    def of(self, act: Act) -> tuple[PackDecision, ...]:
        return tuple(each for each in self.packs if each.act is act)

    def size(self, chosen: Callable[[PackDecision], bool]) -> int:
        return sum(each.copy.size for each in self.packs if chosen(each))

    @property
    def freed(self) -> int:
        """Bytes that are erased now."""
        return self.size(lambda each: each.act is Act.ERASE)

    @property
    def freed_later(self) -> int:
        """Bytes that are condemned, before or now, and still wait for the grace or a lock."""
        return self.size(
            lambda each: each.act is Act.CONDEMN or (each.act is Act.STAY and bool(each.copy.condemned_ns))
        )

    @property
    def nothing_to_do(self) -> bool:
        return not self.going and all(each.act is Act.STAY for each in self.packs)


# --- locks ----------------------------------------------------------------------------------------------------------


def lease_ns(now_ns: int, lock_days: int) -> int:
    """Until when a pack must be locked so that a new point may rely on it: longer than any session that begins now.

    A store without locks leases nothing: 0. What is renewed in time never comes near it.
    """
    return now_ns + PACK_LEASE // _NS * 1000 if lock_days else 0


def lock_end_ns(since_ns: int, lock_days: int) -> int:
    """Until when something stored at ``since_ns`` or later is locked at least; 0 without locks."""
    return since_ns + timedelta(days=lock_days) // _NS * 1000 if lock_days else 0


def lock_is_short(locked_ns: int, now_ns: int, lock_days: int) -> bool:
    """Whether what must stay is locked anew now. ``locked_ns`` 0: not known, so it is."""
    return bool(lock_days) and locked_ns - now_ns < RENEW_BELOW * (timedelta(days=lock_days) // _NS * 1000)
