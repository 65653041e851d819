"""``drbackup agents``: lists and checks the agents of the inventory, and puts a new version into service on a host."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import click
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from drbackup.cli.context import CliContext, JsonObject
from drbackup.controller.runs.agent import agent_access
from drbackup.errors import DrbackupError, UsageError, say
from drbackup.fleet.bundle import Bundle, build
from drbackup.fleet.check import CheckLine
from drbackup.fleet.connect import ssh_address
from drbackup.fleet.deploy import deploy
from drbackup.fleet.deployed import Deployed, expected, remember
from drbackup.fleet.remote import LocalShell, Shell, ssh_shell
from drbackup.model.document import nearest
from drbackup.model.inventory import AgentEntry, Inventory
from drbackup.reports.failures import document_of, joined
from drbackup.reports.gettext import _, translated


@click.group()
def agents() -> None:
    """List, check and deploy agents."""


@agents.command("list")
@click.pass_obj
def list_agents(obj: CliContext) -> None:
    """Every agent of the inventory, how it is reached and what was deployed there."""
    installation = obj.installation()
    table = Table(box=None, pad_edge=False)
    for heading in (_("agent"), _("department"), _("reached by"), _("route"), _("deployed")):
        table.add_column(heading)
    documents: list[JsonObject] = []
    for name, entry in sorted(installation.policies.inventory.agents.items()):
        known = expected(installation.home, name)
        deployed = f"{known.version} ({known.bundle[:12]})" if known else ""
        table.add_row(name, entry.department, _reached_by(entry), entry.route, deployed or "–")
        documents.append(
            {
                "agent": name,
                "department": entry.department,
                "transport": entry.transport,
                "address": _reached_by(entry),
                "route": entry.route,
                "jump": entry.jump,
                "deployed_version": known.version if known else None,
                "deployed_sha256": known.bundle if known else None,
            }
        )
    obj.show({"agents": documents}, table)


@agents.command()
@click.argument("hosts", nargs=-1, metavar="[HOST…]")
@click.pass_obj
def check(obj: CliContext, hosts: tuple[str, ...]) -> None:
    """Look at agents the way a run would use them, one line a check; all of them without HOST.

    Exit code 1 if any check fails.
    """
    installation = obj.installation()
    inventory = installation.policies.inventory
    shown: list[RenderableType] = []
    document: JsonObject = {}
    for name in _chosen(hosts, inventory):
        lines = agent_access(installation, name).check(obj.now)
        document[name] = [{"check": line.name, "ok": line.ok, "detail": line.detail} for line in lines]
        shown += [Text(name, style="bold"), *map(_shown, lines)]
    failed = [name for name, lines in document.items() if any(line["ok"] is False for line in lines)]
    obj.show({"ok": not failed, "agents": document}, *shown)
    if failed:
        click.get_current_context().exit(1)


@agents.command("deploy")
@click.argument("hosts", nargs=-1, required=True, metavar="HOST…")
@click.option("--as", "administrator", metavar="USER", default="", help="An administrator's account on the host.")
@click.option(
    "--key", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="That account's key [the ssh-agent's]."
)
@click.option("--sudo", is_flag=True, help="Install by sudo there.")
@click.pass_obj
def deploy_agents(obj: CliContext, hosts: tuple[str, ...], administrator: str, key: Path | None, sudo: bool) -> None:
    """Build the agent's file offline and put it into service on each HOST, beside the running version.

    The controller's own key may run the agent and nothing else, so it takes an administrator's login: --as USER.
    """
    installation = obj.installation()
    inventory = installation.policies.inventory
    names = _chosen(hosts, inventory)
    for name in names:
        _require_deployable(name, inventory.agents[name], administrator)
    bundle = build(installation.home / "agents" / "bundle")
    done: dict[str, Deployed] = {}
    failures: list[DrbackupError] = []
    for name in names:
        try:
            with _shell(name, inventory, administrator, key) as shell:
                done[name] = deploy(shell, bundle, inventory.agents[name].install_folder, sudo=sudo)
        except DrbackupError as failure:
            failures.append(failure.on(name))
            continue
        remember(installation.home, name, done[name])
    obj.show(_deploy_document(bundle, done, failures), *(_deployed_line(*item) for item in done.items()))
    if failures:
        raise joined(failures, list(done), partly=False)


def _chosen(hosts: tuple[str, ...], inventory: Inventory) -> list[str]:
    for name in hosts:
        if name not in inventory.agents:
            raise UsageError(
                say("no agent {name} in the inventory", name=repr(name)), hint=nearest(name, inventory.agents)
            )
    return list(dict.fromkeys(hosts)) or sorted(inventory.agents)


def _require_deployable(name: str, entry: AgentEntry, administrator: str) -> None:
    if entry.transport == "ssh" and not administrator:
        raise UsageError(
            say("deploying on {name} needs an administrator's login there", name=name),
            hint="say whose: drbackup agents deploy HOST --as USER [--key FILE] [--sudo]",
        )
    if entry.transport == "local" and not (entry.command and entry.command[0].startswith(entry.install_folder)):
        raise UsageError(
            say("{name} is a local process of the controller's own code: there is nothing to deploy", name=name),
            hint=say(
                "to run a deployed file, set its command: [{install_folder}/current/drbackup-agent, serve]",
                install_folder=entry.install_folder,
            ),
        )


@contextlib.contextmanager
def _shell(name: str, inventory: Inventory, administrator: str, key: Path | None) -> Iterator[Shell]:
    if inventory.agents[name].transport == "local":
        yield LocalShell(name)
    else:
        address = ssh_address(name, inventory, user=administrator, key_file=str(key or ""))
        with ssh_shell(address) as shell:
            yield shell


def _reached_by(entry: AgentEntry) -> str:
    if entry.transport == "local":
        return _("local process")
    through = _(" through {jump}").format(jump=entry.jump) if entry.jump else ""
    return f"{entry.user}@{entry.host}:{entry.port}{through}"


def _shown(line: CheckLine) -> Text:
    word, style = {True: ("OK", "green"), False: (_("FAILED"), "bold red"), None: (_("not tried"), "dim")}[line.ok]
    text = Text(f"    {translated(line.name)}: ").append(word, style=style)
    return text.append(f" ({translated(line.detail)})") if line.detail else text


def _deployed_line(name: str, deployed: Deployed) -> Text:
    before = _(", before: {folder}").format(folder=deployed.previous) if deployed.previous else ""
    return Text(
        _("{name}: {version} is in service (SHA-256 {sha}…{before})").format(
            name=name, version=deployed.version, sha=deployed.sha256[:12], before=before
        )
    )


def _deploy_document(bundle: Bundle, done: dict[str, Deployed], failures: list[DrbackupError]) -> JsonObject:
    return {
        "ok": not failures,
        "bundle": {"version": bundle.version, "sha256": bundle.sha256, "python": bundle.python},
        "deployed": {name: {"folder": one.folder, "previous": one.previous} for name, one in done.items()},
        "failed": [document_of(failure) for failure in failures],
    }
