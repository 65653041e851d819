"""A city of one system on one machine: policies, folder stores, a local agent, all below one folder."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from drbackup.controller.home.initialise import NewInstallation, initialise
from drbackup.controller.home.installation import Installation, StoreOpener
from drbackup.stores.registry import open_store
from drbackup.vault.keys import Keyring
from drbackup.vault.read.reader import PointReader
from drbackup.vault.record import read_record, unseal
from drbackup.vault.store_access import StoreFetch

SYSTEM, SOURCE, AGENT = "registry", "scans", "db1.bureau"
_LEVELS = Path(__file__).parents[3] / "policies" / "levels"
_REPOSITORY = Path(__file__).parents[3]

_INVENTORY = """\
title: Small City
time_zone: Asia/Shanghai
agents:
  {agent}: {{transport: local, command: [{command}], state_folder: {root}/agent{sandbox}}}
stores:
  main: {{directory: {{path: {root}/store-main}}{scrub}}}
  other: {{directory: {{path: {root}/store-other}}{scrub}}}
"""

_POLICY = """\
system: {system}
title: Registry
department: bureau
level: 4
objectives: {{rpo: 2h, rto: 8h}}
sources:
  - name: {source}
    agent: {agent}
    canary: false
    files: {{paths: [{root}/data]}}
schedule: {{{schedule}}}
keep: {{{keep}}}
copies: [{copies}]
"""


@dataclass
class SmallCity:
    """``root`` holds everything. Files of ``data`` are what is backed up."""

    root: Path
    copies: str = "main"
    schedule: str = "every: 30m"
    keep: str = "daily: 30"
    module: str = "tests.support.doubles.tree_agent"
    program: tuple[str, ...] = ()  # another agent program altogether
    sandbox: str = ""  # the agent is a drill host, too
    nightly: bool = False  # the daemon reads the stores back, at an hour that no other test expects
    stores: str = ""  # more lines for the inventory's stores
    extra: str = ""
    new_installation: NewInstallation | None = field(default=None, init=False)

    @property
    def home(self) -> Path:
        return self.root / "home"

    @property
    def policies(self) -> Path:
        return self.root / "policies"

    @property
    def data(self) -> Path:
        return self.root / "data"

    def build(self) -> SmallCity:
        for folder in (self.policies, self.data):
            folder.mkdir(parents=True, exist_ok=True)
        if not (self.policies / "levels").exists():
            self.copy_levels()
        self.write_policies()
        (self.data / "a").write_bytes(b"alpha" * 1000)
        (self.data / "b").write_bytes(b"beta" * 2000)
        self.new_installation = initialise(self.home, self.policies, (2, 3), now=datetime.now(UTC))
        return self

    def copy_levels(self) -> None:
        shutil.copytree(_LEVELS, self.policies / "levels")

    def write_policies(self) -> None:
        run = f"runpy.run_module('{self.module}', run_name='__main__')"
        start = f"import runpy, sys; sys.path[:0] = ['{_REPOSITORY}']; {run}"
        command = ", ".join([sys.executable, "-c", f'"{start}"'])
        if self.module == "drbackup_agent":
            command = ", ".join([sys.executable, "-m", "drbackup_agent", "serve"])
        if self.program:
            command = ", ".join(self.program)
        words: dict[str, object] = {
            "root": self.root,
            "agent": AGENT,
            "system": SYSTEM,
            "source": SOURCE,
            "command": command,
        }
        words["scrub"] = "" if self.nightly else ", scrub: {nightly: false}"
        words["sandbox"] = f", sandbox: {self.sandbox}" if self.sandbox else ""
        (self.policies / "inventory.yaml").write_text(_INVENTORY.format(**words) + self.stores)
        text = _POLICY.format(**words, schedule=self.schedule, copies=self.copies, keep=self.keep)
        (self.policies / f"{SYSTEM}.yaml").write_text(text + self.extra)

    def open(self, stores: StoreOpener = open_store) -> Installation:
        return Installation.open(self.home, self.policies, stores=stores)

    def read(self, point: str, store: str = "main") -> dict[bytes, bytes]:
        """Every file of a point, from one store, opened with the drill key alone."""
        with self.open() as installation:
            known = installation.catalog.points.get(point)
            place = installation.store(store)
            record = read_record(place, known.name, installation.signer.public)
            root = unseal(record, installation.keyring).root
            reader = PointReader(StoreFetch(place), Keyring([installation.drill_key()]), known.domain, root)
            return {entry.path: b"".join(reader.content(entry)) for entry in reader.entries() if entry.size}
