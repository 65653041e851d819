"""The ``drbackup`` command with the dummy kinds in its lists, which are read when the models are made."""

from __future__ import annotations

import sys

from drbackup.model.checks.kinds import CHECK_KINDS
from drbackup.model.sources.kinds import SOURCE_KINDS
from drbackup.model.stores.kinds import STORE_PLACES
from tests.support.doubles.dummy_kinds.notebook_policy import NotebookPolicy
from tests.support.doubles.dummy_kinds.pages_form import PagesCheck
from tests.support.doubles.dummy_kinds.shelf_place import ShelfPlace

CHECK_KINDS.append(PagesCheck)
SOURCE_KINDS.append(NotebookPolicy)
STORE_PLACES.append(ShelfPlace)

if __name__ == "__main__":
    from drbackup.cli.main import main
    from drbackup.stores.registry import STORE_KINDS
    from tests.support.doubles.dummy_kinds.shelf_store import SHELF

    STORE_KINDS.append(SHELF)

    sys.exit(main())
