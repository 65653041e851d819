"""Every message of protocol 1, in the order a session uses them.

The agent begins with :class:`Hello`; the controller answers :class:`Welcome` and one :class:`Start`. Then the agent
asks questions, several at once, and the controller answers each by its ``ask`` number. The agent ends with
:class:`Finished` or :class:`Failed`. A controller that wants to end early sends :class:`Cancel`.

Both sides check :data:`PROTOCOL` before anything else. Unknown fields are ignored; an unknown message is a protocol
violation.
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
# Texts in one list at most: an agent in an attacker's hands must not fill our memory with empty ones.
MOST_LISTED = 1 << 16
PLACES = 1 << 17  # chunks of one pack at most; a writer closes a pack long before

Digest = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
PackId = Annotated[bytes, msgspec.Meta(min_length=33, max_length=33)]  # kind letter p, t or i, then the SHA-256
Lines = Annotated[tuple[str, ...], msgspec.Meta(max_length=MOST_LISTED)]
Facts = Annotated[dict[str, str], msgspec.Meta(max_length=MOST_LISTED)]


# --- session ------------------------------------------------------------------------------------------------------


class Hello(msgspec.Struct, frozen=True, tag="hello"):
    """Agent → controller, the first message: which agent this is."""

    protocol: int  # :data:`PROTOCOL`
    version: str
    hostname: str
    python: str  # version
    platform: str
    clock_ns: int  # the agent's clock, UTC ns
    bundle: str = ""  # SHA-256 of the agent's own file, hex; empty: it does not run from one


class Welcome(msgspec.Struct, frozen=True, tag="welcome"):
    """Controller → agent: the session's name, and the controller's clock."""

    protocol: int  # :data:`PROTOCOL`
    session: str
    clock_ns: int  # the controller's clock, UTC ns, from which the agent knows the skew


class Cancel(msgspec.Struct, frozen=True, tag="cancel"):
    """Controller → agent: an end without anything half done is asked for. The agent answers :class:`Failed`."""

    reason: str  # for the log


# --- jobs: controller → agent ------------------------------------------------------------------------------------


class BackupJob(msgspec.Struct, frozen=True, tag="backup-job"):
    """The job of backing up one source into the vault."""

    system: str
    source: str
    spec: SourceSpec
    keys: DomainKeys
    plausible: Plausibility = Plausibility()
    limits: Limits = Limits()
    use_cache: bool = True  # False: every file is read, whatever the agent knows from earlier runs
    session: str = ""  # the run's name, kept in the index delta and in both ends' logs
    retired: tuple[bytes, ...] = ()  # packs (32 bytes each) that nothing new may rely on, whatever the agent remembers


class RestoreJob(msgspec.Struct, frozen=True, tag="restore-job"):
    """The job of restoring one point, or parts of it, to a target."""

    point: PointRef
    target: RestoreTarget
    paths: tuple[bytes, ...] = ()  # what lies at or below these; empty: everything
    replace: bool = False  # True: what is at the target may be overwritten; False: the target must be empty
    key: Secret = NO_SECRET  # seed of a key that opens what was sealed; empty: the host's own key file
    limits: Limits = Limits()


class PreflightJob(msgspec.Struct, frozen=True, tag="preflight-job"):
    """The job of finding out whether the host can do a backup."""

    spec: SourceSpec = NO_SOURCE  # without one, only the host itself is checked


class DrillJob(msgspec.Struct, frozen=True, tag="drill-job"):
    """The job of a drill: points are restored into a sandbox, the checks are measured, and the sandbox is wiped."""

    drill: str  # the drill's id
    points: tuple[PointRef, ...]
    checks: tuple[CheckSpec, ...]
    key: Secret = NO_SECRET  # seed of a key that opens what was sealed; empty: the host's own key file
    limits: Limits = Limits()
    sandbox: str = ""  # parent folder; empty: the agent's own state folder


Job = BackupJob | RestoreJob | PreflightJob | DrillJob


class Start(msgspec.Struct, frozen=True, tag="start"):
    """Controller → agent: the session's one job."""

    job: Job


