"""Evidence on disk and in every store: one chain for the installation.

``<home>/evidence/<yyyy-mm>/<time>-<hash>.evidence`` is the signed object, byte for byte as the stores have it. Beside
it, ``….json`` is the statement in clear text. The chain is the installation's, not a store's. Every object goes to
every store with a vault; what a store missed while it was away is written there the next time.

Order of writing: statement, object, stores. A crash after the statement leaves a JSON file without an object: it proves
nothing, and verifying says so. After a crash after the object, the stores catch up the next time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import msgspec

from drbackup.controller.home.initialise import read_description
from drbackup.controller.home.installation import Installation
from drbackup.errors import DrbackupError, ObjectCorrupt, StoreUnavailable, UsageError, say
from drbackup.stores.base import Store
from drbackup.system.durable import make_folder, write_file
from drbackup.system.file_lock import wait_for_file_lock
from drbackup.system.instants import EPOCH, from_ns
from drbackup.vault.evidence import (
    EVIDENCE_PREFIX,
    ChainLink,
    ChainReport,
    Head,
    check_chain,
    list_evidence,
    make_evidence,
    open_statement,
    read_head,
)
from drbackup.vault.layout import digest_in_name

OBJECT, STATEMENT, REPORT = ".evidence", ".json", ".html"


class Evidence(msgspec.Struct, frozen=True):
    """One object of the chain."""

    id: str  # its SHA-256, hex
    sequence: int  # its number in the chain, from 1
    subject: str  # what its statement is about
    when: datetime  # UTC
    previous: str  # the SHA-256 of the object before it, hex
    object_path: Path
    missing_in: tuple[str, ...] = ()  # stores that do not have it yet

    @property
    def statement_path(self) -> Path:
        """The path of the statement in clear text."""
        return self.object_path.with_suffix(STATEMENT)

    @property
    def report_path(self) -> Path:
        """The path of the readable page, once :mod:`drbackup.reports.drill` has written it."""
        return self.object_path.with_suffix(REPORT)


def write_evidence(installation: Installation, statement: bytes, *, subject: str, when: datetime) -> Evidence:
    """The evidence of a statement: signed, chained, durable on disk first, then in every store.

    A store that can't be reached does not undo the evidence: it is in ``missing_in`` and gets it the next time. Raises
    :class:`DrbackupError` only when nothing was kept on disk.
    """
    folder = installation.evidence_folder
    with _writing(folder):
        if not _objects(folder):
            recollect(installation)  # a new home of a known city: its chain goes on, and no second one begins
        after = chain_head(folder, installation.signer.public)
        when = max(when, _instant_of(folder, after))  # a clock that was set back must not make the chain look forged
        recipients = read_description(installation.home).recipients
        name, data = make_evidence(
            statement, subject=subject, when=when, after=after, recipients=recipients, signer=installation.signer
        )
        path = keep(folder, name, data, statement)
        missing = publish(installation)
    return Evidence(
        id=digest_in_name(name),
        sequence=after.sequence + 1,
        subject=subject,
        when=when,
        previous=after.digest.hex(),
        object_path=path,
        missing_in=missing,
    )


def publish(installation: Installation) -> tuple[str, ...]:
    """The stores that still lack some objects of the folder, because they failed. All others have every object."""
    folder = installation.evidence_folder
    failed: list[str] = []
    for name, store in _vault_stores(installation).items():
        try:
            installation.vault(name)  # nothing is written where our vault is not
            there = set(list_evidence(store))
            for path in _objects(folder):
                if (wanted := _object_name(folder, path)) not in there:
                    store.put(wanted, path.read_bytes())
        except DrbackupError:
            failed.append(name)  # named in the result, and tried again with the next evidence
    return tuple(failed)


def recollect(installation: Installation) -> int:
    """The number of objects that the evidence folder lacked and got from the stores. It needs the catalog key.

    Raises :class:`StoreUnavailable` when no store answers, and :class:`DrbackupError` for an object that is not sound.
    """
    folder = installation.evidence_folder
    brought = 0
    reached = 0
    stores = _vault_stores(installation)
    for store in stores.values():
        try:
            names = sorted(list_evidence(store))
        except StoreUnavailable:
            continue  # when no store answers at all, it is raised below: nothing is known then about an older chain
        reached += 1
        for name in names:
            if _path(folder, name).exists():
                continue
            data = store.get(name)
            statement = open_statement(read_head(data, installation.signer.public, name), installation.keyring, name)
            keep(folder, name, data, statement)
            brought += 1
    if stores and not reached:
        raise StoreUnavailable("no store answers, so it is not known whether this city has older evidence")
    return brought


def keep(folder: Path, name: str, data: bytes, statement: bytes) -> Path:
    """The path of an object that is durable in the folder, after its statement.

    Raises :class:`ObjectCorrupt` when the folder has other bytes under one of the names.
    """
    path = _path(folder, name)
    make_folder(path.parent)
    _keep_file(path.with_suffix(STATEMENT), statement)
    _keep_file(path, data)
    return path


def objects_in(folder: Path) -> dict[str, Path]:
    """The paths of the folder's objects, by the names that they have in the stores. Nothing is checked."""
    return {_object_name(folder, path): path for path in _objects(folder)}


