"""Recording policies in versions, and the recordings that triggers and requests began."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    op.create_table(
        "recording_policies",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("document", JSON, nullable=False),
        sa.Column("why", sa.String(), nullable=False),
        sa.Column("written_by", sa.String(), nullable=False),
        sa.Column("written_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["organisation_id"], ["organisations.id"], name=op.f("fk_recording_policies_organisation_id_organisations")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_recording_policies")),
        sa.UniqueConstraint(
            "organisation_id", "name", "version", name=op.f("uq_recording_policies_organisation_id_name_version")
        ),
    )
    op.create_index(
        op.f("ix_recording_policies_organisation_id"), "recording_policies", ["organisation_id"], unique=False
    )
    op.create_table(
        "recordings",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.Column("robot_id", sa.Uuid(), nullable=False),
        sa.Column("trigger_id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("event_key", sa.String(), nullable=True),
        sa.Column("policy", sa.String(), nullable=False),
        sa.Column("triggered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("before_s", sa.Float(), nullable=True),
        sa.Column("after_s", sa.Float(), nullable=True),
        sa.Column("topics", JSON, nullable=False),
        sa.Column("why", sa.String(), nullable=False),
        sa.Column("asked_by", sa.String(), nullable=False),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("upload_id", sa.Uuid(), nullable=True),
        sa.Column("bag_id", sa.Uuid(), nullable=True),
        sa.Column("stored_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["bag_id"], ["bags.id"], name=op.f("fk_recordings_bag_id_bags")),
        sa.ForeignKeyConstraint(
            ["organisation_id"], ["organisations.id"], name=op.f("fk_recordings_organisation_id_organisations")
        ),
        sa.ForeignKeyConstraint(["robot_id"], ["robots.id"], name=op.f("fk_recordings_robot_id_robots")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_recordings")),
        sa.UniqueConstraint("robot_id", "trigger_id", name=op.f("uq_recordings_robot_id_trigger_id")),
    )
    op.create_index(op.f("ix_recordings_organisation_id"), "recordings", ["organisation_id"], unique=False)
    op.create_index(op.f("ix_recordings_bag_id"), "recordings", ["bag_id"], unique=False)
    op.create_index("ix_recordings_upload_id", "recordings", ["upload_id"], unique=False)
