"""What must be taken out of the real code so that one seed is one schedule: threads, randomness, and real time.

* Thread pools run their work at once, in the calling thread.
* ``os.urandom`` is the seed's own generator.
* HPKE draws its randomness inside OpenSSL, where no seed reaches. It is replaced by an AES-GCM box under a key derived
  from the recipient's *public* key: deterministic, no secret at all, and still bound to recipient and context. Nothing
  the oracle says rests on it: it compares bytes, and nobody in this simulation tries to read what he may not.
* A run's steps that only people read are not written, for the time it costs.
* A pack's overhead counts like its chunks: the packs here are so small that else none would ever be sparse.
* A run's lease is renewed by the world when the clock moves, unless the holder's machine stands still.
"""

from __future__ import annotations

import hashlib
import os
import random
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from types import ModuleType
from typing import Any, Self
from unittest import mock

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import Connection

from drbackup.controller.catalog import run_rows, runs
from drbackup.controller.catalog.run_rows import SETTLED, add_step
from drbackup.controller.catalog.runs import Claim, Runs, RunState
from drbackup.controller.runs import agent, leased
from drbackup.controller.runs.lease import RUN_LEASE
from drbackup.errors import DrbackupError, RunLost, WrongKey
from drbackup.model import collect
from drbackup.vault import envelope, keys, pack
from drbackup.wire.messages import Progress
from drbackup.wire.specs import Recipient
from tests.simulation.agent import run_session
from tests.simulation.store import put_signed


class AtOnce:
    """A :class:`ThreadPoolExecutor` without threads."""

    def __init__(self, *_args: object, **_options: object) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_about: object) -> None:
        pass

    def submit(self, work: Callable[..., Any], *args: Any, **options: Any) -> Future[Any]:
        done: Future[Any] = Future()
        try:
            done.set_result(work(*args, **options))
        except Exception as error:  # noqa: BLE001 — the future's
            done.set_exception(error)
        return done

    def map(self, work: Callable[..., Any], *items: Any) -> Iterator[Any]:
        return iter([work(*each) for each in zip(*items, strict=False)])

    def shutdown(self, *_args: object, **_options: object) -> None:
        pass


def _box(public: bytes) -> AESGCM:
    return AESGCM(hashlib.sha256(b"simulated" + public).digest())


def _seal_to(recipient: Recipient, secret: bytes, context: bytes) -> bytes:
    return _box(recipient.public).encrypt(bytes(12), secret, context)


def _open(self: keys.SealKey, sealed: bytes, context: bytes) -> bytes:
    try:
        return _box(self.recipient.public).decrypt(bytes(12), sealed, context)
    except InvalidTag as bad:
        raise WrongKey("not sealed to this key") from bad


def _add_step(connection: Connection, run: str, step: str, now: datetime, detail: str) -> None:
    if step in (RunState.COMMITTING, SETTLED):
        add_step(connection, run, step, now, detail)


class Leases:
    """Every lease that is being held. The world calls :meth:`beat` behind each jump of the clock."""

    def __init__(self) -> None:
        self.held: list[SimLease] = []
        self.owner: Callable[[], str] = lambda: ""
        self.is_frozen: Callable[[str], bool] = lambda _owner: False
        self.notices_late: Callable[[], bool] = lambda: False

    def beat(self) -> None:
        for lease in self.held:
            if not self.is_frozen(lease.owner):
                lease.beat()


LEASES = Leases()


class SimLease:
    """:class:`drbackup.controller.runs.lease.Lease` without a thread. Who slept does not know it at once."""

    def __init__(self, runs: Runs, claim: Claim, now: Callable[[], datetime], stop: threading.Event) -> None:
        self.owner = LEASES.owner()
        self._runs, self._claim, self._now, self._stop = runs, claim, now, stop
        self._lost: DrbackupError | None = None

    def hear(self, news: Progress) -> None:
        pass

    def require(self) -> None:
        # Behind a sleep the beat may come before this question, or just too late.
        if not LEASES.notices_late():
            self.beat()
        if self._lost is not None:
            raise self._lost

    def beat(self) -> None:
        try:
            self._runs.renew(self._claim, until=self._now() + RUN_LEASE)
        except RunLost as lost:
            self._lost = lost
            self._stop.set()

    def __enter__(self) -> Self:
        LEASES.held.append(self)
        return self

    def __exit__(self, *_about: object) -> None:
        LEASES.held.remove(self)


def _ours() -> list[ModuleType]:
    return [module for name, module in list(sys.modules.items()) if name.startswith("drbackup") and module is not None]


@contextmanager
def deterministic() -> Iterator[None]:
    """The real code without what no seed decides. Enter once for many schedules; seed each with :func:`seeded`."""
    patches: list[Any] = [
        mock.patch.object(module, "ThreadPoolExecutor", AtOnce)
        for module in _ours()
        if getattr(module, "ThreadPoolExecutor", None) is ThreadPoolExecutor
    ]
    patches += [mock.patch.object(module, "seal_to", _seal_to) for module in (keys, envelope, pack)]
    patches += [
        mock.patch.object(keys.SealKey, "open", _open),
        mock.patch.object(runs, "add_step", _add_step),
        mock.patch.object(run_rows, "add_step", _add_step),
        mock.patch.object(leased, "Lease", SimLease),
        mock.patch.object(agent, "run_session", run_session),
        mock.patch("drbackup.stores.s3.signed.put_signed", put_signed),
        mock.patch.object(collect, "PACK_OVERHEAD", 0),
    ]
    for patch in patches:
        patch.start()
    try:
        yield
    finally:
        for patch in reversed(patches):
            patch.stop()


@contextmanager
def seeded(rng: random.Random) -> Iterator[None]:
    """All randomness from ``rng`` while the block runs."""
    with mock.patch.object(os, "urandom", rng.randbytes), mock.patch.object(random, "_urandom", rng.randbytes):
        yield