# --- questions: agent → controller, each with its answer ------------------------------------------------------------


class Locate(msgspec.Struct, frozen=True, tag="locate"):
    """The question which of these chunks the domain has. Answer: :class:`Located`."""

    ask: int  # the question's number, here and in every other question
    ids: bytes  # 32 bytes each, joined


class Place(msgspec.Struct, frozen=True, array_like=True):
    """Where a chunk lies: its pack, and its number and bytes inside."""

    id: Digest  # the chunk's
    pack: Digest  # SHA-256 of the pack
    ordinal: int  # the chunk's number in the pack, from 0
    offset: int  # bytes from the pack's beginning
    size: int  # bytes in the pack
    raw: int  # bytes of its content


class Located(msgspec.Struct, frozen=True, tag="located"):
    """The places of the chunks that exist; those without a place are missing."""

    ask: int  # the number of the question, here and in every other answer
    places: tuple[Place, ...]


class Upload(msgspec.Struct, frozen=True, tag="upload"):
    """The question how to store this pack.

    Answer: :class:`PutHttp`, :class:`PutRelay`, or :class:`Stored` when it is there already.
    """

    ask: int
    kind: str  # p (data), t (tree) or i (index delta)
    pack: bytes  # SHA-256, 32 bytes
    size: int  # bytes


class PutHttp(msgspec.Struct, frozen=True, tag="put-http"):
    """Where the agent is to PUT the pack itself, before an :class:`Uploaded` without a body."""

    ask: int
    url: str  # signed
    headers: dict[str, str]  # exactly these are to be sent


class PutRelay(msgspec.Struct, frozen=True, tag="put-relay"):
    """The pack is to come as the body of :class:`Uploaded`, and the controller stores it."""

    ask: int


class Uploaded(msgspec.Struct, frozen=True, tag="uploaded"):
    """The pack is in the store, or in this frame's body. Answer: :class:`Stored`."""

    ask: int
    kind: str  # p (data), t (tree) or i (index delta)
    pack: bytes  # SHA-256, 32 bytes
    size: int  # bytes
    # Its chunks: if this session dies later, the next one need not send them again.
    places: Annotated[tuple[Place, ...], msgspec.Meta(max_length=PLACES)] = ()


class Stored(msgspec.Struct, frozen=True, tag="stored"):
    """The pack is durable, and the catalog has it."""

    ask: int


class Fetch(msgspec.Struct, frozen=True, tag="fetch"):
    """The question for bytes of a pack of this job's points.

    Answer: :class:`GetHttp`, or :class:`Fetched` with the bytes as its body.
    """

    ask: int
    kind: str  # p (data), t (tree) or i (index delta)
    domain: str
    pack: bytes  # SHA-256, 32 bytes
    offset: int  # bytes
    length: int  # bytes


class GetHttp(msgspec.Struct, frozen=True, tag="get-http"):
    """Where the agent is to read the pack itself, this range and any other."""

    ask: int
    url: str  # signed
    valid_seconds: int


class Fetched(msgspec.Struct, frozen=True, tag="fetched"):
    """The bytes are this frame's body."""

    ask: int


class Pinned(msgspec.Struct, frozen=True, tag="pinned"):
    """The consistent instant is fixed, and nothing was sent yet.

    Answer: :class:`Proceed`, when the controller has written the instant down. For a group, every member must be pinned
    first.
    """

    ask: int
    pinned_ns: int  # the agent's clock, UTC ns
    position: str = ""  # LSN, GTID, exported snapshot id


class Proceed(msgspec.Struct, frozen=True, tag="proceed"):
    """The agent may send now."""

    ask: int


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """The answer "no" to any question, and why."""

    ask: int
    code: str  # an error class of :mod:`drbackup.errors`
    fields: Facts  # as in :func:`drbackup.wire.error_fields.fields_of`


