"""The site fixture: a filled, founded installation for the real command."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.cities.site import Site


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


@pytest.fixture(scope="module")
def health(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A founded installation with one backup of everything, for tests that only look."""
    site = Site(tmp_path_factory.mktemp("standing"))
    site.fill()
    site.write()
    site.found()
    site.good("backup", "--all")
    return site
