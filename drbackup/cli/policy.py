"""``drbackup policy``: checks the folder, shows a system as it is understood, the recovery order, and the schemas.

It reads files only and needs no installation. So a policy can be checked on any machine before it is put in force.
"""

from __future__ import annotations

import itertools
import json
import zoneinfo
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import click
import yaml
from msgspec.structs import asdict

from drbackup.controller.home.policies import Inspection, PolicySet, inspect_folder, load
from drbackup.errors import Said, UsageError, say
from drbackup.model.document import nearest
from drbackup.model.plan import PlanStep, recovery_plan
from drbackup.model.policy import Policy
from drbackup.model.quantities import format_duration
from drbackup.model.schedule import dues
from drbackup.reports import plurals
from drbackup.reports.gettext import _, ngettext, translated
from drbackup.reports.policy.schema import schema_text

_SHOWN_DUES = 3


class PolicyContext(Protocol):
    """What these commands need to know of the command line."""

    json: bool  # print one JSON document instead of text

    @property
    def policies_folder(self) -> Path: ...


@click.group()
def policy() -> None:
    """Check, show and explain policies."""


@policy.command()
@click.option("--strict", is_flag=True, help="Exit 2 on warnings too.")
@click.pass_obj
def check(obj: PolicyContext, strict: bool) -> None:
    """Check all policies and the inventory; every finding at once.

    Exit code 2 if anything is wrong.
    """
    inspection = inspect_folder(obj.policies_folder)
    if obj.json:
        _echo_json(_findings_document(inspection))
    else:
        for finding in inspection.findings:
            for line in finding.lines():
                click.echo(translated(line) if isinstance(line, Said) else line)
        click.echo(_verdict(inspection, obj.policies_folder))
    if inspection.errors or (strict and inspection.findings):
        click.get_current_context().exit(2)


@policy.command()
@click.argument("system")
@click.pass_obj
def show(obj: PolicyContext, system: str) -> None:
    """Show SYSTEM's policy with every default filled in, its next dues and its place in the recovery order."""
    loaded = load(obj.policies_folder)
    found = _known(loaded, system)
    document = _system_document(loaded, found, datetime.now(UTC))
    if obj.json:
        _echo_json(document)
    else:
        click.echo(yaml.safe_dump(document, allow_unicode=True, sort_keys=False, width=110), nl=False)


@policy.command()
@click.argument("systems", nargs=-1)
@click.pass_obj
def plan(obj: PolicyContext, systems: tuple[str, ...]) -> None:
    """Show the order in which SYSTEMS (all by default) come back, with what they need."""
    loaded = load(obj.policies_folder)
    for system in systems:
        _known(loaded, system)
    order = recovery_plan(loaded.policies, systems)
    if obj.json:
        _echo_json({"steps": [{"system": step.system, **_recovery_document(step)} for step in order.steps]})
        return
    for step in order.steps:
        rto = format_duration(loaded.policies[step.system].objectives.rto)
        line = _("wave {wave}  {system}  RTO {rto}").format(wave=step.wave, system=step.system, rto=rto)
        if step.after:
            total = format_duration(step.waits_for.total)
            line += _(", after {path} = {total}").format(path=step.waits_for, total=total)
        if step.reconnect:
            line += _("; reconnects to {systems}").format(systems=", ".join(step.reconnect))
        click.echo(line)


@policy.command()
@click.option("--inventory", is_flag=True, help="The inventory's schema instead of a policy's.")
def schema(inventory: bool) -> None:
    """Print the JSON Schema that editors check policy files with."""
    click.echo(schema_text("inventory" if inventory else "policy"), nl=False)


def _known(loaded: PolicySet, system: str) -> Policy:
    if system not in loaded.policies:
        raise UsageError(
            say("no system {system} has a policy", system=repr(system)), hint=nearest(system, loaded.policies)
        )
    return loaded.policies[system]


def _verdict(inspection: Inspection, folder: Path) -> str:
    errors, warnings = len(inspection.errors), len(inspection.findings) - len(inspection.errors)
    counts = {
        "errors": ngettext("{n} error", "{n} errors", errors).format(n=errors),
        "warnings": ngettext("{n} warning", "{n} warnings", warnings).format(n=warnings),
    }
    if inspection.policy_set is None:
        return _("{folder}: {errors}, {warnings}").format(folder=folder, **counts)
    words = _("{folder}: {systems} checked, {errors}, {warnings}")
    return words.format(folder=folder, systems=plurals.systems(len(inspection.policy_set.policies)), **counts)


def _findings_document(inspection: Inspection) -> dict[str, Any]:
    errors = len(inspection.errors)
    return {
        "ok": not errors,
        "errors": errors,
        "warnings": len(inspection.findings) - errors,
        "systems": sorted(inspection.policy_set.policies) if inspection.policy_set else [],
        "findings": [asdict(finding) for finding in inspection.findings],
    }


def _system_document(loaded: PolicySet, found: Policy, now: datetime) -> dict[str, Any]:
    zone = zoneinfo.ZoneInfo(found.schedule.time_zone)
    coming = itertools.islice(dues(found.schedule, found.system, now), _SHOWN_DUES)
    step = next(step for step in recovery_plan(loaded.policies).steps if step.system == found.system)
    document: dict[str, Any] = found.model_dump(mode="json", exclude_none=True)
    document["derived"] = {
        "level_table": loaded.levels.edition if loaded.levels else None,
        "next_dues": [due.astimezone(zone).isoformat() for due in coming],
        "kept_for": format_duration(found.keep.horizon),
        "recovery": _recovery_document(step),
    }
    return document


def _recovery_document(step: PlanStep) -> dict[str, Any]:
    return {
        "wave": step.wave,
        "after": list(step.after),
        "reconnects_to": list(step.reconnect),
        "slowest_path_before": str(step.waits_for),
        "slowest_path_rto": format_duration(step.waits_for.total),
    }


def _echo_json(document: dict[str, Any]) -> None:
    click.echo(json.dumps(document, ensure_ascii=False, indent=2))
