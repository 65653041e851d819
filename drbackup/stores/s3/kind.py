"""A bucket as a store, opened by its entry in the inventory.

The modules that need boto3 are imported only when a bucket is opened. Importing it takes 0.3 s, which commands on a
folder need not wait for.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING

from drbackup.errors import StoreRefused, say
from drbackup.model.inventory import StoreEntry
from drbackup.model.stores.s3 import S3Place
from drbackup.stores.erase import CREDENTIAL_HINT, Eraser
from drbackup.stores.kind import StoreKind
from drbackup.stores.lock import Locker
from drbackup.stores.trial import Trial

if TYPE_CHECKING:
    from drbackup.stores.s3.client import S3Config
    from drbackup.stores.s3.store import S3Store


def _place(entry: StoreEntry) -> S3Place:
    assert isinstance(entry.place, S3Place)
    return entry.place


def s3_config(entry: StoreEntry, credentials_file: str) -> S3Config:
    """The bucket of an S3 entry, with the credential in that file, or the environment's when the name is empty.

    Raises StoreRefused when there is no credential.
    """
    from drbackup.stores.s3.client import S3Config, load_credentials

    place = _place(entry)
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


def _open(name: str, entry: StoreEntry) -> S3Store:
    from drbackup.stores.s3.store import S3Store

    return S3Store(name, s3_config(entry, _place(entry).credentials_file))


def _open_eraser(name: str, entry: StoreEntry) -> Eraser:
    credentials = _place(entry).collect_credentials_file
    if not credentials:
        raise StoreRefused(
            say(
                "store {name} has no credential for collecting, and the one that writes must not be able to delete",
                name=name,
            ),
            where=name,
            hint=CREDENTIAL_HINT,
            safe="nothing was removed",
        )
    from drbackup.stores.s3.erase import S3Eraser

    return S3Eraser(name, s3_config(entry, credentials))


def _open_locker(name: str, entry: StoreEntry) -> Locker | None:
    if not entry.lock_days:
        return None
    from drbackup.stores.s3.lock import S3Locker

    return S3Locker(name, s3_config(entry, _place(entry).credentials_file))


def _trials(store: S3Store, place: str, when: datetime) -> Iterator[Trial]:
    from drbackup.stores.s3.probe import s3_trials

    return s3_trials(store, place, when)


S3 = StoreKind(name="s3", open=_open, open_eraser=_open_eraser, open_locker=_open_locker, trials=_trials)
