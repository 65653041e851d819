"""Every kind of check a policy may ask, in one list, in the order of the reference.

A new kind is its model beside this module, a line in :data:`CHECK_KINDS`, and the agent's half of it
(``docs/drills.md``: to add a kind of check).
"""

from __future__ import annotations

from drbackup.model.checks.across import AcrossCheck
from drbackup.model.checks.base import CheckForm
from drbackup.model.checks.counts import CountsCheck
from drbackup.model.checks.files import FilesCheck
from drbackup.model.checks.sql import SqlCheck

CHECK_KINDS: list[type[CheckForm]] = [SqlCheck, CountsCheck, FilesCheck, AcrossCheck]
