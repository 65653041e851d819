"""What a policy file says about one system, validated by itself.

Owns the shape of ``policies/<system>.yaml``. Every model is frozen and refuses unknown keys. References and cycles
between files are checked in :mod:`drbackup.model.consistency`, promises that cannot hold in
:mod:`drbackup.model.promises`.

Two values may be left out of the file: ``objectives`` then come from the level table, and ``schedule.time_zone`` from
the inventory. Both are given as validation context (:class:`Defaults`).
"""

from __future__ import annotations

import zoneinfo
from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated, Any, Literal, Self

import msgspec
from pydantic import (
    BeforeValidator,
    Field,
    GetJsonSchemaHandler,
    PlainSerializer,
    PlainValidator,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from drbackup.errors import say
from drbackup.model.checks.base import CheckForm
from drbackup.model.checks.kinds import CHECK_KINDS
from drbackup.model.cron import Cron, parse_cron
from drbackup.model.quantities import ByteCount, Duration, Whole, YesNo, format_duration, parse_duration
from drbackup.model.sources.base import SourceSettings
from drbackup.model.sources.kinds import SOURCE_KINDS
from drbackup.model.strict import AgentName, Name, NonEmpty, Strict, any_of, one_of, require_one
from drbackup.model.window import Blackouts, DailyWindow, covers_week


class Defaults(msgspec.Struct, frozen=True):
    """The values for what a policy leaves out, from the level table and the inventory."""

    objectives: dict[int, tuple[timedelta, timedelta]]  # level → (rpo, rto)
    time_zone: str = "Asia/Shanghai"  # IANA name


class Objectives(Strict):
    """The promise: at most ``rpo`` of work lost, back within ``rto`` of the declaration."""

    rpo: Duration = Field(description="Recovery point objective: how much time's work may be lost at most.")
    rto: Duration = Field(description="Recovery time objective: back in use this long after the declaration.")


class Dependency(Strict):
    """A system that must be back first. ``degraded``: this system can start without it, and reconnects later."""

    system: Name = Field(description="The other system's name.")
    degraded: YesNo = Field(default=False, description="Can start without it in a degraded mode; breaks a cycle.")

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        return {"system": value} if isinstance(value, str) else value

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"anyOf": [{"type": "string"}, handler.resolve_ref_schema(handler(schema))]}


class _SourceHead(Strict):
    name: Name = Field(description="Unique within the system.")
    agent: AgentName = Field(description="The agent that reads it; named in inventory.yaml.")


@one_of(SOURCE_KINDS)
class _SourceOfAKind(_SourceHead):
    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        require_one(self, tuple(kind.kind for kind in SOURCE_KINDS))
        return self

    @property
    def settings(self) -> SourceSettings:
        """The kind of source that was given, with its settings."""
        given: Iterator[SourceSettings | None] = (getattr(self, kind.kind) for kind in SOURCE_KINDS)
        return next(settings for settings in given if settings is not None)

    @property
    def kind(self) -> str:
        """The kind's name."""
        return self.settings.kind


class SourcePolicy(_SourceOfAKind):
    """One database or tree: what is copied, where, and when its copy is too small to be true."""

    canary: YesNo = Field(default=True, description="Write a time mark into the source before each copy.")
    min_bytes: ByteCount = Field(default=1, description="A smaller copy fails the run.")
    max_shrink: float = Field(default=0.5, ge=0, le=1, description="Share that may vanish between two points.")
    allow_empty: YesNo = Field(default=False, description="An empty copy is right for this source.")


def known_zone(value: str) -> str:
    """``value`` itself if it is an IANA time zone; raises ``ValueError`` otherwise."""
    try:
        zoneinfo.ZoneInfo(value)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(
            say("{value} is not a time zone: use an IANA name like Asia/Shanghai", value=repr(value))
        ) from None
    return value


def _cron(value: object) -> Cron:
    if isinstance(value, Cron):
        return value
    if not isinstance(value, str):
        raise ValueError("a cron line is text of five fields, like '30 2 * * *'")
    return parse_cron(value)


class SchedulePolicy(Strict):
    """When copies are due. The instants are worked out in :mod:`drbackup.model.schedule`."""

    every: Duration | None = Field(default=None, description="A copy each such interval, at least 1m.")
    cron: Annotated[
        Cron | None,
        PlainValidator(_cron),
        PlainSerializer(lambda cron: cron and str(cron), return_type=str | None, when_used="json"),
        WithJsonSchema({"type": "string", "examples": ["30 2 * * *"]}),
    ] = Field(default=None, description="Five cron fields in local time, instead of every.")
    time_zone: Annotated[str, BeforeValidator(lambda v: known_zone(v) if isinstance(v, str) else v)] = Field(
        default="Asia/Shanghai", description="IANA name; left out: the inventory's."
    )
    window: DailyWindow | None = Field(default=None, description="Copies start only in this daily span (with every).")
    blackout: Blackouts = Field(default=(), description="Spans without a start; a due inside waits for the end.")
    catch_up: Literal["once", "skip"] = Field(
        default="once", description="After an outage: run once for all that was missed, or wait for the next due."
    )
    spread: YesNo = Field(default=True, description="Shift by a fixed share of the interval (with every).")

    @model_validator(mode="before")
    @classmethod
    def _zone_of_inventory(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, dict) and "time_zone" not in value and isinstance(info.context, Defaults):
            return {**value, "time_zone": info.context.time_zone}
        return value

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        require_one(self, ("every", "cron"))
        if self.cron is not None and self.window is not None:
            raise ValueError("a cron line already says when: leave window out, or use every with window")
        if self.every is not None and self.every < timedelta(minutes=1):
            raise ValueError(say("every: {every} is shorter than one minute", every=format_duration(self.every)))
        if covers_week(self.blackout):
            raise ValueError("the blackouts together cover the whole week: no copy would ever start")
        if self.every is not None and self.window is not None:
            day = timedelta(days=1)
            if self.every > day and self.every % day:
                raise ValueError("with a window, an interval longer than a day must be whole days, like 2d")
        return self


