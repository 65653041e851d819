"""Sheets for the day when nothing of drbackup is left: where a system's copies lie and how to open them by hand.

There is one page for each system, to be printed and kept with the custodians' shares. Whoever uses it needs the bucket,
enough shares, and the small reader ``drbackup/reader/stranger.py``, which is written beside the sheets. No drbackup, no
catalog and no backup centre is needed. A sheet holds addresses and public keys, no secret.
"""

from __future__ import annotations

import hashlib
import importlib.resources
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec

from drbackup.controller.home.installation import Installation
from drbackup.model.plan import PlanStep, recovery_plan
from drbackup.model.policy import Policy
from drbackup.reports.bilingual import length
from drbackup.reports.page_templates import PAGE_TEMPLATES
from drbackup.system.durable import write_file

READER = "stranger.py"  # the reader's file name on every sheet


class SourceSheet(msgspec.Struct, frozen=True):
    """One source on a sheet, with its newest whole point at the time of printing."""

    name: str
    kind: str
    lives: str  # agent and place, in words
    pinned: str  # the instant of the point's data in the inventory's zone, or a dash
    point: str  # the point's id; empty without one
    commands: tuple[str, ...]  # command lines that put it back, after the reader wrote the point's files


def write_sheets(installation: Installation, folder: Path, *, now: datetime) -> list[Path]:
    """The paths of the sheets, one for every system of the policies, written into ``folder``.

    The reader that they name lies beside them, byte for byte as it was released. Only their owner can read the files.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_file(folder / READER, _reader())
    written = []
    for system in sorted(installation.policies.policies):
        path = folder / f"break-glass-{system}.html"
        write_file(path, render_sheet(installation, system, now=now).encode())
        written.append(path)
    return written


def render_sheet(installation: Installation, system: str, *, now: datetime) -> str:
    """One system's sheet as HTML. Raises :class:`~drbackup.errors.UsageError` for an unknown system."""
    policy, inventory = installation.policy(system), installation.inventory
    zone = ZoneInfo(inventory.time_zone)
    stores = [(name, inventory.stores[name]) for name in policy.copies if name in inventory.stores]
    return PAGE_TEMPLATES.get_template("break_glass.html").render(
        city=inventory.title,
        policy=policy,
        printed=now.astimezone(zone).strftime("%Y-%m-%d %H:%M"),
        rto=length(policy.objectives.rto.total_seconds()),
        rpo=length(policy.objectives.rpo.total_seconds()),
        step=_step(installation, system),
        stores=[(name, entry.place.address(entry.prefix)) for name, entry in stores],
        fetches=[entry.place.fetch_line(entry.prefix) for _, entry in stores],
        evidence_key=installation.signer.public.hex(),
        reader=READER,
        reader_sha256=hashlib.sha256(_reader()).hexdigest(),
        sources=list(_sources(installation, policy, zone)),
    )


def _reader() -> bytes:
    """The reader's source. It is read, not imported, because it shares no code with the rest of drbackup."""
    return importlib.resources.files("drbackup.reader").joinpath(READER).read_bytes()


def _step(installation: Installation, system: str) -> PlanStep:
    plan = recovery_plan(installation.policies.policies, [system])
    return next(step for step in plan.steps if step.system == system)


def _sources(installation: Installation, policy: Policy, zone: ZoneInfo) -> Iterator[SourceSheet]:
    for source in policy.sources:
        newest = installation.catalog.points.newest_whole(policy.system, source.name)
        yield SourceSheet(
            name=source.name,
            kind=source.kind,
            lives=f"{source.agent}: {source.settings.lives()}",
            pinned=newest.pinned_at.astimezone(zone).strftime("%Y-%m-%d %H:%M:%S") if newest else "—",
            point=newest.id if newest else "",
            commands=tuple(source.settings.by_hand(source.name)),
        )
