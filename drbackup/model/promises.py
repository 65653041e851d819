"""Promises that cannot hold, found from the policies alone, before any disaster.

Each finding shows its figures, because the person who reads it must decide which one to change.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta

from drbackup.errors import PolicyError, say
from drbackup.model.collect import LOCK_LEAST, PACK_LEASE
from drbackup.model.consistency import InventoryFile, PolicyFile
from drbackup.model.document import Document, Finding
from drbackup.model.levels import LevelTable
from drbackup.model.plan import recovery_plan
from drbackup.model.policy import Policy
from drbackup.model.quantities import format_duration as words
from drbackup.model.schedule import pause_around, worst_gap
from drbackup.model.window import DateSpan


def check_promises(files: Sequence[PolicyFile], inventory: InventoryFile, levels: LevelTable | None) -> list[Finding]:
    """Every finding about promises that do not hold, of all policies that are right in themselves."""
    found = list(_leases(inventory))
    good = {file.system: (file.document, file.policy) for file in files if file.policy is not None}
    for document, policy in good.values():
        found += _schedule(document, policy)
        found += _locks(document, policy, inventory)
        found += _level(document, policy, levels)
        found += _dependency_rpo(document, policy, {name: other for name, (_, other) in good.items()})
    return found + list(_rto_sums(good))


def _schedule(document: Document, policy: Policy) -> Iterator[Finding]:
    schedule, rpo = policy.schedule, policy.objectives.rpo
    key = "cron" if schedule.cron is not None else "window" if schedule.window is not None else "every"
    gap = worst_gap(schedule, policy.system)
    if gap is None:
        yield document.finding(
            ("schedule", key), "this schedule never comes due", "its blackouts leave no time to start in"
        )
    elif gap > rpo:
        yield document.finding(
            ("schedule", key),
            say("up to {gap} pass between two copies, but the promised RPO is {rpo}", gap=words(gap), rpo=words(rpo)),
            "copy more often, widen the window, or promise less",
        )
    elif gap == rpo:
        yield document.finding(
            ("schedule", key),
            say(
                "copies come exactly as often as the promised RPO of {rpo}: no time is left for the copy itself",
                rpo=words(rpo),
            ),
            say("copy more often, like every: {rpo}", rpo=words(rpo / 2)),
            severity="warning",
        )
    for number, span in enumerate(schedule.blackout):
        if isinstance(span, DateSpan) and (pause := pause_around(schedule, policy.system, span)) > rpo:
            path = ("schedule", "blackout", number)
            message = say(
                "the promised RPO of {rpo} cannot hold: {pause} pass around {span} without a copy",
                rpo=words(rpo),
                pause=words(pause),
                span=span,
            )
            yield document.finding(path, message, "announce it, or shorten the blackout", severity="warning")


def _locks(document: Document, policy: Policy, file: InventoryFile) -> Iterator[Finding]:
    stores = file.inventory.stores if file.inventory else {}
    horizon = policy.keep.horizon
    for number, name in enumerate(policy.copies):
        store = stores.get(name)
        if store is None or not store.place.can_lock:
            continue
        lock = timedelta(days=store.lock_days)
        where = file.document.finding(("stores", name, store.place.kind, "lock_days"), "", at_key=True)
        place = f"{where.file}:{where.line}"
        if not lock:
            yield document.finding(
                ("copies", number),
                say("the store '{name}' locks nothing: whoever has its credential can delete copies", name=name),
                say("set lock_days at {place} to {days} or more", place=place, days=horizon.days),
                severity="warning",
            )
        elif lock < horizon:
            yield document.finding(
                ("copies", number),
                say(
                    "the store '{name}' locks objects for {lock}, but keep holds points for {horizon}",
                    name=name,
                    lock=words(lock),
                    horizon=words(horizon),
                ),
                say(
                    "raise lock_days at {place} to {horizon}, or keep less long",
                    place=place,
                    horizon=-(-horizon // timedelta(days=1)),
                ),
            )


def _leases(file: InventoryFile) -> Iterator[Finding]:
    for name, store in (file.inventory.stores if file.inventory else {}).items():
        lock = timedelta(days=store.lock_days)
        if not lock or store.lock_days >= LOCK_LEAST:
            continue
        if lock < PACK_LEASE:
            effect = say("every backup sends everything again")
        else:
            effect = say("backups send again what is stored, whenever a lock has less than that left")
        yield file.document.finding(
            ("stores", name, store.place.kind, "lock_days"),
            say(
                "the store '{name}' locks objects for {lock}, but a backup relies only on what stays locked "
                "for {pack_lease}: {effect}",
                name=name,
                lock=words(lock),
                pack_lease=words(PACK_LEASE),
                effect=effect,
            ),
            say(
                "set lock_days to {lock_least} or more: locks are renewed once a day, when a third is over",
                lock_least=LOCK_LEAST,
            ),
            severity="warning",
        )


def _level(document: Document, policy: Policy, levels: LevelTable | None) -> Iterator[Finding]:
    level = levels.levels.get(policy.level) if levels else None
    if levels is None or level is None:
        return
    for key, numbers in (("rpo", level.rpo), ("rto", level.rto)):
        promised: timedelta = getattr(policy.objectives, key)
        if numbers.weakest is not None and promised > numbers.weakest:
            yield document.finding(
                ("objectives", key),
                say(
                    "level {level} of {edition} means {key} {text}, but {promised} is promised",
                    level=policy.level,
                    edition=levels.edition,
                    key=key.upper(),
                    text=numbers.text,
                    promised=words(promised),
                ),
                say("promise {weakest} or less, or aim at a lower level", weakest=words(numbers.weakest)),
                severity="warning",
            )


def _dependency_rpo(document: Document, policy: Policy, policies: Mapping[str, Policy]) -> Iterator[Finding]:
    for number, edge in enumerate(policy.depends_on):
        other = policies.get(edge.system)
        if other is None or edge.degraded or other.objectives.rpo <= policy.objectives.rpo:
            continue
        yield document.finding(
            ("depends_on", number, "system"),
            say(
                "'{system}' may lose {rpo}, but '{policy_system}' needs it and promises to lose no more than {words}",
                system=edge.system,
                rpo=words(other.objectives.rpo),
                policy_system=policy.system,
                words=words(policy.objectives.rpo),
            ),
            say("promise a shorter RPO for '{system}', or mark the edge degraded: true", system=edge.system),
            severity="warning",
        )


def _rto_sums(good: Mapping[str, tuple[Document, Policy]]) -> Iterator[Finding]:
    policies = {
        name: policy.model_copy(update={"depends_on": tuple(edge for edge in policy.depends_on if edge.system in good)})
        for name, (_, policy) in good.items()
    }
    try:
        plan = recovery_plan(policies)
    except PolicyError:
        return  # a cycle: it is reported where references are checked, and has no sum
    for step in plan.steps:
        document, policy = good[step.system]
        rto = policy.objectives.rto
        if step.waits_for.total < rto or not step.waits_for.systems:
            continue
        yield document.finding(
            ("objectives", "rto"),
            say(
                "promised RTO {rto}, but what must be back first takes {total}: {waits_for} → {system}",
                rto=words(rto),
                total=words(step.waits_for.total),
                waits_for=step.waits_for,
                system=step.system,
            ),
            "promise a longer RTO, a shorter one along this path, or mark an edge degraded: true",
        )
