"""The kind ``command``: a point is the stdout of any program; the restore feeds it to another program's stdin."""

from __future__ import annotations

import os
from collections.abc import Iterator

import msgspec

from drbackup.errors import SourceUnreadable, UsageError, say
from drbackup.model.point import SourceFacts
from drbackup.vault.read.reader import PointReader
from drbackup.vault.tree import Entry, EntryKind
from drbackup.vault.write.writer import PointWriter
from drbackup.wire.messages import PreflightCheck, RestoreResult
from drbackup_agent.sources.base import DrillStage, Pin, RestoreRequest, SourceContext, SourceKind, Substance, Watch
from drbackup_agent.sources.pipeline import feed, stream
from drbackup_agent.sources.restored import FolderCopy


class CommandSpec(msgspec.Struct, frozen=True, tag="command"):
    """The programs of a command source."""

    backup: tuple[str, ...]  # argv whose stdout is copied
    restore: tuple[str, ...] = ()  # argv that gets it on stdin; empty: restore to a folder only
    environment_file: str = ""  # on the agent's host, lines NAME=value
    name: str = "stdout"  # the file's name in the tree


class CommandSource:
    """The output of ``spec.backup`` as a :class:`~drbackup_agent.sources.base.Source`."""

    kind = "command"

    def __init__(self, spec: CommandSpec, context: SourceContext) -> None:
        if not spec.backup:
            raise UsageError("a command source names no command")
        if "/" in spec.name or spec.name in ("", ".", ".."):
            raise UsageError(say("{name} can't be a file name", name=repr(spec.name)))
        self._spec = spec
        self._context = context
        self._pin = Pin(0)
        self._bytes = 0

    def preflight(self) -> list[PreflightCheck]:
        program = self._spec.backup[0]
        found = os.access(program, os.X_OK) if "/" in program else _on_path(program)
        checks = [PreflightCheck(f"command {program}", found, "found" if found else "not found or not executable")]
        if self._spec.environment_file:
            readable = os.access(self._spec.environment_file, os.R_OK)
            checks.append(PreflightCheck("environment_file", readable, "readable" if readable else "can't be read"))
        return checks

    def pin(self) -> Pin:
        # Only the program knows which instant its output shows; the program's start is never later than the data.
        self._pin = Pin(self._context.clock_ns())
        return self._pin

    def copy(self, writer: PointWriter, watch: Watch) -> SourceFacts:
        content = writer.stream(self._blocks(watch))
        self._bytes = content.size
        stamp = self._pin.pinned_ns
        writer.add(Entry(self._spec.name.encode(), EntryKind.FILE, 0o600, mtime_ns=stamp, atime_ns=stamp), content)
        return SourceFacts(self._pin.pinned_ns, self.kind, tool=os.path.basename(self._spec.backup[0]))

    def substance(self) -> Substance:
        return Substance(int(self._bytes > 0), self._bytes, say("outputs with content"))

    def remember(self) -> None:
        """Nothing is remembered between runs."""

    def close(self) -> None:
        """Nothing is held."""

    def _blocks(self, watch: Watch) -> Iterator[bytes]:
        blocks = stream(
            self._spec.backup,
            label=f"command {os.path.basename(self._spec.backup[0])}",
            environment=command_environment(self._spec),
            stall_seconds=self._context.limits.stall_seconds,
        )
        for block in blocks:
            watch.check()
            yield block


def restore_command(reader: PointReader, spec: CommandSpec, *, stall_seconds: float, watch: Watch) -> Entry:
    """The entry of the point's one stream, after ``spec.restore`` took all of it and ended with exit code 0.

    The program sees the end of its input only after the digest of the whole matched: the last block is held back until
    then. Raises :class:`UsageError` without a program or a stream, and :class:`~drbackup.errors.ToolFailed`.
    """
    if not spec.restore:
        raise UsageError("this command source names no restore command", hint="restore to a folder instead")
    entry = reader.find(spec.name.encode())
    if entry is None:
        raise UsageError(say("the point holds no stream named {name}", name=repr(spec.name)))

    def blocks() -> Iterator[bytes | memoryview]:
        held: bytes | memoryview = b""
        for block in reader.content(entry):
            watch.check()
            yield held
            held = block
        yield held

    feed(
        spec.restore,
        blocks(),
        label=f"command {os.path.basename(spec.restore[0])}",
        environment=command_environment(spec),
        stall_seconds=stall_seconds,
    )
    return entry


def command_environment(spec: CommandSpec) -> dict[str, str]:
    """This process's environment and the lines NAME=value of ``environment_file``. They never leave this host.

    Raises :class:`SourceUnreadable` for a file that can't be read or a line of another form.
    """
    environment = dict(os.environ)
    if not spec.environment_file:
        return environment
    try:
        with open(spec.environment_file, encoding="utf-8") as file:
            lines = file.read().splitlines()
    except (OSError, UnicodeDecodeError) as bad:
        raise SourceUnreadable(
            say("{environment_file}: {why}", environment_file=spec.environment_file, why=bad),
            where=spec.environment_file,
        ) from bad
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            where = f"{spec.environment_file}:{number}"
            raise SourceUnreadable(say("{where}: not a line NAME=value", where=where), where=where)
        environment[name] = value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"" else value
    return environment


def _on_path(program: str) -> bool:
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    return any(os.access(os.path.join(folder, program), os.X_OK) for folder in folders)


def _restore(spec: CommandSpec, request: RestoreRequest, watch: Watch) -> RestoreResult:
    entry = restore_command(request.reader, spec, stall_seconds=request.limits.stall_seconds, watch=watch)
    return RestoreResult(1, 1, entry.size, notes=watch.notes)


def _drill(stage: DrillStage) -> tuple[FolderCopy, RestoreResult]:
    result = stage.into_folder()
    return FolderCopy(stage.source, stage.reader, stage.folder), result


COMMAND = SourceKind(spec=CommandSpec, open=CommandSource, restore=_restore, drill=_drill)
