"""What goes from the stores, what stays, and why: a pure decision that a person can read before it is carried out.

There are two phases, days apart. First, a point that no rule keeps loses its record. Packs that no record names any
more, and that are old enough, are *condemned*: from then on nothing new relies on them. Later, a condemned pack that
still is in no record when its grace is over is *erased*.

The grace is far longer than a session may take to commit. So whatever relied on a pack before it was condemned has its
record by then, and that record pardons the pack. No mutex is needed, and no agent's clock is used.

Invariants:

* A point stays when retention keeps it, when it is the newest of its source, or when another point of its group stays.
* A pack stays while a record that stays names it, in whatever store that record lies.
* A record that could not be read counts as naming every pack.
"""

from __future__ import annotations

import enum
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from datetime import timedelta

import msgspec

from drbackup.model.point import PackId, Point, kind_of
from drbackup.model.retention import Ruling

_DAY = timedelta(days=1)
_MICROSECOND = timedelta(microseconds=1)
_INDEX = "i"  # the kind letter of index packs

SESSION_MOST = timedelta(hours=24)  # a run older than this commits nothing any more

COLLECT_GRACE = timedelta(days=7)  # how long a condemned pack lies before it is erased
GRACE_LEAST = 2 * SESSION_MOST  # no shorter grace is allowed
SPARSE = 0.5  # a pack of which a smaller share of the bytes is in use is retired
# Bytes. A small pack is mostly sealed keys and its table of chunks: to retire it would free almost nothing.
PACK_OVERHEAD = 8 << 10

# Pack lease: a new point relies on a pack only if the pack's lock holds for at least so long from now.
LEASE_MARGIN = timedelta(hours=1)  # for what a run still does after its age was checked for the last time
PACK_LEASE = SESSION_MOST + LEASE_MARGIN

# Renewal of locks: once in RENEW_EVERY, every lock of which less than RENEW_BELOW of its full length is left.
RENEW_EVERY = _DAY
RENEW_BELOW = 2 / 3


def _shortest_lock_days() -> int:
    """The fewest ``lock_days`` of a store with which every renewed lock always leaves a whole pack lease.

    The worst lock has just RENEW_BELOW of its length left, so it is not renewed now. At the next renewal it has
    RENEW_EVERY less, and a point may have relied on it just before.
    """
    left_now = PACK_LEASE + RENEW_EVERY  # what the worst lock must have left, so that it has PACK_LEASE at the end
    left_of_a_day = RENEW_BELOW * _DAY  # what the worst lock has left for each day of its full length
    return math.ceil(left_now / left_of_a_day)


LOCK_LEAST = _shortest_lock_days()  # days; with a shorter lock, backups send again what is stored


class Why(enum.StrEnum):
    """The reasons why a point or a pack stays or goes.

    The values are stable, because they stand in ``--json`` and in signed statements.
    """

    # a point stays
    HELD = "held"  # by a person; the detail says why
    KEPT = "kept"  # by its policy; the detail says by which rules
    NEWEST = "newest"  # the source's next record will name it
    ELSEWHERE = "elsewhere"  # a copy lies in a store that is not collected now
    GROUP = "group"  # another member of its group stays
    # a point or a pack stays
    LOCKED = "locked"  # a store's lock still holds
    # a pack stays
    YOUNG = "young"  # a session may still be about to name it
    BUSY = "busy"  # its domain has an open session
    CONDEMNED = "condemned"  # since less than the grace
    UNREAD = "unread"  # a record that may name it can't be read
    TELLS = "tells"  # it is an index of packs that stay
    NEEDED = "needed"  # a record that stays names it
    # a point or a pack goes
    EXPIRED = "expired"  # a point: no keep rule covers it
    UNNEEDED = "unneeded"  # a pack: no record names it
    SPARSE = "sparse"  # a pack: it is retired, because most of its bytes are not in use


class Act(enum.StrEnum):
    """What is done with one pack in one store."""

    STAY = "stay"
    CONDEMN = "condemn"
    ERASE = "erase"
    PARDON = "pardon"
    RETIRE = "retire"


class DecisionReason(msgspec.Struct, frozen=True):
    """One reason, with its details for a person."""

    why: Why
    detail: str = ""  # a name, a rule or a share, as the reason needs it
    until_ns: int = 0  # UTC ns when the reason ends; 0: no known end


# --- points ---------------------------------------------------------------------------------------------------------


class PointContext(msgspec.Struct, frozen=True):
    """What points are judged by, besides their policies."""

    now_ns: int  # UTC ns
    stores: AbstractSet[str]  # all of the inventory
    collected: AbstractSet[str]  # those that are collected now
    # (point id, store) → UTC ns until which that record can't be removed
    locks: Mapping[tuple[str, str], int] = msgspec.field(default_factory=dict)


class PointDecision(msgspec.Struct, frozen=True):
    """One point, whether it goes, and every reason."""

    point: Point
    goes: bool
    reasons: tuple[DecisionReason, ...]  # never empty


