"""What alembic runs. Knows the connection that `Database.migrate` hands over, and how tables are compared."""

from __future__ import annotations

from alembic import context

from app.db.tables import TableBase

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=TableBase.metadata,
    transactional_ddl=True,  # on SQLite too: all of an upgrade or nothing of it
    render_as_batch=connection.dialect.name == "sqlite",
)
with context.begin_transaction():
    context.run_migrations()
