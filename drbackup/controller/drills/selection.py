"""Which points a drill restores, and from which store, so that nobody can choose the easy ones.

The newest point of each source is always restored. A monthly drill restores one older point too, drawn by lot. The hash
of the evidence before decides that lot, and the store that is read. Nobody knows it before that evidence is written,
and everybody can check it afterwards.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import msgspec

from drbackup.controller.catalog import Catalog
from drbackup.controller.restore.restore import choose_point
from drbackup.errors import Failure, PointMissing
from drbackup.model.point import Point
from drbackup.model.policy import Policy


class Selection(msgspec.Struct, frozen=True):
    """The points that a drill restores, and the store they are read from."""

    newest: dict[str, Point]  # source → point
    missing: dict[str, Failure]  # source → why it has no point
    older: Point | None  # drawn by lot; None: no monthly drill, or no older point
    store: str  # that is read; empty: no single store has all the points
    said: str  # the choice in both languages, for the evidence


def lot(seed: bytes, purpose: str, count: int) -> int:
    """A number from 0 to ``count`` - 1, decided by ``seed`` and ``purpose`` alone."""
    digest = hashlib.sha256(seed + b"\0" + purpose.encode()).digest()
    return int.from_bytes(digest[:8], "big") % count


def select(catalog: Catalog, policy: Policy, seed: bytes, *, which: str = "latest", store: str = "") -> Selection:
    """The points and the store of a drill.

    ``which`` names the points as for a restore; anything but ``latest`` is recorded as a person's choice. ``seed`` is
    the SHA-256 of the evidence before. ``store`` is a person's choice of the copy; empty means by lot.
    """
    newest: dict[str, Point] = {}
    missing: dict[str, Failure] = {}
    for source in policy.sources:
        try:
            newest[source.name] = choose_point(catalog, policy.system, source.name, which)
        except PointMissing as none:
            missing[source.name] = Failure.of(none)
    older = _drawn(catalog, policy, newest, seed) if which == "latest" else None
    chosen = store or _store(policy.copies, list(newest.values()), seed)
    said = "最新恢复点 newest" if which == "latest" else f"人工指定 chosen by a person: {which}"
    if older is not None:
        said += f";另抽签一个旧恢复点 and one older, drawn by lot from evidence {seed.hex()[:12] or 'none'}"
    if chosen:
        said += f";副本 copy {chosen}" + ("" if store else "(抽签 drawn)" if len(policy.copies) > 1 else "")
    return Selection(newest, missing, older, chosen, said)


def _drawn(catalog: Catalog, policy: Policy, newest: dict[str, Point], seed: bytes) -> Point | None:
    if policy.drill is None or policy.drill.every != "month":
        return None
    taken = {point.id for point in newest.values()}
    known = {source.name for source in policy.sources}
    points = catalog.points.list(system=policy.system)
    older = sorted((point for point in points if point.source in known and point.id not in taken), key=lambda p: p.id)
    return older[lot(seed, f"{policy.system}/older", len(older))] if older else None


def _store(copies: Sequence[str], points: Sequence[Point], seed: bytes) -> str:
    complete = [name for name in copies if points and all(name in point.copies for point in points)]
    return complete[lot(seed, "store", len(complete))] if complete else ""
