"""Presence: whether a point's packs are really in a store. It is asked before every commit; the catalog is not enough.

A pack with another size than the catalog knows counts as missing: it may have been cut short.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from drbackup.stores.base import Store
from drbackup.vault.layout import domain_prefix, object_name

LISTED_AT_ONCE = 1000  # objects in the answer to one request of a listing
_ASKING = 8  # requests at once


def missing_packs(
    store: Store, domain: str, packs: Sequence[bytes], sizes: Mapping[bytes, int], *, objects: int = 0
) -> tuple[bytes, ...]:
    """Those of ``packs`` (kind letter + SHA-256 each) that ``store`` lacks, or has with another size than in ``sizes``.

    ``sizes``: in bytes; a pack without one may have any. ``objects``: about how many the domain has, so that the way
    with fewer requests is chosen. Raises the store's errors.
    """
    wanted = {object_name(domain, pack): pack for pack in packs}
    found: dict[bytes, int] = {}
    if len(packs) > 1 + max(objects, len(packs)) // LISTED_AT_ONCE:
        found = {wanted[stat.name]: stat.size for stat in store.list(domain_prefix(domain)) if stat.name in wanted}
    # What a listing lacks is asked for by name, so a listing need not be complete.
    unsure = [pack for pack in packs if pack not in found]

    def ask(pack: bytes) -> int:
        stat = store.stat(object_name(domain, pack))
        return stat.size if stat else -1

    if unsure:
        with ThreadPoolExecutor(_ASKING, thread_name_prefix="presence") as pool:
            found |= dict(zip(unsure, pool.map(ask, unsure), strict=True))
    return tuple(pack for pack in packs if found[pack] < 0 or found[pack] != sizes.get(pack, found[pack]))
