"""All ways in which drbackup can fail, one class each.

Owns the exit codes and the operator's hint. An error says what failed, on which host and at which place
(``where``: a file:line, an object name, a table), what is still safe, and what to do next. Nothing here does I/O.

``code`` is the class's stable name on the wire: an error raised on a department's server is sent as its fields and
raised again, as the same class, at the backup centre (:func:`from_fields`).

Texts are English here, in logs, in ``--json`` and in the catalog. A text with values in it is made by :func:`say`,
which keeps the template beside the text. So ``drbackup.reports.gettext`` can show it in a person's own language.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar

import msgspec

NOTHING_COMMITTED_LOST = "every committed recovery point is untouched"


class Said(str):
    """An English text that keeps its template and values, so that it can be said again in another language.

    ``template`` has plain ``{name}`` fields only. A value that is :class:`Said` itself is translated, too; any other is
    shown as it is. Without values the template is the text, whatever braces are in it.

    An encoder of msgspec takes no subclass of ``str``: whoever stores or sends a text uses the error's own ``message``,
    ``safe`` and ``hint``, which are plain.
    """

    template: str
    values: Mapping[str, str]

    def __new__(cls, template: str, values: Mapping[str, str]) -> Said:
        said = super().__new__(cls, template.format_map(values) if values else template)
        said.template, said.values = str(template), values
        return said

    def __reduce__(self) -> tuple[type[Said], tuple[str, Mapping[str, str]]]:
        return Said, (self.template, self.values)


def say(template: str, /, **values: object) -> Said:
    """The text of ``template`` filled with ``values``. A text that was said already comes back as it is."""
    if isinstance(template, Said):
        return template
    return Said(template, {name: value if isinstance(value, Said) else f"{value}" for name, value in values.items()})


def say_all(parts: Iterable[str], between: str = "; ") -> Said:
    """The parts behind each other, with ``between`` between them. Only those that are :class:`Said` are translated."""
    values = {f"p{number}": part for number, part in enumerate(parts)}
    return Said(between.join(f"{{{name}}}" for name in values), values)


class DrbackupError(Exception):
    """Base of every expected failure. Subclasses set ``exit_code`` and a default ``hint``."""

    exit_code: ClassVar[int] = 1  # of the command that fails with it
    hint: str = "run the command again with --log-level debug and read the log on stderr"
    safe: str = NOTHING_COMMITTED_LOST  # what is still safe
    host: str = ""  # that it happened on; empty: this one, or not known
    where: str = ""  # a file:line, an object name, a table; empty: no place

    def __init__(
        self,
        message: str,
        *,
        host: str | None = None,
        where: str | None = None,
        safe: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(str(message))
        safe, hint = self.safe if safe is None else safe, self.hint if hint is None else hint
        self._said = message, safe, hint
        self.message = str(message)
        self.host = self.host if host is None else host
        self.where = self.where if where is None else where
        self.safe = str(safe)
        self.hint = str(hint)

    @property
    def said(self) -> Said:
        """``message`` as it was said, for a person's language."""
        return say(self._said[0] if self._said[0] == self.message else self.message)

    @property
    def said_safe(self) -> Said:
        """``safe`` as it was said, for a person's language."""
        return say(self._said[1] if self._said[1] == self.safe else self.safe)

    @property
    def said_hint(self) -> Said:
        """``hint`` as it was said, for a person's language."""
        return say(self._said[2] if self._said[2] == self.hint else self.hint)

    def reword(self, message: str, *, hint: str | None = None) -> DrbackupError:
        """The same error with another message, and another hint if one is given."""
        DrbackupError.__init__(
            self, message, host=self.host, where=self.where, safe=self.said_safe, hint=hint or self.said_hint
        )
        return self

    @property
    def code(self) -> str:
        """The class's name: stable on the wire, in ``--json`` and in the catalog."""
        return type(self).__name__

    def on(self, host: str) -> DrbackupError:
        """The same error with the host filled in, if it did not know its own."""
        self.host = self.host or host
        return self


