"""What a job is about, as the agent needs to know it: sources, targets, keys, limits, checks.

These structs are built from a policy by the controller and carried inside a job message. They are data only. A secret
field's value never shows in ``repr``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec


class Secret(msgspec.Struct, frozen=True, array_like=True):
    """Bytes that must not appear in a log."""

    value: bytes

    def __repr__(self) -> str:
        return "Secret(***)" if self.value else "Secret(empty)"


NO_SECRET = Secret(b"")


SourceSpec = msgspec.Raw
"""A source as its kind's room on the agent reads it: an encoded mapping, whose first key ``type`` names the kind. What
else stands in it is that kind's own affair; nobody between the policy and the room opens it."""

NO_SOURCE: Final = SourceSpec(msgspec.msgpack.encode(None))


def encode_source(kind: str, settings: Mapping[str, object]) -> SourceSpec:
    """The source of that kind with these settings."""
    return SourceSpec(msgspec.msgpack.encode({"type": kind, **settings}))


class Plausibility(msgspec.Struct, frozen=True):
    """When a copy is too small to be true. Bytes; ``previous`` is the last good point's size (0: none yet)."""

    previous: int = 0
    min_bytes: int = 1
    max_shrink: float = 0.5  # fraction of ``previous`` that may vanish between two points
    allow_empty: bool = False


class Limits(msgspec.Struct, frozen=True):
    """How hard an agent may work. Bytes per second and seconds; 0: no limit."""

    bytes_per_second: int = 0
    stall_seconds: int = 300
    read_retries: int = 3
    workers: int = 2


class Recipient(msgspec.Struct, frozen=True):
    """A public key that packs are sealed to. ``role``: recovery, drill or catalog."""

    role: str
    public: bytes


class DomainKeys(msgspec.Struct, frozen=True):
    """What a domain's agent needs to write, and with which nothing can be read back."""

    domain: str
    chunk_id_key: Secret  # 32 bytes, keyed BLAKE3
    cut_key: Secret  # 32 bytes, seeds the cutter
    recipients: tuple[Recipient, ...]


class PointRef(msgspec.Struct, frozen=True):
    """One recovery point to read: its tree's root and where its bytes lie."""

    point: str  # record id, hex
    system: str
    source: str
    domain: str
    kind: str
    root: bytes  # encoded vault.tree.Root


class FolderTarget(msgspec.Struct, frozen=True, tag="folder"):
    """Everything below one folder; stored paths are kept below it. Any source kind can be restored like this."""

    path: str
    strip: str = ""  # leading path to leave out, to put a subtree at the folder itself


class InPlaceTarget(msgspec.Struct, frozen=True, tag="in-place"):
    """Back to where the source says it lives (same or another host)."""

    spec: SourceSpec


RestoreTarget = FolderTarget | InPlaceTarget


class CheckSpec(msgspec.Struct, frozen=True):
    """One check of a drill, which the agent measures and the controller judges. ``kind``: as a policy names it.

    ``query`` is what that kind asks, in its own words. A kind that looks at a second source has it in ``other``, and
    the paths of that source's trees in ``below``.
    """

    number: int
    kind: str
    source: str
    query: str = ""
    other: str = ""
    below: tuple[str, ...] = ()
