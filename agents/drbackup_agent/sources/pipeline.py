"""Running other programs without trusting any of them.

A program is an argv list, never a shell line. Its exit code is always checked. The end of its stderr is kept, with
passwords masked. It is killed with its whole process group when it moves no bytes for the stall time, or when we stop
early. The end of its output is no success: only exit code 0 after that end is.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Self

from drbackup.errors import ToolFailed, ToolMissing, say
from drbackup.system.masking import masked

_BLOCK = 1 << 20
_TAIL = 8 << 10  # bytes of stderr that are kept
_KILL_AFTER = 3.0  # seconds between SIGTERM and SIGKILL
_PIPE_SIZE = 1 << 20  # bytes


class Child:
    """One running program with its stdin and stdout. It is killed at the end of the ``with`` block if it still runs.

    Every wait is bounded by ``stall_seconds`` (0: no limit). ``label`` is part of every message: what was being done,
    and for which source.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        label: str,
        environment: Mapping[str, str] | None = None,
        stall_seconds: float = 0,
        pipes: str = "out",
    ) -> None:
        """``pipes``: "out" (we read), "in" (we write, its stdout is dropped) or "both".

        Raises :class:`ToolMissing` when the program can't be started.
        """
        self.label = label
        self._name = os.path.basename(argv[0])
        self._stall = stall_seconds
        self._tail = b""
        self._ended = False
        try:
            self.process = subprocess.Popen(
                list(argv),
                stdin=subprocess.PIPE if pipes in ("in", "both") else subprocess.DEVNULL,
                stdout=subprocess.PIPE if pipes in ("out", "both") else subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env=None if environment is None else dict(environment),
                start_new_session=True,
                bufsize=0,
            )
        except (FileNotFoundError, PermissionError, NotADirectoryError) as missing:
            raise ToolMissing(
                say("{label}: can't start {argv}: {why}", label=label, argv=argv[0], why=missing.strerror),
                where=argv[0],
            ) from missing
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                os.set_blocking(pipe.fileno(), False)
                _widen(pipe.fileno())
        self._listener = threading.Thread(target=self._listen, name=f"stderr-{self._name}", daemon=True)
        self._listener.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.kill()

    def read(self, size: int = _BLOCK) -> bytes:
        """Up to ``size`` bytes of stdout, none at its end. Raises :class:`ToolFailed` on a stall."""
        assert self.process.stdout is not None
        handle = self.process.stdout.fileno()
        while True:
            try:
                return os.read(handle, size)
            except BlockingIOError:
                self._wait_for(handle, select.POLLIN)

    def write(self, data: bytes | memoryview) -> None:
        """All of ``data`` is in stdin's pipe. Raises :class:`ToolFailed` on a stall or when the program has ended."""
        assert self.process.stdin is not None
        handle = self.process.stdin.fileno()
        left = memoryview(data)
        while left:
            try:
                left = left[os.write(handle, left) :]
            except BlockingIOError:
                self._wait_for(handle, select.POLLOUT)
            except BrokenPipeError:
                self.finish()  # raises with the program's own message if it failed
                raise ToolFailed(
                    say("{label}: {name} stopped reading before the end", label=self.label, name=self._name)
                ) from None

    def close_input(self) -> None:
        """The program's stdin ends here."""
        if self.process.stdin is not None:
            self.process.stdin.close()

    def finish(self) -> None:
        """The program has ended well. Raises :class:`ToolFailed` unless it ends in time with exit code 0."""
        try:
            code = self.process.wait(self._stall or None)
        except subprocess.TimeoutExpired:
            self.kill()
            raise ToolFailed(
                say("{label}: {name} ended its output but not itself; killed", label=self.label, name=self._name)
            ) from None
        self._ended = True
        self._listener.join(_KILL_AFTER)
        if code:
            words = self.last_words or say("it said nothing on stderr")
            raise ToolFailed(
                say(
                    "{label}: {name} was killed by {how}: {words}"
                    if code < 0
                    else "{label}: {name} ended with exit code {how}: {words}",
                    label=self.label,
                    name=self._name,
                    how=signal.Signals(-code).name if code < 0 else code,
                    words=words,
                ),
                where=self.label,
            )

    def kill(self) -> None:
        """The program has ended, by the signals of :func:`end_group` if it still ran. Safe at any time and twice."""
        if not self._ended:
            self._ended = True
            end_group(self.process)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()

    @property
    def last_words(self) -> str:
        """The end of stderr as one line of at most 2000 characters, with passwords masked."""
        text = self._tail.decode("utf-8", "replace")
        return masked(" | ".join(line.strip() for line in text.splitlines() if line.strip()))[-2000:]

    def _wait_for(self, handle: int, event: int) -> None:
        poll = select.poll()
        poll.register(handle, event)
        if not poll.poll(self._stall * 1000 if self._stall else None):
            words = self.last_words
            self.kill()
            raise ToolFailed(
                say(
                    "{label}: {name} moved no bytes for {seconds} s; killed. {words}"
                    if words
                    else "{label}: {name} moved no bytes for {seconds} s; killed.",
                    label=self.label,
                    name=self._name,
                    seconds=f"{self._stall:g}",
                    words=words,
                )
            )

    def _listen(self) -> None:
        # Read all the time: a program whose stderr pipe is full would wait for ever.
        assert self.process.stderr is not None
        with self.process.stderr as pipe:
            while block := pipe.read(4096):
                self._tail = (self._tail + block)[-_TAIL:]


def stream(
    argv: Sequence[str], *, label: str, environment: Mapping[str, str] | None = None, stall_seconds: float = 0
) -> Iterator[bytes]:
    """A program's stdout in blocks. Raises :class:`ToolMissing`, or :class:`ToolFailed` unless it ends with code 0."""
    with Child(argv, label=label, environment=environment, stall_seconds=stall_seconds) as child:
        while block := child.read():
            yield block
        child.finish()


def output(
    argv: Sequence[str], *, label: str, environment: Mapping[str, str] | None = None, stall_seconds: float = 60
) -> bytes:
    """The whole stdout of a short program. Raises as :func:`stream` does."""
    return b"".join(stream(argv, label=label, environment=environment, stall_seconds=stall_seconds))


def feed(
    argv: Sequence[str],
    blocks: Iterable[bytes | memoryview],
    *,
    label: str,
    environment: Mapping[str, str] | None = None,
    stall_seconds: float = 0,
) -> None:
    """A program has taken all of ``blocks`` on stdin and ended with exit code 0. Raises as :func:`stream` does."""
    with Child(argv, label=label, environment=environment, stall_seconds=stall_seconds, pipes="in") as child:
        for block in blocks:
            child.write(block)
        child.close_input()
        child.finish()


def _widen(handle: int) -> None:
    try:
        fcntl.fcntl(handle, fcntl.F_SETPIPE_SZ, _PIPE_SIZE)
    except OSError:
        return  # the user's limit for pipes is reached; the usual 64 KiB work too


def end_group(process: subprocess.Popen[bytes]) -> None:
    """A program that leads a process group has ended. While it runs, its group gets SIGTERM, after 3 s SIGKILL."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is None:
            try:
                os.killpg(process.pid, sign)
            except ProcessLookupError:
                break
            until = time.monotonic() + _KILL_AFTER
            while process.poll() is None and time.monotonic() < until:
                time.sleep(0.01)
    process.wait()
