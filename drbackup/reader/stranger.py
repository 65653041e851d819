"""A stranger's reader: restores a recovery point from a folder store with docs/vault-format.md and no drbackup code.

    python stranger.py STORE SYSTEM SOURCE KEYFILE TARGET [EVIDENCE_PUBLIC_HEX]

KEYFILE holds the 64 hexadecimal characters of a recovery or drill key's seed. Writes files, folders and symbolic links
below TARGET (a new folder); other kinds of entries are listed. Needs the packages cryptography, msgspec, zstandard,
blake3. At most 300 lines: this is the length of paper it takes to get the city's data back without us.
"""

from __future__ import annotations

import hashlib
import os
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import zstandard
from blake3 import blake3
from cryptography.hazmat.primitives import hashes, hpke
from cryptography.hazmat.primitives.asymmetric import ed25519, mlkem, x25519
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

SUITE = hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)
FILE, FOLDER, SYMLINK, HARDLINK = 0, 1, 2, 3


def unpack(data: bytes) -> Any:
    return msgspec.msgpack.decode(data)


def derive(secret: bytes, label: str, size: int, salt: bytes | None = None, context: bytes = b"") -> bytes:
    info = b"drbackup/1/" + label.encode() + b"\0" + context
    return HKDF(algorithm=hashes.SHA256(), length=size, salt=salt, info=info).derive(secret)


class Key:
    """A private key from its seed."""

    def __init__(self, seed: bytes) -> None:
        kem = mlkem.MLKEM768PrivateKey.from_seed_bytes(derive(seed, "ml-kem-768", 64))
        curve = x25519.X25519PrivateKey.from_private_bytes(derive(seed, "x25519", 32))
        public = kem.public_key().public_bytes_raw() + curve.public_key().public_bytes_raw()
        self.id = hashlib.sha256(b"drbackup/1/key-id\0" + public).digest()[:8]
        self._private = hpke.MLKEM768X25519PrivateKey(kem, curve)

    def open(self, sealed_keys: list[list[bytes]], info: bytes) -> bytes:
        for wanted, sealed in sealed_keys:
            if wanted == self.id:
                return SUITE.decrypt(sealed, self._private, info=info)
        raise SystemExit("this key opens nothing here")


class Vault:
    """Objects of a folder store, checked against their names and signatures."""

    def __init__(self, folder: Path, evidence_key: bytes) -> None:
        self.folder = folder / "v1"
        description = self.signed(b"DRBKVLT1", (self.folder / "vault").read_bytes(), b"")
        self.evidence_key = evidence_key or description["evidence_key"]
        self.signed(b"DRBKVLT1", (self.folder / "vault").read_bytes(), self.evidence_key)

    def signed(self, magic: bytes, data: bytes, public: bytes) -> Any:
        if data[:8] != magic:
            raise SystemExit(f"not a {magic!r} object")
        body, _, signature = unpack(data[8:])
        if public:
            ed25519.Ed25519PublicKey.from_public_bytes(public).verify(signature, magic + body)
        return unpack(body)

    def newest_record(self, system: str, source: str) -> Any:
        newest: Any = None
        for path in sorted((self.folder / "r" / system).iterdir(), reverse=True):
            second = path.name.partition("-")[0]
            if newest and second != newest[0]:
                break  # older by its name; those of the same second are told apart by what they say inside
            data = path.read_bytes()
            if hashlib.sha256(data).hexdigest() != path.name[-64:]:
                raise SystemExit(f"{path.name} does not match its name")
            record = self.signed(b"DRBKREC1", data, self.evidence_key)
            if record["source"] == source and (not newest or record["committed_ns"] > newest[1]["committed_ns"]):
                newest = second, record
        if not newest:
            raise SystemExit(f"no record of {system}/{source}")
        return newest[1]

    def pack(self, domain: str, kind: str, name: bytes) -> Path:
        return self.folder / "d" / domain / kind / name.hex()


