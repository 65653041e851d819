"""``drbackup demo``: backs up a small made-up city, destroys it and brings it back, in under two minutes.

Everything happens below one folder on this machine. No service, no network and no root is needed. The steps run the
same commands that an operator would type. The result is a verdict with an exit code.
"""

from __future__ import annotations

import contextlib
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import click
from rich.console import RenderableType
from rich.panel import Panel
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from drbackup.cli.context import CliContext, pass_cli
from drbackup.cli.demo_city.city import City
from drbackup.cli.demo_city.servers import postgres_tools
from drbackup.cli.demo_city.story import Stage, Story
from drbackup.errors import TargetOccupied, ToolMissing, say
from drbackup.reports.gettext import _
from drbackup.reports.layout import foldable
from drbackup.reports.tables import plain_table, right


@click.command()
@click.option("--folder", type=click.Path(path_type=Path), help="Where to play; a new folder [a temporary one].")
@click.option("--keep", is_flag=True, help="Leave the city's databases running afterwards, to try commands on.")
@click.option(
    "--engine",
    type=click.Choice(["auto", "postgres", "sqlite"]),
    default="auto",
    show_default=True,
    help="The bureaus' databases; auto: PostgreSQL where its server is installed.",
)
@pass_cli
def demo(context: CliContext, folder: Path | None, keep: bool, engine: str) -> None:
    """Make a small city, back it up, burn it, bring it back, compare, drill; end with a verdict.

    Any difference between the data before the fire and after the recovery fails the demo (exit code 1; 21 when the
    drill failed). All data is synthetic. Nothing outside the folder is touched.
    """
    stage = _stage(folder, engine)
    story = Story(stage, lambda words: _command(context, stage, words), lambda title: _tell(context, title))
    good = False
    try:
        good = story.play()
    finally:
        if not (keep and good):
            stage.city.tear_down()
    context.show(_document(story, good=good), *_ending(story, good=good, keep=keep))
    if not good:
        click.get_current_context().exit(story.exit_code)


def _stage(folder: Path | None, engine: str) -> Stage:
    tools = None if engine == "sqlite" else postgres_tools()
    if engine == "postgres" and tools is None:
        raise ToolMissing("PostgreSQL's server programs are not installed here", hint="use --engine sqlite")
    if folder is None:
        folder = Path(tempfile.mkdtemp(prefix="drbackup-demo-"))
    elif folder.exists() and any(folder.iterdir()):
        raise TargetOccupied(say("{folder} is not empty", folder=folder), where=str(folder), hint="name a new folder")
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o711)  # as root PostgreSQL runs under another account, which must pass through
    city = folder / "city"
    city.mkdir(mode=0o711)
    return Stage(folder, City(city, tools))


def _command(context: CliContext, stage: Stage, words: list[str]) -> int:
    """The exit code of one real command on the demo's installation. It is shown as an operator would type it."""
    from drbackup.cli.main import run  # the whole command: imported late, because it imports us

    context.err.print(Text("$ ", style="dim") + Text(f"drbackup {shlex.join(words)}", style="cyan"), soft_wrap=True)
    with _stdout_to_stderr():
        return run(["--home", str(stage.home), "--policies", str(stage.policies), *words])


@contextlib.contextmanager
def _stdout_to_stderr() -> Iterator[None]:
    """Inside the block the steps print their results on stderr: stdout holds only the demo's own result."""
    sys.stdout.flush()
    with contextlib.redirect_stdout(sys.stderr):
        yield


def _tell(context: CliContext, title: str) -> None:
    context.err.print()
    heading = Text(title, style="bold")
    context.err.print(Rule(heading, align="left", style="dim") if context.err.is_terminal else heading)


def _ending(story: Story, *, good: bool, keep: bool) -> list[RenderableType]:
    table: Table = right(plain_table("", _("Step"), _("Seconds"), _("Result")), 2)
    foldable(foldable(table, 1), 3)
    for step in story.steps:
        mark = Text("✓", style="bold green") if step.good else Text("✗", style="bold red")
        table.add_row(mark, step.title, f"{step.seconds:.1f}", Text(step.saw, style="" if step.good else "red"))
    table.add_row("", Text(_("in all"), style="bold"), f"{sum(step.seconds for step in story.steps):.1f}", "")
    if not good:
        verdict = Panel(
            Text(_("THE DEMO FAILED: see the last step above"), style="bold red"), style="red", expand=False
        )
        return ["", table, verdict, Text(_("everything is left in {folder}").format(folder=story.stage.folder))]
    words = _("The city burnt and came back. Every row and every file is as it was.")
    verdict = Panel(Text(words, style="bold green"), style="green", expand=False)
    return ["", table, verdict, *_next(story, keep=keep)]


def _next(story: Story, *, keep: bool) -> list[RenderableType]:
    stage = story.stage
    shown = [Text(_("Look at:"), style="bold")]
    places = [(_("month report"), stage.report), (_("policies"), stage.policies)]
    # each on a line of its own, in one piece, so that it can be copied
    places[1:1] = [(_("drill report"), path) for path in sorted((stage.home / "evidence").rglob("*.html"))[-1:]]
    shown += [Text(f"  {name}:\n    {path}") for name, path in places]
    shown.append(Text(_("Try:"), style="bold"))
    shown.append(Text(f"  export DRBACKUP_HOME={stage.home}\n  export DRBACKUP_POLICIES={stage.policies}"))
    program = "drbackup" if shutil.which("drbackup") else sys.argv[0]  # "make demo" installs no command
    for words in ("status", "points list", "points ls enterprise-base/scans", "drill list"):
        shown.append(Text(f"  {program} {words}"))
    if keep and stage.city.tools is not None:
        words = _("The databases still run; to stop them: sh {script}").format(script=_stopper(stage))
    else:
        words = _("No database runs. Remove {folder} when you have seen enough.").format(folder=stage.folder)
    shown.append(Text(words))
    return list(shown)


def _stopper(stage: Stage) -> Path:
    """The path of a new shell script that stops the databases that ``--keep`` left running."""
    script = stage.folder / "stop-databases.sh"
    quoted = shlex.quote(str(stage.city.folder))
    script.write_text(
        f"find {quoted} -name postmaster.pid -exec head -n 1 {{}} \\; | xargs kill -INT\n", encoding="utf-8"
    )
    return script


def _document(story: Story, *, good: bool) -> dict[str, object]:
    stage = story.stage
    return {
        "verdict": "good" if good else "failed",
        "engine": stage.city.engine,
        "folder": str(stage.folder),
        "report": str(stage.report),
        "seconds": round(sum(step.seconds for step in story.steps), 3),
        "steps": [
            {"title": step.title, "seconds": round(step.seconds, 3), "result": step.saw, "good": step.good}
            for step in story.steps
        ],
    }
