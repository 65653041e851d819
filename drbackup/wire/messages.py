"""Every message of protocol 1, in the order a session uses them.

The agent speaks first (:class:`Hello`), the controller answers :class:`Welcome` and one :class:`Start`; then the agent
asks and the controller answers by ``ask`` number, several at once, until the agent ends with :class:`Finished` or
:class:`Failed`. A controller that wants out sends :class:`Cancel`. Unknown fields are ignored, unknown messages are a
protocol violation: both sides check :data:`PROTOCOL` before anything else.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import msgspec

from drbackup.wire.specs import (
    NO_SECRET,
    NO_SOURCE,
    CheckSpec,
    DomainKeys,
    Limits,
    Plausibility,
    PointRef,
    RestoreTarget,
    Secret,
    SourceSpec,
)

PROTOCOL = 1
MOST_LISTED = (
    1 << 16
)  # of anything that is listed in words: a taken-over agent must not fill our memory with empty ones
PLACES = 1 << 17  # of one pack; a writer closes a pack long before

Digest = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
PackId = Annotated[bytes, msgspec.Meta(min_length=33, max_length=33)]  # kind letter p, t or i, then the SHA-256
Lines = Annotated[tuple[str, ...], msgspec.Meta(max_length=MOST_LISTED)]
Facts = Annotated[dict[str, str], msgspec.Meta(max_length=MOST_LISTED)]


# --- session ------------------------------------------------------------------------------------------------------


class Hello(msgspec.Struct, frozen=True, tag="hello"):
    """Agent → controller, first. ``clock_ns`` is the agent's UTC clock; ``bundle`` the SHA-256 of its own file, hex."""

    protocol: int
    version: str
    hostname: str
    python: str
    platform: str
    clock_ns: int
    bundle: str = ""


class Welcome(msgspec.Struct, frozen=True, tag="welcome"):
    """Controller → agent: the session's name, and the controller's clock for the skew."""

    protocol: int
    session: str
    clock_ns: int


class Cancel(msgspec.Struct, frozen=True, tag="cancel"):
    """Controller → agent: stop cleanly, keep nothing half done. The agent answers :class:`Failed`."""

    reason: str


# --- jobs: controller → agent ------------------------------------------------------------------------------------


class BackupJob(msgspec.Struct, frozen=True, tag="backup-job"):
    """Copy one source into the vault. ``session``: the run's name, kept in the index delta and both ends' logs.

    ``retired``: packs (32 bytes each) that nothing new may rely on, whatever the agent remembers of them.
    """

    system: str
    source: str
    spec: SourceSpec
    keys: DomainKeys
    plausible: Plausibility = Plausibility()
    limits: Limits = Limits()
    use_cache: bool = True
    session: str = ""
    retired: tuple[bytes, ...] = ()


class RestoreJob(msgspec.Struct, frozen=True, tag="restore-job"):
    """Write one point, or the parts of it below ``paths``, to a target. ``key``: an unsealing key's seed, or empty to
    use the host's own key file."""

    point: PointRef
    target: RestoreTarget
    paths: tuple[bytes, ...] = ()
    replace: bool = False
    key: Secret = NO_SECRET
    limits: Limits = Limits()


class PreflightJob(msgspec.Struct, frozen=True, tag="preflight-job"):
    """Preflight: can the host do this? Without a ``spec`` only the host itself is looked at."""

    spec: SourceSpec = NO_SOURCE


class DrillJob(msgspec.Struct, frozen=True, tag="drill-job"):
    """Restore points into a sandbox, measure the checks, wipe."""

    drill: str
    points: tuple[PointRef, ...]
    checks: tuple[CheckSpec, ...]
    key: Secret = NO_SECRET
    limits: Limits = Limits()
    sandbox: str = ""  # parent folder; empty: the agent's own state folder


Job = BackupJob | RestoreJob | PreflightJob | DrillJob


class Start(msgspec.Struct, frozen=True, tag="start"):
    """Controller → agent: the session's one job."""

    job: Job


