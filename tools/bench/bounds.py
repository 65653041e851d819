"""What well-known tools take for a part of the same work on the same data: how fast this machine could be at most."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from tools.bench.data import DataSet
from tools.bench.machine import run, settle
from tools.bench.results import Bound

_HASH = (
    "import hashlib,sys\n"
    "for name in sys.stdin.buffer.read().split(b'\\0'):\n"
    "    with open(name, 'rb') as file: hashlib.file_digest(file, 'sha256')"
)


def measure(data: DataSet, work: Path, patience: float) -> Iterator[Bound]:
    """Day 1's bounds of one set, each as soon as it is known; ``work`` is a new folder for the copies. A tool that is
    not here is passed over."""
    if not all(map(shutil.which, ("tar", "zstd", "find", "cp"))):
        return
    work.mkdir()
    packed, source, where = work / "all.tar.zst", shlex.quote(str(data.folder)), shlex.quote(str(work))
    lists = {"stored": [packed], "changed": data.changed()}
    hashing = f"{shlex.quote(sys.executable)} -c {shlex.quote(_HASH)}"
    shell = (
        ("first", "tar | zstd -3 -T2", f"tar -C {source} -cf - . | zstd -q -3 -T2 -o {where}/all.tar.zst"),
        ("no-change", "find: every name and its attributes", f"find {source} -printf '%s %T@ %i\\n' > /dev/null"),
        ("restore", "zstd -d, thrown away", f"zstd -q -dc {where}/all.tar.zst > /dev/null"),
        (
            "restore",
            "zstd -d | tar, written",
            f"mkdir {where}/out; zstd -q -dc {where}/all.tar.zst | tar -C {where}/out -x",
        ),
        ("restore", "cp -a", f"cp -a {source} {where}/copy"),
        ("check", "SHA-256 of the packed bytes, one core", f"{hashing} < {where}/stored"),
        ("day 2", "SHA-256 of the changed files, one core", f"{hashing} < {where}/changed"),
    )
    for operation, what, line in shell:
        if operation in ("check", "day 2"):
            name = "stored" if operation == "check" else "changed"
            present = [bytes(path) for path in lists[name] if path.exists()]
            (work / name).write_bytes(b"\0".join(present))
            if not present:
                continue
        settle(patience)
        took = run(["bash", "-o", "pipefail", "-c", line], dict(os.environ), work, work / "log")
        if took.code == 0:
            size = packed.stat().st_size if operation == "first" else 0
            yield Bound(data.name, operation, what, took.wall, took.cpu, size)
    shutil.rmtree(work)
