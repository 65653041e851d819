"""``drbackup init``: initialises an installation and gives out the custodians' shares, once.

The shares are shown on stdout, or written to a folder with one file for each custodian. They exist nowhere else.
"""

from __future__ import annotations

import re
from pathlib import Path

import click
import segno
from rich.console import RenderableType
from rich.text import Text

from drbackup.cli.context import CliContext, pass_cli
from drbackup.controller.home.initialise import NewInstallation, initialise
from drbackup.controller.home.installation import is_initialised
from drbackup.errors import TargetOccupied, UsageError, say
from drbackup.reports import plurals
from drbackup.reports.figures import iso
from drbackup.reports.gettext import _
from drbackup.system.durable import create_file


def _k_of_n(_context: click.Context, _parameter: click.Parameter, value: str) -> tuple[int, int]:
    """An option's callback: ``3-of-5`` as (3, 5). Raises click's BadParameter for another form."""
    found_text = re.fullmatch(r"(\d+)[- ]?of[- ]?(\d+)", value)
    if not found_text:
        raise click.BadParameter("write it like 3-of-5")
    return int(found_text[1]), int(found_text[2])


@click.command()
@click.option(
    "--custodians",
    default="3-of-5",
    show_default=True,
    callback=_k_of_n,
    help="How many custodians there are, and how many together bring everything back.",
)
@click.option(
    "--shares-folder",
    type=click.Path(path_type=Path),
    help="Write each custodian's share to a file of its own in this new folder, with a QR code to print.",
)
@pass_cli
def init(context: CliContext, custodians: tuple[int, int], shares_folder: Path | None) -> None:
    """Found an installation: its keys, its catalog, and a vault in every store of the inventory.

    The custodians' shares of the recovery key are given out ONCE, on stdout or into --shares-folder. Whoever joins
    enough of them reads everything; without them nothing survives the loss of the drill host.
    """
    if is_initialised(context.home):
        raise UsageError(
            say("there is an installation in {home} already", home=context.home),
            safe="nothing was changed",
            hint="go on with it: drbackup status; or name another folder for a new one with --home",
        )
    if shares_folder is not None:
        _make_empty(shares_folder)  # before anything is initialised: shares that can't be written would be lost
    made = initialise(context.home, context.policies_folder, custodians, now=context.now())
    files = [] if shares_folder is None else write_shares(shares_folder, made, iso(context.now()))
    context.show(_document(context, made, files), *_lines(context, made, files))


def _make_empty(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise TargetOccupied(
            say("{folder} is not empty", folder=folder), where=str(folder), hint="name a new folder for the shares"
        )


def write_shares(folder: Path, made: NewInstallation, when: str) -> list[Path]:
    """The paths of the new files, one for each share: a heading, the words, and a QR code of them drawn in characters.

    ``when``: the time in the heading, ISO 8601. Raises FileExistsError.
    """
    written: list[Path] = []
    for number, share in enumerate(made.shares, 1):
        path = folder / f"share-{number}-of-{len(made.shares)}.txt"
        create_file(path, _paper(made, number, share, when).encode())
        written.append(path)
    return written


def _paper(made: NewInstallation, number: int, share: str, when: str) -> str:
    words = share.split()
    lines = [" ".join(words[start : start + 5]) for start in range(0, len(words), 5)]
    head = (
        f"# drbackup recovery key, share {number} of {len(made.shares)}; any {made.threshold} bring it back\n"
        f"# 恢复密钥分片 第 {number} 份, 共 {len(made.shares)} 份; 任意 {made.threshold} 份可恢复\n"
        f"# vault {made.vault.vault_id}, {when}\n"
        "# Keep it on paper, apart from the other shares and from every computer, then destroy this file.\n\n"
    )
    return head + "\n".join(lines) + "\n\n" + _drawn(share)


def _drawn(share: str) -> str:
    """A QR code of the words as comment lines. Dark modules are printed characters, so that it is right on paper."""
    rows = [list(row) for row in segno.make_qr(share, error="l").matrix_iter(border=2)]
    rows += [[0] * len(rows[0])] * (len(rows) % 2)
    ink = {(0, 0): " ", (1, 0): "▀", (0, 1): "▄", (1, 1): "█"}
    pairs = zip(rows[::2], rows[1::2], strict=True)
    lines = ["".join(ink[(int(a), int(b))] for a, b in zip(upper, lower, strict=True)) for upper, lower in pairs]
    return "".join(f"# {line}\n" for line in lines)


def _lines(context: CliContext, made: NewInstallation, files: list[Path]) -> list[RenderableType]:
    lines: list[RenderableType] = [
        Text(_("installation founded in {home}").format(home=context.home), style="bold green"),
        Text(_("vault {id} in {stores}").format(id=made.vault.vault_id, stores=", ".join(made.stores))),
    ]
    for store, why in made.pending.items():
        lines.append(Text(_("no vault yet in {store}: {why}").format(store=store, why=why), style="yellow"))
    people = {"threshold": made.threshold, "count": len(made.shares)}
    if files:
        lines.append(Text(_("{shares} in {folder}").format(shares=plurals.shares(len(files)), folder=files[0].parent)))
    else:
        for number, share in enumerate(made.shares, 1):
            title = _("share {number} of {count}").format(number=number, **people)
            lines.append(Text(f"\n{title}\n", style="bold") + Text(f"  {share}", style="not bold"))
    warning = _("Shown once: hand each share to one custodian, on paper. Any {threshold} of {count} read everything.")
    lines.append(Text("\n" + warning.format(**people), style="bold yellow"))
    lines.append(
        Text(
            _("Move {key} to the drill host, then delete it here.").format(key=made.drill_key),
            style="yellow",
        )
    )
    lines.append(Text(_("next: drbackup check, then drbackup backup --all")))
    return lines


def _document(context: CliContext, made: NewInstallation, files: list[Path]) -> dict[str, object]:
    return {
        "home": str(context.home),
        "vault_id": made.vault.vault_id,
        "stores": list(made.stores),
        "pending": made.pending,
        "threshold": made.threshold,
        "shares": [] if files else list(made.shares),
        "share_files": [str(path) for path in files],
        "drill_key": str(made.drill_key),
    }
