"""What a recovery point is, and the ladder of its proofs.

Every layer uses these types. The agent fills :class:`SourceFacts`, the vault signs them into a record, the catalog
keeps a :class:`Point`, and the reports show its :class:`Rung`.
"""

from __future__ import annotations

import enum
from datetime import datetime
from typing import NamedTuple, NewType

import msgspec

PackId = NewType("PackId", bytes)
"""How a pack is called within its domain: the letter of its kind (p, t or i) and the SHA-256 of its bytes, 33 bytes.
Records, the wire and large sets hold these bytes as they are; only this module knows what is where in them."""


class Rung(enum.IntEnum):
    """How far a recovery point has been proven. Each rung includes the ones below it."""

    WRITTEN = 1  # committed: every pack is in the store
    CHECKSUMMED = 2  # every byte read back from the store and matched to its name
    DECRYPTED = 3  # every chunk opened and matched to its id
    RESTORED = 4  # written out in a sandbox, content digests match
    APP_CHECKED = 5  # the policy's own checks passed on the restored copy

    @property
    def label(self) -> str:
        """The rung's name as people and ``--json`` have it, like ``app-checked``."""
        return self.name.lower().replace("_", "-")


class SourceFacts(msgspec.Struct, frozen=True):
    """What the agent says about the instant it copied. Times are UTC ns of the agent's clock."""

    pinned_ns: int  # the consistent instant
    kind: str  # of the source, as a policy names it
    tool: str = ""  # the program that read it and its version
    server: str = ""  # the server's version, if there is one
    position: str = ""  # LSN, GTID, exported snapshot id
    canary_ns: int = 0  # the instant that was written into the source's canary just before the pin; 0: no canary
    skew_ns: int = 0  # the agent's clock minus the controller's, measured at the session's start
    notes: tuple[str, ...] = ()  # what a person should know: skipped sockets, retried files


class Totals(msgspec.Struct, frozen=True):
    """The sizes of one recovery point."""

    entries: int = 0
    files: int = 0
    rows: int = 0
    bytes: int = 0  # logical size of all content
    new_bytes: int = 0  # content that was not in the vault before this run
    stored_bytes: int = 0  # bytes that this run added to the store


class Point(msgspec.Struct, frozen=True):
    """One committed copy of one source, as the catalog knows it. Datetimes are aware UTC."""

    id: str  # SHA-256 of the record object, 64 hex characters
    name: str  # the record's object name inside the vault
    system: str
    source: str
    domain: str
    kind: str  # of the source, as a policy names it
    pinned_at: datetime  # the consistent instant
    committed_at: datetime
    totals: Totals
    rung: Rung = Rung.WRITTEN
    rung_at: datetime | None = None  # when it reached the rung
    group: str = ""  # the consistency group; empty: none
    held: str = ""  # reason of a hold; empty: none
    copies: tuple[str, ...] = ()  # the stores that have one

    @property
    def short(self) -> str:
        """The first twelve characters of the id: enough to name a point on the command line."""
        return self.id[:12]

    @property
    def source_name(self) -> SourceName:
        """The source it is a copy of."""
        return SourceName(self.system, self.source)


class SourceName(NamedTuple):
    """The full name of a source. It is equal to the plain tuple (system, source), so both find the same key."""

    system: str
    source: str = ""  # empty: the whole system

    def __str__(self) -> str:
        """``SYSTEM/SOURCE``, as operators write it; the system alone without a source."""
        return f"{self.system}/{self.source}" if self.source else self.system

    @classmethod
    def read(cls, text: str) -> SourceName:
        """The name that an operator wrote. Whether there is such a source is not checked."""
        system, _slash, source = text.partition("/")
        return cls(system, source)


class DrilledPoint(NamedTuple):
    """Which point of a drill: a source's newest, or an older one chosen at random."""

    source: str
    older: str = ""  # the beginning of the older point's id; empty: the newest

    @property
    def newest(self) -> bool:
        """Whether it stands for the promised RPO and RTO."""
        return not self.older

    def __str__(self) -> str:
        """``source`` or ``source@point``: its name on the drill host, in the evidence and in findings."""
        return f"{self.source}@{self.older}" if self.older else self.source

    @classmethod
    def read(cls, label: str) -> DrilledPoint:
        """The point of a label."""
        source, _at, older = label.partition("@")
        return cls(source, older)


def pack_id(kind: str, digest: bytes) -> PackId:
    """The id of the pack of that kind and SHA-256 (32 bytes)."""
    return PackId(kind.encode() + digest)


def kind_of(pack: bytes) -> str:
    """The letter of a pack's kind."""
    return chr(pack[0])


def digest_of(pack: bytes) -> bytes:
    """The SHA-256 of a pack's bytes, 32 bytes: its name in a store and in the catalog."""
    return pack[1:]
