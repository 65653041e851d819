"""What ``inventory.yaml`` says: the agents the controller can reach and the stores it can write to.

It has addresses and limits only. A secret is named by its file and never stands in the inventory. References between
entries (a ``jump`` host) and from policies are checked in :mod:`drbackup.model.consistency`.
"""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, StringConstraints, model_validator

from drbackup.errors import say
from drbackup.model.policy import known_zone
from drbackup.model.quantities import Bandwidth, Duration, Whole, YesNo
from drbackup.model.stores.base import StorePlace
from drbackup.model.stores.kinds import STORE_PLACES
from drbackup.model.strict import AbsolutePath, AgentName, Name, NonEmpty, Strict, one_of, require_one

HOST_KEY_KINDS = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "ssh-rsa")


def _host_key(value: object) -> object:
    """``ssh-ed25519 AAAA… comment`` → kind and key only. Raises ``ValueError`` for anything else."""
    if not isinstance(value, str):
        return value
    kind, _, rest = value.strip().partition(" ")
    if kind not in HOST_KEY_KINDS:
        raise ValueError(
            say("{kind} is not a host key's kind: expected a line like 'ssh-ed25519 AAAA…'", kind=repr(kind))
        )
    body = rest.split()[0] if rest.split() else ""
    try:
        blob = base64.b64decode(body, validate=True)
        (length,) = struct.unpack_from(">I", blob)
        inner = blob[4 : 4 + length].decode("ascii")
    except (binascii.Error, struct.error, UnicodeDecodeError):
        raise ValueError(
            say("the {kind} host key is cut off or is not base64: copy the whole line", kind=kind)
        ) from None
    if inner != kind:
        raise ValueError(
            say("the host key says {kind} but holds another kind of key ({inner})", kind=kind, inner=repr(inner))
        )
    return f"{kind} {body}"


HostKey = Annotated[str, BeforeValidator(_host_key)]


class AgentEntry(Strict):
    """One agent: how the controller reaches it and how hard it may work."""

    transport: Literal["local", "ssh"] = Field(description="local: a child process of the controller.")
    host: str = Field(default="", description="Name or address (ssh).")
    port: Whole = Field(default=22, ge=1, le=65535, description="TCP port (ssh).")
    user: str = Field(default="drbackup", description="Account on the host (ssh).")
    host_keys: tuple[HostKey, ...] = Field(default=(), description="Pinned public host keys; any one may answer.")
    key_file: str = Field(default="", description="The controller's private key for this host.")
    ssh_agent: YesNo = Field(default=False, description="Offer the keys of the running ssh-agent.")
    jump: AgentName | None = Field(default=None, description="Another ssh agent to go through.")
    command: tuple[NonEmpty, ...] = Field(default=(), description="How to start the agent there; empty: as deployed.")
    install_folder: AbsolutePath = Field(default="/opt/drbackup-agent", description="Where deploy puts the agent.")
    department: str = Field(default="", description="Who owns the host.")
    route: Literal["direct", "tunnel"] = Field(
        default="direct", description="How packs reach the store: from the host, or through the ssh connection."
    )
    workers: Whole = Field(default=2, ge=1, le=64, description="Packs made and sent at the same time.")
    bandwidth: Bandwidth = Field(default=0, description="Bytes per second, like 10MB/s; 0: no limit.")
    state_folder: str = Field(default="", description="Where the agent keeps its cache; empty: its own default.")
    sandbox: str = Field(
        default="", description="Folder for drills on this host; empty: below the agent's state folder."
    )
    epoch: Whole = Field(
        default=0,
        ge=0,
        le=1_000_000,
        description="Raise it by one after the server was in foreign hands: nothing sent before is relied upon again.",
    )
    connect_timeout: Duration = Field(default=timedelta(seconds=20), description="To reach the host and log in.")
    stall_timeout: Duration = Field(default=timedelta(minutes=5), description="Without a byte moved.")

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        if self.transport == "ssh":
            if not self.host:
                raise ValueError("an ssh agent needs host")
            if not self.host_keys:
                raise ValueError("an ssh agent needs host_keys: an unpinned host is never trusted")
            if not self.key_file and not self.ssh_agent:
                raise ValueError("an ssh agent needs key_file, or ssh_agent: true")
        else:
            only_ssh = {"host", "port", "user", "host_keys", "key_file", "ssh_agent", "jump"} & self.model_fields_set
            if only_ssh:
                raise ValueError(say("a local agent has no {only_ssh}", only_ssh=", ".join(sorted(only_ssh))))
            if self.route == "tunnel":
                raise ValueError("a local agent has no ssh connection to tunnel through: use route: direct")
        return self


class ScrubEntry(Strict):
    """How a store is read back: every night a share of it, so that no byte is unread for longer than ``within``."""

    nightly: YesNo = Field(default=True, description="The daemon reads a share every night.")
    within: Duration = Field(default=timedelta(days=30), description="Every byte is read back within so long.")
    rate: Bandwidth = Field(default=50_000_000, description="At most so many bytes per second; 0: no limit.")

    @model_validator(mode="after")
    def _nights(self) -> Self:
        if self.within < timedelta(days=1):
            raise ValueError("within must be at least 1d: a share is read once a night")
        return self


def _prefix(value: object) -> object:
    """The prefix in its one form: empty, or ending with a slash."""
    return f"{value}/" if isinstance(value, str) and value and not value.endswith("/") else value


@one_of(STORE_PLACES)
class _StoreOfAKind(Strict):
    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        require_one(self, tuple(kind.kind for kind in STORE_PLACES))
        return self

    @property
    def place(self) -> StorePlace:
        """The kind of store that was given, with its settings."""
        given: Iterator[StorePlace | None] = (getattr(self, kind.kind) for kind in STORE_PLACES)
        return next(place for place in given if place is not None)


class StoreEntry(_StoreOfAKind):
    """One place copies go to: exactly one kind, and the prefix of our vault inside it."""

    prefix: Annotated[
        str, BeforeValidator(_prefix), StringConstraints(pattern=r"^([A-Za-z0-9_-][A-Za-z0-9._-]*/)*$")
    ] = Field(default="", description="Folder inside the store, like city/; empty: the store's root.")
    scrub: ScrubEntry = Field(default=ScrubEntry(), description="How it is read back.")

    @property
    def lock_days(self) -> int:
        """Days for which an object stays locked; 0: this store locks nothing."""
        return self.place.locked_days


class Inventory(Strict):
    """The city's agents and stores."""

    title: NonEmpty = Field(description="Whose backup centre this is; printed on every report.")
    time_zone: Annotated[str, BeforeValidator(lambda v: known_zone(v) if isinstance(v, str) else v)] = Field(
        default="Asia/Shanghai", description="IANA name; the default of every schedule."
    )
    levels: Annotated[str, StringConstraints(pattern=r"^[a-z0-9.-]+$")] = Field(
        default="gbt20988-2007", description="The level table in levels/, by its file's name."
    )
    max_clock_skew: Duration = Field(default=timedelta(seconds=30), description="A larger skew refuses the run.")
    agents: dict[AgentName, AgentEntry] = Field(min_length=1, description="Agents by name.")
    stores: dict[Name, StoreEntry] = Field(min_length=1, description="Stores by name.")
