"""``drbackup check``: checks the whole installation, one line for each check. It changes and stores nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import click
import msgspec
from rich.text import Text

from drbackup.cli.context import CliContext, pass_cli
from drbackup.cli.policy_warnings import warning_of
from drbackup.controller.evidence import verify_folder
from drbackup.controller.home.installation import Installation
from drbackup.controller.home.keyfiles import ALL_KEYS, DRILL_KEY
from drbackup.controller.runs.agent import agent_access
from drbackup.errors import DrbackupError
from drbackup.reports import plurals
from drbackup.reports.gettext import _, translated
from drbackup.reports.needs import words_of
from drbackup.reports.overview import Overview, overview_of
from drbackup.reports.shortened import few
from drbackup.vault.sealed_keys import list_sealed_keys

_AT_ONCE = 8


class Line(msgspec.Struct, frozen=True):
    """One check and its result."""

    area: str  # the heading above it, in the reader's language
    name: str  # what was checked
    ok: bool | None  # None: the installation is not at fault, but a person should know
    detail: str = ""  # in the reader's language
    code: str = ""  # the need's code, where the line shows a need that status shows, too


@click.command()
@click.option("--no-agents", is_flag=True, help="Leave out the agents: only what this machine can see by itself.")
@pass_cli
def check(context: CliContext, no_agents: bool) -> None:
    """Check policies, keys, catalog, stores, evidence and agents, one line a check. Exit code 1 if any fails."""
    installation = context.installation()
    needs = list(needs_lines(overview_of(installation, context.now())))
    lines = [
        *_policies(installation),
        *_keys(installation),
        *_stores(installation),
        *(line for line in needs if line.area == _("stores")),
        *_evidence(installation),
        *([] if no_agents else _agents(installation, context.now)),
        *(line for line in needs if line.area != _("stores")),
    ]
    failed = [line for line in lines if line.ok is False]
    document = {
        "ok": not failed,
        "checks": [
            {"area": line.area, "name": line.name, "ok": line.ok, "detail": line.detail, "code": line.code}
            for line in lines
        ],
    }
    verdict = Text(
        _("{checks}, {failed} failed").format(checks=plurals.checks(len(lines)), failed=len(failed)), style="bold"
    )
    context.show(document, *_shown(lines), verdict)
    if failed:
        raise DrbackupError(
            _("checks failed: {names}").format(names=", ".join(f"{line.area} {line.name}" for line in failed)),
            hint=_("mend what the lines above name, then check again"),
        )


def _policies(installation: Installation) -> Iterator[Line]:
    found = installation.policies
    yield Line(_("policies"), str(found.folder), True, plurals.systems(len(found.policies)))
    for broken in found.broken:
        yield Line(_("policies"), Path(broken.file).name, False, warning_of(broken))
    for finding in found.findings:
        if finding.severity == "error":
            continue
        yield Line(_("policies"), translated(finding.said), None)


def _keys(installation: Installation) -> Iterator[Line]:
    for name in ALL_KEYS:
        path = installation.keys_folder / name
        if name == DRILL_KEY:
            if path.exists():
                detail = _("still here: move it to the drill host, then delete it here")
                yield Line(_("keys"), name, None, detail)
            else:
                yield Line(_("keys"), name, True, _("not here, as it should be"))
        elif not path.exists():
            yield Line(_("keys"), name, None, _("not in the home: must come as a systemd credential"))
        elif path.stat().st_mode & 0o077:
            yield Line(_("keys"), name, False, _("others may read it: chmod 600 {path}").format(path=path))
        else:
            yield Line(_("keys"), name, True)


def _stores(installation: Installation) -> Iterator[Line]:
    for name in installation.inventory.stores:
        try:
            vault = installation.vault(name)
            sealed = next(list_sealed_keys(installation.store(name)), "")
        except DrbackupError as problem:  # shown as a failed line of the check, which sets the exit code
            yield Line(_("stores"), name, False, f"{translated(problem.said)}; {translated(problem.said_hint)}")
        else:
            yield Line(_("stores"), name, True, _("vault {id}").format(id=vault.vault_id))
            if not sealed:
                yield Line(_("stores"), name, None, _("does not hold our sealed keys: drbackup keys seal"))


def needs_lines(overview: Overview) -> Iterator[Line]:
    """Everything that ``drbackup status`` says needs a person, in the same order.

    None of these lines fails the check, because the check is about the installation. A broken policy fails it by a
    line of its own.
    """
    for need in overview.needs:
        words = words_of(need, overview.now)
        detail = _("{what}: {step}").format(what=words.what, step=words.next)
        area = _("needs a person") if need.system or need.file else _("stores")
        yield Line(area, words.subject, None, detail, str(need.code))


def _evidence(installation: Installation) -> Iterator[Line]:
    report = verify_folder(installation.evidence_folder, installation.signer.public)
    detail = _("{pieces} in one chain").format(pieces=plurals.pieces(report.objects))
    faults = translated(few(report.faults, command="drbackup evidence verify"))
    yield Line(_("evidence"), str(installation.evidence_folder), report.good, faults or detail)


def _agents(installation: Installation, now: Callable[[], datetime]) -> Iterator[Line]:
    """The lines of all agents, up to 8 asked at the same time: most of the time they are only starting."""
    names = sorted(installation.inventory.agents)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        answers = list(pool.map(lambda name: agent_access(installation, name).check(now), names))
    for name, answer in zip(names, answers, strict=True):
        bad = [line for line in answer if line.ok is False]
        if not bad:
            yield Line(_("agents"), name, True, plurals.checks(len(answer)))
        for line in bad:
            yield Line(_("agents"), name, False, f"{translated(line.name)}: {translated(line.detail)}")


def _shown(lines: list[Line]) -> Iterator[Text]:
    area = ""
    for line in lines:
        if line.area != area:
            area = line.area
            yield Text(area, style="bold")
        word, style = {True: ("OK", "green"), False: (_("FAILED"), "bold red"), None: (_("NOTE"), "yellow")}[line.ok]
        text = Text(f"    {line.name}: ").append(word, style=style)
        yield text.append(f" ({line.detail})") if line.detail else text
