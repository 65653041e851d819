"""A process that ends in the middle of a store's call, as by a power cut: for programs that tests start apart."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

from drbackup.stores.folder.store import DirectoryStore

Fatal = Callable[[str, str], bool]  # store's name, object's name → is it this call?


def die_at(method: str, fatal: Fatal, moment: str) -> None:
    """From now on this process kills itself at the ``fatal`` call of a folder store's ``method`` (``put``, ``repair``):
    ``before`` it, or ``after``."""
    real = getattr(DirectoryStore, method)

    def dying(store: DirectoryStore, name: str, data: bytes | memoryview) -> None:
        deadly = fatal(store.name, name)
        if deadly and moment == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        real(store, name, data)
        if deadly:
            os.kill(os.getpid(), signal.SIGKILL)

    setattr(DirectoryStore, method, dying)


def call_number(number: int) -> Fatal:
    """The ``number``-th call from now, counted from 1."""
    left = number

    def fatal(_store: str, _name: str) -> bool:
        nonlocal left
        left -= 1
        return left == 0

    return fatal