# --- 2: the operator's words -----------------------------------------------------------------------------------


class UsageError(DrbackupError):
    """The command's words do not fit together."""

    exit_code = 2
    hint = "see the command's --help"
    safe = "nothing was started"


class PolicyError(DrbackupError):
    """One or more policy or inventory files are wrong; the message holds every finding, one a line."""

    exit_code = 2
    hint = "mend the lines named above, then run: drbackup policy check"
    safe = "nothing was changed; a daemon that runs keeps the policies it has"


# --- 3 / 130: ended early ---------------------------------------------------------------------------------------


class DoneInPart(DrbackupError):
    """Some of what was asked for succeeded, some did not; the message names both."""

    exit_code = 3
    hint = "drbackup status shows what needs a person"


class Interrupted(DrbackupError):
    """A person or a stopping service interrupted the work."""

    exit_code = 130
    hint = "run it again: finished steps are not repeated"


# --- 10, 12: vault and keys -----------------------------------------------------------------------------------


class VaultMissing(DrbackupError):
    """There is no vault at the store's prefix, or no installation in the home folder."""

    exit_code = 10
    hint = (
        "look whether the store's disk is mounted, and at its address and prefix in inventory.yaml; "
        "a store that is new gets the vault with: drbackup keys seal"
    )


class WrongKey(DrbackupError):
    """None of the keys at hand opens what must be opened."""

    exit_code = 12
    hint = "name a key file with --key: the drill key, or the recovery key from: drbackup keys combine"


class SignatureInvalid(DrbackupError):
    """A signed object's signature does not fit the vault's evidence key: it was altered or is not ours."""

    hint = "treat the store as tampered with: keep it as it is, and read the same point from the other copy"


class ObjectCorrupt(DrbackupError):
    """An object's bytes do not match its name, its seal or its own table."""

    hint = "the object is damaged in this store: restore from the other copy, and run drbackup vault scrub"


class FormatUnsupported(DrbackupError):
    """An object was written by a newer format or another cipher suite than this program reads."""

    hint = "upgrade drbackup on this host to the version that wrote the vault"


class PacksMissing(DrbackupError):
    """A recovery point refers to packs the store does not have."""

    hint = "run the backup again: the agent sends what is missing"


# --- stores ------------------------------------------------------------------------------------------------------


class StoreUnavailable(DrbackupError):
    """The store does not answer, answers 5xx, or answers too slowly, after all retries."""

    hint = "check the store's address and health (drbackup store probe); the next run sends only what is missing"


class StoreFull(DrbackupError):
    """The store has no room."""

    hint = "free or add space at the store; the next run sends only what is missing"


class StoreRefused(DrbackupError):
    """The store refused the request: credential, signature, clock or bucket policy."""

    hint = "check the store's credential and this host's clock"


class ObjectMissing(DrbackupError):
    """The store has no object of this name."""

    hint = "run drbackup vault scrub to see what else is missing; restore from the other copy"


class ObjectExists(DrbackupError):
    """An object of this name exists with other bytes, and nothing in a vault is ever overwritten."""

    hint = "names are hashes, so this store holds something foreign under our prefix: look at it by hand"


# --- reaching agents -------------------------------------------------------------------------------------------


class HostUnreachable(DrbackupError):
    """No connection to the host: name, route, port or a timeout while connecting."""

    hint = "check the address, port and firewall; then: drbackup agents check HOST"


class HostKeyUnknown(DrbackupError):
    """The inventory pins no host key for this host, so it is refused."""

    exit_code = 2
    hint = "get the host's key from its administrator on another way than the network, and pin it in inventory.yaml"


class HostKeyChanged(DrbackupError):
    """The host shows another key than the pinned one: a reinstalled server or somebody in between."""

    hint = "do not pin the new key before the host's administrator has confirmed it by telephone"