class KeepPolicy(Strict):
    """How many hours, days, … keep one copy each, and how many app-checked points always stay."""

    hourly: Whole = Field(default=0, ge=0, le=24 * 366, description="Newest point of each of so many hours.")
    daily: Whole = Field(default=0, ge=0, le=3660, description="Days, likewise.")
    weekly: Whole = Field(default=0, ge=0, le=5300, description="ISO weeks, likewise.")
    monthly: Whole = Field(default=0, ge=0, le=1200, description="Months, likewise.")
    yearly: Whole = Field(default=0, ge=0, le=100, description="Years, likewise.")
    at_least_drilled: Whole = Field(default=1, ge=0, le=100, description="App-checked points kept whatever their age.")

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not any((self.hourly, self.daily, self.weekly, self.monthly, self.yearly)):
            raise ValueError("nothing would be kept: set at least one of hourly, daily, weekly, monthly, yearly")
        return self

    @property
    def horizon(self) -> timedelta:
        """The greatest age of a kept point: the time that a store's lock must cover."""
        return max(
            timedelta(hours=self.hourly),
            timedelta(days=self.daily),
            timedelta(weeks=self.weekly),
            timedelta(days=31 * self.monthly),
            timedelta(days=366 * self.yearly),
        )


@any_of(CHECK_KINDS)
class CheckPolicy(Strict):
    """One check on the copy: {forms}."""

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        given = {key for key in type(self).model_fields if getattr(self, key) is not None}
        if not any(given == set(kind.model_fields) for kind in CHECK_KINDS):
            forms = " · ".join("{" + ", ".join(sorted(kind.model_fields)) + "}" for kind in CHECK_KINDS)
            raise ValueError(
                say(
                    "a check has exactly one of these sets of keys: {forms}; here: {given}",
                    forms=forms,
                    given=", ".join(sorted(given)),
                )
            )
        return self

    @property
    def form(self) -> CheckForm:
        """The check as a model of its kind."""
        given = {key: getattr(self, key) for key in type(self).model_fields if getattr(self, key) is not None}
        kind = next(kind for kind in CHECK_KINDS if given.keys() == kind.model_fields.keys())
        return kind.model_construct(**given)

    @property
    def kind(self) -> str:
        """The kind's name."""
        return self.form.kind


def _drill_every(value: object) -> str | timedelta:
    if value in ("day", "week", "month"):
        return str(value)
    try:
        length = parse_duration(value)
    except ValueError:
        raise ValueError(
            say("{value} is not how often: write day, week, month, or a length like 14d", value=repr(value))
        ) from None
    if length < timedelta(minutes=1):
        raise ValueError(say("every: {value} is shorter than one minute", value=value))
    return length


class DrillPolicy(Strict):
    """How often the copy is restored and proven, on which host, by which checks."""

    every: Annotated[
        Literal["day", "week", "month"] | timedelta,
        PlainValidator(_drill_every),
        PlainSerializer(lambda v: v if isinstance(v, str) else format_duration(v), return_type=str, when_used="json"),
        WithJsonSchema({"type": "string", "examples": ["day", "week", "month", "14d"]}),
    ] = Field(default="month", description="day, week, month, or a length of time.")
    on: AgentName = Field(description="The drill host's agent; named in inventory.yaml.")
    checks: tuple[CheckPolicy, ...] = Field(min_length=1, description="All must pass.")


class Policy(Strict):
    """One system: its promise, what is copied when and where, what is kept, and how that is proven."""

    system: Name = Field(description="The system's name; the file is named after it.")
    title: NonEmpty = Field(description="What people call it.")
    department: NonEmpty = Field(description="Who owns it.")
    level: Whole = Field(ge=1, le=6, description="Aimed-at level of GB/T 20988.")
    objectives: Objectives = Field(description="Left out, or in part: the level's numbers.")
    depends_on: tuple[Dependency, ...] = Field(default=(), description="Systems that must be back first.")
    sources: tuple[SourcePolicy, ...] = Field(min_length=1, description="What is copied.")
    schedule: SchedulePolicy = Field(description="When copies are due.")
    keep: KeepPolicy = Field(description="How long copies stay.")
    copies: tuple[Name, ...] = Field(min_length=1, description="Stores, the first is written first.")
    drill: DrillPolicy | None = Field(default=None, description="How the copies are proven.")

    @model_validator(mode="before")
    @classmethod
    def _objectives_of_level(cls, value: Any, info: ValidationInfo) -> Any:
        if not isinstance(value, dict) or not isinstance(info.context, Defaults):
            return value
        level, given = value.get("level"), value.get("objectives", {})
        promised = info.context.objectives.get(level) if isinstance(level, int) else None
        if promised is None or not isinstance(given, dict):
            return value
        # A level that allows no loss at all has no length to promise: the file must say what is really promised.
        from_level = {key: length for key, length in zip(("rpo", "rto"), promised, strict=True) if length}
        return {**value, "objectives": {**from_level, **given}}

    def source(self, name: str) -> SourcePolicy | None:
        """The source of that name, None without one."""
        return next((source for source in self.sources if source.name == name), None)
