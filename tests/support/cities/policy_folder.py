"""A small policy folder that holds, and a way to break exactly one thing in it."""

from __future__ import annotations

import shutil
from pathlib import Path

from drbackup.controller.home.policies import Inspection, inspect_folder

SHIPPED = Path(__file__).parents[3] / "policies"

INVENTORY = """\
title: Test city
agents:
  centre: {transport: local}
  drill1: {transport: local}
stores:
  offsite:
    s3: {bucket: backups, lock_days: 40}
  shelf:
    directory: {path: /srv/shelf}
"""

BASE = """\
system: base
title: Enterprise base
department: market
level: 4
objectives: {rpo: 1h, rto: 8h}
depends_on: [network]
sources:
  - {name: registry, agent: centre, postgres: {database: registry}}
  - {name: scans, agent: centre, files: {paths: [/srv/scans]}}
schedule: {every: 30m}
keep: {daily: 30}
copies: [offsite]
drill:
  on: drill1
  checks:
    - {source: registry, counts: match}
    - {source: scans, files: match}
"""

NETWORK = """\
system: network
title: Network
department: centre
level: 4
objectives: {rpo: 1h, rto: 2h}
sources:
  - {name: configs, agent: centre, files: {paths: [/srv/configs]}}
schedule: {every: 30m}
keep: {daily: 30}
copies: [offsite]
drill:
  on: drill1
  checks:
    - {source: configs, files: match}
"""


class PolicyFolder:
    """``inventory.yaml``, ``base.yaml`` and ``network.yaml`` below one folder, right until broken."""

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "levels").mkdir(parents=True)
        shutil.copy(SHIPPED / "levels" / "gbt20988-2007.yaml", path / "levels")
        for name, text in (("inventory", INVENTORY), ("base", BASE), ("network", NETWORK)):
            self.write(f"{name}.yaml", text)

    def write(self, name: str, text: str) -> None:
        (self.path / name).write_text(text, encoding="utf-8")

    def change(self, name: str, old: str, new: str) -> None:
        """Replace ``old``, which must stand in the file, once."""
        text = (self.path / name).read_text(encoding="utf-8")
        assert old in text
        self.write(name, text.replace(old, new, 1))

    def inspect(self) -> Inspection:
        return inspect_folder(self.path)

    def findings(self, severity: str = "") -> list[tuple[str, str, str]]:
        """(``file:line:column``, message, hint) of every finding, or those of one severity."""
        return [
            (f"{Path(found.file).name}:{found.line}:{found.column}", found.message, found.hint)
            for found in self.inspect().findings
            if severity in ("", found.severity)
        ]

    def only(self, severity: str = "") -> tuple[str, str, str]:
        """The one finding there is."""
        (found,) = self.findings(severity)
        return found
