"""``drbackup keys``: shows public keys, joins shares into a key file, and puts our sealed keys into the stores."""

from __future__ import annotations

import sys
from pathlib import Path

import click
from rich.text import Text

from drbackup.cli.context import CliContext, pass_cli
from drbackup.controller.home.initialise import extend
from drbackup.errors import TargetOccupied, UsageError, WrongKey, say
from drbackup.reports.gettext import _
from drbackup.reports.tables import plain_table
from drbackup.system.durable import create_file
from drbackup.vault.custody import join_shares
from drbackup.vault.keys import RECOVERY, SealKey, key_id


@click.group()
def keys() -> None:
    """Show public keys; join custodians' shares into a recovery key."""


@keys.command()
@pass_cli
def show(context: CliContext) -> None:
    """Show the public keys of every vault: who can open it, and who signs."""
    installation = context.installation()
    table = plain_table(_("Store"), _("Key"), _("Key id"), _("Opens"))
    table.columns[2].no_wrap = False
    table.columns[2].overflow = "fold"
    opens = {"recovery": _("everything"), "drill": _("everything, on the drill host"), "catalog": _("names and sizes")}
    vaults = []
    for name in installation.policies.inventory.stores:
        description = installation.vault(name)
        for recipient in description.recipients:
            table.add_row(name, recipient.role, key_id(recipient.public).hex(), opens.get(recipient.role, ""))
        table.add_row(name, "evidence", description.evidence_key.hex(), _("signs records and evidence"))
        vaults.append(
            {
                "store": name,
                "vault_id": description.vault_id,
                "evidence_key": description.evidence_key.hex(),
                "recipients": [
                    {"role": each.role, "key_id": key_id(each.public).hex()} for each in description.recipients
                ],
            }
        )
    context.show({"vaults": vaults}, table)


@keys.command()
@pass_cli
def seal(context: CliContext) -> None:
    """Put this installation's keys, sealed to the custodians, into every store that lacks them.

    "drbackup init" has done so; a store that was away then, or a vault from before, is given them now, and a vault if
    it has none. With them and enough shares "drbackup vault rebuild" brings a burnt backup centre back.
    """
    installation = context.installation()
    given = extend(installation, now=context.now())
    rest = [name for name in installation.policies.inventory.stores if name not in given]
    lines = [Text(_("sealed keys written to {store}").format(store=name), style="green") for name in given]
    lines += [Text(_("{store} had them already").format(store=name)) for name in rest]
    context.show({"written": list(given), "had": rest}, *lines)


@keys.command()
@click.argument(
    "files", metavar="[SHARE-FILE]…", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option(
    "--to",
    "target",
    required=True,
    type=click.Path(path_type=Path),
    help="The key file to write, readable by you only.",
)
@pass_cli
def combine(context: CliContext, files: tuple[Path, ...], target: Path) -> None:
    """Join enough custodians' shares into the recovery key, from files or asked for one by one.

    Give the key file to restore or recover with --key, and destroy it afterwards: whoever holds it reads everything.
    """
    shares = [share_in(path) for path in files] or _ask()
    seed = join_shares(shares)
    key = SealKey.from_seed(RECOVERY, seed)
    _compare_with_vaults(context, key)
    write_secret(target, seed)
    text = Text(_("recovery key {id} written to {path}").format(id=key.id.hex(), path=target), style="green")
    context.show({"key_file": str(target), "key_id": key.id.hex()}, text)


def share_in(path: Path) -> str:
    """The share's words in a file that ``drbackup init --shares-folder`` wrote, or that holds only the words.

    Lines that begin with ``#``, which hold the QR code, too, are left out. Raises :class:`UsageError` for no words.
    """
    words: list[str] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        parts = line.split()
        if parts and all(part.isascii() and part.isalpha() and part.islower() for part in parts):
            words += parts
    if not words:
        raise UsageError(
            say("{path} holds no share's words", path=path),
            where=str(path),
            hint="name the custodians' share-N-of-M.txt files",
        )
    return " ".join(words)


def _ask() -> list[str]:
    """The shares that a person types in, hidden, until an empty line; or those on stdin, one a line."""
    if not sys.stdin.isatty():
        lines = [line.strip() for line in sys.stdin.read().splitlines()]
        return [line for line in lines if line and not line.startswith("#")]
    shares: list[str] = []
    while True:
        prompt = _("share {n}, or Enter to end").format(n=len(shares) + 1)
        words = click.prompt(prompt, default="", hide_input=True, show_default=False, err=True)
        if not words:
            return shares
        shares.append(words)


def _compare_with_vaults(context: CliContext, key: SealKey) -> None:
    """A check that the key opens some vault of this installation, if there is one. Raises :class:`WrongKey`."""
    if not (context.home / "catalog.sqlite").exists():
        return
    installation = context.installation()
    for name in installation.policies.inventory.stores:
        if any(key_id(each.public) == key.id for each in installation.vault(name).recipients):
            return
    raise WrongKey("the shares join, but to the recovery key of another installation", hint="check the custodians' set")


def write_secret(path: Path, seed: bytes) -> None:
    """A new file of mode 0600 that holds the seed as hex. Raises :class:`TargetOccupied` when the path is taken."""
    try:
        create_file(path, f"{seed.hex()}\n".encode("ascii"))
    except FileExistsError as there:
        raise TargetOccupied(
            say("{path} exists already", path=path), where=str(path), hint="name another file"
        ) from there


def read_secret(path: Path) -> bytes:
    """The 32-byte seed in a key file. Raises :class:`UsageError` when it can't be read or holds no such seed."""
    try:
        seed = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except (OSError, ValueError, UnicodeDecodeError) as bad:
        raise UsageError(
            say("{path} is no readable key file: {why}", path=path, why=bad), where=str(path), hint=WrongKey.hint
        ) from bad
    if len(seed) != 32:
        raise UsageError(
            say("{path} holds {n} bytes, a key has 32", path=path, n=len(seed)), where=str(path), hint=WrongKey.hint
        )
    return seed
