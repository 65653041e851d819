"""Where engines store: a folder, or an S3 server on loopback that counts its own requests."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from drbackup.stores.s3.store import S3Store
from tests.support.services.seaweedfs import S3Server, launch
from tools.bench.machine import cpu_of


class Place(Protocol):
    """One engine's empty store. ``kind``: ``local`` or ``s3``."""

    kind: str

    def weigh(self) -> tuple[int, int]:
        """(bytes, objects) stored now."""
        ...

    def meter(self) -> tuple[int, float]:
        """(requests, CPU seconds) of the server so far; zeros for a folder."""
        ...


class Folder:
    """A folder, made by the engine."""

    kind = "local"

    def __init__(self, path: Path) -> None:
        self.path = path

    def weigh(self) -> tuple[int, int]:
        sizes = [os.lstat(Path(place) / name).st_size for place, _, names in os.walk(self.path) for name in names]
        return sum(sizes), len(sizes)

    def meter(self) -> tuple[int, float]:
        return 0, 0.0


class Bucket:
    """A fresh bucket, neither versioned nor locked: what every peer can use."""

    kind = "s3"

    def __init__(self, server: S3Server) -> None:
        self.server = server
        self.name = server.make_bucket(lock=False)

    def weigh(self) -> tuple[int, int]:
        sizes = [each.size for each in S3Store("bench", self.server.config(self.name)).list("")]
        return sum(sizes), len(sizes)

    def meter(self) -> tuple[int, float]:
        """The server counts requests itself: a proxy that counts would be the slowest part of all."""
        assert self.server.process is not None
        return self.server.requests(), cpu_of(self.server.process.pid)


@contextlib.contextmanager
def served(folder: Path) -> Iterator[S3Server]:
    """A running server with its data below ``folder``."""
    server = launch(folder)
    try:
        yield server
    finally:
        server.kill()
