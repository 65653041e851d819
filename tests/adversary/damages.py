"""Every way a store's owner, or a failing disk, can give other bytes than were put."""

from __future__ import annotations

import hashlib
import os
import random
import re
from collections.abc import Iterator

from drbackup.vault.layout import digest_in_name
from tests.adversary.views import Damaged
from tests.adversary.whole_vault import STORE, WholeVault
from tests.support.doubles.memory_store import MemoryStore

EVERYTHING = bool(os.environ.get("DRBACKUP_EXHAUSTIVE"))  # every bit of every object: some hours
_ENDS, _BETWEEN = 18, 12  # positions flipped at both ends of an object, and in between


def kind_of(name: str) -> str:
    """vault, p, t, i, r, e or c."""
    parts = name.split("/")
    return parts[3] if parts[1] == "d" else parts[1]


def put(vault: WholeVault, what: str, changes: dict[str, bytes | None]) -> Damaged:
    """The vault's store with these objects instead (None: gone)."""
    store = MemoryStore(STORE)
    store.objects = dict(vault.store.objects)
    for name, data in changes.items():
        if data is None:
            store.objects.pop(name, None)
        else:
            store.objects[name] = data
    changed = {name for name in changes if store.objects.get(name) != vault.store.objects.get(name)}
    return Damaged(what, store, frozenset(changed))


def flips(vault: WholeVault, kind: str) -> Iterator[Damaged]:
    """One bit of one object."""
    for name, data in _of_kind(vault, kind):
        chosen = random.Random(name[-8:] if EVERYTHING else len(data))
        places = range(len(data)) if EVERYTHING else _places(len(data), chosen)
        for at in places:
            for bit in range(8) if EVERYTHING else [chosen.randrange(8)]:
                altered = bytearray(data)
                altered[at] ^= 1 << bit
                yield put(vault, f"bit {bit} of byte {at} of {name} flipped", {name: bytes(altered)})


def _places(size: int, chosen: random.Random) -> list[int]:
    ends = {*range(min(_ENDS, size)), *range(max(size - _ENDS, 0), size)}
    return sorted(ends | set(chosen.sample(range(size), min(_BETWEEN, size))))


