"""The site fixture: a filled, founded installation for the real command."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.site import Site


@pytest.fixture
def bare(tmp_path: Path) -> Site:
    """Data and policies; nothing founded."""
    site = Site(tmp_path)
    site.fill()
    site.write()
    return site


@pytest.fixture
def site(bare: Site) -> Site:
    """A founded installation without a point."""
    bare.found()
    return bare
