"""Adds columns for the number of rows, column names and column roles of uploaded tables to the `files` table."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

WHOLE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
COLUMNS: dict[str, sa.types.TypeEngine[Any]] = {
    "row_count": WHOLE,
    "column_names": sa.JSON(),
    "column_roles": sa.JSON(),
}


def upgrade() -> None:
    for name, kind in COLUMNS.items():
        op.add_column("files", sa.Column(name, kind, nullable=True))


def downgrade() -> None:
    for name in COLUMNS:
        op.drop_column("files", name)