def cuts(vault: WholeVault, kind: str) -> Iterator[Damaged]:
    """Truncated, emptied, gone, grown, zeroed in parts."""
    for name, data in _of_kind(vault, kind):
        size = len(data)
        for length in (0, 1, 8, 11, 12, 40, size // 2, size - 32, size - 17, size - 1):
            yield put(vault, f"{name} cut to {length} bytes", {name: data[: max(length, 0)]})
        yield put(vault, f"{name} is gone", {name: None})
        for tail in (b"\0", data[-32:], data, bytes(5000)):
            yield put(vault, f"{name} grown by {len(tail)} bytes", {name: data + tail})
        yield put(vault, f"{name} begins later", {name: data[1:]})
        yield put(vault, f"{name} begins with a zero", {name: b"\0" + data})
        for start in (0, size // 4, size // 2, size - size // 4):
            hole = data[:start] + bytes(size // 4) + data[start + size // 4 :]
            yield put(vault, f"{name} with zeros at {start}", {name: hole[:size]})
        yield put(vault, f"{name} all zeros", {name: bytes(size)})


def swaps(vault: WholeVault, kind: str) -> Iterator[Damaged]:
    """Exchanged with each other object, of its own kind and of others; replaced by it; added to it."""
    for name, data in _of_kind(vault, kind):
        for other, theirs in sorted(vault.store.objects.items()):
            if other <= name:
                continue
            yield put(vault, f"{name} exchanged with {other}", {name: theirs, other: data})
            if kind_of(other) != kind and not EVERYTHING:
                continue
            yield put(vault, f"{name} replaced by {other}", {name: theirs})
            yield put(vault, f"{name} replaced by its head and the tail of {other}",
                      {name: data[: len(data) // 2] + theirs[len(theirs) // 2 :]})  # fmt: skip


def under_other_names(vault: WholeVault, kind: str) -> Iterator[Damaged]:
    """Sound bytes where they do not belong, and altered bytes under the name of their own hash."""
    for name, data in _of_kind(vault, kind):
        digest = digest_in_name(name)
        for place in _other_places(name, digest):
            yield put(vault, f"{name} again as {place}", {place: data})
            yield put(vault, f"{name} moved to {place}", {place: data, name: None})
        for at in (0, 9, 13, 20, len(data) // 2, len(data) - 40, len(data) - 1):
            altered = bytearray(data)
            altered[at] ^= 0x10
            if digest:
                own = name.replace(digest, hashlib.sha256(altered).hexdigest())
                yield put(vault, f"{name} altered at {at} and named {own}", {own: bytes(altered)})


def _other_places(name: str, digest: str) -> list[str]:
    at_last = "20991231T235959Z" + "-" + digest
    return {
        "p": [f"v1/d/db2.office/p/{digest}", f"v1/d/db1.bureau/t/{digest}", f"v1/d/nobody/p/{digest}"],
        "t": [f"v1/d/db2.office/t/{digest}", f"v1/d/db1.bureau/p/{digest}", f"v1/d/db1.bureau/i/{digest}"],
        "i": [f"v1/d/db2.office/i/{digest}", f"v1/d/db1.bureau/t/{digest}", f"v1/d/nobody/i/{digest}"],
        "r": [f"v1/r/registry/{at_last}", f"v1/r/portal/{at_last}", f"v1/r/no/{at_last}", f"v1/e/2099-12/{at_last}"],
        "e": [f"v1/e/2099-12/{at_last}", f"v1/r/portal/{at_last}", f"v1/c/{at_last}"],
        "c": [f"v1/c/{at_last}", f"v1/e/2099-12/{at_last}", f"v1/r/registry/{at_last}"],
        "vault": ["v1/r/registry/vault", "v1/d/db1.bureau/p/vault", "v1/e/vault", "v1/c/vault"],
    }[kind_of(name)]  # fmt: skip


def replays(vault: WholeVault, older: WholeVault, kind: str) -> Iterator[Damaged]:
    """Objects of another vault of the same city, under their own names and under ours."""
    theirs = [(name, data) for name, data in sorted(older.store.objects.items()) if kind_of(name) == kind]
    for name, data in theirs:
        yield put(vault, f"{name} of an older vault beside ours", {name: data})
        for ours, _ in _of_kind(vault, kind):
            yield put(vault, f"{name} of an older vault as {ours}", {ours: data})
    everything = dict(theirs)
    yield put(vault, f"all of kind {kind} of an older vault beside ours", {**everything})
    gone: dict[str, bytes | None] = {name: None for name, _ in _of_kind(vault, kind)}
    yield put(vault, f"all of kind {kind} of an older vault instead of ours", {**gone, **everything})


def _of_kind(vault: WholeVault, kind: str) -> Iterator[tuple[str, bytes]]:
    return ((name, data) for name, data in sorted(vault.store.objects.items()) if kind_of(name) == kind)


def strange_names(vault: WholeVault) -> Iterator[Damaged]:
    """Objects under names that nobody of us would give."""
    digest = "ab" * 32
    names = [
        "v1/d/x", "v1/d/x/p/y", f"v1/d/../p/{digest}", f"v1/d/DB1/p/{digest}", f"v1/d/db1.bureau/q/{digest}",
        f"v1/d/db1.bureau/p/{digest.upper()}", f"v1/d/db1.bureau/p/{digest}.tmp", f"v1/d/a/b/p/{digest}",
        "v1/r/x", "v1/r/registry/x", f"v1/r/registry/-{digest}", f"v1/r/registry/99999999T999999Z-{digest}",
        "v1/e/x", f"v1/e/{digest}", f"v1/e/2026-11/{digest}", "v1/c/x", f"v1/c/{digest}", "v1/vault/x", "v1/z/x",
        "v1/r/" + "x" * 300 + "/" + digest, f"v1/r/registry/20261123T120000Z-\u0661{digest[1:]}",
    ]  # fmt: skip
    assert len({re.sub(r"\W", "", name) for name in names}) > 15
    for name in names:
        for data in (b"", b"x", b"DRBKREC1", b"DRBKPAC1" + bytes(60)):
            yield put(vault, f"{len(data)} bytes called {name}", {name: data})
