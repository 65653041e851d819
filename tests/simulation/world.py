"""One schedule: a city with some history, a cast of actors, a seed that decides everything else."""

from __future__ import annotations

import functools
import hashlib
import random
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from drbackup.controller.catalog.lifecycle import Leaving
from drbackup.controller.collect.collect import Collector, Vaults, judge_by_policies
from drbackup.controller.collect.renew_locks import Renewer
from drbackup.controller.collect.setup import adopt_lost
from drbackup.controller.rebuild.packs import PackScan
from drbackup.controller.rebuild.points import Fault, Origin, read_points, whole_copies
from drbackup.errors import DrbackupError
from drbackup.model.collect import COLLECT_GRACE
from drbackup.vault.layout import evidence_name
from tests.simulation import city
from tests.simulation.agent import Line, Server
from tests.simulation.clock import DAY, Clock
from tests.simulation.determinism import LEASES
from tests.simulation.durable import SimDatabase, make_catalog
from tests.simulation.oracle import Lost, Oracle
from tests.simulation.stage import Stage, Temper
from tests.simulation.store import SimStore
from tests.support.runs import run_backup

Task = Callable[[], None]


@dataclass(frozen=True)
class Saved:
    """A city as it was when nobody acted."""

    clock_ns: int
    catalog: bytes
    objects: dict[str, dict[str, Any]]
    trees: dict[str, dict[str, dict[bytes, bytes]]]
    caches: dict[str, dict[str, Any]]
    pinned: dict[str, dict[str, Any]]
    points: dict[str, Any]
    gone: frozenset[str]


