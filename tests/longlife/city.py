"""One server's files, backed up once a simulated day by the real runner, handler, writer, catalog and collector.

Only the agent's walk over a disk and the wire are left out: the stand-in below knows which files changed, keeps the
others as the agent's cache would, and asks the handler directly.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest import mock

import msgspec

from drbackup.controller.collect.collect import Collector, Vaults, judge_by_policies
from drbackup.controller.collect.statement import state_collected
from drbackup.controller.home.initialise import initialise
from drbackup.controller.home.installation import Installation
from drbackup.controller.runs import agent
from drbackup.controller.runs.agent_requests import BackupRequests
from drbackup.model.point import Point, SourceFacts
from drbackup.stores.base import Store
from drbackup.system.instants import to_ns
from drbackup.vault.keys import Keyring
from drbackup.vault.read.reader import PointReader
from drbackup.vault.record import read_record, unseal
from drbackup.vault.store_access import StoreFetch
from drbackup.vault.tree import Entry, EntryKind, Extent, path_key
from drbackup.vault.write.writer import Content, PointWriter
from drbackup.wire.messages import BackupJob, BackupResult
from tests.longlife.counted import CountedCatalog, CountingStore, Tally
from tests.support.doubles.handler_destination import HandlerDestination
from tests.support.runs import run_backup

SYSTEM, SOURCE, AGENT, STORE = "registry", "scans", "db1.bureau", "main"
START = datetime(2023, 1, 1, 2, 0, tzinfo=UTC)
HOT = 0.1  # of the files take
HOT_CHANGES = 0.7  # of the changes
LARGE = 48 << 10  # bytes; from here on a file is cut by itself, as the agent does

INVENTORY = """title: Long life
time_zone: UTC
agents:
  {agent}: {{transport: local}}
stores:
  main: {{directory: {{path: {store}}}}}
"""
POLICY = """system: {system}
title: Registry
department: bureau
level: 2
objectives: {{rpo: 1d, rto: 8h}}
sources:
  - {{name: {source}, agent: {agent}, canary: false, max_shrink: 1.0, files: {{paths: [/srv]}}}}
