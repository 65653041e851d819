"""The local transport: a child process that is always ended and reaped."""

from __future__ import annotations

import fcntl
import os
import sys
import termios
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from drbackup.fleet.local import LocalChannel, open_channel
from tests.support.poll import PATIENCE, wait_until


@contextmanager
def shell(text: str) -> Iterator[LocalChannel]:
    channel = open_channel("here", ["sh", "-c", text])
    try:
        yield channel
    finally:
        channel.close(grace=0.2)


def read_all(channel: LocalChannel) -> bytes:
    parts = []
    while part := channel.reader.read(65536):
        parts.append(part)
    return b"".join(parts)


def waiting_bytes(channel: LocalChannel) -> int:
    """Bytes in the child's stdin that it has not read."""
    pipe = os.open(f"/proc/{channel.pid}/fd/0", os.O_RDONLY | os.O_NONBLOCK)
    try:
        return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder)
    finally:
        os.close(pipe)


def test_bytes_go_both_ways_unchanged() -> None:
    data = bytes(range(256)) * 20000
    with shell("cat") as channel:
        got: list[bytes] = []
        reader = threading.Thread(target=lambda: got.append(read_all(channel)))
        reader.start()
        channel.writer.write(data)
        channel.hang_up()
        reader.join()
    assert got == [data]


def test_a_child_that_ignores_its_end_of_input_is_ended() -> None:
    with shell("trap '' TERM; while :; do sleep 1; done") as channel:
        channel.close(grace=0.3)  # it would never end by itself
        assert channel.exit_status() == -9
        assert not psutil.pid_exists(channel.pid)


def test_close_wakes_a_reader_even_if_a_grandchild_keeps_the_pipe_open() -> None:
    with shell("setsid sleep 600 & echo started; wait") as channel:
        assert channel.reader.read(100) == b"started\n"
        ended = threading.Event()
        threading.Thread(target=lambda: (read_all(channel), ended.set()), daemon=True).start()
        channel.close(grace=0.2)
        assert ended.wait(PATIENCE)


def test_close_wakes_a_writer_on_a_full_pipe() -> None:
    with shell("sleep 600") as channel:
        failed: list[BaseException] = []

        def write() -> None:
            try:
                channel.writer.write(bytes(8 << 20))
            except OSError as broken:
                failed.append(broken)

        writer = threading.Thread(target=write)
        writer.start()
        wait_until(lambda: waiting_bytes(channel) >= 64 << 10)
        channel.close(grace=0.2)
        writer.join()
        assert failed


def test_closing_twice_and_writing_after_is_harmless() -> None:
    with shell("cat") as channel:
        channel.close()
        channel.close()
        assert channel.reader.read(10) == b""
        with pytest.raises(BrokenPipeError):
            channel.writer.write(b"late")


def test_a_flood_on_stderr_does_not_stop_the_child_and_its_tail_is_kept() -> None:
    with shell("i=0; while [ $i -lt 20000 ]; do echo noise $i >&2; i=$((i+1)); done; echo done") as channel:
        assert read_all(channel) == b"done\n"
        assert channel.exit_status(PATIENCE) == 0
        assert channel.stderr_tail().endswith("noise 19999")
        assert len(channel.stderr_tail()) <= 8192


def test_the_environment_is_added_to_ours() -> None:
    channel = open_channel("here", ["sh", "-c", "echo $EXTRA $HOME"], {"EXTRA": "x"})
    try:
        assert read_all(channel).startswith(b"x /")
    finally:
        channel.close()
