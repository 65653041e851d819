"""``python -m drbackup_agent``: the same as the ``drbackup-agent`` command."""

from __future__ import annotations

import sys

from drbackup_agent.serve import main

if __name__ == "__main__":
    sys.exit(main())
