"""The real agent file, built once for all tests that need it."""

from __future__ import annotations

import pytest

from drbackup.fleet.bundle import Bundle, build


@pytest.fixture(scope="session")
def real_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Built from what is installed here."""
    return build(tmp_path_factory.mktemp("bundle"))
