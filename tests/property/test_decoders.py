"""Whatever bytes a decoder is given, it gives back what they say or raises one of our own errors."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import struct
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest
from blake3 import blake3
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drbackup.controller.drills import statement as drills
from drbackup.errors import DrbackupError
from drbackup.model.point import SourceFacts, Totals
from drbackup.vault.custody import join_shares, split_seed
from drbackup.vault.description import VAULT_MAGIC, VaultDescription, read_vault
from drbackup.vault.envelope import open_envelope, open_signed, seal_envelope, sign_object
from drbackup.vault.evidence import EVIDENCE_MAGIC, Head, open_statement, read_head
from drbackup.vault.index import own_table, read_index
from drbackup.vault.keys import Keyring
from drbackup.vault.layout import VAULT_NAME, evidence_name, record_name, sealed_keys_name
from drbackup.vault.pack import BUFFER_SIZE, PackBuilder, PackOpener, SessionKey, read_header
from drbackup.vault.record import RECORD_MAGIC, Commit, Sealed, decode_record, make_record, unseal
from drbackup.vault.sealed_keys import KEYS_MAGIC, InstallationKeys, make_sealed_keys, open_sealed_keys
from drbackup.vault.tree import Entry, EntryKind, Extent, PageRef, Root, decode_page, decode_root, decode_top
from drbackup.wire.framing import FrameStream
from drbackup.wire.messages import BackupResult, DrillResult, Finished, Hello, Measured, PhaseTime, Place, Uploaded
from drbackup_agent.sources.files.cache import FileCache
from drbackup_agent.sources.files.restore_journal import RestoreJournal
from tests.property.hostile_bytes import altered
from tests.support.cities.small_vault import SmallVault
from tests.support.doubles.memory_store import MemoryStore
from tests.support.doubles.told_drill import NOW, statement

encode = msgspec.msgpack.encode
EXAMPLES = int(os.environ.get("DRBACKUP_FUZZ_EXAMPLES", "80"))  # of each decoder
PLACE = Place(b"c" * 32, b"p" * 32, 3, 4000, 500, 900)
ENTRY = Entry(
    b"srv/a", EntryKind.FILE, 0o640, 1, 2, "root", "root", 3, 4, 900, b"", (0, 0), ((b"user.x", b"v"),), b"d" * 32, -1,
    (Extent(PLACE, 0, 900),), ((100, 5),),
)  # fmt: skip


@cache
def vault() -> SmallVault:
    return SmallVault()


@cache
def memory() -> memoryview:
    """Of a pack's builder, used again: taking it anew is what would cost most here."""
    return memoryview(bytearray(BUFFER_SIZE))


def ring(*roles: str) -> Keyring:
    return Keyring(vault().keys[role] for role in roles or ("recovery", "drill", "catalog"))


# --- what is sealed or signed around the bytes under test -----------------------------------------------------------


def pack_with(chunk: bytes, table: bytes | None = None, kind: str = "i", raw: int | None = None) -> bytes:
    """A pack whose seals are sound: an enemy with a server has the keys to make them."""
    builder = PackBuilder(SessionKey.new(kind, vault().domain_keys), memory())
    builder.add(b"c" * 32, len(chunk) if raw is None else raw, chunk)
    if table is not None:
        builder.rows = msgspec.Raw(table)  # type: ignore[assignment]
    return bytes(builder.finish()[1])


def opened(data: bytes) -> None:
    PackOpener(data, vault().domain, ring(), "a pack").table(data)


def own(data: bytes) -> None:
    own_table(data, "i", vault().domain, ring(), (b"p" * 32, "a pack"))


def signed(magic: bytes, body: bytes) -> bytes:
    return sign_object(magic, body, vault().signer)


