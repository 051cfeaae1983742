"""Adds columns for trials to the `jobs` table: their auto job, number and result."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

COLUMNS: dict[str, sa.types.TypeEngine[Any]] = {
    "parent_id": sa.String(length=40),
    "trial": sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
    "result": sa.JSON(),
}


def upgrade() -> None:
    for name, kind in COLUMNS.items():
        op.add_column("jobs", sa.Column(name, kind, nullable=True))
    op.create_index("ix_jobs_trial", "jobs", ["parent_id", "trial"], unique=True)


def downgrade() -> None:
    op.drop_index("ix_jobs_trial", "jobs")
    for name in COLUMNS:
        op.drop_column("jobs", name)
