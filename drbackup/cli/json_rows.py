"""A list inside the ``--json`` document that may be longer than memory: encoded row by row, kept on disk beyond a few
megabytes, and printed only when all of it is there, so that a failure midway never leaves half a document."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Mapping
from shutil import copyfileobj
from typing import Any, TextIO

_IN_MEMORY = 8 << 20  # bytes; what is longer goes to a temporary file


class JsonRows:
    """The rows of one member of a document, read once and at once."""

    def __init__(self, rows: Iterable[Mapping[str, Any]]) -> None:
        self._file = tempfile.SpooledTemporaryFile(_IN_MEMORY, "w+", encoding="utf-8")  # noqa: SIM115 - ends with us
        self._count = 0
        for row in rows:
            self._file.write((",\n" if self._count else "\n") + "    " + indented(row, 4))
            self._count += 1

    def __len__(self) -> int:
        return self._count

    def write_to(self, out: TextIO) -> None:
        """Write the list as a member of a document that stands two columns in."""
        out.write("[")
        self._file.seek(0)
        copyfileobj(self._file, out)
        out.write("\n  ]" if self._count else "]")


def indented(value: Any, columns: int) -> str:
    """The value's JSON, every line but the first so many columns in."""
    return json.dumps(value, ensure_ascii=False, indent=2).replace("\n", "\n" + " " * columns)
