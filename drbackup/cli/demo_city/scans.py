"""Scanned files on a disk. Their bytes come from a seed, so they are the same on every run."""

from __future__ import annotations

import hashlib
import os
import random
from pathlib import Path

from drbackup.cli.demo_city.registers import Scan

_PAGE = 24 * 1024  # bytes of noise on a page
_HEADER = b"II*\x00drbackup demo scan\x00"


def content(scan: Scan) -> bytes:
    """The file's bytes: a header, then for every page 24 KiB of noise and 12 KiB of one byte, which compresses well."""
    dice = random.Random(scan.seed)
    pages = [dice.randbytes(_PAGE) + b"\xff" * (_PAGE // 2) for _page in range(scan.pages)]
    return _HEADER + b"".join(pages)


def write(folder: Path, scan: Scan) -> int:
    """The size in bytes of one scan, which is written below ``folder``. Its modification time comes from its seed."""
    path = folder / scan.path
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content(scan)
    path.write_bytes(data)
    taken = 1_100_000_000 + scan.seed % 1_000_000
    os.utime(path, (taken, taken))
    return len(data)


def fingerprint(folder: Path) -> dict[str, str]:
    """Every file below ``folder``: relative path → octal mode, modification time in ns, SHA-256; or a link's target."""
    found: dict[str, str] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            found[str(path.relative_to(folder))] = f"-> {path.readlink()}"
        elif path.is_file():
            status = path.stat()
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            found[str(path.relative_to(folder))] = f"{status.st_mode & 0o7777:o} {status.st_mtime_ns} {digest}"
    return found
