"""Errors become words on stderr, one JSON document on stdout, and the documented exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pytest

from drbackup import errors
from drbackup.cli import commands
from drbackup.cli.context import CliContext, default_home, pass_cli
from drbackup.cli.main import cli, run


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> list[BaseException]:
    """A command ``fail`` that shows a result and then raises what the list holds."""
    raised: list[BaseException] = []

    @click.command()
    @pass_cli
    def fail(context: CliContext) -> None:
        context.show({"done": 1}, "done: 1")
        for problem in raised:
            raise problem

    monkeypatch.setitem(commands.COMMANDS, "fail", (__name__, "fail", "Fails."))
    monkeypatch.setattr(f"{__name__}.fail", fail, raising=False)
    return raised


def test_every_error_class_exits_with_its_own_code(
    failing: list[BaseException], capsys: pytest.CaptureFixture[str]
) -> None:
    for kind in errors.all_errors().values():
        failing[:] = [kind("it broke", host="db1", where="table x")]
        assert run(["fail"]) == kind.exit_code
        said = capsys.readouterr().err
        assert said.startswith("failed: it broke (db1, table x)")
        assert "still safe: " in said
        assert "next: " in said


@pytest.mark.parametrize(
    ("message", "host", "where", "said"),
    [
        ("table x broke", "db1", "table x", "table x broke (db1)"),
        ("no connection to db1 (a@10.0.0.1)", "db1", "", "no connection to db1 (a@10.0.0.1)"),
        ("store s, v1/d/db1/p/00: full", "db1", "v1/d/db1/p/00", "store s, v1/d/db1/p/00: full (db1)"),
        ("it broke", "", "", "it broke"),
    ],
)
def test_host_and_place_are_said_once(
    failing: list[BaseException], capsys: pytest.CaptureFixture[str], message: str, host: str, where: str, said: str
) -> None:
    failing[:] = [errors.StoreFull(message, host=host, where=where)]
    run(["fail"])
    assert capsys.readouterr().err.splitlines()[0] == f"failed: {said}"


def test_json_is_one_document_with_result_and_error(
    failing: list[BaseException], capsys: pytest.CaptureFixture[str]
) -> None:
    failing[:] = [errors.DoneInPart("one of two")]
    assert run(["fail", "--json"]) == 3
    document = json.loads(capsys.readouterr().out)
    assert document["done"] == 1
    assert document["error"]["code"] == "DoneInPart"
    assert document["error"]["exit_code"] == 3


def test_shared_options_may_stand_on_either_side(
    failing: list[BaseException], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["--json", "fail"]) == 0
    before = capsys.readouterr().out
    assert run(["fail", "--json"]) == 0
    assert capsys.readouterr().out == before == '{\n  "done": 1\n}\n'


def test_an_interrupt_exits_130(failing: list[BaseException], capsys: pytest.CaptureFixture[str]) -> None:
    failing[:] = [KeyboardInterrupt()]
    assert run(["fail"]) == 130
    assert "interrupted" in capsys.readouterr().err


def test_a_bug_is_said_to_be_one_and_hides_its_trace_until_asked(
    failing: list[BaseException], capsys: pytest.CaptureFixture[str]
) -> None:
    failing[:] = [ZeroDivisionError("division by zero")]
    assert run(["fail"]) == 1
    said = capsys.readouterr().err
    assert "bug in drbackup" in said
    assert "Traceback" not in said
    assert run(["fail", "--log-level", "debug"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_wrong_words_exit_2_also_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["no-such-word", "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "UsageError"


def test_home_is_the_option_else_the_variable_else_the_users_state(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DRBACKUP_HOME", str(tmp_path / "by-variable"))
    assert run(["status"]) == 10
    assert "by-variable" in capsys.readouterr().err
    assert run(["status", "--home", str(tmp_path / "by-option")]) == 10
    assert "by-option" in capsys.readouterr().err
    assert run(["--home", str(tmp_path / "in-front"), "status"]) == 10
    assert "in-front" in capsys.readouterr().err
    monkeypatch.delenv("DRBACKUP_HOME")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert default_home() == tmp_path / "drbackup"


def test_every_command_of_the_list_exists_and_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    pending: list[list[str]] = [[]]
    context = click.Context(cli, info_name="drbackup")
    while pending:
        path = pending.pop()
        command: click.Command = cli
        for word in path:
            assert isinstance(command, click.Group)
            found = command.get_command(context, word)
            assert found is not None, path
            command = found
        assert command.help, path
        assert run([*path, "--help"]) == 0
        capsys.readouterr()
        if isinstance(command, click.Group):
            pending += [[*path, word] for word in command.list_commands(context)]
