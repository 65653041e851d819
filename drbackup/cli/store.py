"""``drbackup store``: finds out which promises the stores keep."""

from __future__ import annotations

from typing import Any

import click
from msgspec.structs import asdict
from rich.table import Table
from rich.text import Text

from drbackup.cli.context import CliContext, pass_cli
from drbackup.cli.places import require_stores
from drbackup.errors import DrbackupError, StoreRefused, say
from drbackup.reports.gettext import _
from drbackup.stores.probe import ProbeLine, needed_kept, probe

_STYLES = {"yes": "green", "no": "red", "unknown": "yellow"}


@click.group()
def store() -> None:
    """Find out which promises a store keeps."""


@store.command("probe")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@pass_cli
def probe_stores(cli: CliContext, names: tuple[str, ...]) -> None:
    """Try every promise on the named stores, or on all. Writes about 40 MiB a store under v1/probe/, which stays."""
    known = cli.installation().policies.inventory.stores
    require_stores(names, known)
    documents: list[dict[str, Any]] = []
    tables: list[Table] = []
    broken: list[str] = []
    first: DrbackupError | None = None
    for name in names or sorted(known):
        try:
            lines = probe(cli.installation().store(name), cli.now())
        except DrbackupError as fault:  # the other stores are still probed; this one's error is raised at the end
            first = first or fault
            documents.append({"store": name, "ok": False, "error": fault.message, "promises": []})
            continue
        documents.append({"store": name, "ok": needed_kept(lines), "promises": [asdict(line) for line in lines]})
        tables.append(_table(name, lines))
        if not needed_kept(lines):
            broken.append(name)
    cli.show({"stores": documents}, *tables)
    if first is not None:
        raise first
    if broken:
        raise StoreRefused(
            say("needed promises are not kept by: {broken}", broken=", ".join(broken)),
            safe="the probe altered nothing but its own objects under v1/probe/",
            hint="see docs/stores.md for what each missing promise means, or use another store",
        )


def _table(name: str, lines: tuple[ProbeLine, ...]) -> Table:
    table = Table(title=_("Store {name}").format(name=name), title_justify="left")
    for heading in (_("promise"), _("kept"), _("needed for"), _("detail")):
        table.add_column(heading)
    purposes = {
        "needed": _("every vault"),
        "lock": _("a stolen credential must not delete"),
        "signed": _("agents that upload by themselves"),
        "useful": _("operators"),
    }
    for line in lines:
        # "no" in red only where something is wrong: a folder without locks is a choice.
        bad = line.kept == "no" and line.weight != "needed"
        style = "yellow" if bad else _STYLES[line.kept]
        table.add_row(line.promise, Text(_(line.kept), style), purposes[line.weight], line.detail)
    return table
