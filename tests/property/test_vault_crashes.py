"""A vault under fire against a plain dictionary: whatever call fails or crashes, every committed point reads back
exactly, no point is committed whose packs are not all there, and no run hangs."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from drbackup.controller.catalog import Catalog
from drbackup.controller.copies.presence import missing_packs
from drbackup.controller.runs.agent_requests import BackupRequests, Listeners, UploadTarget
from drbackup.errors import DrbackupError, StoreUnavailable
from drbackup.vault import pack as packing
from drbackup.vault.store_access import StoreDestination
from drbackup.vault.tree import Entry, EntryKind, path_key
from drbackup.vault.write import pack_sink as chunking
from drbackup.vault.write.writer import Content, PointWriter, Written
from drbackup.wire.messages import Place
from tests.support.cities.small_vault import SmallVault
from tests.support.doubles.faulty_store import FaultyStore, Trouble
from tests.support.doubles.handler_destination import HandlerDestination
from tests.support.doubles.memory_store import MemoryStore

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
DOMAINS = ("db1.test", "db2.test")
STORES = ("main", "other")
HANG_SECONDS = 60

paths = st.sampled_from([b"a", b"a/b", b"a/c", b"b", b"d/e", b"z"])
contents = st.builds(
    lambda seed, size: random.Random(seed).randbytes(size), st.integers(0, 5), st.sampled_from([0, 1, 900, 70_000])
)
trees = st.dictionaries(paths, contents, min_size=1)
troubles = st.none() | st.builds(
    Trouble,
    operation=st.sampled_from(["put", "stat", "any"]),
    at=st.integers(1, 6),
    kind=st.sampled_from(["unavailable", "lost-answer", "full"]),
    times=st.integers(1, 3),
)


def write(writer: PointWriter, tree: dict[bytes, bytes]) -> Written:
    for path in sorted(tree, key=path_key):
        data = tree[path]
        content = writer.small(data) if len(data) < 1000 else writer.stream([data])
        writer.add(Entry(path, EntryKind.FILE, size=len(data)), content)
    return writer.finish()


class VaultUnderFire(RuleBasedStateMachine):
    """Two domains, two stores, one catalog. ``points``: what was committed, and what must come back."""

    @initialize()
    def begin(self) -> None:
        self.folder = TemporaryDirectory()
        self.catalog = Catalog.open(Path(self.folder.name) / "catalog.sqlite")
        self.stores = {name: MemoryStore(name) for name in STORES}
        self.points: list[tuple[str, str, Written, dict[bytes, bytes]]] = []

    def teardown(self) -> None:
        if hasattr(self, "catalog"):
            self.catalog.close()
            self.folder.cleanup()

    @rule(domain=st.sampled_from(DOMAINS), store=st.sampled_from(STORES), tree=trees, trouble=troubles)
    def back_up(self, domain: str, store: str, tree: dict[bytes, bytes], trouble: Trouble | None) -> None:
        """One run as the controller does it: write, look that every pack is there, only then commit."""
        faulty = FaultyStore(self.stores[store], [trouble] if trouble else [])
        handler = BackupRequests(UploadTarget(self.catalog, faulty, domain, "session", lambda: NOW), Listeners())
        vault = SmallVault(self.stores[store], domain)
        packs = self.catalog.packs
        try:
            with PointWriter(HandlerDestination(handler), vault.domain_keys, workers=2) as writer:
                written = write(writer, tree)
            missing = missing_packs(faulty, domain, written.packs, packs.sizes(domain, written.packs))
        except DrbackupError:
            assert trouble is not None
            return
        if missing:
            packs.forget(domain, store, [(chr(pack[0]), pack[1:]) for pack in missing])
            return
        self.points.append((domain, store, written, tree))

    @rule(store=st.sampled_from(STORES), which=st.integers(0, 100), again=st.booleans())
    def lose_a_pack_that_no_point_needs(self, store: str, which: int, again: bool) -> None:
        """What a collection or a disk does to packs that no record names. The catalog is told, or not."""
        needed = {
            f"v1/d/{domain}/{chr(pack[0])}/{pack[1:].hex()}"
            for domain, where, written, _ in self.points
            if where == store
            for pack in written.packs
        }
        spare = sorted(set(self.stores[store].objects) - needed)
        if spare:
            name = spare[which % len(spare)]
            del self.stores[store].objects[name]
            if again:
                _, _, domain, kind, digest = name.split("/")
                self.catalog.packs.forget(domain, store, [(kind, bytes.fromhex(digest))])

    @invariant()
    def every_committed_point_reads_back(self) -> None:
        for domain, store, written, tree in getattr(self, "points", [])[-3:]:
            assert SmallVault(self.stores[store], domain).read(written.root) == tree

    @invariant()
    def no_point_needs_another_store_or_domain(self) -> None:
        for domain, store, written, _ in getattr(self, "points", []):
            assert missing_packs(self.stores[store], domain, written.packs, {}) == ()


TestVaultUnderFire = VaultUnderFire.TestCase
TestVaultUnderFire.settings = settings(
    deadline=None, max_examples=12, stateful_step_count=8, suppress_health_check=list(HealthCheck)
)


# --- a destination that raises at its n-th call -----------------------------------------------------------------------


class CountedDestination(StoreDestination):
    """Raises at the ``at``-th call of ``operation`` and at every later one."""

    def __init__(self, vault: SmallVault, operation: str, at: int) -> None:
        super().__init__(vault.store, vault.domain)
        self._operation, self._at, self._calls = operation, at, 0
        self._counting = threading.Lock()

    def _count(self, operation: str) -> None:
        with self._counting:
            self._calls += operation == self._operation
            if operation == self._operation and self._calls >= self._at:
                raise StoreUnavailable("made to fail")

    def locate(self, ids: Sequence[bytes]) -> dict[bytes, Place]:
        self._count("locate")
        return super().locate(ids)

    def put(self, kind: str, pack: bytes, data: bytes | memoryview, places: Sequence[Place]) -> None:
        self._count("put")
        super().put(kind, pack, data, places)


def within(seconds: float, work: Callable[[], None]) -> BaseException | None:
    """What ``work`` raised. A run that hangs fails here instead of holding the suite up."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 — handed to the caller
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    assert not thread.is_alive(), "the writer hangs"
    return raised[0] if raised else None


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("operation", ["locate", "put"])
def test_a_writer_ends_with_the_error_at_whichever_call_the_store_fails(
    operation: str, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "PACK_SIZE", 200_000)
    monkeypatch.setattr(packing, "MAX_CHUNK", 1 << 20)
    monkeypatch.setattr(chunking, "BATCH_BYTES", 100_000)
    data = [random.Random(number % 30).randbytes(60_000) for number in range(40)]  # with twins among them

    def back_up(vault: SmallVault, at: int) -> None:
        destination = CountedDestination(vault, operation, at)
        with PointWriter(destination, vault.domain_keys, workers=workers) as writer:
            found: dict[int, Content] = {}

            def stream(numbers: range) -> None:
                for number in numbers:
                    found[number] = writer.stream([data[number]])

            threads = [threading.Thread(target=_quietly, args=(stream, range(n, 40, 3))) for n in range(3)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            for number in range(40):
                if number not in found:
                    raise StoreUnavailable("a stream was broken off")
                writer.add(Entry(b"%03d" % number, EntryKind.FILE), found[number])
            points.append(writer.finish())

    at, points = 0, list[Written]()
    while not points:
        at += 1
        vault = SmallVault()
        error = within(HANG_SECONDS, lambda: back_up(vault, at))  # noqa: B023 — used at once
        assert points or isinstance(error, StoreUnavailable), repr(error)
    assert at > 5
    assert list(vault.read(points[0].root).values()) == data


def _quietly(work: Callable[[range], None], numbers: range) -> None:
    try:
        work(numbers)
    except StoreUnavailable:
        return
