"""The agent with the dummy kinds in its lists. Run as a program, like ``drbackup-agent``."""

from __future__ import annotations

import sys

from drbackup_agent.drill.checks.kinds import CHECK_KINDS
from drbackup_agent.serve import main
from drbackup_agent.sources.kinds import SOURCE_KINDS
from tests.support.doubles.dummy_kinds.notebook_source import NOTEBOOK
from tests.support.doubles.dummy_kinds.pages_check import measure_pages

SOURCE_KINDS.append(NOTEBOOK)
CHECK_KINDS["pages"] = measure_pages

if __name__ == "__main__":
    sys.exit(main())
