"""The jobs an agent does for a controller: backup, restore and preflight. Drills are :mod:`drbackup_agent.drill.run`.

A backup keeps this order: pin, let the controller write the instant down, copy, finish the vault's part, check whether
the copy is plausible. Only then is the agent's own cache replaced.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import msgspec
from blake3 import blake3
from msgspec.structs import replace

from drbackup.errors import DrbackupError, ProtocolViolation, SourceEmpty, SourceShrunk, WrongKey, say
from drbackup.model.point import SourceFacts
from drbackup.system.ticking import ticking
from drbackup.system.token_bucket import TokenBucket
from drbackup.vault.keys import DRILL, Keyring, SealKey
from drbackup.vault.read.reader import PointReader
from drbackup.vault.write.writer import PointWriter, Written
from drbackup.wire.messages import (
    BackupJob,
    BackupResult,
    DrillJob,
    Job,
    Pinned,
    PreflightCheck,
    PreflightJob,
    PreflightResult,
    Proceed,
    Progress,
    RestoreJob,
    RestoreResult,
    Result,
)
from drbackup.wire.specs import NO_SOURCE, Limits, Plausibility
from drbackup_agent.session.download import WireFetch
from drbackup_agent.session.link import Link
from drbackup_agent.session.upload import WireDestination
from drbackup_agent.sources.base import RestoreRequest, Source, SourceContext, Substance, Watch
from drbackup_agent.sources.kinds import open_source, read_spec
from drbackup_agent.sources.restore import restore_point

_TICK_SECONDS = 0.5
_ROOM = 256 << 20  # bytes of the state folder that a run may need for its cache and a small database's copy


def run_job(job: Job, link: Link, state_folder: Path, welcome_skew_ns: int) -> Result:
    """The result of one job. Raises classes of :mod:`drbackup.errors`; a job that failed has no result at all.

    ``welcome_skew_ns`` is this host's clock minus the controller's, in nanoseconds.
    """
    match job:
        case BackupJob():
            return run_backup(job, link, state_folder, welcome_skew_ns)
        case RestoreJob():
            return run_restore(job, link, state_folder)
        case PreflightJob():
            return run_preflight(job, state_folder)
        case DrillJob():
            from drbackup_agent.drill.run import run_drill

            fetch = WireFetch(link, _bucket(job.limits, link))
            return run_drill(job, link, fetch, state_folder, open_keyring(job.key.value, state_folder))


# --- backup ----------------------------------------------------------------------------------------------------------


def run_backup(job: BackupJob, link: Link, state_folder: Path, skew_ns: int = 0) -> BackupResult:
    """The result of copying one source. Every pack that it names is stored.

    Raises :class:`SourceEmpty` or :class:`SourceShrunk` when the copy is not plausible. ``skew_ns`` is this host's
    clock minus the controller's, in nanoseconds.
    """
    watch = Watch(link.cancelled.is_set)
    source = open_source(read_spec(job.spec), _context(job, state_folder))
    destination = WireDestination(link, _bucket(job.limits, link))
    try:
        link.tell(Progress("pinning", 0))
        pin = source.pin()
        answer, _ = link.ask(Pinned(0, pin.pinned_ns, pin.position))
        if not isinstance(answer, Proceed):
            raise ProtocolViolation(say("a controller may not answer Pinned with {kind}", kind=type(answer).__name__))
        with (
            PointWriter(destination, job.keys, workers=job.limits.workers, session=job.session) as writer,
            _progress(link, lambda: _sending(writer, job.plausible.previous)),
        ):
            facts = source.copy(writer, watch)
            written = writer.finish()
        require_plausible(source.substance(), written.content_bytes, job.plausible)
        result = _backup_result(written, replace(facts, skew_ns=skew_ns, notes=watch.notes), watch)
        _remember(source, watch)
        return result
    except DrbackupError as failed:
        # A cancellation shows as different errors, depending on where the run was; the cancellation is the reason.
        link.check()
        raise failed
    finally:
        source.close()


def require_plausible(substance: Substance, size: int, plausible: Plausibility) -> None:
    """A finished copy of ``size`` bytes is plausible when this returns.

    Raises :class:`SourceEmpty` or :class:`SourceShrunk` otherwise. The packs are stored then, but no record names them.
    """
    if plausible.allow_empty:
        return
    if substance.items == 0 or substance.bytes == 0:
        raise SourceEmpty(say("the source yielded no {what}", what=substance.what))
    if substance.bytes < plausible.min_bytes:
        raise SourceEmpty(
            say(
                "the source yielded {bytes} bytes, fewer than min_bytes: {min_bytes}",
                bytes=substance.bytes,
                min_bytes=plausible.min_bytes,
            ),
            hint="find out what is missing, or lower min_bytes in the policy",
        )
    if size < plausible.previous * (1 - plausible.max_shrink):
        raise SourceShrunk(
            say(
                "the source has {size} bytes; its last good point had {previous}",
                size=size,
                previous=plausible.previous,
            )
        )


def _context(job: BackupJob, state_folder: Path) -> SourceContext:
    return SourceContext(
        state_folder=state_folder,
        label=(job.keys.domain, job.system, job.source),
        mark=blake3(job.keys.chunk_id_key.value, derive_key_context="drbackup agent cache mark 1").digest(length=16),
        limits=job.limits,
        use_cache=job.use_cache,
        retired=frozenset(job.retired),
    )


def _backup_result(written: Written, facts: SourceFacts, watch: Watch) -> BackupResult:
    return BackupResult(
        root=written.root,
        packs=written.packs,
        facts=msgspec.msgpack.encode(facts),
        entries=written.entries,
        files=written.files,
        rows=written.rows,
        content_bytes=written.content_bytes,
        new_bytes=written.new_bytes,
        stored_bytes=written.stored_bytes,
        retried=watch.read_again,
    )


def _remember(source: Source, watch: Watch) -> None:
    """Replaces the source's cache. Without it the point is whole all the same, and the next run only takes longer."""
    try:
        source.remember()
    except OSError as bad:
        watch.note(f"the agent's cache could not be written: {bad.strerror}")


