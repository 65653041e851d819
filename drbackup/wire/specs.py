"""The parts of a job, as the agent needs to know them: sources, targets, keys, limits, checks.

The controller makes these structs from a policy and sends them inside a job message. They are data only. The value of a
secret field never shows in ``repr``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec


class Secret(msgspec.Struct, frozen=True, array_like=True):
    """Bytes that never appear in a log."""

    value: bytes  # empty: none

    def __repr__(self) -> str:
        return "Secret(***)" if self.value else "Secret(empty)"


NO_SECRET = Secret(b"")


SourceSpec = msgspec.Raw
"""A source as its kind's room on the agent reads it: an encoded mapping, whose first key ``type`` names the kind. What
else stands in it is that kind's own affair; nobody between the policy and the room opens it."""

NO_SOURCE: Final = SourceSpec(msgspec.msgpack.encode(None))


def encode_source(kind: str, settings: Mapping[str, object]) -> SourceSpec:
    """The encoded source of that kind with these settings."""
    return SourceSpec(msgspec.msgpack.encode({"type": kind, **settings}))


class Plausibility(msgspec.Struct, frozen=True):
    """When a copy is too small to be right."""

    previous: int = 0  # bytes of the last good point; 0: none yet
    min_bytes: int = 1
    max_shrink: float = 0.5  # share of ``previous`` that may vanish between two points, 0 to 1
    allow_empty: bool = False


class Limits(msgspec.Struct, frozen=True):
    """The limits of an agent's work."""

    bytes_per_second: int = 0  # 0: no limit
    stall_seconds: int = 300  # without a byte moved; 0: no limit
    read_retries: int = 3  # of a file that changes while it is read
    workers: int = 2  # packs made and sent at the same time


class Recipient(msgspec.Struct, frozen=True):
    """A public key that packs are sealed to."""

    role: str  # recovery, drill or catalog
    public: bytes


class DomainKeys(msgspec.Struct, frozen=True):
    """The keys that a domain's agent needs to write. Nothing can be read back with them."""

    domain: str
    chunk_id_key: Secret  # 32 bytes, of the keyed BLAKE3 that names chunks
    cut_key: Secret  # 32 bytes, the seed of the chunker
    recipients: tuple[Recipient, ...]


class PointRef(msgspec.Struct, frozen=True):
    """One recovery point to read: the root of its tree, and where its bytes lie."""

    point: str  # record id, hex
    system: str
    source: str
    domain: str
    kind: str  # of the source, as a policy names it
    root: bytes  # encoded vault.tree.Root


class FolderTarget(msgspec.Struct, frozen=True, tag="folder"):
    """One folder, below which every stored path is kept. Any kind of source can be restored like this."""

    path: str
    strip: str = ""  # leading path to leave out, so that a subtree comes to lie at the folder itself


class InPlaceTarget(msgspec.Struct, frozen=True, tag="in-place"):
    """The place where the source says that its data is, on the same or another host."""

    spec: SourceSpec


RestoreTarget = FolderTarget | InPlaceTarget


class CheckSpec(msgspec.Struct, frozen=True):
    """One check of a drill, which the agent measures and the controller judges."""

    number: int  # from 0, as in the policy
    kind: str  # as a policy names it
    source: str
    query: str = ""  # what that kind asks, in its own form, like an SQL query
    other: str = ""  # the second source, for a kind that looks at one
    below: tuple[str, ...] = ()  # absolute paths of the second source's trees
