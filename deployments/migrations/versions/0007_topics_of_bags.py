"""The topics of every converted bag, with their quality and what its diagnostics said."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "bag_topics",
        sa.Column("bag_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("type", sa.String(), nullable=False),
        sa.Column("definition", sa.String(), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("rejected", sa.Integer(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column("media", sa.Integer(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("rate_hz", sa.Float(), nullable=True),
        sa.Column("gaps", sa.Integer(), nullable=False),
        sa.Column("longest_gap_s", sa.Float(), nullable=True),
        sa.Column("duplicates", sa.Integer(), nullable=False),
        sa.Column("log_time_regressions", sa.Integer(), nullable=False),
        sa.Column("stamp_regressions", sa.Integer(), nullable=False),
        sa.Column("unstamped", sa.Integer(), nullable=False),
        sa.Column("skew_median_s", sa.Float(), nullable=True),
        sa.Column("skew_largest_s", sa.Float(), nullable=True),
        sa.Column("errors", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["bag_id"], ["bags.id"], name=op.f("fk_bag_topics_bag_id_bags")),
        sa.ForeignKeyConstraint(
            ["organisation_id"], ["organisations.id"], name=op.f("fk_bag_topics_organisation_id_organisations")
        ),
        sa.PrimaryKeyConstraint("bag_id", "number", name=op.f("pk_bag_topics")),
    )
    op.create_index("ix_bag_topics_name", "bag_topics", ["organisation_id", "name"], unique=False)
