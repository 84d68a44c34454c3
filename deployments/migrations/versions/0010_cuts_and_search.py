"""Cuts are bags, lost recordings are told, and what is searched for is indexed."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    op.add_column("bags", sa.Column("cut_of_id", sa.Uuid(), nullable=True))
    op.add_column("bags", sa.Column("cut_event_id", sa.Uuid(), nullable=True))
    op.create_index(op.f("ix_bags_cut_of_id"), "bags", ["cut_of_id"], unique=False)
    op.add_column("uploads", sa.Column("promised", JSON, nullable=False, server_default="{}"))
    op.add_column("recordings", sa.Column("lost_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("recordings", sa.Column("lost_why", sa.String(), nullable=False, server_default=""))
    op.drop_index("ix_bag_topics_name", table_name="bag_topics")
    op.create_index("ix_bag_topics_named", "bag_topics", ["organisation_id", "name", "type", "bag_id"], unique=False)
    op.create_index("ix_bag_topics_of_type", "bag_topics", ["organisation_id", "type", "bag_id"], unique=False)
    op.create_index(
        "ix_bag_topics_with_errors",
        "bag_topics",
        ["organisation_id", "bag_id"],
        unique=False,
        sqlite_where=sa.text("errors != ''"),
        postgresql_where=sa.text("errors != ''"),
    )
    op.create_index("ix_events_of_robot", "events", ["robot_id", "occurred_at"], unique=False)
    op.drop_index(op.f("ix_events_robot_id"), table_name="events")
