"""Every kind of store, in one list."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from drbackup.errors import PolicyError, StoreRefused
from drbackup.stores.base import Store
from drbackup.stores.erase import CREDENTIAL_HINT, Eraser
from drbackup.stores.folder.store import DirectoryStore
from drbackup.stores.lock import Locker

if TYPE_CHECKING:
    from drbackup.model.inventory import StoreEntry
    from drbackup.stores.s3.client import S3Config


def open_store(name: str, entry: StoreEntry) -> Store:
    """The store that an inventory entry describes. Nothing is asked of it yet.

    Raises PolicyError for an entry of no kind, StoreRefused when an S3 credential is missing.
    """
    if entry.directory is not None:
        disk = Path(entry.directory.path)
        return DirectoryStore(name, disk / entry.prefix, within=disk.parent)
    if entry.s3 is not None:
        return _s3(name, entry)
    raise PolicyError(f"store {name} is neither a directory nor s3")


def _s3(name: str, entry: StoreEntry) -> Store:
    # Imported here because boto3 takes 0.3 s, which commands on a directory store should not pay.
    from drbackup.stores.s3.store import S3Store

    assert entry.s3 is not None
    return S3Store(name, s3_config(entry, entry.s3.credentials_file))


def s3_config(entry: StoreEntry, credentials_file: str) -> S3Config:
    """Where an S3 entry's bucket is, reached with the credential in that file, or the environment's when empty.

    Raises StoreRefused when it is missing.
    """
    from drbackup.stores.s3.client import S3Config, load_credentials

    place = entry.s3
    assert place is not None
    return S3Config(
        bucket=place.bucket,
        credentials=load_credentials(credentials_file),
        endpoint=place.endpoint,
        region=place.region or "us-east-1",
        prefix=entry.prefix,
        path_style=place.path_style,
        ca_file=place.ca_file,
        lock_days=place.lock_days,
    )


def open_eraser(name: str, entry: StoreEntry) -> Eraser:
    """The eraser of the store that an inventory entry describes. Nothing is asked of it yet.

    Raises StoreRefused when an S3 store has no credential for collecting, PolicyError for an entry of no kind.
    """
    if entry.directory is not None:
        from drbackup.stores.folder.erase import DirectoryEraser

        disk = Path(entry.directory.path)
        return DirectoryEraser(name, disk / entry.prefix, within=disk.parent)
    if entry.s3 is not None:
        if not entry.s3.collect_credentials_file:
            raise StoreRefused(
                f"store {name} has no credential for collecting, and the one that writes must not be able to delete",
                where=name,
                hint=CREDENTIAL_HINT,
                safe="nothing was removed",
            )
        from drbackup.stores.s3.erase import S3Eraser

        return S3Eraser(name, s3_config(entry, entry.s3.collect_credentials_file))
    raise PolicyError(f"store {name} is neither a directory nor s3")


def open_locker(name: str, entry: StoreEntry) -> Locker | None:
    """The locker of a store that an inventory entry describes; None for a store that locks nothing."""
    if entry.s3 is None or not entry.lock_days:
        return None
    from drbackup.stores.s3.lock import S3Locker

    return S3Locker(name, s3_config(entry, entry.s3.credentials_file))
