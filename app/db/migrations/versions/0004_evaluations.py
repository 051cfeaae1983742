"""Adds columns for the job kind and the evaluation report to the `jobs` table."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("kind", sa.String(length=20), nullable=False, server_default="fine_tuning"))
    op.add_column("jobs", sa.Column("report", sa.JSON(), nullable=True))
    op.create_index("ix_jobs_base_digest", "jobs", ["base_digest"])


def downgrade() -> None:
    op.drop_index("ix_jobs_base_digest", "jobs")
    op.drop_column("jobs", "report")
    op.drop_column("jobs", "kind")
