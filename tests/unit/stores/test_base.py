"""Names: what may be one, and what one promises."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drbackup.errors import UsageError
from drbackup.stores.base import digest_in_name, require_name, require_prefix

HASH = "ab" * 32


@given(st.text(max_size=30))
def test_no_accepted_name_or_prefix_can_leave_a_folder(text: str) -> None:
    for accept in (require_name, require_prefix):
        try:
            accept(text)
        except UsageError:
            continue
        parts = text.split("/")
        assert ".." not in parts
        assert "." not in parts
        assert "\x00" not in text
        assert not text.startswith("/")


@pytest.mark.parametrize("name", [HASH, f"v1/d/db1/p/{HASH}", f"v1/r/city/20261123T120000Z-{HASH}"])
def test_a_name_that_ends_in_a_hash_promises_it(name: str) -> None:
    assert digest_in_name(name) == bytes.fromhex(HASH)


@pytest.mark.parametrize("name", ["v1/vault", f"v1/{HASH[:-1]}", f"v1/x{HASH}", f"v1/{HASH}-1", f"v1/{HASH.upper()}"])
def test_other_names_promise_nothing(name: str) -> None:
    assert digest_in_name(name) is None


@pytest.mark.parametrize("prefix", ["", "v1", "v1/", "v1/r/ci", "v1/r/city/"])
def test_takes_prefixes_of_names(prefix: str) -> None:
    assert require_prefix(prefix) == prefix


@pytest.mark.parametrize("prefix", ["/", "//", "v1//", "../", "v1/../", "v1/.x"])
def test_refuses_prefixes_no_name_could_have(prefix: str) -> None:
    with pytest.raises(UsageError):
        require_prefix(prefix)
