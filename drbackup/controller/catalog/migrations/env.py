"""Alembic's entry: the migrations run on the connection, and inside the transaction, that the catalog opened."""

from alembic import context

from drbackup.controller.catalog.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
    render_as_batch=True,
)
context.run_migrations()
