"""What the tests of bad input share: a place with something to lose, what a failure must say, and what must stand."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import yaml

from tests.e2e.test_restore_and_drill import contents
from tests.support.cities.site import Answer, Site
from tests.support.poll import PATIENCE, wait_until

PLACE = "registry/scans"
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Complaint:
    """What a failed command says. ``failed``: what, on which host and at which place; findings stand on its next
    lines."""

    failed: str
    safe: str
    next: str


_FORM = re.compile(r"^failed: (\S.*)\nstill safe: (\S.*)\nnext: (\S.*)\n\Z", re.DOTALL | re.MULTILINE)


def complaint(answer: Answer, code: int) -> Complaint:
    """A failure with that exit code, which says all three things once, at the end of stderr, and has no traceback."""
    said = f"exit code {answer.code}\n{answer.out}\n{answer.err}"
    assert answer.code == code, said
    assert "Traceback" not in answer.err, said
    form = _FORM.search(answer.err)
    assert form is not None, said
    assert "\n" not in form[2] + form[3], said
    return Complaint(form[1], form[2], form[3])


@dataclass(frozen=True)
class Town:
    """A founded installation with one committed point of the scans, and what was in it."""

    site: Site
    point: str
    before: Mapping[str, object]
    environment: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def settle(cls, site: Site, **environment: str) -> Town:
        """Found ``site`` and commit its first point."""
        site.found()
        answer = site.run("backup", PLACE, "--json", **environment)
        assert answer.code == 0, answer.err
        return cls(site, answer.document["backups"][0]["point"]["id"], contents(site.scans), environment)

    def run(self, *words: str) -> Answer:
        return self.site.run(*words, **self.environment)

    def good(self, *words: str) -> Answer:
        answer = self.run(*words)
        assert answer.code == 0, f"{words}: {answer.code}\n{answer.out}\n{answer.err}"
        return answer

    def refused(self, code: int, *words: str) -> Complaint:
        """A command that must fail with ``code``."""
        return complaint(self.run(*words), code)

    def nothing_is_lost(self, *words: str) -> Answer:
        """The point of before the mishap still comes back as it was. ``words``: more options of the restore."""
        target = self.site.folder / f"back-{next(_numbers)}"
        answer = self.good("restore", self.point[:12], "--to", str(target), *words)
        assert contents(target / str(self.site.scans).lstrip("/")) == self.before
        return answer

    def goes_on(self, place: str = PLACE) -> None:
        """The next run succeeds, with data that is not in the vault yet."""
        (self.site.scans / f"new-{next(_numbers)}.tif").write_bytes(os.urandom(10_000))
        self.good("backup", place)

    @contextlib.contextmanager
    def amended(self, part: str, **entries: object) -> Iterator[None]:
        """Other entries in that part of inventory.yaml, for the block."""

        def change(text: str) -> str:
            document: dict[str, Any] = yaml.safe_load(text)
            document[part].update(entries)
            return yaml.safe_dump(document, allow_unicode=True)

        with self.rewritten("inventory.yaml", change):
            yield

    @contextlib.contextmanager
    def rewritten(self, name: str, change: Callable[[str], str]) -> Iterator[None]:
        """Another text in a file of the policy folder, for the block."""
        path = self.site.policies / name
        before = path.read_text(encoding="utf-8")
        path.write_text(change(before), encoding="utf-8")
        try:
            yield
        finally:
            path.write_text(before, encoding="utf-8")

    @contextlib.contextmanager
    def running(self, *words: str) -> Iterator[Running]:
        """A command under way; it is over when the block is."""
        process = subprocess.Popen(
            self.site.command(*words),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**self.site.environment(), **self.environment},
        )
        try:
            yield Running(process)
        finally:
            process.kill()
            process.wait(PATIENCE)


@dataclass(frozen=True)
class Running:
    """A command under way."""

    process: subprocess.Popen[str]

    def end(self) -> Answer:
        """Its end."""
        out, err = self.process.communicate(timeout=PATIENCE)
        return Answer(self.process.returncode, out, err)

    @contextlib.contextmanager
    def feeding(self, fifo: Path) -> Iterator[Callable[[bytes], None]]:
        """What is written into ``fifo``, as soon as somebody reads it: inside the block the run is in its middle."""
        found: list[int] = []

        def opened() -> bool:
            assert self.process.poll() is None, self.end()
            try:
                found.append(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK))
            except OSError as nobody:
                if nobody.errno != errno.ENXIO:
                    raise
            return bool(found)

        wait_until(opened)
        os.set_blocking(found[0], True)
        with os.fdopen(found[0], "wb", buffering=0) as file:
            yield lambda data: require_all(file.write(data), data)


def require_all(written: int | None, data: bytes) -> None:
    """A fifo takes everything from a writer that waits."""
    assert written == len(data)


def processes_with(word: str) -> list[psutil.Process]:
    """Every process with that text in its command line."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if any(word in part for part in process.cmdline()):
                found.append(process)
    return found


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Callable[[str], None]]:
    """A filesystem of that size at ``folder``; the callable gives it another size."""
    folder.mkdir()

    def mount(options: str) -> None:
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True, timeout=30)

    mount(f"size={size}")
    try:
        yield lambda other: mount(f"remount,size={other}")
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True, timeout=30)


@contextlib.contextmanager
def no_room(disk: Path) -> Iterator[None]:
    """Not a byte is free on that small disk, for the block."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    try:
        yield
    finally:
        filler.unlink()


def python_prelude(folder: Path, text: str) -> str:
    """A value for PYTHONPATH that runs ``text`` at the start of every Python; nothing else of it changes."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(text)
    return str(folder)
