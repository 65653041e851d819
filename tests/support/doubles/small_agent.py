"""A real agent (the real ``serve``) with one small job chosen on the command line; run as a program.

Everything but the job is what runs in production: streams, greeting, link, destination. ``garbage``, ``noise`` and
friends speak the protocol wrongly on purpose.
"""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import drbackup_agent.serve
from drbackup.errors import DrbackupError, SourceEmpty
from drbackup.wire.framing import GREETING, FrameStream
from drbackup.wire.messages import Hello, Job, Note, Pinned, PreflightResult, Progress, Result, Upload
from drbackup_agent.serve import end_process_group, own_process_group, serve, take_streams
from drbackup_agent.session.download import WireFetch
from drbackup_agent.session.identity import hello
from drbackup_agent.session.link import Link
from drbackup_agent.session.upload import WireDestination

DONE = PreflightResult({"job": "ok: done"})
PACKS = 24
PACK_BYTES = 1 << 20


def pack_of(number: int) -> bytes:
    return number.to_bytes(4, "big") * (PACK_BYTES // 4)


def relay(job: Job, link: Link, state: Path, skew_ns: int) -> Result:
    """Pin, store packs from several threads, read one back."""
    link.ask(Pinned(0, time.time_ns(), "here"))
    destination = WireDestination(link)
    packs = {hashlib.sha256(data).digest(): data for data in map(pack_of, range(PACKS))}
    known = destination.locate(list(packs))
    with ThreadPoolExecutor(6) as pool:
        for done in [pool.submit(destination.put, "p", name, data, ()) for name, data in packs.items()]:
            done.result()
    name = next(iter(packs))
    middle = WireFetch(link).fetch("p", "d1", name, 100, 1000)
    print("a library prints to stdout")
    subprocess.run(["echo", "a tool prints to stdout"], check=True)
    link.tell(Note("info", "all stored"))
    return PreflightResult({"known": str(len(known)), "same": str(middle == packs[name][100:1100])})


def ask_on(job: Job, link: Link, state: Path, skew_ns: int) -> Result:
    """Stores packs until the end of the world."""
    destination = WireDestination(link)
    number = 0
    while True:
        data = pack_of(number)
        destination.put("p", hashlib.sha256(data).digest(), data, ())
        number += 1


def die(job: Job, link: Link, state: Path, skew_ns: int) -> Result:
    sys.stderr.write("connecting to postgresql://backup:hunter2@db1/registry\npassword=hunter2\n")
    sys.stderr.flush()
    os.kill(os.getpid(), signal.SIGKILL)
    return DONE


def stuck(job: Job, link: Link, state: Path, skew_ns: int) -> Result:
    """Heartbeats come, work does not; ends politely when told."""
    link.tell(Progress("sending", 1))
    link.cancelled.wait()
    link.check()
    return DONE


def frozen(job: Job, link: Link, state: Path, skew_ns: int) -> Result:
    """Asks for much and then does not read it: the controller's answer fills every buffer on the way."""
    link.note(f"frozen {os.getpid()}")
    stop = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGSTOP))
    stop.start()
    while True:
        WireFetch(link).fetch("p", "d1", bytes(32), 0, 32 << 20)


def with_child(job: Job, link: Link, state: Path, skew_ns: int) -> Result:
    """Starts a tool that would run for long, and waits for a stop."""
    child = subprocess.Popen(["sleep", "600"])
    link.note(f"child {child.pid}")
    link.cancelled.wait()
    link.check()
    return DONE


def deaf(job: Job, link: Link, state: Path, skew_ns: int) -> Result:
    """Starts a tool, and never looks whether it should stop; here the grace for that is short."""
    child = subprocess.Popen(["sleep", "600"])
    drbackup_agent.serve.STOP_GRACE_SECONDS = 0.2
    link.note(f"child {child.pid}")
    while True:
        time.sleep(600)


def fail(job: Job, link: Link, state: Path, skew_ns: int) -> Result:
    raise SourceEmpty("the folder is empty", where="/srv/registry")


def bug(job: Job, link: Link, state: Path, skew_ns: int) -> Result:
    raise KeyError("somebody's mistake")


def quick(job: Job, link: Link, state: Path, skew_ns: int) -> Result:
    return DONE


def ungranted(job: Job, link: Link, state: Path, skew_ns: int) -> Result:
    """What a taken-over agent might do: claim a pack that was never granted."""
    from drbackup.wire.messages import Uploaded

    link.ask(Uploaded(0, "p", bytes(32), 7))
    return DONE


def lying(job: Job, link: Link, state: Path, skew_ns: int) -> Result:
    """Another body than the name promises."""
    from drbackup.wire.messages import Uploaded

    link.ask(Upload(0, "p", bytes(32), 7))
    link.ask(Uploaded(0, "p", bytes(32), 7), b"7 bytes")
    return DONE


def wrong_result(job: Job, link: Link, state: Path, skew_ns: int) -> Result:
    from drbackup.wire.messages import RestoreResult

    return RestoreResult(1, 1, 1)


JOBS: dict[str, Callable[[Job, Link, Path, int], Result]] = {
    job.__name__: job
    for job in (relay, ask_on, die, stuck, frozen, with_child, deaf, fail, bug, quick, ungranted, lying, wrong_result)
}


def speak(mode: str) -> None:
    """The wrong beginnings."""
    out = sys.stdout.buffer
    stream = FrameStream(sys.stdin.buffer, out)
    me = hello()
    match mode:
        case "noise":
            out.write(b"Welcome to db1! Unauthorised use is a crime.\n" + GREETING)
        case "other-stream":
            out.write(b"DRBACKUP-AGENT/9\n")
        case "silent":
            pass
        case "garbage":
            out.write(GREETING + b"\0\0\0\x05\0\0\0\0\xc1\xc1\xc1\xc1\xc1")
        case "flood":
            out.write(GREETING + b"\xff\xff\xff\xff\xff\xff\xff\xff")
        case _:
            out.write(GREETING)
            stream.send(
                Hello(
                    protocol=99 if mode == "other-protocol" else me.protocol,
                    version="0.0.1" if mode == "old" else me.version,
                    hostname=me.hostname,
                    python=me.python,
                    platform=me.platform,
                    clock_ns=me.clock_ns + {"hour-ahead": 3600, "hour-behind": -3600}.get(mode, 0) * 10**9,
                    bundle="ab" * 32 if mode == "other-file" else me.bundle,
                )
            )
    out.flush()
    sys.stdin.buffer.read()


def main() -> int:
    mode = sys.argv[1]
    if mode not in JOBS:
        speak(mode)
        return 0
    streams = take_streams()
    own_process_group()
    try:
        return serve(JOBS[mode], Path("/nonexistent"), streams)
    finally:
        end_process_group()


if __name__ == "__main__":
    assert threading.current_thread() is threading.main_thread()
    assert issubclass(SourceEmpty, DrbackupError)
    sys.exit(main())
