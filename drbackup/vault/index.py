"""Which chunks lie in which packs, read back from index deltas or from a pack's own table.

An index delta is a pack of kind ``i``. Each of its chunks is the array ``[session, pack, places]`` of one pack that one
session stored. A delta saves time and proves nothing: whoever reads it compares it with the listing of the store.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import msgspec
import zstandard

from drbackup.errors import ObjectCorrupt, say
from drbackup.vault.keys import Keyring
from drbackup.vault.layout import INDEX
from drbackup.vault.pack import HEADER_LIMIT, PackOpener, unpack
from drbackup.vault.suite import MAX_CHUNK
from drbackup.wire.decode_errors import UNREADABLE
from drbackup.wire.messages import PLACES, Digest, Place

_TOLD = msgspec.msgpack.Decoder(tuple[str, Digest, Annotated[tuple[Place, ...], msgspec.Meta(max_length=PLACES)]])


class PackTable(msgspec.Struct, frozen=True):
    """The chunks of one pack."""

    session: str  # that stored the pack; empty: not known
    pack: bytes  # SHA-256 of the pack, 32 bytes
    places: tuple[Place, ...]  # of its chunks, as the table claims

    def fits(self, size: int) -> bool:
        """Whether every chunk lies inside a pack of ``size`` bytes. A compromised server may write false tables."""
        return all(each.pack == self.pack and _possible(each, size) for each in self.places)


def _possible(place: Place, size: int) -> bool:
    inside = 0 <= place.size <= size and 0 <= place.offset <= size - place.size
    return inside and len(place.id) == 32 and 0 <= place.ordinal < 1 << 32 and 0 <= place.raw <= MAX_CHUNK


def own_table(data: bytes, kind: str, domain: str, keyring: Keyring, name: tuple[bytes, str]) -> PackTable:
    """The chunks of a pack, from its own table. ``data``: the whole pack; ``name``: (SHA-256, object name).

    Raises :class:`~drbackup.errors.WrongKey` when no key at hand opens this kind of pack. Raises
    :class:`ObjectCorrupt` when the pack was altered or its table names chunks outside it.
    """
    pack, what = name
    opener = _opener(data, kind, domain, keyring, what)
    rows = opener.table(data)
    places = tuple(Place(row.id, pack, number, at, row.size, row.raw) for number, (row, at) in enumerate(rows))
    table = PackTable("", pack, places)
    if not table.fits(len(data)):
        raise ObjectCorrupt(say("{what}: its own table names chunks outside it", what=what), where=what)
    return table


def read_index(data: bytes, domain: str, keyring: Keyring, what: str) -> Iterator[PackTable]:
    """The tables of other packs that an index delta holds, one at a time.

    They are never held together, because a small delta of a compromised server may claim many large tables. Raises
    :class:`ObjectCorrupt` or :class:`~drbackup.errors.WrongKey`, maybe after some sound tables were given out.
    """
    opener = _opener(data, INDEX, domain, keyring, what)
    inflate = zstandard.ZstdDecompressor()
    for number, (row, offset) in enumerate(opener.table(data)):
        if not 0 <= row.raw <= MAX_CHUNK:
            raise ObjectCorrupt(say("{what}: a chunk claims {raw} bytes", what=what, raw=row.raw), where=what)
        stored = opener.open(number, data[offset : offset + row.size], row.id)
        try:
            plain = unpack(stored, row.raw, inflate)
            session, pack, places = _TOLD.decode(plain)
        except (zstandard.ZstdError, *UNREADABLE) as bad:
            raise ObjectCorrupt(
                say("{what}: chunk {number} can't be read: {why}", what=what, number=number, why=bad), where=what
            ) from bad
        yield PackTable(session, pack, places)


def _opener(data: bytes, kind: str, domain: str, keyring: Keyring, what: str) -> PackOpener:
    opener = PackOpener(data[:HEADER_LIMIT], domain, keyring, what)
    if opener.header.kind != kind:
        raise ObjectCorrupt(say("{what}: is of kind {kind}", what=what, kind=repr(opener.header.kind)), where=what)
    return opener