def chain_head(folder: Path, public_key: bytes = b"") -> ChainLink:
    """The newest object's number and hash; number 0 without one.

    Signatures are checked when the public key (Ed25519, 32 bytes) is given. Raises :class:`DrbackupError` for an object
    that can't be read or is not signed.
    """
    newest = ChainLink()
    for path in _objects(folder):
        head = _decode(folder, path, public_key)
        if head.sequence > newest.sequence:
            newest = ChainLink(head.sequence, bytes.fromhex(digest_in_name(path.stem)))
    return newest


def list_folder(folder: Path) -> list[Evidence]:
    """All evidence in a folder, by number. Raises :class:`ObjectCorrupt` for an object that can't be read."""
    found = []
    for path in _objects(folder):
        head = _decode(folder, path, b"")
        found.append(
            Evidence(
                id=digest_in_name(path.stem),
                sequence=head.sequence,
                subject=head.subject,
                when=from_ns(head.when_ns),
                previous=head.previous.hex(),
                object_path=path,
            )
        )
    return sorted(found, key=lambda each: each.sequence)


def find(folder: Path, word: str) -> Evidence:
    """The evidence that an operator means, by its number or the first characters (≥ 4) of its hash.

    Raises :class:`UsageError` when none fits, or several do.
    """
    found = [
        each
        for each in list_folder(folder)
        if str(each.sequence) == word or (len(word) >= 4 and each.id.startswith(word))
    ]
    if len(found) != 1:
        raise UsageError(
            say("{n} pieces of evidence fit {word}", n=len(found), word=repr(word)), hint="see: drbackup drill list"
        )
    return found[0]


def verify_folder(folder: Path, public_key: bytes) -> ChainReport:
    """The faults of every file below ``folder``, with nothing but the evidence key's public half (32 bytes).

    Found is an altered object or statement, a forged signature, a missing, doubled or foreign object, a changed order.
    Not found is that the newest objects are missing, because nothing in the folder could show it. Compare the head with
    the one in a store or in a printed report.
    """
    faults: list[str] = []
    heads: list[tuple[str, Head]] = []
    for path in _objects(folder):
        name = path.relative_to(folder).as_posix().removesuffix(OBJECT)
        try:
            head = _decode(folder, path, public_key)
        except DrbackupError as bad:
            faults.append(f"{name}: {bad.message}")
            continue
        heads.append((name, head))
        faults.extend(_statement_faults(path.with_suffix(STATEMENT), head, name))
    known = {path.with_suffix(STATEMENT) for path in _objects(folder)}
    for path in sorted(folder.rglob(f"*{STATEMENT}")):
        if path not in known and digest_in_name(path.stem):
            faults.append(f"{path.relative_to(folder)}: a statement without a signed object: it proves nothing")
    report = check_chain(heads)
    return ChainReport(report.objects, report.head, (*faults, *report.faults))


def verify_stores(installation: Installation) -> dict[str, ChainReport]:
    """The report on the chain in each store, by its name. The heads must be the same as the folder's.

    Raises the stores' errors.
    """
    reports: dict[str, ChainReport] = {}
    for store_name, store in _vault_stores(installation).items():
        heads: list[tuple[str, Head]] = []
        faults: list[str] = []
        for name in list_evidence(store):
            try:
                heads.append((name, read_head(store.get(name), installation.signer.public, name)))
            except DrbackupError as bad:
                faults.append(bad.message)
        report = check_chain(heads)
        reports[store_name] = ChainReport(report.objects, report.head, (*faults, *report.faults))
    return reports


# --- files -----------------------------------------------------------------------------------------------------------


def _statement_faults(path: Path, head: Head, name: str) -> list[str]:
    try:
        statement = path.read_bytes()
    except FileNotFoundError:
        return [f"{name}: its statement {path.name} is missing"]
    if hashlib.sha256(statement).digest() != head.statement:
        return [f"{name}: its statement was altered"]
    return []


def _objects(folder: Path) -> list[Path]:
    return sorted(folder.rglob(f"*{OBJECT}"))


def _path(folder: Path, name: str) -> Path:
    return folder / (name.removeprefix(EVIDENCE_PREFIX) + OBJECT)


def _object_name(folder: Path, path: Path) -> str:
    return EVIDENCE_PREFIX + path.relative_to(folder).as_posix().removesuffix(OBJECT)


def _decode(folder: Path, path: Path, public: bytes) -> Head:
    return read_head(path.read_bytes(), public, _object_name(folder, path))


def _instant_of(folder: Path, link: ChainLink) -> datetime:
    for path in _objects(folder):
        if digest_in_name(path.stem) == link.digest.hex():
            return from_ns(_decode(folder, path, b"").when_ns)
    return EPOCH


def _keep_file(path: Path, data: bytes) -> None:
    """A file that holds ``data``, durably. Raises :class:`ObjectCorrupt` when it has other bytes already."""
    if path.exists() and path.read_bytes() != data:
        raise ObjectCorrupt(say("{path}: exists with other bytes", path=path), where=str(path))
    write_file(path, data)


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """One writer at a time: two drills that end together must not take the same number."""
    make_folder(folder)
    with wait_for_file_lock(folder / ".lock"):
        yield


def _vault_stores(installation: Installation) -> dict[str, Store]:
    """Every store of the inventory, the first named first."""
    return {name: installation.store(name) for name in installation.inventory.stores}
