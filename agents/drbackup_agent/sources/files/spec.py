"""What the controller says about a source of directory trees."""

from __future__ import annotations

import msgspec


class FilesSpec(msgspec.Struct, frozen=True, tag="files"):
    """The directory trees of one source."""

    paths: tuple[str, ...]  # absolute
    exclude: tuple[str, ...] = ()  # globs, matched on the whole path when they have a slash, else on a name
    one_filesystem: bool = False  # whether other filesystems below the paths are left out
    canary: bool = False  # whether a canary is written into the first of the paths
