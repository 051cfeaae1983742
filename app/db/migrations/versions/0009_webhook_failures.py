"""Adds the time of the latest failure to webhook deliveries."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("webhook_deliveries", sa.Column("failed_at", sa.Double(), nullable=True))


def downgrade() -> None:
    op.drop_column("webhook_deliveries", "failed_at")
