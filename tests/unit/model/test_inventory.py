"""An inventory pins host keys, names files instead of secrets, and leaves nothing to guess."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from drbackup.model.inventory import AgentEntry, StoreEntry

ED25519 = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAICqx+jlONVodqrcW/tqszgphyXaKZ1EY4AOCMotxFUPP"
SSH: dict[str, Any] = {"transport": "ssh", "host": "db1", "key_file": "/k", "host_keys": [ED25519]}


def test_a_host_key_is_kept_without_its_comment() -> None:
    entry = AgentEntry.model_validate({**SSH, "host_keys": [f"  {ED25519} root@db1 (2026)\n"]})
    assert entry.host_keys == (ED25519,)


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("", "not a host key's kind"),
        ("ssh-dss AAAA", "not a host key's kind"),
        ("ssh-ed25519", "cut off"),
        ("ssh-ed25519 AAAAC3Nz", "cut off|another kind"),
        ("ssh-ed25519 not base64!", "cut off"),
        (ED25519.replace("ssh-ed25519", "ssh-rsa"), "holds another kind of key"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----", "not a host key's kind"),
    ],
)
def test_what_is_not_a_public_host_key_is_refused(key: str, words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        AgentEntry.model_validate({**SSH, "host_keys": [key]})


def test_an_ssh_agent_has_limits_even_when_nothing_is_said() -> None:
    entry = AgentEntry.model_validate(SSH)
    assert (entry.port, entry.route, entry.bandwidth) == (22, "direct", 0)
    assert entry.connect_timeout == timedelta(seconds=20)
    assert entry.stall_timeout == timedelta(minutes=5)


def test_a_store_is_of_exactly_one_kind_and_its_prefix_is_one_folder() -> None:
    folder = {"path": "/srv/vault"}
    assert StoreEntry.model_validate({"directory": folder, "prefix": "city"}).prefix == "city/"
    assert StoreEntry.model_validate({"directory": folder, "prefix": "city/a/"}).prefix == "city/a/"
    assert StoreEntry.model_validate({"directory": folder}).lock_days == 0
    assert StoreEntry.model_validate({"s3": {"bucket": "abc", "lock_days": 9}}).lock_days == 9
    with pytest.raises(ValidationError, match="exactly one of directory, s3"):
        StoreEntry.model_validate({"directory": folder, "s3": {"bucket": "abc"}})
    with pytest.raises(ValidationError, match="exactly one of directory, s3"):
        StoreEntry.model_validate({})
    for wrong in ("../up", "/city", "a//b", "a/../b/"):
        with pytest.raises(ValidationError):
            StoreEntry.model_validate({"directory": folder, "prefix": wrong})
