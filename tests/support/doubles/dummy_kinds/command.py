"""The ``drbackup`` command with the dummy kinds in its lists, which are read when the models are made."""

from __future__ import annotations

import sys

from drbackup.model.sources.kinds import SOURCE_KINDS
from tests.support.doubles.dummy_kinds.notebook_policy import NotebookPolicy

SOURCE_KINDS.append(NotebookPolicy)

if __name__ == "__main__":
    from drbackup.cli.main import main

    sys.exit(main())