# --- questions: agent → controller, each with its answer ------------------------------------------------------------


class Locate(msgspec.Struct, frozen=True, tag="locate"):
    """Which of these chunks does the domain have? ``ids``: 32 bytes each, joined. Answer: :class:`Located`."""

    ask: int
    ids: bytes


class Place(msgspec.Struct, frozen=True, array_like=True):
    """Where a chunk lies: pack name (32 bytes), its number and byte range inside, its plain size."""

    id: Digest
    pack: Digest
    ordinal: int
    offset: int
    size: int
    raw: int


class Located(msgspec.Struct, frozen=True, tag="located"):
    """The chunks that exist; the others are missing."""

    ask: int
    places: tuple[Place, ...]


class Upload(msgspec.Struct, frozen=True, tag="upload"):
    """May I store this pack? ``kind``: p (data), t (tree) or i (index delta). Answer: :class:`PutHttp`,
    :class:`PutRelay` or :class:`Stored` (it is there already)."""

    ask: int
    kind: str
    pack: bytes
    size: int


class PutHttp(msgspec.Struct, frozen=True, tag="put-http"):
    """PUT the bytes there with exactly these headers, then say :class:`Uploaded` without a body."""

    ask: int
    url: str
    headers: dict[str, str]


class PutRelay(msgspec.Struct, frozen=True, tag="put-relay"):
    """Send the bytes as the body of :class:`Uploaded`; the controller stores them."""

    ask: int


class Uploaded(msgspec.Struct, frozen=True, tag="uploaded"):
    """The pack is in the store (or in this frame's body). ``places``: its chunks, so that a session that dies later
    need not send them again. Answer: :class:`Stored`."""

    ask: int
    kind: str
    pack: bytes
    size: int
    places: Annotated[tuple[Place, ...], msgspec.Meta(max_length=PLACES)] = ()


class Stored(msgspec.Struct, frozen=True, tag="stored"):
    """The pack is durable and remembered."""

    ask: int


class Fetch(msgspec.Struct, frozen=True, tag="fetch"):
    """Bytes ``[offset, offset+length)`` of a pack of this job's points. Answer: :class:`GetHttp` or
    :class:`Fetched` with the body."""

    ask: int
    kind: str
    domain: str
    pack: bytes
    offset: int
    length: int


class GetHttp(msgspec.Struct, frozen=True, tag="get-http"):
    """Read it there; the URL is good for any range of this object for ``valid_seconds``."""

    ask: int
    url: str
    valid_seconds: int


class Fetched(msgspec.Struct, frozen=True, tag="fetched"):
    """The bytes are this frame's body."""

    ask: int


class Pinned(msgspec.Struct, frozen=True, tag="pinned"):
    """The consistent instant is fixed and nothing was sent yet. Answer: :class:`Proceed`, after the controller has
    written the instant down (and, for a group, after every member is pinned)."""

    ask: int
    pinned_ns: int
    position: str = ""


class Proceed(msgspec.Struct, frozen=True, tag="proceed"):
    """Go on sending."""

    ask: int


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """Answer to any question: no, and why. ``code`` is an error class of :mod:`drbackup.errors`."""

    ask: int
    code: str
    fields: Facts


# --- news and results: agent → controller ------------------------------------------------------------------------


class Progress(msgspec.Struct, frozen=True, tag="progress"):
    """At most a few a second, at least one every five. Bytes; ``total`` 0 when unknown."""

    phase: str
    done: int
    total: int = 0
    entries: int = 0
    stored: int = 0


class Note(msgspec.Struct, frozen=True, tag="note"):
    """A line for the log. ``level``: info or warning."""

    level: str
    text: str


class BackupResult(msgspec.Struct, frozen=True, tag="backup-result"):
    """All packs of the point are stored. ``facts``: encoded :class:`drbackup.model.point.SourceFacts`."""

    root: bytes
    packs: tuple[PackId, ...]  # every data and tree pack the point needs
    facts: bytes
    entries: int
    files: int
    rows: int
    content_bytes: int
    new_bytes: int
    stored_bytes: int
    retried: Lines = ()


