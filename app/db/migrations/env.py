"""Alembic's entry point: runs the migrations on the connection that `Database.migrate` passes."""

from __future__ import annotations

from alembic import context

from app.db.tables import TableBase

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=TableBase.metadata,
    transactional_ddl=True,  # even on SQLite, an upgrade is applied completely or not at all
    render_as_batch=connection.dialect.name == "sqlite",
)
with context.begin_transaction():
    context.run_migrations()
