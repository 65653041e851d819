"""The ``drbackup`` command: the one place where errors become text and exit codes.

The exit codes are those of :mod:`drbackup.errors`, documented in ``docs/exit-codes.md``. Only this module and the
service end a process.
"""

from __future__ import annotations

import difflib
import re
import signal
import sys
import traceback
from collections.abc import Sequence
from types import FrameType

import click

from drbackup import __version__
from drbackup.cli.commands import CommandList, shared_options
from drbackup.cli.context import CliContext, print_document
from drbackup.errors import DrbackupError, Interrupted, Said, UsageError, say
from drbackup.reports.failures import document_of, explain
from drbackup.reports.gettext import speak_by_environment
from drbackup.reports.layout import unbroken
from drbackup.system.logs import configure_libraries
from drbackup.system.memory import end_uncollected, relax_gc

cli = CommandList(
    "drbackup",
    params=list(shared_options()),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    help="Disaster-tolerance backup for a city: policies, sealed copies, proven restores.",
    epilog="Exit codes: 0 ok, 1 failed, 2 usage or policy, 3 done in part, 10 vault missing, 12 wrong key, "
    "20 objective breached, 21 drill failed, 130 interrupted.",
)
click.version_option(__version__, prog_name="drbackup")(cli)


# click's own complaints as it prints them, so that they are found and shown in the reader's language
CLICK_TEXTS = (
    say("No such command {name}."),
    say("No such option {name}."),
    say("Missing command."),
    say("Missing argument {name}."),
    say("Missing option {name}."),
    say("Invalid value for {name}: {why}"),
    say("Option {name} requires an argument."),
    say("Option {name} does not take a value."),
    say("Got unexpected extra argument ({words})"),
    say("Got unexpected extra arguments ({words})"),
    say("{value} is not one of {choices}."),
    say("{value} is not a valid {kind}."),
    say("File {name} does not exist."),
    say("Directory {name} does not exist."),
    say("Path {name} does not exist."),
)


def _stop(_number: int, _frame: FrameType | None) -> None:
    """SIGTERM ends a command as Ctrl-C does: every block is left in order, and the exit code is 130."""
    raise KeyboardInterrupt


def run(arguments: Sequence[str] | None = None) -> int:
    """The exit code of one command, which is carried out here. Its result is on stdout, everything else on stderr.

    ``arguments``: the words after the program's name; None: those of this process. Every error is explained on stderr
    and becomes an exit code.
    """
    state = CliContext()
    speak_by_environment()
    configure_libraries(state.log_level)
    failure: DrbackupError | None = None
    code: object = 0  # a command's own exit code, for findings that it has shown itself
    try:
        code = cli.main(args=arguments, prog_name="drbackup", obj=state, standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as problem:
        click.echo(problem.format_message(), err=True)
        return 2
    except click.ClickException as problem:
        failure = _usage(problem)
        state.json = state.json or "--json" in (
            sys.argv if arguments is None else arguments
        )  # it may not be parsed yet
    except (click.Abort, KeyboardInterrupt):
        failure = Interrupted("interrupted", safe="finished steps are committed; unfinished ones left nothing behind")
    except BrokenPipeError:
        return 1  # the reader of stdout is gone: nobody can be told
    except DrbackupError as problem:
        failure = problem
    except Exception as problem:  # noqa: BLE001 - the last handler: whatever comes here is our bug, and is said to be
        failure = _unexpected(problem)
    finally:
        state.close()
    _finish(state, failure)
    if failure is not None:
        return failure.exit_code
    return code if isinstance(code, int) else 0


def _finish(state: CliContext, failure: DrbackupError | None) -> None:
    """The error on stderr, the one document on stdout."""
    if failure is not None:
        for line in explain(failure):
            state.err.print(line, soft_wrap=unbroken(line, state.err.width))
        if state.log_level == "debug" and failure.__cause__ is not None:
            traceback.print_exception(failure.__cause__, file=sys.stderr)
    if state.json and (state.document is not None or failure is not None):
        print_document({**(state.document or {}), **({"error": document_of(failure)} if failure else {})})


def _usage(problem: click.ClickException) -> UsageError:
    """Click's error as one of ours. The hint names what was meant, else the command's ``--help``."""
    context = getattr(problem, "ctx", None)
    path = context.command_path if context is not None else "drbackup"
    return UsageError(problem.format_message(), hint=_meant(problem, context) or say("see: {path} --help", path=path))


def _meant(problem: click.ClickException, context: click.Context | None) -> Said:
    """A hint with the command or option that a mistyped one is most like; empty when none is near."""
    if context is None or isinstance(problem, click.BadParameter):
        return say("")
    if isinstance(problem, click.NoSuchOption):
        names = [name for option in context.command.params for name in option.opts]
        word, before = problem.option_name, f"{context.command_path} "
    elif isinstance(context.command, click.Group):
        names, before = context.command.list_commands(context), f"{context.command_path} "
        word = next(iter(re.findall(r"'([^']+)'", problem.message)), "")
    else:
        return say("")
    near = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    return say("did you mean: {command}", command=f"{before}{near[0]}") if near else say("")


def _unexpected(problem: Exception) -> DrbackupError:
    """An error that says that this is a bug in drbackup, with ``problem`` as its cause."""
    failure = DrbackupError(
        say("unexpected {kind}: {why}", kind=type(problem).__name__, why=problem),
        hint="this is a bug in drbackup: run again with --log-level debug and report what it prints",
    )
    failure.__cause__ = problem
    return failure


def main() -> None:
    """The entry point of the ``drbackup`` program. It ends the process with the command's exit code."""
    relax_gc()  # before most imports: a command loads what it needs when it is chosen
    signal.signal(signal.SIGTERM, _stop)
    code = run()
    end_uncollected()
    sys.exit(code)


if __name__ == "__main__":
    main()
