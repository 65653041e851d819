"""The migration of a catalog to this program's version, when it is opened.

The whole migration is one write transaction, so a crash leaves the old catalog. Of two processes that open at once, the
second waits and then finds nothing to do. A newer catalog is refused and not changed.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, inspect, text

from drbackup.controller.catalog.connection import Database
from drbackup.controller.catalog.tables import HEAD
from drbackup.errors import CatalogUnusable, say

if TYPE_CHECKING:
    from alembic.config import Config  # heavy, and almost every opening finds nothing to migrate

_SCRIPTS = Path(__file__).parent / "migrations"


def migrate(database: Database) -> None:
    """A database that has this program's version, durably.

    Raises :class:`CatalogUnusable` for a newer catalog or a broken database.
    """
    with database.read() as connection:
        found = _version(connection)
    if found == HEAD:
        return
    with database.write() as connection:
        found = _version(connection)  # another process may have migrated while we waited
        if found == HEAD:
            return
        from alembic import command
        from alembic.script import ScriptDirectory

        config = configuration(connection)
        known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
        if found and found not in known:
            raise CatalogUnusable(
                say(
                    "the catalog has version {found}, this program knows versions up to {head}", found=found, head=HEAD
                ),
                where=database.url,
            )
        command.upgrade(config, "head")


def configuration(connection: Connection) -> Config:
    """Alembic's configuration for the migrations inside this package, on one open connection."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def _version(connection: Connection) -> str:
    if not inspect(connection).has_table("alembic_version"):
        return ""
    found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return str(found or "")