class RestoreResult(msgspec.Struct, frozen=True, tag="restore-result"):
    """Everything asked for is at the target and its digests matched."""

    entries: int
    files: int
    content_bytes: int
    skipped: int = 0  # already there from an earlier, interrupted run
    notes: Lines = ()


class Measured(msgspec.Struct, frozen=True):
    """What a drill's check saw: ``value`` is a count or SQL result as text; ``wrong`` names up to ten differences by
    hash or table name, never by content."""

    number: int
    value: str = ""
    expected: str = ""
    compared: int = 0
    wrong: Lines = ()
    error: str = ""


class PhaseTime(msgspec.Struct, frozen=True):
    """One phase of a drill of one source. Seconds on a monotonic clock, from the job's start."""

    source: str
    phase: str  # locate, fetch, decrypt, restore, start, check, wipe
    begin: float
    end: float


class DrillResult(msgspec.Struct, frozen=True, tag="drill-result"):
    """The agent's measurements; the verdict is the controller's."""

    measured: Annotated[tuple[Measured, ...], msgspec.Meta(max_length=MOST_LISTED)]
    phases: Annotated[tuple[PhaseTime, ...], msgspec.Meta(max_length=MOST_LISTED)]
    canaries: Annotated[
        dict[str, int], msgspec.Meta(max_length=MOST_LISTED)
    ]  # source → UTC ns found in the restored copy
    restored: Annotated[dict[str, RestoreResult], msgspec.Meta(max_length=MOST_LISTED)]
    failures: Facts  # source → why its restore failed
    wiped: bool
    wipe_proof: str
    host: Facts


class PreflightCheck(msgspec.Struct, frozen=True):
    """One thing an agent looked at before a job."""

    name: str
    good: bool
    detail: str = ""

    @property
    def line(self) -> str:
        """``ok: …`` or ``failed: …``, as it is sent and shown."""
        return f"{'ok' if self.good else 'failed'}: {self.detail}"

    @classmethod
    def read(cls, name: str, line: str) -> PreflightCheck:
        """The check of a line. Only what says that it is ok is good."""
        word, _colon, detail = line.partition(": ")
        return cls(name, word == "ok", detail if word in {"ok", "failed"} else line)


class PreflightResult(msgspec.Struct, frozen=True, tag="preflight-result"):
    """What an agent's preflight found."""

    lines: Facts  # name → "ok: …" or "failed: …"; read them as :attr:`checks`

    @classmethod
    def of(cls, checks: Iterable[PreflightCheck]) -> PreflightResult:
        """The message of these checks."""
        return cls({check.name: check.line for check in checks})

    @property
    def checks(self) -> tuple[PreflightCheck, ...]:
        """The checks, in the agent's order."""
        return tuple(PreflightCheck.read(name, line) for name, line in self.lines.items())


class Finished(msgspec.Struct, frozen=True, tag="finished"):
    """The job's result; the agent exits after it."""

    result: BackupResult | RestoreResult | DrillResult | PreflightResult


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """The job failed; the agent exits after it. Fields as in :func:`drbackup.wire.error_fields.fields_of`."""

    code: str
    fields: Facts


Message = (
    Hello
    | Welcome
    | Cancel
    | Start
    | Locate
    | Located
    | Upload
    | PutHttp
    | PutRelay
    | Uploaded
    | Stored
    | Fetch
    | GetHttp
    | Fetched
    | Pinned
    | Proceed
    | Refused
    | Progress
    | Note
    | Finished
    | Failed
)
Question = Locate | Upload | Uploaded | Fetch | Pinned
Answer = Located | PutHttp | PutRelay | Stored | GetHttp | Fetched | Proceed | Refused
Result = BackupResult | RestoreResult | DrillResult | PreflightResult
