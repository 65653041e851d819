"""``drbackup evidence``: lists signed evidence and checks its chain; a check needs only files and public key."""

from __future__ import annotations

import re
from pathlib import Path

import click
from rich.text import Text

from drbackup.cli.context import CliContext, pass_cli
from drbackup.controller.evidence import list_folder, verify_folder, verify_stores
from drbackup.errors import SignatureInvalid, UsageError, say
from drbackup.reports import plurals
from drbackup.reports.figures import iso, local
from drbackup.reports.gettext import _
from drbackup.reports.shortened import few
from drbackup.reports.tables import plain_table
from drbackup.vault.evidence import ChainReport


@click.group()
def evidence() -> None:
    """List and verify signed evidence of drills and recoveries."""


@evidence.command("list")
@pass_cli
def list_evidence(context: CliContext) -> None:
    """List all evidence, oldest first."""
    found = list_folder(context.installation().evidence_folder)
    wide = context.view().wide
    table = plain_table(_("No."), _("Instant"), _("Subject"), _("Hash"), *([_("File")] if wide else []))
    for each in found:
        when = local(each.when, context.zone())
        file = [str(each.statement_path)] if wide else []
        table.add_row(str(each.sequence), when, each.subject, each.id[:12], *file)
    document = [
        {
            "sequence": each.sequence,
            "when": iso(each.when),
            "subject": each.subject,
            "id": each.id,
            "previous": each.previous,
            "statement": str(each.statement_path),
            "report": str(each.report_path),
        }
        for each in found
    ]
    context.show({"evidence": document}, table)


@evidence.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path), required=False)
@click.option("--public-key", metavar="HEX|FILE", help="The evidence key's public half; default: this installation's.")
@click.option("--stores", is_flag=True, help="Check the chain in every store, too (needs the installation).")
@pass_cli
def verify(context: CliContext, folder: Path | None, public_key: str | None, stores: bool) -> None:
    """Verify the chain of evidence in FOLDER (default: this installation's) with nothing but the public key.

    Shows an altered, forged, missing or doubled piece. That the newest pieces were cut off shows only when the printed
    head is compared with another copy's: a store's or a paper's. Exit code 1 when anything does not fit.
    """
    public = _public(public_key) if public_key else context.installation().signer.public
    where = folder or context.installation().evidence_folder
    reports = {str(where): verify_folder(where, public)}
    if stores:
        reports |= verify_stores(context.installation())
    heads = {report.head.digest for report in reports.values()}
    document = {"chains": [_document(name, report) for name, report in reports.items()], "heads_agree": len(heads) == 1}
    context.show(document, *[_line(name, report) for name, report in reports.items()])
    faults = [
        say("{name}: {fault}", name=name, fault=say(fault))
        for name, report in reports.items()
        for fault in report.faults
    ]
    if len(heads) > 1:
        faults.append(say("the chains do not end in the same piece"))
    if faults:
        raise SignatureInvalid(few(faults), safe=_("evidence before the first fault still stands"))


def _public(text: str) -> bytes:
    """The public key, 32 bytes, from 64 hex digits or from a file that holds them. Raises :class:`UsageError`."""
    if not re.fullmatch(r"[0-9a-fA-F]{64}", text):
        try:
            text = Path(text).read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as bad:
            raise UsageError(
                say("no public key: {text} is neither 64 hex digits nor a readable file", text=text)
            ) from bad
    if not re.fullmatch(r"[0-9a-fA-F]{64}", text):
        raise UsageError("a public key has 64 hex digits", hint="drbackup keys show prints it")
    return bytes.fromhex(text)


def _line(name: str, report: ChainReport) -> Text:
    line = Text("✓ " if report.good else "✗ ", style="bold green" if report.good else "bold red")
    words = _("{name}: {pieces}, head {head}")
    figures = {"pieces": plurals.pieces(report.objects), "head": report.head.digest.hex()[:16] or "-"}
    line.append(words.format(name=name, **figures), style="bold")
    for fault in report.faults:
        line.append(f"\n    {fault}", style="red")
    return line


def _document(name: str, report: ChainReport) -> dict[str, object]:
    head = {"sequence": report.head.sequence, "digest": report.head.digest.hex()}
    return {"where": name, "objects": report.objects, "head": head, "faults": list(report.faults)}