# --- restore ---------------------------------------------------------------------------------------------------------


def run_restore(job: RestoreJob, link: Link, state_folder: Path) -> RestoreResult:
    """The result of writing a point, or parts of it, to its target.

    Raises :class:`WrongKey` without a key that opens the point, and the errors of the vault and the target.
    """
    watch = Watch(link.cancelled.is_set)
    fetch = WireFetch(link, _bucket(job.limits, link))
    keyring = open_keyring(job.key.value, state_folder)
    reader = PointReader(fetch, keyring, job.point.domain, job.point.root)
    link.tell(Progress("restoring", 0, reader.root.content_bytes))
    request = RestoreRequest(
        reader=reader,
        point=job.point.point,
        state_folder=state_folder,
        paths=job.paths,
        replace=job.replace,
        limits=job.limits,
    )
    try:
        with _progress(link, lambda: Progress("restoring", reader.fetched_bytes, reader.root.content_bytes)):
            return restore_point(job.target, request, watch)
    except DrbackupError as failed:
        link.check()
        raise failed


def open_keyring(seed: bytes, state_folder: Path) -> Keyring:
    """The key that opens points here: the job's own, else this host's key file. Raises :class:`WrongKey`.

    A job's seed does not say whose it is; the role only names the key in messages.
    """
    if not seed:
        seed = _key_file(state_folder)
    if len(seed) != 32:
        raise WrongKey("an unsealing key has 32 bytes")
    return Keyring([SealKey.from_seed(DRILL, seed)])


def _key_file(state_folder: Path) -> bytes:
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    places = [
        os.environ.get("DRBACKUP_AGENT_KEY"),
        os.path.join(credentials, "drill.key") if credentials else None,
        str(state_folder / "drill.key"),
    ]
    for place in places:
        if place and Path(place).exists():
            try:
                return bytes.fromhex(Path(place).read_text(encoding="ascii").strip())
            except (OSError, ValueError) as bad:
                raise WrongKey(say("the key file {place} can't be read", place=place), where=place) from bad
    raise WrongKey("this host has no key that opens backups, and the job brought none")


# --- preflight -------------------------------------------------------------------------------------------------------


def run_preflight(job: PreflightJob, state_folder: Path) -> PreflightResult:
    """The checks of whether this host can run a backup of the source. Nothing of the source is changed."""
    checks = [_state_check(state_folder)]
    if job.spec != NO_SOURCE:
        source = open_source(read_spec(job.spec), SourceContext(state_folder, ("preflight", "", "")))
        try:
            checks += source.preflight()
        finally:
            source.close()
    return PreflightResult.of(checks)


def _state_check(folder: Path) -> PreflightCheck:
    name = "state folder"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            return PreflightCheck(name, False, f"{folder} can't be written to")
        free = shutil.disk_usage(folder).free
    except OSError as bad:
        return PreflightCheck(name, False, f"{folder}: {bad.strerror}")
    if free <= _ROOM:
        return PreflightCheck(name, False, f"{folder} has only {free >> 20} MiB free")
    return PreflightCheck(name, True, f"{folder}, {free >> 20} MiB free")


# --- both ------------------------------------------------------------------------------------------------------------


def _bucket(limits: Limits, link: Link) -> TokenBucket:
    return TokenBucket(limits.bytes_per_second, wait=link.cancelled.wait)


def _sending(writer: PointWriter, expected: int) -> Progress:
    return Progress("sending", writer.done_bytes, expected, writer.entries, writer.stored_bytes)


def _progress(link: Link, news: Callable[[], Progress]) -> AbstractContextManager[None]:
    """A block during which the controller is told of the progress every half second."""
    return ticking(_TICK_SECONDS, lambda: link.tell(news()), link.cancelled)
