"""``docs/cli-reference.md``, made from the commands themselves, so that it can't name an option that is not there."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import click

from drbackup.cli.commands import shared_options
from drbackup.cli.main import cli

PAGE = "docs/cli-reference.md"
_HEAD = """# The `drbackup` command

Generated from the commands themselves by `make docs`; do not edit.
Exit codes are in [exit-codes.md](exit-codes.md).

The result is on stdout, everything else on stderr. With `--json` stdout holds exactly one JSON document: the result,
with an `error` member when the exit code says so. Instants in it are UTC, sizes bytes, lengths of time seconds.
"""


def page() -> str:
    """The whole page."""
    parts = [_HEAD, "## Options of every command\n\n" + _table(shared_options())]
    parts += [_command(path, command) for path, command in _walk("drbackup", cli)]
    return "\n".join(parts)


def _walk(path: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    """Every command below ``command``, in the order of its help page."""
    if not isinstance(command, click.Group):
        return
    context = click.Context(command, info_name=path)
    for word in command.list_commands(context):
        child = command.get_command(context, word)
        if child is not None:
            yield f"{path} {word}", child
            yield from _walk(f"{path} {word}", child)


def _command(path: str, command: click.Command) -> str:
    level = "##" if path.count(" ") == 1 else "###"
    context = click.Context(command, info_name=path)
    pieces = " ".join(command.collect_usage_pieces(context))
    shared = {option.name for option in shared_options()}
    own = [each for each in command.params if isinstance(each, click.Option) and each.name not in shared]
    text = inspect.cleandoc(command.help or "").replace("\b\n", "")
    parts = [f"{level} {path}\n", text + "\n"]
    if not isinstance(command, click.Group):
        parts.insert(1, f"```\n{path} {pieces}\n```\n")
    if own:
        parts.append(_table(own))
    return "\n".join(parts)


def _table(options: list[click.Option]) -> str:
    rows = ["| option | meaning |", "|---|---|"]
    for option in options:
        names = ", ".join(option.opts)
        value = "" if option.is_flag else f" {option.make_metavar(click.Context(cli))}"
        text = (option.help or "").replace("|", "\\|")
        if option.show_default and option.default not in (None, False) and not callable(option.default):
            text += f" Default: `{option.default}`."
        rows.append(f"| `{names}{value.replace('|', chr(92) + '|')}` | {text} |")
    return "\n".join(rows) + "\n"
