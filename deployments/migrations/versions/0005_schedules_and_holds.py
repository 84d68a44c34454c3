"""Schedules with their revisions and occurrences, blackouts, holds, recalled attempts, deadlines and retry policies."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _feed_readers()
    _blackouts()
    _schedules()
    _holds()
    _occurrences()
    _schedule_revisions()
    _new_columns()


def _feed_readers() -> None:
    op.create_table(
        "feed_readers",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_feed_readers")),
    )


def _blackouts() -> None:
    op.create_table(
        "blackouts",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.Column("site_id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("calendar", sa.String(), nullable=False),
        sa.Column("begins_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ends_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("timezone", sa.String(), nullable=False),
        sa.Column("rule", sa.String(), nullable=False),
        sa.Column("exdates", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=False),
        sa.Column("made_by", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["organisation_id"], ["organisations.id"], name=op.f("fk_blackouts_organisation_id_organisations")
        ),
        sa.ForeignKeyConstraint(["site_id"], ["sites.id"], name=op.f("fk_blackouts_site_id_sites")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_blackouts")),
        sa.UniqueConstraint("organisation_id", "site_id", "key", name=op.f("uq_blackouts_organisation_id_site_id_key")),
    )
    op.create_index(op.f("ix_blackouts_organisation_id"), "blackouts", ["organisation_id"], unique=False)
    op.create_index(op.f("ix_blackouts_site_id"), "blackouts", ["site_id"], unique=False)


def _schedules() -> None:
    op.create_table(
        "schedules",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.Column("site_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("status", sa.String(32), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("decided_until_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("next_due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("requested_by", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["organisation_id"], ["organisations.id"], name=op.f("fk_schedules_organisation_id_organisations")
        ),
        sa.ForeignKeyConstraint(["site_id"], ["sites.id"], name=op.f("fk_schedules_site_id_sites")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_schedules")),
        sa.UniqueConstraint("organisation_id", "key", name=op.f("uq_schedules_organisation_id_key")),
    )
    op.create_index("ix_schedules_due", "schedules", ["status", "next_due_at"], unique=False)
    op.create_index(op.f("ix_schedules_organisation_id"), "schedules", ["organisation_id"], unique=False)
    op.create_index(op.f("ix_schedules_site_id"), "schedules", ["site_id"], unique=False)


def _holds() -> None:
    op.create_table(
        "holds",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("scope", sa.String(32), nullable=False),
        sa.Column("site_id", sa.Uuid(), nullable=True),
        sa.Column("robot_id", sa.Uuid(), nullable=True),
        sa.Column("meanwhile", sa.String(32), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("who", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("released_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("released_by", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["organisation_id"], ["organisations.id"], name=op.f("fk_holds_organisation_id_organisations")
        ),
        sa.ForeignKeyConstraint(["robot_id"], ["robots.id"], name=op.f("fk_holds_robot_id_robots")),
        sa.ForeignKeyConstraint(["site_id"], ["sites.id"], name=op.f("fk_holds_site_id_sites")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_holds")),
        sa.UniqueConstraint("organisation_id", "key", name=op.f("uq_holds_organisation_id_key")),
    )
    op.create_index("ix_holds_open", "holds", ["organisation_id", "released_at"], unique=False)
    op.create_index(op.f("ix_holds_organisation_id"), "holds", ["organisation_id"], unique=False)
    op.create_index(op.f("ix_holds_robot_id"), "holds", ["robot_id"], unique=False)
    op.create_index(op.f("ix_holds_site_id"), "holds", ["site_id"], unique=False)


def _occurrences() -> None:
    op.create_table(
        "occurrences",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.Column("site_id", sa.Uuid(), nullable=False),
        sa.Column("schedule_id", sa.Uuid(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("recurrence_id", sa.DateTime(timezone=True), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("status", sa.String(32), nullable=False),
        sa.Column("is_moved", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("who", sa.String(), nullable=False),
        sa.Column("round_id", sa.Uuid(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["organisation_id"], ["organisations.id"], name=op.f("fk_occurrences_organisation_id_organisations")
        ),
        sa.ForeignKeyConstraint(["round_id"], ["rounds.id"], name=op.f("fk_occurrences_round_id_rounds")),
        sa.ForeignKeyConstraint(["schedule_id"], ["schedules.id"], name=op.f("fk_occurrences_schedule_id_schedules")),
        sa.ForeignKeyConstraint(["site_id"], ["sites.id"], name=op.f("fk_occurrences_site_id_sites")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_occurrences")),
        sa.UniqueConstraint(
            "schedule_id", "revision", "recurrence_id", name=op.f("uq_occurrences_schedule_id_revision_recurrence_id")
        ),
    )
    op.create_index("ix_occurrences_open", "occurrences", ["status", "schedule_id"], unique=False)
    op.create_index(op.f("ix_occurrences_organisation_id"), "occurrences", ["organisation_id"], unique=False)
    op.create_index(op.f("ix_occurrences_round_id"), "occurrences", ["round_id"], unique=False)
    op.create_index(op.f("ix_occurrences_schedule_id"), "occurrences", ["schedule_id"], unique=False)
    op.create_index(op.f("ix_occurrences_site_id"), "occurrences", ["site_id"], unique=False)


def _schedule_revisions() -> None:
    op.create_table(
        "schedule_revisions",
        sa.Column("schedule_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.Column("recurrence_json", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=False),
        sa.Column("missions_json", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=False),
        sa.Column("content_sha256", sa.String(), nullable=False),
        sa.Column("valid_from_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("made_by", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["organisation_id"], ["organisations.id"], name=op.f("fk_schedule_revisions_organisation_id_organisations")
        ),
        sa.ForeignKeyConstraint(
            ["schedule_id"], ["schedules.id"], name=op.f("fk_schedule_revisions_schedule_id_schedules")
        ),
        sa.PrimaryKeyConstraint("schedule_id", "number", name=op.f("pk_schedule_revisions")),
    )
    op.create_index(
        op.f("ix_schedule_revisions_organisation_id"), "schedule_revisions", ["organisation_id"], unique=False
    )


def _new_columns() -> None:
    op.add_column("attempts", sa.Column("recall", sa.String(32), nullable=True))
    op.add_column("attempts", sa.Column("recall_reason", sa.String(), nullable=False, server_default=""))
    op.add_column("attempts", sa.Column("recalled_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("attempts", sa.Column("recalled_for", sa.Uuid(), nullable=True))

    op.add_column("mission_tasks", sa.Column("skipped_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("mission_tasks", sa.Column("skipped_by", sa.String(), nullable=False, server_default=""))

    op.add_column("missions", sa.Column("deadline_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("missions", sa.Column("backoff_s", sa.Float(), nullable=False, server_default="2.0"))
    op.add_column("missions", sa.Column("backoff_max_s", sa.Float(), nullable=False, server_default="300.0"))
    op.add_column("missions", sa.Column("retry_from", sa.String(32), nullable=False, server_default="failed_task"))
    op.add_column("missions", sa.Column("content_sha256", sa.String(), nullable=False, server_default=""))

    op.add_column("robot_states", sa.Column("told_activity", sa.String(32), nullable=True))
    op.add_column(
        "robot_states", sa.Column("is_told_low", sa.Boolean(), nullable=False, server_default=sa.text("false"))
    )

    op.add_column("task_results", sa.Column("heard_at", sa.DateTime(timezone=True), nullable=True))