schedule: {{every: 6h, time_zone: UTC}}
keep: {{{keep}}}
copies: [main]
"""

_Known = tuple[int, tuple[Extent, ...], int, bytes]
"""A file as the last run stored it: version, extents, size, digest."""


class LongInstallation(Installation):
    """The real one, with a counting store in memory."""

    counting: CountingStore

    def store(self, name: str) -> Store:
        return self.counting


@dataclass
class LongCity:
    """``files`` files, ``churn`` of them change in a day; ``keep``: the policy's retention."""

    root: Path
    files: int = 1500
    churn: float = 0.01
    keep: str = "daily: 7, weekly: 4, monthly: 3"
    seed: int = 1
    now: datetime = START
    tally: Tally = field(default_factory=Tally)
    versions: dict[bytes, int] = field(default_factory=dict)
    history: dict[str, dict[bytes, int]] = field(default_factory=dict)  # point → versions it must hold
    _cache: dict[bytes, _Known] = field(default_factory=dict)
    _made: int = 0

    def __post_init__(self) -> None:
        policies, folder = self.root / "policies", self.root / "store"
        policies.mkdir(parents=True)
        (policies / "inventory.yaml").write_text(INVENTORY.format(agent=AGENT, store=folder))
        words = {"system": SYSTEM, "source": SOURCE, "agent": AGENT, "keep": self.keep}
        (policies / "registry.yaml").write_text(POLICY.format(**words))
        initialise(self.root / "home", policies, (2, 3), now=datetime.now(UTC))
        self.store = CountingStore(STORE, self.tally)
        for path in folder.rglob("*"):
            if path.is_file():
                self.store.objects[str(path.relative_to(folder))] = path.read_bytes()
        self.installation = LongInstallation.open(self.root / "home", policies)
        self.installation.counting = self.store
        self.counted = CountedCatalog(self.installation.catalog, self.tally)
        self.chance = random.Random(self.seed)
        for _ in range(self.files):
            self._add_file()

    # --- what happens on the server ---

    def _add_file(self) -> None:
        self._made += 1
        self.versions[b"srv/%02d/f%05d" % (self._made % 20, self._made)] = 1

    def live_a_day(self) -> None:
        """Some files change, most of them in a hot tenth; now and then one goes and one comes."""
        self.now += timedelta(days=1)
        names = sorted(self.versions)
        hot = names[: int(len(names) * HOT)]
        for _ in range(max(1, int(len(names) * self.churn))):
            name = self.chance.choice(hot if self.chance.random() < HOT_CHANGES else names)
            self.versions[name] += 1
        if self.chance.random() < 0.5:
            self.versions.pop(self.chance.choice(names))
            self._add_file()

    @staticmethod
    def body(name: bytes, version: int) -> bytes:
        """Mostly some kilobytes, now and then more; half of a large file stays from version to version."""
        kind = random.Random(name)
        size = _size(kind)
        fresh = random.Random(b"%s:%d" % (name, version)).randbytes(size)
        return kind.randbytes(size)[: size // 2] + fresh[size // 2 :] if size >= LARGE else fresh

    # --- a backup, a collect, a look ---

    def back_up(self) -> Point:
        """Today's point, by the real runner."""
        self.now += timedelta(minutes=1)
        clock = lambda: self.now  # noqa: E731
        with mock.patch.object(agent, "run_session", self._session):
            point = run_backup(
                self.installation,
                SYSTEM,
                SOURCE,
                now=clock,
                connect=lambda *_: None,  # type: ignore[arg-type]
            )
        self.history[point.id] = dict(self.versions)
        return point

    def _session(
        self, _channel: object, job: BackupJob, handler: BackupRequests, *_: object, **__: object
    ) -> BackupResult:
        pinned = to_ns(self.now)
        handler.pinned(pinned, "")
        old = frozenset(job.retired)
        fresh: dict[bytes, tuple[int, Content]] = {}
        kept: dict[bytes, _Known] = {}
        with PointWriter(HandlerDestination(handler), job.keys, session=job.session) as writer:
            for name in sorted(self.versions, key=path_key):
                version = self.versions[name]
                known = self._cache.get(name) if job.use_cache else None
                if known and known[0] == version and not any(extent.place.pack in old for extent in known[1]):
                    _, extents, size, digest = known
                    entry = Entry(name, EntryKind.FILE, size=size, mtime_ns=version, digest=digest, extents=extents)
                    writer.keep(entry)
                    kept[name] = known
                    continue
                data = self.body(name, version)
                content = writer.stream([data]) if len(data) >= LARGE else writer.small(data)
                fresh[name] = version, content
                writer.add(Entry(name, EntryKind.FILE, size=content.size, mtime_ns=version), content)
            written = writer.finish()
        self._cache = kept | {
            name: (version, content.extents, content.size, content.digest) for name, (version, content) in fresh.items()
        }
        return BackupResult(
            root=written.root,
            packs=written.packs,
            facts=msgspec.msgpack.encode(SourceFacts(pinned_ns=pinned, kind="files")),
            entries=written.entries,
            files=written.files,
            rows=-1,
            content_bytes=written.content_bytes,
            new_bytes=written.new_bytes,
            stored_bytes=written.stored_bytes,
        )

    def collect(self) -> int:
        """Apply retention and collect; the bytes erased."""
        installation = self.installation
        vaults = Vaults(
            installation.catalog, {STORE: self.store}, {STORE: self.store}, installation.keyring,
            installation.signer.public, readers=1,
        )  # fmt: skip
        collector = Collector(
            vaults,
            judge=functools.partial(judge_by_policies, installation.policies.policies),
            state=lambda leaving, moment: state_collected(installation, leaving, moment, [STORE]),
            now=lambda: self.now,
        )
        report = collector.apply()
        for point in report.removed:
            self.history.pop(point.id)
        return report.erased_bytes

    def points(self) -> Sequence[Point]:
        return list(self.installation.catalog.points.list(system=SYSTEM, source=SOURCE))

    def require_whole(self, point: Point) -> None:
        """Restore every byte of a point and compare it with what was backed up then."""
        record = read_record(self.store, point.name, self.installation.signer.public)
        root = unseal(record, self.installation.keyring).root
        ring = Keyring([self.installation.drill_key()])
        reader = PointReader(StoreFetch(self.store), ring, AGENT, root)
        initialise = {entry.path: b"".join(reader.content(entry)) for entry in reader.entries()}
        expected = {name: self.body(name, version) for name, version in self.history[point.id].items()}
        assert initialise == expected, f"point {point.short} is not what was backed up"

    def packs_in(self, point: Point) -> int:
        """How many packs a point's record names."""
        record = read_record(self.store, point.name, self.installation.signer.public)
        return len(record.packs)

    @property
    def needed(self) -> int:
        """Bytes of every different content of all points that are kept: no vault could store less of such files."""
        contents = {content for versions in self.history.values() for content in versions.items()}
        return sum(_size(random.Random(name)) for name, _ in contents)

    def close(self) -> None:
        self.installation.close()


def _size(chance: random.Random) -> int:
    return min(400_000, int(chance.lognormvariate(7.6, 1.3)) + 1)
