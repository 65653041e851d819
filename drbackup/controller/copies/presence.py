"""Are a point's packs really in a store? Asked before every commit; the catalog's word alone is not taken.

A pack of another size than the catalog knows counts as missing: a truncated object is no object.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from drbackup.stores.base import Store
from drbackup.vault.layout import domain_prefix, object_name

LISTED_AT_ONCE = 1000  # objects that one request of a listing tells
_ASKING = 8  # requests at once


def missing_packs(
    store: Store, domain: str, packs: Sequence[bytes], sizes: Mapping[bytes, int], *, objects: int = 0
) -> tuple[bytes, ...]:
    """Those of ``packs`` (kind letter + SHA-256 each) that ``store`` lacks or holds with another size than ``sizes``
    says. ``objects``: about how many the domain has, to choose the way of fewer requests. Raises the store's errors."""
    wanted = {object_name(domain, pack): pack for pack in packs}
    found: dict[bytes, int] = {}
    if len(packs) > 1 + max(objects, len(packs)) // LISTED_AT_ONCE:
        found = {wanted[stat.name]: stat.size for stat in store.list(domain_prefix(domain)) if stat.name in wanted}
    # What a listing lacks is asked for by name: no promise about listings is needed.
    unsure = [pack for pack in packs if pack not in found]

    def ask(pack: bytes) -> int:
        stat = store.stat(object_name(domain, pack))
        return stat.size if stat else -1

    if unsure:
        with ThreadPoolExecutor(_ASKING, thread_name_prefix="presence") as pool:
            found |= dict(zip(unsure, pool.map(ask, unsure), strict=True))
    return tuple(pack for pack in packs if found[pack] < 0 or found[pack] != sizes.get(pack, found[pack]))