class Reader:
    """Chunks and trees of one domain."""

    def __init__(self, vault: Vault, domain: str, key: Key) -> None:
        self.vault, self.domain, self.key = vault, domain, key
        self.packs: dict[tuple[str, bytes], tuple[AESGCM, bytes]] = {}

    def open_pack(self, kind: str, name: bytes) -> tuple[AESGCM, bytes]:
        if (kind, name) not in self.packs:
            path = self.vault.pack(self.domain, kind, name)
            with path.open("rb") as file:
                magic, size = struct.unpack(">8sI", file.read(12))
                _, suite, written, salt, commitment, sealed_keys = unpack(file.read(size))
            if magic != b"DRBKPAC1" or suite != 1 or written != kind:
                raise SystemExit(f"{path} is not a pack of kind {kind}")
            secret = self.key.open(sealed_keys, f"drbackup/1/data-key/{kind}/{self.domain}".encode())
            both = derive(secret, "pack", 64, salt, f"{kind}/{self.domain}".encode())
            if both[32:] != commitment:
                raise SystemExit(f"{path}: the key does not fit")
            self.packs[kind, name] = AESGCM(both[:32]), f"drbackup/1/{kind}/{self.domain}/".encode() + salt
        return self.packs[kind, name]

    def chunk(self, kind: str, place: list[Any]) -> bytes:
        identity, name, number, offset, size, raw = place
        cipher, bound = self.open_pack(kind, name)
        with self.vault.pack(self.domain, kind, name).open("rb") as file:
            file.seek(offset)
            sealed = file.read(size)
        stored = cipher.decrypt(number.to_bytes(12, "big"), sealed, bound + number.to_bytes(4, "big") + identity)
        if len(stored) == raw:
            return stored
        return zstandard.ZstdDecompressor().decompress(stored, max_output_size=raw)

    def entries(self, root: bytes) -> Iterator[list[Any]]:
        top_place = unpack(root)[0]
        for _, page_place in unpack(self.chunk("t", top_place)):
            page_place[1] = page_place[1] if any(page_place[1]) else top_place[1]
            yield from unpack(self.chunk("t", page_place))

    def content(self, entry: list[Any]) -> Iterator[bytes]:
        hasher = blake3()
        for place, start, length in entry[15]:
            piece = self.chunk("p", place)[start : start + length]
            hasher.update(piece)
            yield piece
        if entry[13] and hasher.digest() != entry[13]:
            raise SystemExit(f"{entry[0]!r}: digest differs")


def unseal(record: Any, key: Key) -> Any:
    """The sealed half of a record."""
    context = f"drbackup/1/record/{record['system']}/{record['source']}/{record['session']}".encode()
    _, sealed_keys, sealed = unpack(record["sealed"])
    return unpack(AESGCM(key.open(sealed_keys, context)).decrypt(bytes(12), sealed, context))


def write_file(path: Path, entry: list[Any], pieces: Iterator[bytes]) -> None:
    """Content goes around the holes; the size comes last, so a hole at the end stays one."""
    holes = sorted(map(tuple, entry[16]))
    with path.open("xb") as file:
        position = 0
        for piece in pieces:
            view = memoryview(piece)
            while view:
                while holes and holes[0][0] == position:
                    position += holes.pop(0)[1]
                room = min(len(view), holes[0][0] - position) if holes else len(view)
                file.seek(position)
                file.write(view[:room])
                position, view = position + room, view[room:]
        file.truncate(entry[9])


def restore(reader: Reader, root: bytes, target: Path) -> int:
    """Files, folders, symbolic and hard links; the number written."""
    target.mkdir()
    count = 0
    folders = []
    for entry in reader.entries(root):
        parts = entry[0].split(b"/")
        if any(part in {b"", b".", b".."} for part in parts):
            raise SystemExit(f"{entry[0]!r} leads outside the target")
        path = target / os.fsdecode(entry[0])
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.parent.resolve() != target.resolve().joinpath(*map(os.fsdecode, parts[:-1])):
            raise SystemExit(f"{entry[0]!r} goes through a link")
        if entry[1] == FOLDER:
            path.mkdir(exist_ok=True)
            folders.append((path, entry))
        elif entry[1] == FILE:
            write_file(path, entry, reader.content(entry))
            path.chmod(entry[2])
            os.utime(path, ns=(entry[8] or entry[7], entry[7]))
        elif entry[1] == SYMLINK:
            path.symlink_to(os.fsdecode(entry[10]))
        elif entry[1] == HARDLINK:
            path.hardlink_to(target / os.fsdecode(entry[10]))
        else:
            print(f"left out: {entry[0]!r} is of kind {entry[1]}")
            continue
        count += 1
    for path, entry in reversed(folders):
        path.chmod(entry[2])
        os.utime(path, ns=(entry[8] or entry[7], entry[7]))
    return count


def main(arguments: list[str]) -> None:
    store, system, source, key_file, target = arguments[:5]
    vault = Vault(Path(store), bytes.fromhex(arguments[5]) if len(arguments) > 5 else b"")
    key = Key(bytes.fromhex(Path(key_file).read_text().strip()))
    record = vault.newest_record(system, source)
    count = restore(Reader(vault, record["domain"], key), unseal(record, key)["root"], Path(target))
    print(f"{count} entries of {system}/{source} restored to {target}")


if __name__ == "__main__":
    main(sys.argv[1:])
