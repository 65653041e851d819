"""Reading back which chunks lie in which packs: from index deltas, and from a pack's own table.

An index delta is a pack of kind ``i``; each of its chunks is the array ``[session, pack, places]`` of one pack that one
session stored. It is a help, never the truth: what it says is held against the listing by whoever reads it.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import zstandard

from drbackup.errors import ObjectCorrupt
from drbackup.vault.chunks import unpack
from drbackup.vault.keys import Keyring
from drbackup.vault.layout import INDEX
from drbackup.vault.pack import HEADER_LIMIT, PackOpener
from drbackup.vault.suite import MAX_CHUNK
from drbackup.wire.messages import Place
from drbackup.wire.unreadable import UNREADABLE


@dataclass(frozen=True, slots=True)
class PackTable:
    """The chunks of one pack. ``pack``: SHA-256, 32 bytes; ``session`` empty: not known."""

    session: str
    pack: bytes
    places: tuple[Place, ...]

    def fits(self, size: int) -> bool:
        """Whether every chunk lies inside a pack of ``size`` bytes: a table may have been written by a liar."""
        return all(
            each.pack == self.pack and len(each.id) == 32 and each.size >= 0 and 0 <= each.offset <= size - each.size
            for each in self.places
        )


def own_table(data: bytes, kind: str, domain: str, keyring: Keyring, name: tuple[bytes, str]) -> PackTable:
    """A pack's chunks from its own table. ``data``: the whole pack; ``name``: (SHA-256, object name).

    Raises :class:`~drbackup.errors.WrongKey` when no key at hand opens this kind of pack, :class:`ObjectCorrupt`.
    """
    pack, what = name
    opener = _opener(data, kind, domain, keyring, what)
    rows = opener.table(data)
    places = tuple(Place(row.id, pack, number, at, row.size, row.raw) for number, (row, at) in enumerate(rows))
    return PackTable("", pack, places)


def read_index(data: bytes, domain: str, keyring: Keyring, what: str) -> tuple[PackTable, ...]:
    """What an index delta says of other packs. Raises :class:`ObjectCorrupt` or :class:`~drbackup.errors.WrongKey`."""
    opener = _opener(data, INDEX, domain, keyring, what)
    inflate = zstandard.ZstdDecompressor()
    found = []
    for number, (row, offset) in enumerate(opener.table(data)):
        if not 0 <= row.raw <= MAX_CHUNK:
            raise ObjectCorrupt(f"{what}: a chunk claims {row.raw} bytes", where=what)
        stored = opener.open(number, data[offset : offset + row.size], row.id)
        try:
            plain = unpack(stored, row.raw, inflate)
            session, pack, places = msgspec.msgpack.decode(plain, type=tuple[str, bytes, tuple[Place, ...]])
        except (zstandard.ZstdError, *UNREADABLE) as bad:
            raise ObjectCorrupt(f"{what}: chunk {number} can't be read: {bad}", where=what) from bad
        found.append(PackTable(session, pack, places))
    return tuple(found)


def _opener(data: bytes, kind: str, domain: str, keyring: Keyring, what: str) -> PackOpener:
    opener = PackOpener(data[:HEADER_LIMIT], domain, keyring, what)
    if opener.header.kind != kind:
        raise ObjectCorrupt(f"{what}: is of kind {opener.header.kind!r}", where=what)
    return opener
