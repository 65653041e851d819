"""A list inside the ``--json`` document that may be longer than memory.

It is encoded row by row and kept in a temporary file beyond 8 MiB. It is printed only when all of it is there, so that
a failure midway never leaves half a document.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Mapping
from shutil import copyfileobj
from typing import Any, TextIO

_IN_MEMORY = 8 << 20  # bytes; what is longer goes to a temporary file


class JsonRows:
    """The rows of one list in a document. They are read once, when the object is made; ``len`` is their number."""

    def __init__(self, rows: Iterable[Mapping[str, Any]]) -> None:
        self._file = tempfile.SpooledTemporaryFile(_IN_MEMORY, "w+", encoding="utf-8")  # noqa: SIM115 - ends with us
        self._count = 0
        for row in rows:
            self._file.write((",\n" if self._count else "\n") + "    " + indented(row, 4))
            self._count += 1

    def __len__(self) -> int:
        return self._count

    def write_to(self, out: TextIO) -> None:
        """The list as JSON on ``out``, as the value of a member that is indented by two columns."""
        out.write("[")
        self._file.seek(0)
        copyfileobj(self._file, out)
        out.write("\n  ]" if self._count else "]")


def indented(value: Any, columns: int) -> str:
    """The value's JSON; every line but the first is indented by ``columns`` more."""
    return json.dumps(value, ensure_ascii=False, indent=2).replace("\n", "\n" + " " * columns)
