"""The canary of a directory tree: a small file whose age in a restored copy is the measured RPO.

It is the only thing that we write to a source, and it replaces nothing but itself.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from drbackup.system.durable import write_file

CANARY_NAME = b".drbackup-canary.json"
CANARY_FIELD = "drbackup_canary_ns"
_PARTIAL = ".drbackup-canary.json.partial"


def write_canary(folder: str, now_ns: int) -> str:
    """The reason why the folder has no canary of ``now_ns`` (UTC nanoseconds); empty when it was written.

    It is written atomically. A folder that we may not write to, or a file of that name that is not ours, is not
    touched: without a canary only a measurement is lost, not a backup.
    """
    if not os.path.isdir(folder):
        return f"{folder} is no folder: no canary"
    canary = os.path.join(folder, CANARY_NAME.decode())
    if os.path.lexists(canary) and read_canary(canary) == 0:
        return f"{canary} is not ours: no canary"
    try:
        line = json.dumps({CANARY_FIELD: now_ns}) + "\n"
        # Durably: an empty file after a power cut would look like somebody else's for ever.
        write_file(Path(canary), line.encode("ascii"), mode=0o644, hidden_name=_PARTIAL)
    except OSError as bad:
        return f"{folder} can't be written to ({bad.strerror}): no canary"
    return ""


def read_canary(path: str) -> int:
    """The UTC nanoseconds in a canary file; 0 for any other file."""
    try:
        with open(path, "rb") as file:
            value = json.loads(file.read(4096))[CANARY_FIELD]
    except (OSError, ValueError, KeyError, TypeError):
        return 0
    return value if isinstance(value, int) else 0