def named(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def read_record_of(data: bytes) -> None:
    record = decode_record(data, record_name("registry", NOW, named(data)), vault().signer.public)
    unseal(record, ring("catalog"))


def read_evidence(data: bytes) -> None:
    name = evidence_name(NOW, named(data))
    open_statement(read_head(data, vault().signer.public, name), ring("catalog"), name)


def read_founding(data: bytes) -> None:
    store = MemoryStore()
    store.put(VAULT_NAME, data)
    read_vault(store, vault().signer.public)
    read_vault(store)


def read_keys(data: bytes) -> None:
    open_sealed_keys(data, sealed_keys_name(NOW, named(data)), description(), ring("recovery"))


def recipients() -> tuple[Any, ...]:
    return tuple(key.recipient for key in vault().keys.values())


def description() -> VaultDescription:
    return VaultDescription("city", 1, recipients(), vault().signer.public)


def sealed_part() -> Sealed:
    return Sealed(
        encode(Root(PLACE, 1, 1, -1, 900, 2)), SourceFacts(5, "files", notes=("a", "b")), Totals(1, 1, -1, 900)
    )


def record_body() -> bytes:
    packs = (b"p" + b"x" * 32, b"t" + b"y" * 32)
    return encode(make_record(Commit("registry", "scans", "db1", "s", 5, "", packs, sealed_part()), recipients()))


def record_with_sealed(plain: bytes) -> bytes:
    context = b"drbackup/1/record/registry/scans/s"
    body = {**msgspec.msgpack.decode(record_body()), "sealed": seal_envelope(recipients(), plain, context)}
    return signed(RECORD_MAGIC, encode(body))


def head_body() -> bytes:
    sealed = seal_envelope(recipients(), b"{}", b"drbackup/1/evidence")
    return encode(Head(1, 5, "drill", b"", hashlib.sha256(b"{}").digest(), sealed))


def keys_body(plain: bytes | None = None) -> bytes:
    keys = InstallationKeys(b"\x03" * 32, b"\x09" * 32, b"\x07" * 32)
    if plain is None:
        _, data = make_sealed_keys(keys, description(), NOW)
        return open_signed(KEYS_MAGIC, data, b"", "keys")
    sealed = seal_envelope(recipients(), plain, b"drbackup/1/keys/city")
    return encode({"vault_id": "city", "created_ns": 1, "sealed": sealed})


def receive(data: bytes) -> None:
    stream = FrameStream(io.BytesIO(data), io.BytesIO())
    for _ in range(3):
        stream.receive()


def frame(header: bytes) -> bytes:
    return struct.pack(">II", len(header), 4) + header + b"body"


def header_frame(body: bytes) -> bytes:
    return b"DRBKPAC1" + struct.pack(">I", len(body)) + body


def load_cache(body: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        cache_ = FileCache(Path(folder), ("d", "s", "x"), b"m" * 16, begun_ns=2**62)
        cache_.path.parent.mkdir()
        cache_.path.write_bytes(body + blake3(body).digest())  # as sound as a forger can make it
        cache_.load()
        for path in (b"a", b"b", b"c/d", b"\xff"):
            cache_.find(path, os.stat(folder))
        cache_.close()


def cache_body(rows: bytes | None = None) -> bytes:
    row = [b"b", 1, 2, 3, 4, b"d" * 32, [[list(msgspec.to_builtins(PLACE, builtin_types=(bytes,))), 0, 900]], [], []]
    batches = [encode([b"m" * 16, 2**61]), rows if rows is not None else encode([row, row])]
    return b"drbackup-cache-2\n" + b"".join(struct.pack(">I", len(each)) + each for each in batches)


def read_journal(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "journal"
        path.write_bytes(data)
        journal = RestoreJournal(path, "point folder")
        journal.knows(b"a", os.stat(folder))


def journal_body(row: bytes | None = None) -> bytes:
    row = encode([b"a", 1, 2, 3]) if row is None else row
    return b"drbackup-restore-1 point folder\n" + (struct.pack(">I", len(row)) + row) * 2


def results() -> bytes:
    measured = (Measured(1, "5", "5", 5, ("x",), ""),)
    return encode(
        Finished(
            DrillResult(measured, (PhaseTime("s", "fetch", 0.5, 1.5),), {"s": 5}, {}, {"s": "x"}, True, "y", {"h": "x"})
        )
    )


def backup_result() -> bytes:
    return encode(Finished(BackupResult(b"root", (b"p" + b"x" * 32,), b"facts", 1, 1, -1, 900, 900, 900, ("a",))))


@dataclass(frozen=True)
class Decoder:
    """``valid``: bytes that are sound; ``read``: what must say yes to them, and never hurt by others."""

    valid: Callable[[], bytes]
    read: Callable[[bytes], object]


def _row(raw: object = 5) -> bytes:
    return encode([[b"c" * 32, 21, raw]])


DECODERS: dict[str, Decoder] = {
    "pack": Decoder(lambda: pack_with(b"hello"), opened),
    "pack header": Decoder(
        lambda: encode(read_header(pack_with(b"x"), "a pack")[0]),
        lambda data: read_header(header_frame(data), "a pack"),
    ),
    "pack table": Decoder(_row, lambda data: own(pack_with(b"hello", data))),
    "index delta": Decoder(
        lambda: encode(["s", b"p" * 32, [PLACE, PLACE]]),
        lambda data: [table.fits(9000) for table in read_index(pack_with(data), vault().domain, ring(), "an index")],
    ),
    "tree page": Decoder(lambda: encode([ENTRY, ENTRY]), lambda data: decode_page(data, "a page")),
    "tree top": Decoder(lambda: encode([PageRef(b"a", PLACE)]), lambda data: decode_top(data, "a top", b"p" * 32)),
    "tree root": Decoder(lambda: encode(Root(PLACE, 1, 1, -1, 900, 2)), decode_root),
    "record": Decoder(lambda: signed(RECORD_MAGIC, record_body()), read_record_of),
    "record's body": Decoder(record_body, lambda data: read_record_of(signed(RECORD_MAGIC, data))),
    "record's sealed part": Decoder(
        lambda: encode(sealed_part()), lambda data: read_record_of(record_with_sealed(data))
    ),
    "sealed part": Decoder(
        lambda: seal_envelope(recipients(), b"plain", b"context"),
        lambda data: open_envelope(ring("drill"), data, b"context"),
    ),
    "evidence": Decoder(lambda: signed(EVIDENCE_MAGIC, head_body()), read_evidence),
    "evidence's body": Decoder(head_body, lambda data: read_evidence(signed(EVIDENCE_MAGIC, data))),
    "drill's statement": Decoder(lambda: drills.encode(statement()), lambda data: drills.decode(data, "a statement")),
    "vault": Decoder(lambda: signed(VAULT_MAGIC, encode(description())), read_founding),
    "vault's body": Decoder(lambda: encode(description()), lambda data: read_founding(signed(VAULT_MAGIC, data))),
    "sealed keys": Decoder(lambda: signed(KEYS_MAGIC, keys_body()), read_keys),
    "sealed keys' body": Decoder(keys_body, lambda data: read_keys(signed(KEYS_MAGIC, data))),
    "sealed keys inside": Decoder(
        lambda: encode(InstallationKeys(b"\x03" * 32, b"\x09" * 32, b"\x07" * 32)),
        lambda data: read_keys(signed(KEYS_MAGIC, keys_body(data))),
    ),
    "frames": Decoder(lambda: frame(encode(Hello(1, "1", "h", "3", "l", 5))) * 3, receive),
    "hello": Decoder(lambda: encode(Hello(1, "1", "h", "3", "l", 5)), lambda data: receive(frame(data) * 3)),
    "uploaded": Decoder(
        lambda: encode(Uploaded(1, "p", b"p" * 32, 9, (PLACE, PLACE))), lambda data: receive(frame(data) * 3)
    ),
    "backup's result": Decoder(backup_result, lambda data: receive(frame(data) * 3)),
    "drill's result": Decoder(results, lambda data: receive(frame(data) * 3)),
    "agent's cache": Decoder(cache_body, load_cache),
    "agent's cache rows": Decoder(
        lambda: encode([[b"b", 1, 2, 3, 4, b"d" * 32, [[[b"c" * 32, b"p" * 32, 3, 4, 5, 6], 0, 900]], [], []]]),
        lambda data: load_cache(cache_body(data)),
    ),
    "journal": Decoder(journal_body, read_journal),
    "journal's row": Decoder(lambda: encode([b"a", 1, 2, 3]), lambda data: read_journal(journal_body(data))),
}


@pytest.mark.parametrize("name", DECODERS)
def test_sound_bytes_are_read(name: str) -> None:
    DECODERS[name].read(DECODERS[name].valid())


@pytest.mark.parametrize("name", DECODERS)
def test_other_bytes_are_refused_by_our_own_errors(name: str) -> None:
    decoder = DECODERS[name]
    valid = decoder.valid()

    @settings(deadline=None, max_examples=EXAMPLES, derandomize=True, database=None,
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(altered(valid))
    def refuse(data: bytes) -> None:
        with contextlib.suppress(DrbackupError):
            decoder.read(data)

    refuse()


@settings(deadline=None, max_examples=EXAMPLES, derandomize=True, database=None)
@given(st.lists(st.text(max_size=300), max_size=5), st.integers(0, 2), st.data())
def test_shares_that_are_none_are_refused(shares: list[str], sound: int, data: st.DataObject) -> None:
    good = split_seed(b"\x01" * 32, 2, 3)[:sound]
    if good:
        words = good[0].split()
        at = data.draw(st.integers(0, len(words) - 1))
        good[0] = " ".join(
            [*words[:at], data.draw(st.sampled_from(["academic", "zero", "", "\0", "ſhadow"])), *words[at + 1 :]]
        )
    with contextlib.suppress(DrbackupError):
        join_shares([*shares, *good])


def test_a_pipe_in_the_journals_place_makes_nobody_wait(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "journal")
    journal = RestoreJournal(tmp_path / "journal", "point folder")
    assert not journal.resumes
    with pytest.raises(DrbackupError), journal:
        pass