# --- news and results: agent → controller ------------------------------------------------------------------------


class Progress(msgspec.Struct, frozen=True, tag="progress"):
    """How far a job is: at most a few a second, at least one every five seconds."""

    phase: str
    done: int  # bytes
    total: int = 0  # bytes; 0: unknown
    entries: int = 0  # of the tree so far; a drill sends its seconds so far
    stored: int = 0  # bytes added to the store


class Note(msgspec.Struct, frozen=True, tag="note"):
    """A line for the log."""

    level: str  # info or warning
    text: str


class BackupResult(msgspec.Struct, frozen=True, tag="backup-result"):
    """What a backup made. All packs of the point are stored."""

    root: bytes  # encoded vault.tree.Root
    packs: tuple[PackId, ...]  # every data and tree pack that the point needs
    facts: bytes  # encoded :class:`drbackup.model.point.SourceFacts`
    entries: int
    files: int
    rows: int
    content_bytes: int  # logical size of all content
    new_bytes: int  # content that was not in the vault before
    stored_bytes: int  # added to the store
    retried: Lines = ()  # what had to be read again, because it changed meanwhile


class RestoreResult(msgspec.Struct, frozen=True, tag="restore-result"):
    """What a restore did. Everything asked for is at the target, and its digests matched."""

    entries: int
    files: int
    content_bytes: int
    skipped: int = 0  # already there from an earlier, interrupted run
    notes: Lines = ()


class Measured(msgspec.Struct, frozen=True):
    """What one check of a drill measured."""

    number: int  # the check's, from 0, as in the policy
    value: str = ""  # a count or an SQL result, as text
    expected: str = ""  # the figure to compare with, where the agent knows it
    compared: int = 0  # things compared
    wrong: Lines = ()  # up to ten differences, by hash or table name, never by content
    error: str = ""  # why it could not be measured


class PhaseTime(msgspec.Struct, frozen=True):
    """One phase of a drill of one source."""

    source: str
    phase: str  # locate, fetch, decrypt, restore, start, check, wipe
    begin: float  # seconds on a monotonic clock, from the job's start
    end: float  # seconds, likewise


class DrillResult(msgspec.Struct, frozen=True, tag="drill-result"):
    """The agent's measurements; the verdict is the controller's."""

    measured: Annotated[tuple[Measured, ...], msgspec.Meta(max_length=MOST_LISTED)]
    phases: Annotated[tuple[PhaseTime, ...], msgspec.Meta(max_length=MOST_LISTED)]
    canaries: Annotated[
        dict[str, int], msgspec.Meta(max_length=MOST_LISTED)
    ]  # source → UTC ns found in the restored copy
    restored: Annotated[dict[str, RestoreResult], msgspec.Meta(max_length=MOST_LISTED)]
    failures: Facts  # source → why its restore failed
    wiped: bool  # nothing of the sandbox is left
    wipe_proof: str  # how that was found out
    host: Facts  # what the drill host tells of itself


class PreflightCheck(msgspec.Struct, frozen=True):
    """One thing that an agent checked before a job."""

    name: str
    good: bool
    detail: str = ""  # for a person

    @property
    def line(self) -> str:
        """``ok: …`` or ``failed: …``, as it is sent and shown."""
        return f"{'ok' if self.good else 'failed'}: {self.detail}"

    @classmethod
    def read(cls, name: str, line: str) -> PreflightCheck:
        """The check of a :attr:`line`. It is good only when the line begins with ``ok``."""
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
    """The job's result. The agent exits after it."""

    result: BackupResult | RestoreResult | DrillResult | PreflightResult


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """The job failed, and why. The agent exits after it."""

    code: str  # an error class of :mod:`drbackup.errors`
    fields: Facts  # as in :func:`drbackup.wire.error_fields.fields_of`


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
