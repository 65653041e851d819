"""The local transport: the agent is a child process of the controller.

The child has its own session and process group. So a terminal's Ctrl-C reaches the controller alone, which then cancels
cleanly. And when the group is ended, the tools that the agent has started end, too.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import IO

from drbackup.errors import AgentMissing, say
from drbackup.fleet.channel import StderrTail

OWN_AGENT = (sys.executable, "-m", "drbackup_agent", "serve")  # the agent of our own environment
_PIPE_BYTES = 1 << 20
_POLL_SECONDS = 0.5


class _PipeReader:
    """The reading end of a pipe; a read ends soon after :meth:`shut`.

    A plain file object can't be closed while another thread is reading it. And a pipe stays open as long as any process
    holds its other end, also one that the agent left running. After :meth:`shut` the descriptor is never used again, so
    the kernel may give its number to another file.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLIN)
        self._shut = threading.Event()
        self._mutex = threading.Lock()

    def read(self, size: int, /) -> bytes:
        while True:
            with self._mutex:
                if self._shut.is_set():
                    return b""
                if self._poll.poll(_POLL_SECONDS * 1000):
                    return os.read(self._descriptor, size)

    def shut(self) -> None:
        self._shut.set()
        # The mutex is free when a read that was under way has ended.
        with self._mutex:
            """Whoever was reading has left."""


class _PipeWriter:
    """The writing end of a pipe. A write after the child's death or :meth:`shut` raises :class:`BrokenPipeError`."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._mutex = threading.Lock()
        self._open = True

    def write(self, data: bytes | memoryview, /) -> int:
        view = memoryview(data)
        done = 0
        with self._mutex:
            while done < len(view):
                if not self._open:
                    raise BrokenPipeError("the channel is closed")
                done += os.write(self._descriptor, view[done:])
        return done

    def flush(self) -> None:
        """Nothing: a write is never buffered here."""

    def refuse(self) -> None:
        """Nothing more is written from now on; a write under way raises after its current piece."""
        self._open = False

    def shut(self) -> None:
        """No write is under way any more. Only for a dead child: nothing else ends a write to a full pipe."""
        self.refuse()
        # The mutex is free when a write that was under way has ended.
        with self._mutex:
            """Whoever was writing has left."""


class LocalChannel:
    """The channel to an agent that is a child process."""

    def __init__(self, host: str, process: subprocess.Popen[bytes]) -> None:
        self.host = host
        self._process = process
        self._stdin, self._stdout, self._stderr = _pipes(process)
        self.reader = _PipeReader(self._stdout.fileno())
        self.writer = _PipeWriter(self._stdin.fileno())
        self._tail = StderrTail()
        self._errors = _PipeReader(self._stderr.fileno())
        self._drain = threading.Thread(target=self._keep_stderr, name=f"stderr {host}", daemon=True)
        self._drain.start()
        self._mutex = threading.Lock()
        self._closed = False

    @property
    def pid(self) -> int:
        return self._process.pid

    def stderr_tail(self) -> str:
        if self._process.poll() is not None:
            self._drain.join(timeout=1.0)
        return self._tail.text()

    def exit_status(self, wait: float = 0.0) -> int | None:
        try:
            return self._process.wait(timeout=wait)
        except subprocess.TimeoutExpired:
            return None

    def close(self, grace: float = 5.0) -> None:
        with self._mutex:
            if self._closed:
                return
            self._closed = True
            self.writer.refuse()
            self._end(grace)
            self.reader.shut()
            self.writer.shut()
            self._drain.join(timeout=1.0)
            self._errors.shut()
            self._drain.join()
            for pipe in (self._stdin, self._stdout, self._stderr):
                with contextlib.suppress(OSError):
                    pipe.close()

    def _end(self, grace: float) -> None:
        """Ends the agent by end of input, then by SIGTERM, then by SIGKILL, each after ``grace`` seconds.

        The signals go to the whole group, so that no tool of the agent stays.
        """
        self.hang_up()
        for name in (None, signal.SIGTERM, signal.SIGKILL):
            if name is not None:
                self._signal_group(name)
            if self.exit_status(wait=grace if name != signal.SIGKILL else 30.0) is not None:
                break
        self._signal_group(signal.SIGKILL)

    def hang_up(self) -> None:
        """The child sees end of input. Our own descriptor stays valid for a thread that is writing just now."""
        nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        os.dup2(nowhere, self._stdin.fileno(), inheritable=False)
        os.close(nowhere)

    def _signal_group(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    def _keep_stderr(self) -> None:
        while data := self._errors.read(65536):
            self._tail.add(data)


def open_channel(host: str, command: Sequence[str], environment: Mapping[str, str] | None = None) -> LocalChannel:
    """The channel to the started ``command``, an argv list. Raises :class:`AgentMissing`.

    ``environment`` is added to our own. ``host`` names the agent in messages.
    """
    try:
        process = subprocess.Popen(
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
        )
    except OSError as failure:
        raise AgentMissing(
            say("the agent can't be started as {command}: {why}", command=repr(command[0]), why=failure.strerror),
            host=host,
        ) from failure
    for pipe in _pipes(process)[:2]:
        with contextlib.suppress(OSError):  # beyond the kernel's per-user limit the default size still works
            fcntl.fcntl(pipe.fileno(), fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    return LocalChannel(host, process)


def _pipes(process: subprocess.Popen[bytes]) -> tuple[IO[bytes], IO[bytes], IO[bytes]]:
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    return process.stdin, process.stdout, process.stderr
