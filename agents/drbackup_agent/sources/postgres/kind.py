"""A PostgreSQL database, as the jobs and drills ask for it."""

from __future__ import annotations

from drbackup.wire.messages import RestoreResult
from drbackup_agent.sources.base import DrillStage, RestoreRequest, SourceKind, Watch
from drbackup_agent.sources.postgres.instance import SUPERUSER, start_postgres
from drbackup_agent.sources.postgres.restore import restore_postgres
from drbackup_agent.sources.postgres.restored_copy import PostgresCopy
from drbackup_agent.sources.postgres.source import PostgresSource
from drbackup_agent.sources.postgres.spec import PostgresSpec

_DRILLED = "drill"  # the database's name in the drill's own server


def _restore(spec: PostgresSpec, request: RestoreRequest, watch: Watch) -> RestoreResult:
    stall = request.limits.stall_seconds
    return restore_postgres(request.reader, spec, watch, replace=request.replace, stall_seconds=stall)


def _drill(stage: DrillStage) -> tuple[PostgresCopy, RestoreResult]:
    """Restores into a PostgreSQL server of the drill's own, which stops with the sandbox."""
    with stage.phase("start"):
        instance = start_postgres(stage.sandbox, stage.place)
    stage.tell_host({"postgres": instance.version, "account": instance.account, "isolation": instance.isolation})
    spec = PostgresSpec(
        database=_DRILLED,
        host=str(instance.socket),
        port=instance.port,
        user=SUPERUSER,
        password_file=str(instance.no_passwords),
        tools=str(instance.tools),
    )
    with stage.restoring():
        result = restore_postgres(stage.reader, spec, stage.watch, stall_seconds=stage.stall_seconds)
    return PostgresCopy(stage.source, stage.reader, instance, _DRILLED), result


POSTGRES = SourceKind(spec=PostgresSpec, open=PostgresSource, restore=_restore, drill=_drill)
