"""Every kind of check that a policy may ask, in one list, in the order of the reference.

A new kind needs a model beside this module, a line in :data:`CHECK_KINDS`, and its code on the agent.
``docs/drills.md`` says how to add one.
"""

from __future__ import annotations

from drbackup.model.checks.across import AcrossCheck
from drbackup.model.checks.base import CheckForm
from drbackup.model.checks.counts import CountsCheck
from drbackup.model.checks.files import FilesCheck
from drbackup.model.checks.sql import SqlCheck

CHECK_KINDS: list[type[CheckForm]] = [SqlCheck, CountsCheck, FilesCheck, AcrossCheck]