def decide_points(rulings: Iterable[Ruling], ground: PointContext) -> tuple[PointDecision, ...]:
    """A decision for each point of all systems, in the order given. A point goes from all its stores or from none."""
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
    """One pack in one store, as the catalog or the store's listing knows it. Times are UTC ns."""

    store: str
    domain: str
    pack: PackId
    size: int  # bytes
    stored_ns: int  # when it was stored; 0: unknown
    session: str = ""  # the run that stored it; empty: unknown
    locked_ns: int = 0  # until when the store's lock holds; 0: no lock is known
    retired_ns: int = 0  # since when it is retired; 0: it is not
    condemned_ns: int = 0  # since when it is condemned; 0: it is not
    known: bool = True  # False: only the store's listing has it, and ``stored_ns`` is the store's own time

    @property
    def kind(self) -> str:
        """The letter of the pack's kind."""
        return kind_of(self.pack)


class Needs(msgspec.Struct, frozen=True):
    """What the records that stay name."""

    packs: Mapping[str, AbstractSet[bytes]]  # domain → packs, as in :attr:`PackCopy.pack`
    # (domain, pack) → bytes in use, of the packs that were counted
    live: Mapping[tuple[str, bytes], int] = msgspec.field(default_factory=dict)
    # domain → the record that could not be read; domain "": it may be of any domain
    unread: Mapping[str, str] = msgspec.field(default_factory=dict)


class Rules(msgspec.Struct, frozen=True):
    """What packs are judged by, besides the records."""

    now_ns: int  # UTC ns
    grace: timedelta = COLLECT_GRACE
    busy: Mapping[str, str] = msgspec.field(default_factory=dict)  # domain → the session that is open there

    @property
    def grace_ns(self) -> int:
        """The grace in nanoseconds."""
        return _in_ns(self.grace)


class PackDecision(msgspec.Struct, frozen=True):
    """One pack in one store, and what is done with it."""

    copy: PackCopy
    act: Act
    reason: DecisionReason


def decide_packs(copies: Iterable[PackCopy], needs: Needs, rules: Rules) -> tuple[PackDecision, ...]:
    """A decision for each pack in each store, in the order given."""
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
    """What is done with a pack that no record names. Reasons that only time ends come before those a person can end."""
    unread = needs.unread.get(copy.domain) or needs.unread.get("")
    grown = copy.stored_ns + rules.grace_ns if copy.stored_ns else 0
    ripe = copy.condemned_ns + rules.grace_ns
    # A pack with a long lock takes its room anyway, so meanwhile new points may still use it. It is condemned just so
    # early that it can be erased when the lock ends.
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
        """The points that go."""
        return tuple(each for each in self.points if each.goes)

    def of(self, act: Act) -> tuple[PackDecision, ...]:
        """The packs with which this is done."""
        return tuple(each for each in self.packs if each.act is act)

    def size(self, chosen: Callable[[PackDecision], bool]) -> int:
        """The bytes of the packs for which ``chosen`` is true."""
        return sum(each.copy.size for each in self.packs if chosen(each))

    @property
    def freed(self) -> int:
        """The bytes that are erased now."""
        return self.size(lambda each: each.act is Act.ERASE)

    @property
    def freed_later(self) -> int:
        """The bytes of packs that are condemned, now or before, and still wait for the grace or a lock."""
        return self.size(
            lambda each: each.act is Act.CONDEMN or (each.act is Act.STAY and bool(each.copy.condemned_ns))
        )

    @property
    def nothing_to_do(self) -> bool:
        """Whether no point goes and nothing is done with any pack."""
        return not self.going and all(each.act is Act.STAY for each in self.packs)


# --- locks ----------------------------------------------------------------------------------------------------------


def lease_ns(now_ns: int, lock_days: int) -> int:
    """The instant (UTC ns) until which a pack must be locked so that a new point may rely on it.

    It lies after the end of any session that begins now. With at least LOCK_LEAST days, a lock that is renewed in time
    always holds until then. 0 for a store without locks: there, no pack needs one.
    """
    return now_ns + _in_ns(PACK_LEASE) if lock_days else 0


def lock_end_ns(since_ns: int, lock_days: int) -> int:
    """The instant (UTC ns) until which, at least, what is stored from ``since_ns`` on is locked; 0 without locks."""
    return since_ns + _full_lock_ns(lock_days) if lock_days else 0


def lock_is_short(locked_ns: int, now_ns: int, lock_days: int) -> bool:
    """Whether a lock that ends at ``locked_ns`` (UTC ns) is to be renewed now. 0: the end is unknown, so it is."""
    left_ns = locked_ns - now_ns
    return bool(lock_days) and left_ns < RENEW_BELOW * _full_lock_ns(lock_days)


def _full_lock_ns(lock_days: int) -> int:
    """The length of a new lock, in nanoseconds."""
    return _in_ns(timedelta(days=lock_days))


def _in_ns(length: timedelta) -> int:
    """``length`` in nanoseconds."""
    return length // _MICROSECOND * 1000