class AuthenticationRefused(DrbackupError):
    """The host refused every key the controller offered."""

    hint = "check the authorized_keys line on the host (agents/install/README.md) and key_file in the inventory"


class AgentMissing(DrbackupError):
    """The host has no agent at the expected path, or it does not start."""

    hint = "run: drbackup agents deploy HOST"


class AgentVersionMismatch(DrbackupError):
    """The agent on the host speaks another protocol or is not the bundle that was deployed."""

    hint = "run: drbackup agents deploy HOST"


class AgentDied(DrbackupError):
    """The connection to a working agent ended before its result came."""

    hint = "look at the host's log for a killed process; the next run sends only what is missing"


class AgentStalled(DrbackupError):
    """The agent moved no bytes for longer than the stall timeout."""

    hint = "look at the host's disks and the route to the store; the next run sends only what is missing"


class ProtocolViolation(DrbackupError):
    """The other side sent something the wire protocol does not allow."""

    hint = "deploy the agent again; if it persists the host may be compromised"


class HostUnsuitable(DrbackupError):
    """The host can't run the agent: not Linux, Python too old, no space, no write access."""

    hint = "mend what the message names on the host, then deploy again"
    safe = "nothing was installed or changed on the host"


# --- sources -------------------------------------------------------------------------------------------------------


class SourceUnreadable(DrbackupError):
    """The source, or a part of it that must not be skipped, can't be read."""

    hint = "check that the agent's account may read the source"


class SourceEmpty(DrbackupError):
    """The source yielded nothing, and an empty copy is never called a backup."""

    hint = "check the source's path or database name; if it is truly empty, set allow_empty: true in the policy"


class SourceShrunk(DrbackupError):
    """The source is implausibly smaller than its last good point."""

    hint = "find out what removed the data; if it is right, run: drbackup backup SYSTEM --accept-shrink"


class SourceUnstable(DrbackupError):
    """Files kept changing while they were read, after all retries."""

    hint = "use a filesystem snapshot, a database source, or a quieter window"


class ToolMissing(DrbackupError):
    """A program that the source needs is not installed on the host."""

    hint = "install the named package on the host"


class ToolTooOld(DrbackupError):
    """The dump tool is older than the server it should dump."""

    hint = "install client tools of the server's major version on the host"


class ToolFailed(DrbackupError):
    """A stage of an external pipeline ended non-zero, or stalled."""

    hint = "the tool's own last lines are in the message"


# --- restore and drill -------------------------------------------------------------------------------------------


class PointMissing(DrbackupError):
    """No recovery point fits what was asked for."""

    exit_code = 2
    hint = "see: drbackup points list"


class TargetOccupied(DrbackupError):
    """The restore's target holds data already."""

    hint = "choose an empty target, or say --replace if that data may go"
    safe = "nothing at the target was changed"


class TargetFull(DrbackupError):
    """The restore's target has no room."""

    hint = "free space at the target and run the same command again: finished files are not fetched twice"


class PathEscape(DrbackupError):
    """A stored name points outside the restore's target. Nothing is written there, whatever the tree says."""

    hint = "the tree was written by a compromised server: restore an older point, and tell the security officer"


class RestoreMismatch(DrbackupError):
    """What was restored differs from what was backed up."""

    hint = "restore the same point from the other copy; run drbackup vault scrub; if it finds nothing: docs/threats.md"


class DrillFailed(DrbackupError):
    """The drill proved that the copy is not good enough, or could not prove that it is."""

    exit_code = 21
    hint = "read the drill's report (drbackup drill show); name an owner and a date; drill again"


class ObjectiveBreached(DrbackupError):
    """A promised RPO or RTO does not hold now."""

    exit_code = 20
    hint = "drbackup status names the sources; run a backup of them now"


# --- controller ------------------------------------------------------------------------------------------------------


class RunActive(DrbackupError):
    """Another run of the same source is under way; two never run at once."""

    hint = "wait for it (drbackup status), or let its lease run out if its process is gone"


