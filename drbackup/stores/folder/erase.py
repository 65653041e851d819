"""Erasing objects of a folder store: unlink, then fsync of the folder, so that what is gone stays gone."""

from __future__ import annotations

import os
import stat

from drbackup.stores.base import require_name
from drbackup.stores.erase import Erased
from drbackup.stores.folder.store import DirectoryStore


class DirectoryEraser(DirectoryStore):
    """The folder store with the one method that it lacks on purpose. Folders that become empty stay."""

    def erase(self, name: str) -> Erased:
        """What became of ``name``: always gone, because a folder has no locks.

        No symbolic link is followed, and none is removed. Raises StoreUnavailable, StoreRefused.
        """
        *parents, leaf = require_name(name).split("/")
        try:
            with self._faults(name), self._folder(parents) as folder:
                if stat.S_ISREG(os.stat(leaf, dir_fd=folder, follow_symlinks=False).st_mode):
                    os.unlink(leaf, dir_fd=folder)
                os.fsync(folder)  # also for one that died between unlink and its own fsync
        except FileNotFoundError:
            self._settle_folder(name)
        return Erased(name, gone=True)

    def _settle_folder(self, name: str) -> None:
        """Fsync of the folder of a missing name: whoever removed it may have died before its own fsync."""
        *parents, _ = name.split("/")
        try:
            with self._faults(name), self._folder(parents) as folder:
                os.fsync(folder)
        except FileNotFoundError:
            return
