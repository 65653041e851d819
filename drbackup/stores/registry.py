"""Every kind of store, in one list."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from drbackup.errors import PolicyError
from drbackup.stores.base import Store
from drbackup.stores.directory import DirectoryStore

if TYPE_CHECKING:
    from drbackup.model.inventory import StoreEntry
    from drbackup.stores.s3_client import S3Config


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
    from drbackup.stores.s3 import S3Store

    assert entry.s3 is not None
    return S3Store(name, s3_config(entry, entry.s3.credentials_file))


def s3_config(entry: StoreEntry, credentials_file: str) -> S3Config:
    """Where an S3 entry's bucket is, reached with the credential in that file, or the environment's when empty.

    Raises StoreRefused when it is missing.
    """
    from drbackup.stores.s3_client import S3Config, load_credentials

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
