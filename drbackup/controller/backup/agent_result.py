"""The validation of an agent's result before the commit, because afterwards nothing takes a point back.

An agent may have been taken over, or have a defect. Its root must decode and count what the result counts. The tree's
top must open with the catalog's key. The top, every page and the contents of the newest pages must lie in packs that
the record will name. A pack that no record names is not looked for, not copied, not scrubbed, and may be collected.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from collections.abc import Set as AbstractSet

import msgspec

from drbackup.errors import DrbackupError, FormatUnsupported, ObjectCorrupt, ProtocolViolation, WrongKey, say
from drbackup.model.point import SourceFacts
from drbackup.stores.base import Store
from drbackup.vault.keys import Keyring
from drbackup.vault.layout import DATA, TREE, object_name, require_packs
from drbackup.vault.read.read_ahead import PackFetch
from drbackup.vault.read.reader import PointReader
from drbackup.vault.store_access import StoreFetch
from drbackup.vault.tree import Entry, Root, decode_root
from drbackup.wire.decode_errors import UNREADABLE
from drbackup.wire.messages import BackupResult

_ROOT_MOST, _FACTS_MOST = 4 << 10, 1 << 20  # bytes; a record holds both, and is read by every command
_COUNT_MOST = 1 << 62  # beyond it the record would be written, but no catalog could ever store it
_SLOW_SECONDS = 3600.0  # at most, between the two clock readings from which a skew is computed


def validate_result(result: BackupResult, pinned_ns: int, skew_seconds: float, *, now_ns: int) -> SourceFacts:
    """The source's facts, after every check that needs no store.

    ``pinned_ns`` is the instant in the catalog and ``now_ns`` the controller's clock, both in ns since the epoch.
    Raises :class:`ProtocolViolation`, also for an instant in the future: the source would look younger than it is.
    """
    require_packs(result.packs)
    if len(set(result.packs)) != len(result.packs):
        raise ProtocolViolation("the result names a pack twice")
    if len(result.root) > _ROOT_MOST or len(result.facts) > _FACTS_MOST:
        raise ProtocolViolation(say("a root of {n} bytes and facts of {n2}", n=len(result.root), n2=len(result.facts)))
    try:
        root = decode_root(result.root)
        facts = msgspec.msgpack.decode(result.facts, type=SourceFacts)
    except (DrbackupError, *UNREADABLE) as bad:
        raise ProtocolViolation(say("the agent's result can't be read: {why}", why=bad)) from bad
    _require_counts(result, root)
    latest = now_ns + skew_seconds * 1e9
    if facts.pinned_ns != pinned_ns or not 0 < pinned_ns <= latest:
        raise ProtocolViolation(
            say(
                "the copy is of {pinned_ns} ns, but {pinned_ns2} ns was pinned",
                pinned_ns=facts.pinned_ns,
                pinned_ns2=pinned_ns,
            )
        )
    if not 0 <= facts.canary_ns <= latest or abs(facts.skew_ns) > (skew_seconds + _SLOW_SECONDS) * 1e9:
        raise ProtocolViolation(
            say(
                "a canary of {canary_ns} ns, a clock {skew_ns} ns off", canary_ns=facts.canary_ns, skew_ns=facts.skew_ns
            )
        )
    return facts


def validate_tree(result: BackupResult, store: Store, keyring: Keyring, domain: str) -> None:
    """A guarantee that the tree's top opens as ``store`` has it, and that it and its pages are in the named packs.

    Raises :class:`ProtocolViolation`, :class:`ObjectCorrupt` when the store returns other bytes than were sent, or the
    store's errors when it does not answer.
    """
    packs = set(result.packs)
    kind, top = TREE.encode(), decode_root(result.root).top.pack
    if kind + top not in packs:
        raise ProtocolViolation("the tree's top lies in a pack that the result does not name")
    # The whole object is read, because only then can its name, a hash, be checked. Without that, our key might open
    # bytes that another recipient's key does not.
    name = object_name(domain, kind + top)
    data = store.get(name)
    if hashlib.sha256(data).digest() != top:
        raise ObjectCorrupt(
            say("{name} in store {store} does not match its name", name=name, store=store.name), where=name
        )
    reader = PointReader(_Held(data, StoreFetch(store)), keyring, domain, result.root)
    try:
        pages = reader.pages()
    except (WrongKey, FormatUnsupported) as bad:
        raise ProtocolViolation(say("the tree's top does not open: {what}", what=bad.said), where=bad.where) from bad
    if any(kind + page.place.pack not in packs for page in pages):
        raise ProtocolViolation("a page of the tree lies in a pack that the result does not name")
    if bool(pages) != bool(result.entries):
        raise ProtocolViolation(say("{entries} entries on {n} pages", entries=result.entries, n=len(pages)))
    for page in pages:
        if page.place.pack == top:  # already read; older pages were checked when they were new
            _require_contents(reader.page(page), packs)


def _require_contents(entries: Iterable[Entry], packs: AbstractSet[bytes]) -> None:
    """A guarantee that every content is in packs that the record will name. Raises :class:`ProtocolViolation`."""
    kind = DATA.encode()
    if not {kind + extent.place.pack for entry in entries for extent in entry.extents} <= packs:
        raise ProtocolViolation("a content lies in a pack that the result does not name")


class _Held(msgspec.Struct, frozen=True):
    """A :class:`PackFetch` that has the pack of a tree's top already; anything else is fetched from the store."""

    top: bytes
    others: PackFetch

    @property
    def stretch(self) -> int:
        return self.others.stretch

    def fetch(self, kind: str, domain: str, pack: bytes, offset: int, length: int) -> bytes | memoryview:
        if kind == TREE and hashlib.sha256(self.top).digest() == pack:
            return self.top[offset : offset + length]
        return self.others.fetch(kind, domain, pack, offset, length)


def _require_counts(result: BackupResult, root: Root) -> None:
    said = (result.entries, result.files, result.content_bytes)
    if said != (root.entries, root.files, root.content_bytes) or len(result.packs) < root.packs:
        raise ProtocolViolation(say("the result counts {said}, its own tree's root something else", said=said))
    counts = (*said, root.packs - 1, result.new_bytes, result.stored_bytes, result.rows + 1)
    if min(counts) < 0 or max(counts) > _COUNT_MOST:
        raise ProtocolViolation("the result counts less than nothing, or more than there can be")
