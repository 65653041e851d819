"""In the bytes that were produced: no key and nonce ever seal two texts, no two runs share a key, and the same content
sealed twice looks like nothing the same.

Everything that ever left a writer counts, also what a crash or a refused upload threw away: it was on the wire.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from drbackup.errors import DrbackupError, StoreUnavailable
from drbackup.reader.stranger import Key, unpack
from drbackup.vault import pack as packing
from drbackup.vault.keys import ROLES
from drbackup.vault.tree import Entry, EntryKind, path_key
from drbackup.vault.write.writer import PointWriter
from drbackup.wire.messages import Place
from tests.adversary.sealed_texts import SealedText, SeenPack, open_part, require_unique, take_apart, texts_of
from tests.support.cities.small_city import AGENT, SOURCE, SYSTEM, SmallCity
from tests.support.cities.small_vault import SmallVault
from tests.support.runs import run_backup

DRILL = Key(bytes([ROLES.index("drill") + 1]) * 32)
TREE = {b"f%02d" % number: random.Random(number).randbytes(3000 + 700 * number) for number in range(30)}


class WireTap:
    """A destination that keeps every byte it was ever handed, and now and then fails, before or after storing."""

    def __init__(self, *, remembers: bool, fail_every: int = 0) -> None:
        self.heard: list[bytes] = []
        self.known: dict[bytes, Place] = {}
        self._remembers = remembers
        self._fail_every = fail_every

    def locate(self, ids: Sequence[bytes]) -> dict[bytes, Place]:
        return {each: self.known[each] for each in ids if each in self.known}

    def put(self, kind: str, pack: bytes, data: bytes | memoryview, places: Sequence[Place]) -> None:
        self.heard.append(bytes(data))
        assert hashlib.sha256(data).digest() == pack
        count = len(self.heard)
        if self._fail_every and count % self._fail_every == 0 and count % (2 * self._fail_every):
            raise StoreUnavailable("before")
        if self._remembers and kind != "i":
            self.known.update((place.id, place) for place in places)
        if self._fail_every and count % self._fail_every == 0:
            raise StoreUnavailable("after it was stored")


def write(destination: WireTap, vault: SmallVault, session: str, threads: int = 1) -> None:
    """One run; contents come from several threads at once, entries in order."""
    paths = sorted(TREE, key=path_key)
    with PointWriter(destination, vault.domain_keys, workers=threads, session=session) as writer:
        with ThreadPoolExecutor(threads) as pool:
            contents = list(pool.map(lambda path: writer.stream([TREE[path]]), paths))
        for path, content in zip(paths, contents, strict=True):
            writer.add(Entry(path, EntryKind.FILE, size=content.size), content)
        writer.finish()


def seen(destination: WireTap, vault: SmallVault) -> list[SeenPack]:
    heard = dict.fromkeys(destination.heard)  # an attempt again with the very same object seals nothing anew
    return [take_apart(data, vault.domain, DRILL, f"pack {number}") for number, data in enumerate(heard)]


@pytest.fixture
def small_packs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "PACK_SIZE", 60_000)


@pytest.mark.usefixtures("small_packs")
@pytest.mark.parametrize("threads", [1, 4])
def test_no_nonce_repeats_in_runs_of_many_packs(threads: int) -> None:
    destination, vault = WireTap(remembers=False), SmallVault()
    for number in range(4):
        write(destination, vault, f"run-{number}", threads)
    packs = seen(destination, vault)
    assert len(packs) > 4 * 6
    assert require_unique(texts_of(packs)) > 4 * (len(TREE) + 6)
    assert len({pack.salt for pack in packs}) == len(packs)
    # Every run has a key of its own for each kind, and its top or index may have another.
    assert len({pack.secret for pack in packs if pack.kind == "p"}) == 4
    of_kinds = {kind: {pack.secret for pack in packs if pack.kind == kind} for kind in "pti"}
    assert sum(map(len, of_kinds.values())) == len(set().union(*of_kinds.values())) >= 12


@pytest.mark.usefixtures("small_packs")
@pytest.mark.parametrize("fail_every", [2, 3, 5, 7])
def test_no_nonce_repeats_after_crashes_and_attempts_again(fail_every: int) -> None:
    destination, vault = WireTap(remembers=True, fail_every=fail_every), SmallVault()
    crashed = 0
    for number in range(40):
        try:
            write(destination, vault, f"run-{number}", 3)
        except DrbackupError:
            crashed += 1
        if number - crashed == 2:
            break
    assert crashed
    packs = seen(destination, vault)
    require_unique(texts_of(packs))
    assert len({pack.salt for pack in packs}) == len(packs)
    require_fresh_sealed_keys(packs)


def require_fresh_sealed_keys(packs: list[SeenPack]) -> None:
    """One data key is sealed once to each recipient, never anew and never two alike."""
    by_secret: dict[bytes, set[tuple[bytes, ...]]] = {}
    for pack in packs:
        by_secret.setdefault(pack.secret, set()).add(pack.sealed_keys)
    assert all(len(sealed) == 1 for sealed in by_secret.values())
    blobs = [blob for sealed in by_secret.values() for group in sealed for blob in group]
    assert len(blobs) == len(set(blobs))


@pytest.mark.usefixtures("small_packs")
def test_the_same_content_sealed_again_has_no_block_in_common() -> None:
    """Not one 16-byte block: neither at the same place nor at another."""
    vault = SmallVault()
    blocks: list[set[bytes]] = []
    for number in range(2):
        destination = WireTap(remembers=False)
        write(destination, vault, f"run-{number}")
        sealed = [text.sealed for text in texts_of(seen(destination, vault))]
        blocks.append({piece[at : at + 16] for piece in sealed for at in range(len(piece) - 15)})
    assert len(blocks[0]) > 300_000
    assert not blocks[0] & blocks[1]


def test_no_nonce_repeats_in_all_that_a_real_city_stores(tmp_path: Path) -> None:
    """Packs and the sealed parts of records and keys, of a real agent's runs into two stores."""
    city = SmallCity(tmp_path, copies="main, other", module="drbackup_agent").build()
    with city.open() as installation:
        for number in range(3):
            (city.data / "c").write_bytes(b"%d" % number * 5000)
            run_backup(installation, SYSTEM, SOURCE)
        keys = [Key(bytes.fromhex((city.home / "keys" / f"{name}.key").read_text())) for name in ("drill", "catalog")]
    root = city.root / "store-main" / "v1"
    packs = [
        take_apart(path.read_bytes(), AGENT, keys[0], path.name)
        for kind in "pti"
        for path in sorted((root / "d" / AGENT / kind).iterdir())
    ]
    texts: list[SealedText] = list(texts_of(packs))
    for path in sorted((root / "r" / SYSTEM).iterdir()):
        record = unpack(unpack(path.read_bytes()[8:])[0])
        context = f"drbackup/1/record/{SYSTEM}/{SOURCE}/{record['session']}".encode()
        texts.append(open_part(record["sealed"], context, keys, path.name)[0])
    assert len(texts) > 25
    require_unique(texts)
    require_fresh_sealed_keys(packs)
    assert len({pack.salt for pack in packs}) == len(packs)


@pytest.mark.usefixtures("small_packs")
def test_a_writer_without_randomness_would_be_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "os", SimpleNamespace(urandom=lambda size: b"\x05" * size))
    destination, vault = WireTap(remembers=False), SmallVault()
    write(destination, vault, "run-0")
    with pytest.raises(AssertionError, match="one key and nonce"):
        require_unique(texts_of(seen(destination, vault)))
