"""An agent's job, made from a policy: source specs, plausibility, limits, checks. Pure."""

from __future__ import annotations

from drbackup.errors import SourceEmpty, SourceShrunk, say
from drbackup.model.inventory import AgentEntry
from drbackup.model.point import Point
from drbackup.model.policy import CheckPolicy, Policy, SourcePolicy
from drbackup.model.sources.base import SourceSettings
from drbackup.wire.messages import BackupJob
from drbackup.wire.specs import CheckSpec, DomainKeys, Limits, Plausibility, SourceSpec, encode_source


def source_spec(source: SourcePolicy, settings: SourceSettings | None = None) -> SourceSpec:
    """The source as an agent is told of it. ``settings``: to use instead of the source's own, for another place."""
    chosen = settings or source.settings
    canary = {"canary": source.canary} if chosen.takes_canary else {}
    return encode_source(chosen.kind, {**chosen.model_dump(), **canary})


def plausibility(source: SourcePolicy, previous: Point | None, *, accept_shrink: bool = False) -> Plausibility:
    """The size below which a copy is not believed. ``accept_shrink``: a person removed the data on purpose."""
    return Plausibility(
        previous=0 if previous is None or accept_shrink else previous.totals.bytes,
        min_bytes=source.min_bytes,
        max_shrink=source.max_shrink,
        allow_empty=source.allow_empty,
    )


def judge_size(size: int, plausible: Plausibility, what: str) -> None:
    """A guarantee that a copy of ``size`` bytes is big enough to be believed. The agent's own check is not trusted.

    Raises :class:`SourceEmpty` or :class:`SourceShrunk`, which name ``what``.
    """
    if size == 0 and plausible.allow_empty:
        return
    if size < max(plausible.min_bytes, 1):
        raise SourceEmpty(
            say(
                "{what}: {size} bytes were copied, at least {min_bytes} are expected",
                what=what,
                size=size,
                min_bytes=max(plausible.min_bytes, 1),
            )
        )
    if size < plausible.previous * (1 - plausible.max_shrink):
        share = 1 - size / plausible.previous
        raise SourceShrunk(
            say(
                "{what}: {size} bytes, {share} less than the {previous} of the last point; at most "
                "{max_shrink} may vanish",
                what=what,
                size=size,
                share=f"{share:.0%}",
                previous=plausible.previous,
                max_shrink=f"{plausible.max_shrink:.0%}",
            )
        )


def limits(agent: AgentEntry) -> Limits:
    """The agent's limits on bandwidth (bytes/s), on time without progress (seconds), and on its workers."""
    return Limits(
        bytes_per_second=agent.bandwidth,
        stall_seconds=int(agent.stall_timeout.total_seconds()),
        workers=agent.workers,
    )


def backup_job(
    policy: Policy, source: SourcePolicy, agent: AgentEntry, keys: DomainKeys, plausible: Plausibility
) -> BackupJob:
    """The whole job of one backup."""
    return BackupJob(policy.system, source.name, source_spec(source), keys, plausible, limits(agent))


def checks(policy: Policy) -> tuple[CheckSpec, ...]:
    """The checks that a drill of this system measures, numbered from 0 as in the policy.

    They hold no expectations: the agent measures, and the controller judges.
    """
    if policy.drill is None:
        return ()
    return tuple(_check(number, check, policy) for number, check in enumerate(policy.drill.checks))


def _check(number: int, check: CheckPolicy, policy: Policy) -> CheckSpec:
    form = check.form
    name, other = (*(name for _, name in form.named), "")[:2]
    source = policy.source(other)
    return CheckSpec(number, form.kind, name, form.query, other, source.settings.trees() if source is not None else ())
