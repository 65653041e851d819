"""A restored directory tree in a drill's sandbox. Its canary is one of its files."""

from __future__ import annotations

import os
from dataclasses import dataclass

from drbackup.vault.tree import EntryKind
from drbackup_agent.sources.files import canary
from drbackup_agent.sources.restored import FolderCopy


@dataclass(slots=True)
class FilesCopy(FolderCopy):
    """A restored directory tree."""

    def canary_ns(self) -> int:
        assert self.folder is not None
        found = 0
        for entry in self.reader.entries():
            if entry.path.rsplit(b"/", 1)[-1] == canary.CANARY_NAME and entry.kind is EntryKind.FILE:
                path = os.path.join(os.fsencode(self.folder), entry.path)
                found = max(found, canary.read_canary(os.fsdecode(path)))
        return found