class RunLost(DrbackupError):
    """This process lost its run: its lease ran out and another took over, or the run was ended."""

    hint = "the other run goes on; look at this host for long pauses (suspend, swapping, a stopped process)"


class RunTooLong(DrbackupError):
    """The run took longer than it may before its commit: what it relied on could be collected by then."""

    hint = "run it again: what was sent is not sent twice; if it stays too slow, give it more bandwidth or workers"


class CatalogUnusable(DrbackupError):
    """The catalog can't be opened, is locked for too long, or was written by a newer drbackup."""

    hint = "check the home folder's disk and rights; with a newer catalog, upgrade drbackup"


class ClockSkewed(DrbackupError):
    """The host's clock differs from the controller's by more than the limit, so times would lie."""

    hint = "set up NTP on the host, then run again"


class ServiceRefused(DrbackupError):
    """A service is already running for this home, or may not start."""

    hint = "see: systemctl status drbackupd"


def all_errors() -> dict[str, type[DrbackupError]]:
    """Every concrete error class by its ``code``."""
    found: dict[str, type[DrbackupError]] = {}
    pending = [DrbackupError]
    while pending:
        kind = pending.pop()
        found[kind.__name__] = kind
        pending.extend(kind.__subclasses__())
    return found


def from_fields(code: str, fields: dict[str, str]) -> DrbackupError:
    """An error that crossed the wire, to be raised again as its own class.

    ``fields`` has ``message`` and may have host, where, safe, hint. An unknown code becomes the base class, which
    still exits non-zero.
    """
    kind = all_errors().get(code, DrbackupError)
    message = fields.get("message", code)
    rest = {name: fields[name] for name in ("host", "where", "safe", "hint") if fields.get(name)}
    return kind(message, host=rest.get("host"), where=rest.get("where"), safe=rest.get("safe"), hint=rest.get("hint"))


class Failure(msgspec.Struct, frozen=True):
    """A failure as it is kept beyond its exception, with the fields of an error.

    Texts may be :class:`Said`, which no encoder takes: what is stored or sent is made of :meth:`error`.
    """

    code: str  # an error class of this module
    message: str
    host: str = ""  # empty, here and below: the class's own default
    where: str = ""
    safe: str = ""
    hint: str = ""

    @classmethod
    def of(cls, error: DrbackupError) -> Failure:
        """The fields of ``error``, as they were said."""
        return cls(error.code, error.said, error.host, error.where, error.said_safe, error.said_hint)

    @classmethod
    def read(cls, text: str) -> Failure:
        """The failure that older rows and the agents' results hold as ``Code: message``, the form of :attr:`line`.

        The only place that takes such a text apart. One that begins with no code of ours is a message without a class.
        """
        code, colon, message = text.partition(": ")
        known = all_errors()
        if text in known:  # an agent names the class alone where its words could show data
            return cls(text, "")
        return cls(code, message) if colon and code in known else cls(DrbackupError.__name__, text)

    @property
    def line(self) -> str:
        """The failure as one line of a page: ``Code: message``. What has no class of its own is its message alone."""
        if self.code == DrbackupError.__name__:
            return str(self.message) or self.code
        return f"{self.code}: {self.message}" if self.message else self.code

    @property
    def said(self) -> Said:
        """:attr:`line` for a person's language."""
        if self.code == DrbackupError.__name__:
            return say(self.message or self.code)
        return say("{code}: {what}", code=self.code, what=say(self.message)) if self.message else say(self.code)

    def error(self) -> DrbackupError:
        """The same failure to be raised, as its own class."""
        fields = {"host": self.host, "where": self.where, "safe": self.safe, "hint": self.hint}
        return from_fields(self.code, {"message": self.message, **fields})


# What reading a stored object raises when the object itself is not as it was written.
NOT_SOUND = (ObjectCorrupt, ObjectMissing, SignatureInvalid, FormatUnsupported, WrongKey)
