"""From policies to what agents are told."""

from __future__ import annotations

import msgspec
import pytest

from drbackup.controller.runs.specs import judge_size, limits, plausibility, source_spec
from drbackup.errors import SourceEmpty, SourceShrunk
from drbackup.model.inventory import AgentEntry
from drbackup.model.policy import SourcePolicy
from drbackup.wire.specs import Plausibility
from drbackup_agent.sources.command import CommandSpec
from drbackup_agent.sources.files.spec import FilesSpec
from drbackup_agent.sources.kinds import read_spec
from drbackup_agent.sources.postgres.spec import PostgresSpec
from drbackup_agent.sources.sqlite.spec import SqliteSpec


@pytest.mark.parametrize(
    ("kind", "spec"),
    [
        (
            {"files": {"paths": ["/srv/a"], "exclude": ["*.tmp"], "one_filesystem": True}},
            FilesSpec(("/srv/a",), ("*.tmp",), True, True),
        ),
        ({"sqlite": {"path": "/srv/a.db"}}, SqliteSpec("/srv/a.db", True)),
        (
            {"postgres": {"database": "registry", "port": 5433, "jobs": 4, "globals": False}},
            PostgresSpec("registry", port=5433, jobs=4, globals=False, canary=True),
        ),
        ({"command": {"backup": ["ldap-dump"], "name": "ldif"}}, CommandSpec(("ldap-dump",), name="ldif")),
    ],
)
def test_every_kind_of_source_reaches_the_agent_whole(kind: dict[str, object], spec: object) -> None:
    sent = source_spec(SourcePolicy.model_validate({"name": "x", "agent": "db1", **kind}))
    assert read_spec(sent) == spec
    assert bytes(sent) == msgspec.msgpack.encode(spec)  # as an agent of an earlier version reads it


@pytest.mark.parametrize(
    ("size", "plausible"),
    [
        (1, Plausibility()),
        (0, Plausibility(allow_empty=True)),
        (50, Plausibility(previous=100, max_shrink=0.5)),
        (1000, Plausibility(previous=100, max_shrink=0.0)),
    ],
)
def test_a_plausible_size_passes(size: int, plausible: Plausibility) -> None:
    judge_size(size, plausible, "s/x")


@pytest.mark.parametrize(
    ("size", "plausible", "error"),
    [
        (0, Plausibility(), SourceEmpty),
        (0, Plausibility(min_bytes=0), SourceEmpty),
        (9, Plausibility(min_bytes=10), SourceEmpty),
        (49, Plausibility(previous=100, max_shrink=0.5), SourceShrunk),
    ],
)
def test_an_implausible_size_fails(size: int, plausible: Plausibility, error: type[Exception]) -> None:
    with pytest.raises(error, match="s/x"):
        judge_size(size, plausible, "s/x")


def test_the_first_copy_has_nothing_to_be_compared_with() -> None:
    source = SourcePolicy.model_validate({"name": "x", "agent": "db1", "sqlite": {"path": "/a"}, "max_shrink": 0.1})
    assert plausibility(source, None) == Plausibility(max_shrink=0.1)


def test_limits_come_from_the_inventory() -> None:
    entry = AgentEntry.model_validate(
        {"transport": "local", "bandwidth": "10MB/s", "workers": 3, "stall_timeout": "1m"}
    )
    assert (limits(entry).bytes_per_second, limits(entry).workers, limits(entry).stall_seconds) == (10_000_000, 3, 60)
