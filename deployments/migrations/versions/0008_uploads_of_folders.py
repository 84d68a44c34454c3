"""Uploads of several files, and when something was last sent to each."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    kind = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
    op.add_column("uploads", sa.Column("files", kind, nullable=False, server_default="[]"))
    op.add_column("uploads", sa.Column("active_at", sa.DateTime(timezone=True), nullable=True))
