"""An inventory entry becomes the store it describes."""

from __future__ import annotations

from pathlib import Path

import pytest

from drbackup.errors import StoreRefused
from drbackup.model.inventory import StoreEntry
from drbackup.stores.folder.store import DirectoryStore
from drbackup.stores.registry import open_store
from drbackup.stores.s3.store import S3Store


def test_a_directory_entry_opens_a_folder_below_its_prefix(tmp_path: Path) -> None:
    entry = StoreEntry.model_validate({"directory": {"path": str(tmp_path / "disk")}, "prefix": "city/main/"})
    store = open_store("second", entry)
    assert isinstance(store, DirectoryStore)
    store.put("v1/x", b"x")
    assert (tmp_path / "disk/city/main/v1/x").read_bytes() == b"x"


def test_an_s3_entry_opens_a_bucket_with_its_credential(tmp_path: Path) -> None:
    credentials = tmp_path / "credentials"
    credentials.write_text("[default]\naws_access_key_id=AK\naws_secret_access_key=SK\n")
    credentials.chmod(0o600)
    place = {"bucket": "city-backup", "endpoint": "https://s3.example", "credentials_file": str(credentials)}
    entry = StoreEntry.model_validate({"s3": {**place, "lock_days": 30}, "prefix": "drbackup/"})
    store = open_store("offsite", entry)
    assert isinstance(store, S3Store)
    assert (store.config.bucket, store.config.lock_days, store.key("v1/x")) == ("city-backup", 30, "drbackup/v1/x")


def test_a_missing_credential_is_said_when_the_store_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
    with pytest.raises(StoreRefused):
        open_store("offsite", StoreEntry.model_validate({"s3": {"bucket": "city-backup"}}))
