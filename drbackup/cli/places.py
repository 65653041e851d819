"""What operators name on a command line, as objects: systems, sources, stores, points; and a reader for a point.

An unknown name is refused with the nearest known ones.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from datetime import datetime

from drbackup.cli.context import CliContext
from drbackup.controller.restore.any_copy import from_any_copy
from drbackup.controller.restore.restore import choose_point, locate
from drbackup.errors import Said, UsageError, say
from drbackup.model.point import Point, SourceName
from drbackup.model.policy import Policy
from drbackup.vault.read.reader import PointReader
from drbackup.vault.store_access import StoreFetch


def split_place(context: CliContext, place: str) -> SourceName:
    """The source that ``SYSTEM/SOURCE`` names, or the system, then with an empty source.

    A system or source that no policy names any more is accepted when it has points, so that they stay reachable. A
    system whose policy is broken is always accepted. Raises :class:`UsageError` for every other name.
    """
    system, source = named = SourceName.read(place)
    known = context.installation().policies
    policies = known.policies
    if system not in policies:
        if system in known.broken_systems:
            return named
        if context.installation().catalog.points.newest(1, system=system, source=source):
            return named
        raise UsageError(say("no system {system}", system=repr(system)), hint=did_you_mean(system, policies))
    names = [each.name for each in policies[system].sources]
    if source and source not in names:
        if context.installation().catalog.points.newest(1, system=system, source=source):
            return named
        raise UsageError(
            say("system {system} has no source {source}", system=system, source=repr(source)),
            hint=did_you_mean(source, names),
        )
    return named


def require_stores(names: Iterable[str], known: Iterable[str]) -> None:
    """Every name is a store of the inventory (``known``). Raises :class:`UsageError` for the first that is not."""
    known = list(known)
    for name in names:
        if name not in known:
            raise UsageError(say("no store {name}", name=repr(name)), hint=did_you_mean(name, known))


def did_you_mean(word: str, known: Iterable[str]) -> Said:
    """A hint with the two known names nearest to ``word``, or with all of them when none is near."""
    names = sorted(known)
    near = difflib.get_close_matches(word, names, n=2, cutoff=0.5)
    if len(near) == 2:
        return say("did you mean {word} or {other}?", word=near[0], other=near[1])
    if near:
        return say("did you mean {word}?", word=near[0])
    return say("known: {names}", names=", ".join(names)) if names else say("known: none")


def chosen_sources(context: CliContext, places: Iterable[str], *, everything: bool) -> list[tuple[Policy, str]]:
    """The (policy, source name) pairs an operator means, each once; a system stands for all its sources.

    They are in the order of ``places``; with ``everything`` all sources, in the order of the policies that can be read.
    Raises :class:`UsageError` when neither a place nor ``everything`` was given, or both, or for unknown names.
    Raises :class:`~drbackup.errors.PolicyError` for a system whose policy is broken.
    """
    policies = context.installation().policies.policies
    wanted = list(places)
    if bool(wanted) == everything:
        raise UsageError("name systems (SYSTEM or SYSTEM/SOURCE), or say --all")
    if everything:
        return [(policy, source.name) for policy in policies.values() for source in policy.sources]
    found: dict[tuple[str, str], tuple[Policy, str]] = {}
    for place in wanted:
        system, name = split_place(context, place)
        context.installation().policies.require_known(system)
        if system not in policies:
            raise UsageError(
                say("no policy names {system} any more", system=repr(system)), hint=did_you_mean(system, policies)
            )
        for source in policies[system].sources:
            if not name or source.name == name:
                found[(system, source.name)] = (policies[system], source.name)
    return list(found.values())


def find_point(context: CliContext, word: str, at: str = "") -> Point:
    """The point an operator means: by its id, by the beginning of one, or by SYSTEM/SOURCE.

    With SYSTEM/SOURCE it is the newest point, or the newest one from ``at`` or before. ``at``: ``latest`` or an ISO
    8601 time; one without a zone is in the inventory's. Raises :class:`~drbackup.errors.PointMissing`, and
    :class:`UsageError` when ``word`` names a whole system or ``at`` stands beside an id.
    """
    catalog = context.installation().catalog
    if "/" not in word:
        if at:
            raise UsageError("--at goes with SYSTEM/SOURCE: a point's id says already which one it is")
        if word in context.installation().policies.broken_systems:
            raise UsageError(
                say("{word} is a system, not a point", word=word),
                hint=say("name a source: {word}/SOURCE, or a point's id", word=word),
            )
        if word in context.installation().policies.policies:
            names = [f"{word}/{source.name}" for source in context.installation().policies.policies[word].sources]
            raise UsageError(
                say("{word} is a system, not a point", word=word),
                hint=say("name a source: {names}", names=" or ".join(names)),
            )
        return catalog.points.get(word)
    system, source = split_place(context, word)
    return choose_point(catalog, system, source, moment(context, at) or "latest")


def moment(context: CliContext, at: str) -> str:
    """``at`` as ISO 8601 with a zone, the inventory's if it has none; ``latest`` and empty stay. Raises UsageError."""
    if at in {"", "latest"}:
        return at
    try:
        when = datetime.fromisoformat(at)
    except ValueError as bad:
        raise UsageError(
            say("not a time: {at}", at=repr(at)), hint="write it like 2026-11-23T14:00, or latest"
        ) from bad
    return (when if when.tzinfo else when.replace(tzinfo=context.zone())).isoformat()


def open_reader(context: CliContext, point: Point) -> PointReader:
    """A reader of ``point``'s tree with the catalog key, from the first of its stores that has a sound record.

    When no store has one, the last store's error is raised. When the point lies in no known store, it is
    :class:`~drbackup.errors.VaultMissing`.
    """
    installation = context.installation()

    def opened(store: str) -> PointReader:
        found = locate(installation, point, store)
        return PointReader(StoreFetch(found.store), installation.keyring, point.domain, found.sealed.root)

    return from_any_copy(point, opened)