@dataclass
class World:
    """Everything durable, and the stage on which the processes act. ``lock_days``: of both stores."""

    database: SimDatabase
    seed: int
    temper: Temper
    lock_days: int = 0
    grace: timedelta = COLLECT_GRACE
    clock: Clock = field(default_factory=Clock)
    fashion: Sequence[int] = range(5)  # contents that files have now
    failures: list[str] = field(default_factory=list)  # of runs: expected ones

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self._before = self.removed = self.erased = self.renewed = 0
        self.renews = False
        self._collecting = False
        self.stage = Stage(self.rng, self.clock, self.temper)
        self.database.stage = self.stage
        self.catalog = make_catalog(self.database)
        signs = self.lock_days > 0 or self.seed % 4 == 0  # a folder neither locks nor signs
        lock_ns = self.lock_days * DAY
        self.stores = {name: SimStore(name, self.stage, lock_ns, signs) for name in (city.MAIN, city.OTHER)}
        self.servers = {name: Server(name, self.stage) for name in (city.HALL, city.BUREAU)}
        self.oracle = Oracle(self.stores, self.servers, self.clock)
        for store in self.stores.values():
            store.listener = self.oracle.heard
        self.stage.after_jump = LEASES.beat
        LEASES.held.clear()
        LEASES.owner, LEASES.is_frozen = (lambda: self.stage.actor), self.stage.is_frozen
        LEASES.notices_late = lambda: self.rng.random() < 0.5

    # --- copies of the whole ---------------------------------------------------------------------------------------

    def save(self) -> Saved:
        return Saved(
            clock_ns=self.clock.ns,
            catalog=self.database.save(),
            objects={name: dict(store.objects) for name, store in self.stores.items()},
            trees={name: {s: dict(tree) for s, tree in server.trees.items()} for name, server in self.servers.items()},
            caches={name: dict(server.cache) for name, server in self.servers.items()},
            pinned={name: dict(server.pinned) for name, server in self.servers.items()},
            points=dict(self.oracle.points),
            gone=frozenset(self.oracle.gone),
        )

    def load(self, saved: Saved) -> None:
        self.clock.ns = saved.clock_ns
        self.database.load(saved.catalog)
        for name, store in self.stores.items():
            store.objects = dict(saved.objects[name])
        for name, server in self.servers.items():
            server.trees = {source: dict(tree) for source, tree in saved.trees[name].items()}
            server.cache, server.pinned = dict(saved.caches[name]), dict(saved.pinned[name])
        self.oracle.points = {key: each.copy() for key, each in saved.points.items()}
        self.oracle.gone = set(saved.gone)
        self._before = len(self.oracle.points)

    # --- what actors do --------------------------------------------------------------------------------------------

    def installation(self) -> city.SimInstallation:
        """A process's own: nothing in its memory but what it reads again."""
        return city.SimInstallation(self.catalog, self.stores)

    def back_up(self, system: str, source: str) -> Task:
        """One run of the real runner with this city's agent."""

        def task() -> None:
            installation = self.installation()
            server = self.servers[city.SOURCES[system, source]]
            self.change(server, source)
            self.stage.note(f"backs up {system}/{source}", self.stage.actor)

            line = Line(server, self.stores[installation.policy(system).copies[0]])
            try:
                run_backup(installation, system, source, now=self.clock.now, connect=lambda *_about: line)  # type: ignore[arg-type]
            except DrbackupError as failed:
                self.failures.append(failed.code)
                self.stage.note(f"run failed: {failed.code}: {failed.message[:150]}", self.stage.actor)

        return task

    def collect(self) -> None:
        """One real collect of everything. Only its statement is made simpler: an object in every store."""
        if self._collecting:  # the home's lock file; it dies with its process
            self.stage.note("another collect is under way", self.stage.actor)
            return
        installation = self.installation()
        self._collecting = True
        vaults = self._vaults(installation)
        judge = functools.partial(judge_by_policies, installation.policies.policies)
        collector = Collector(vaults, judge, self._state, self.clock.now, self.grace)
        try:
            adopt_lost(installation, (), now=self.clock.now())
            report = collector.apply()
            self.removed += len(report.removed)
            self.erased += report.erased
        except DrbackupError as failed:
            self.stage.note(f"collect failed: {failed.code}: {failed.message[:150]}", self.stage.actor)
        finally:
            self._collecting = False

    def renew(self) -> None:
        """One real renewal of all locks."""
        self.renews = True
        try:
            for done in Renewer(self._vaults(self.installation()), self.stores, self.clock.now()).renew():
                self.renewed += done.packs + done.records
        except DrbackupError as failed:
            self.stage.note(f"renewal failed: {failed.code}: {failed.message[:150]}", self.stage.actor)

    def _vaults(self, installation: city.SimInstallation) -> Vaults:
        keys = installation.keyring, installation.signer.public
        return Vaults(self.catalog, self.stores, self.stores, *keys, readers=1)

    def _state(self, leaving: Sequence[Leaving], now: datetime) -> None:
        said = "\n".join(sorted(point.id for point in leaving)).encode()
        for store in self.stores.values():
            store.put(evidence_name(now, hashlib.sha256(said).hexdigest()), said)

    def change(self, server: Server, source: str) -> None:
        """The source's next day: some files change, some go, some come back as they once were, some are another
        source's."""
        tree = server.trees.setdefault(source, {})
        old = dict(tree)
        worn = {_content(number) for number in self.fashion}
        for number in range(4):
            path = b"srv/%d" % number
            if (tree[path] not in worn or self.rng.random() < 0.3) if path in tree else self.rng.random() < 0.6:
                tree[path] = _content(self.rng.choice(self.fashion))
            elif path in tree and self.rng.random() < 0.15:
                del tree[path]
        if not tree:
            tree.update(old or {b"srv/0": _content(self.fashion[0])})

    def wait(self, days: int) -> Task:
        """Until the midnight after so many days."""
        return lambda: self.stage.sleep(days)

    def require_all(self) -> None:
        """Every promise, when all is over; and what the catalog shows is what the stores have."""
        self.oracle.require_all()
        refusals = sum(store.refusals for store in self.stores.values())
        if refusals and not self.renews:  # a lock that somebody makes longer meanwhile can't be known
            raise Lost(f"{refusals} attempts to remove what the catalog knows to be locked")
        adopt_lost(self.installation(), (), now=self.clock.now())
        shown = {point.id: set(point.copies) for point in self.catalog.points.list()}
        marked = {point.id for point in self.catalog.lifecycle.marked()}
        there = {each.point.id: each.stores for each in self.oracle.alive() if each.point.id not in marked}
        if shown != there:
            raise Lost(f"the catalog shows {_short(shown)}; the stores have {_short(there)}")
        if self.seed % 10 == 0:
            self._require_rebuilt()

    def _require_rebuilt(self) -> None:
        """A rebuild from the stores and the catalog key alone finds the same points, whole in the same stores."""
        installation = self.installation()
        origin = Origin(self.stores, installation.signer.public, installation.keyring)
        faults: list[Fault] = []
        found = read_points(origin, faults)
        scan = PackScan(origin, None, self.clock.now(), lambda *_far: None, faults, [])
        scan.run(found)
        rebuilt = {key: set(whole_copies(each, scan.holds, faults)) for key, each in found.items()}
        there = {each.point.id: each.stores for each in self.oracle.alive()}
        if rebuilt != there or faults:
            said = "; ".join(fault.why for fault in faults)
            raise Lost(f"rebuilt: {_short(rebuilt)}; the stores have {_short(there)}; {said}")

    def census(self) -> dict[str, int]:
        """How much happened."""
        return {
            "points": len(self.oracle.points) - self._before,
            "crashes": self.stage.crashes,
            "freezes": self.stage.freezes,
            "failed runs": len(self.failures),
            "removed points": self.removed,
            "erased packs": self.erased,
            "renewed locks": self.renewed,
            "refusals": sum(store.refusals for store in self.stores.values()),
        }

    def trace(self) -> str:
        return "\n".join(self.stage.trace)

    def fingerprint(self) -> int:
        """Of everything that was done: the same for the same seed, on any machine."""
        return zlib.crc32("\n".join(self.stage.trace).encode())


def _content(number: int) -> bytes:
    """Some so large that a pack is hardly ever sparse, some so small that it often is."""
    return b"content %d " % number * (25 if number == 1 else 90)


def _short(points: Mapping[str, set[str]]) -> str:
    return ", ".join(f"{identity[:12]} in {'+'.join(sorted(stores))}" for identity, stores in sorted(points.items()))
