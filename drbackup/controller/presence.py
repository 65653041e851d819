"""Are a point's packs really in a store? Asked before every commit; the catalog's word alone is not taken.

A pack of another size than the catalog knows counts as missing: a truncated object is no object.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from drbackup.errors import ProtocolViolation
from drbackup.stores.base import Store
from drbackup.vault.layout import PACK_KINDS, pack_name

ASK_ONE_BY_ONE = 64  # above this, a listing of the domain costs fewer requests
_ASKING = 8  # requests at once
_PACK_SIZE = 33  # kind letter + SHA-256


def object_name(domain: str, pack: bytes) -> str:
    """Name of a pack given as kind letter + SHA-256."""
    return pack_name(domain, chr(pack[0]), pack[1:])


def require_packs(packs: Sequence[bytes]) -> None:
    """Raises :class:`ProtocolViolation` unless each is a kind letter and 32 bytes."""
    for pack in packs:
        if len(pack) != _PACK_SIZE or chr(pack[0]) not in PACK_KINDS:
            raise ProtocolViolation(f"not the name of a pack: {pack[:40].hex()}")


def missing_packs(store: Store, domain: str, packs: Sequence[bytes], sizes: Mapping[bytes, int]) -> tuple[bytes, ...]:
    """Those of ``packs`` (kind letter + SHA-256 each) that ``store`` lacks or holds with another size than ``sizes``
    says. Raises the store's errors."""
    found = _listed(store, domain, packs) if len(packs) > ASK_ONE_BY_ONE else {}
    # What a listing lacks is asked for by name: no promise about listings is needed.
    unsure = [pack for pack in packs if pack not in found]

    def ask(pack: bytes) -> int:
        stat = store.stat(object_name(domain, pack))
        return stat.size if stat else -1

    with ThreadPoolExecutor(_ASKING, thread_name_prefix="presence") as pool:
        found |= dict(zip(unsure, pool.map(ask, unsure), strict=True))
    return tuple(pack for pack in packs if found[pack] < 0 or found[pack] != sizes.get(pack, found[pack]))


def _listed(store: Store, domain: str, packs: Sequence[bytes]) -> dict[bytes, int]:
    names = {object_name(domain, pack): pack for pack in packs}
    prefixes = sorted({name[:-64] for name in names})
    return {names[stat.name]: stat.size for prefix in prefixes for stat in store.list(prefix) if stat.name in names}
