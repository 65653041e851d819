"""``drbackup vault``: the commands on whole vaults. ``rebuild`` is here; the others have modules of their own."""

from __future__ import annotations

from pathlib import Path

import click
from rich.text import Text

from drbackup.cli.collect import collect_command
from drbackup.cli.context import CliContext, pass_cli
from drbackup.cli.keys import read_secret
from drbackup.cli.places import require_stores
from drbackup.cli.progress import counting
from drbackup.cli.repair import catch_up_command, repair_command
from drbackup.cli.scrub import scrub_command
from drbackup.controller.home.policies import load_readable
from drbackup.controller.rebuild.keys import HomeKeys, keys_for_rebuild
from drbackup.controller.rebuild.rebuild import RebuildReport, has_catalog, look, rebuild
from drbackup.errors import DoneInPart, SignatureInvalid, say
from drbackup.reports import plurals
from drbackup.reports.figures import size
from drbackup.reports.gettext import _, translated
from drbackup.reports.shortened import few
from drbackup.stores.registry import open_store


@click.group()
def vault() -> None:
    """Read stores back, repair and fill them; rebuild the catalog from them."""


vault.add_command(collect_command)
vault.add_command(scrub_command)
vault.add_command(repair_command)
vault.add_command(catch_up_command)


# --- rebuild ----------------------------------------------------------------------------------------------------------


@vault.command("rebuild")
@click.argument("stores", metavar="[STORE]…", nargs=-1)
@click.option(
    "--recovery-key",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The custodians' key (drbackup keys combine): brings the home's own keys back, too.",
)
@click.option("--evidence-key", metavar="HEX", help="The evidence key as printed: refuse every other vault.")
@click.option("--apply", "apply", is_flag=True, help="Really do it.")
@pass_cli
def rebuild_command(
    context: CliContext, stores: tuple[str, ...], recovery_key: Path | None, evidence_key: str | None, apply: bool
) -> None:
    """Make a lost catalog anew from all stores (or from those named), and lost keys with --recovery-key.

    Needs the policies and the keys; the stores are only read. Without --apply it says what it finds. A catalog that is
    whole is never replaced; a damaged one is kept beside the new one. Exit code 3 when something in the stores is
    damaged: it is named, and the rest is rebuilt.
    """
    policies = load_readable(context.policies_folder)
    context.warn_of_broken(policies)
    entries = policies.inventory.stores
    require_stores(stores, entries)
    opened = {name: open_store(name, entries[name]) for name in stores or entries}
    seed = None if recovery_key is None else read_secret(recovery_key)
    keys = keys_for_rebuild(context.home, opened, seed)
    if evidence_key is not None and keys.description.evidence_key.hex() != evidence_key.strip().lower():
        raise SignatureInvalid("the vault's evidence key is not the printed one", safe="nothing was changed")
    if keys.seeds and has_catalog(context.home):  # only the keys are lost
        if apply:
            keys.settle(context.home)
        context.show(_document_of_keys(keys, apply), *_lines_of_keys(keys), _outcome(apply, _("the keys are back")))
        return
    with counting(context, _("reading indexes")) as watch:
        work = rebuild if apply else look
        report = work(context.home, keys, opened, now=context.now(), watch=watch)
    context.show(_rebuilt_document(keys, report, apply), *_rebuilt_lines(keys, report, apply))
    if apply and report.faults:
        named = few([say(fault.why) for fault in report.faults])
        raise DoneInPart(
            say("the catalog is rebuilt, but not everything is as it should be: {named}", named=named),
            hint="look at each object named; then: drbackup vault scrub",
        )


def _lines_of_keys(keys: HomeKeys) -> list[Text]:
    lines = [
        Text(_("vault {id} in {stores}").format(id=keys.description.vault_id, stores=", ".join(keys.stores))),
        Text(_("evidence key {key}: compare it with the printed one").format(key=keys.description.evidence_key.hex())),
    ]
    if keys.seeds:
        lines.append(Text(_("keys from the store: {names}").format(names=", ".join(sorted(keys.seeds)))))
    return lines


def _outcome(applied: bool, done: str) -> Text:
    if applied:
        return Text(done, style="green")
    return Text(_("Nothing was changed. Say --apply to do it."), style="bold yellow")


def _rebuilt_lines(keys: HomeKeys, report: RebuildReport, applied: bool) -> list[Text]:
    words = _("{points}; read {packs} of {size} with {chunks}; told by evidence: {drills}")
    read = {"packs": plurals.packs(report.packs), "size": size(report.bytes), "chunks": plurals.chunks(report.chunks)}
    text = words.format(points=plurals.points(report.points), drills=plurals.drills(report.drills), **read)
    lines = [*_lines_of_keys(keys), Text(text, style="bold")]
    lines += [Text(f"  ✗ {fault.store or '–'}: {translated(fault.why)}", style="red") for fault in report.faults]
    lines += [Text(f"  ! {note}", style="yellow") for note in report.notes]
    return [*lines, _outcome(applied, _("the catalog is rebuilt; next: drbackup check, drbackup vault scrub"))]


def _document_of_keys(keys: HomeKeys, applied: bool) -> dict[str, object]:
    return {
        "applied": applied,
        "vault_id": keys.description.vault_id,
        "evidence_key": keys.description.evidence_key.hex(),
        "stores": list(keys.stores),
        "keys": sorted(keys.seeds),
    }


def _rebuilt_document(keys: HomeKeys, report: RebuildReport, applied: bool) -> dict[str, object]:
    return _document_of_keys(keys, applied) | {
        "points": report.points,
        "packs": report.packs,
        "bytes": report.bytes,
        "chunks": report.chunks,
        "drills": report.drills,
        "evidence": report.evidence,
        "faults": [{"store": each.store, "name": each.name, "why": each.why} for each in report.faults],
        "notes": list(report.notes),
    }
