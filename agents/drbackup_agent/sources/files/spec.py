"""What the controller says about a source of directory trees."""

from __future__ import annotations

import msgspec


class FilesSpec(msgspec.Struct, frozen=True, tag="files"):
    """Directory trees. ``paths`` are absolute; ``exclude`` are globs matched on the whole path or on a name."""

    paths: tuple[str, ...]
    exclude: tuple[str, ...] = ()
    one_filesystem: bool = False
    canary: bool = False
