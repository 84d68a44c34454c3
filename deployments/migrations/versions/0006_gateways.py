"""Gateways, the robots they hold and what they are asked; links of robots; sequences as long as robots count."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _gateways()
    _gateway_accounts()
    _robot_links()
    _link_commands()
    _new_columns()
    _longer_sequences()


def _json() -> sa.types.TypeEngine:
    return sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def _gateways() -> None:
    op.create_table(
        "gateways",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.Column("site_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("token_id", sa.Uuid(), nullable=True),
        sa.Column("journal", sa.String(), nullable=False),
        sa.Column("version", sa.String(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["organisation_id"], ["organisations.id"], name=op.f("fk_gateways_organisation_id_organisations")
        ),
        sa.ForeignKeyConstraint(["site_id"], ["sites.id"], name=op.f("fk_gateways_site_id_sites")),
        sa.ForeignKeyConstraint(["token_id"], ["access_tokens.id"], name=op.f("fk_gateways_token_id_access_tokens")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_gateways")),
        sa.UniqueConstraint("organisation_id", "name", name=op.f("uq_gateways_organisation_id_name")),
    )
    op.create_index(op.f("ix_gateways_organisation_id"), "gateways", ["organisation_id"], unique=False)
    op.create_index(op.f("ix_gateways_site_id"), "gateways", ["site_id"], unique=False)


def _gateway_accounts() -> None:
    op.create_table(
        "gateway_accounts",
        sa.Column("gateway_id", sa.Uuid(), nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(["gateway_id"], ["gateways.id"], name=op.f("fk_gateway_accounts_gateway_id_gateways")),
        sa.ForeignKeyConstraint(
            ["account_id"],
            ["manufacturer_accounts.id"],
            name=op.f("fk_gateway_accounts_account_id_manufacturer_accounts"),
        ),
        sa.ForeignKeyConstraint(
            ["organisation_id"], ["organisations.id"], name=op.f("fk_gateway_accounts_organisation_id_organisations")
        ),
        sa.PrimaryKeyConstraint("gateway_id", "account_id", name=op.f("pk_gateway_accounts")),
    )
    op.create_index(op.f("ix_gateway_accounts_account_id"), "gateway_accounts", ["account_id"], unique=False)
    op.create_index(op.f("ix_gateway_accounts_organisation_id"), "gateway_accounts", ["organisation_id"], unique=False)


def _robot_links() -> None:
    op.create_table(
        "robot_links",
        sa.Column("robot_id", sa.Uuid(), nullable=False),
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.Column("gateway_id", sa.Uuid(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("hearing", sa.String(32), nullable=True),
        sa.Column("since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("why", sa.String(), nullable=False),
        sa.Column("exposure", _json(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("told_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["robot_id"], ["robots.id"], name=op.f("fk_robot_links_robot_id_robots")),
        sa.ForeignKeyConstraint(
            ["organisation_id"], ["organisations.id"], name=op.f("fk_robot_links_organisation_id_organisations")
        ),
        sa.ForeignKeyConstraint(["gateway_id"], ["gateways.id"], name=op.f("fk_robot_links_gateway_id_gateways")),
        sa.PrimaryKeyConstraint("robot_id", name=op.f("pk_robot_links")),
    )
    op.create_index(op.f("ix_robot_links_gateway_id"), "robot_links", ["gateway_id"], unique=False)
    op.create_index(op.f("ix_robot_links_organisation_id"), "robot_links", ["organisation_id"], unique=False)


def _link_commands() -> None:
    op.create_table(
        "link_commands",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("robot_id", sa.Uuid(), nullable=True),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("serial_number", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("order_json", _json(), nullable=True),
        sa.Column("handed_epoch", sa.Integer(), nullable=True),
        sa.Column("handed_to", sa.Uuid(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("answered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("answer", _json(), nullable=True),
        sa.ForeignKeyConstraint(
            ["organisation_id"], ["organisations.id"], name=op.f("fk_link_commands_organisation_id_organisations")
        ),
        sa.ForeignKeyConstraint(
            ["account_id"],
            ["manufacturer_accounts.id"],
            name=op.f("fk_link_commands_account_id_manufacturer_accounts"),
        ),
        sa.ForeignKeyConstraint(["robot_id"], ["robots.id"], name=op.f("fk_link_commands_robot_id_robots")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_link_commands")),
    )
    op.create_index("ix_link_commands_open", "link_commands", ["answered_at", "expires_at"], unique=False)
    op.create_index(
        "ix_link_commands_handed",
        "link_commands",
        ["key"],
        unique=False,
        sqlite_where=sa.text("handed_epoch IS NOT NULL"),
        postgresql_where=sa.text("handed_epoch IS NOT NULL"),
    )
    op.create_index(op.f("ix_link_commands_account_id"), "link_commands", ["account_id"], unique=False)
    op.create_index(op.f("ix_link_commands_organisation_id"), "link_commands", ["organisation_id"], unique=False)
    op.create_index(op.f("ix_link_commands_robot_id"), "link_commands", ["robot_id"], unique=False)


def _new_columns() -> None:
    op.add_column("manufacturer_accounts", sa.Column("options", _json(), nullable=False, server_default="{}"))
    op.add_column("robots", sa.Column("link_address", sa.String(), nullable=True))
    constraint = "fk_robots_link_account_id_manufacturer_accounts"
    if op.get_bind().dialect.name == "sqlite":  # which takes a reference with the column only
        op.execute(
            "ALTER TABLE robots ADD COLUMN link_account_id CHAR(32) "
            f"CONSTRAINT {constraint} REFERENCES manufacturer_accounts (id)"
        )
    else:
        op.add_column("robots", sa.Column("link_account_id", sa.Uuid(), nullable=True))
        op.create_foreign_key(op.f(constraint), "robots", "manufacturer_accounts", ["link_account_id"], ["id"])
    op.create_index("ix_robots_link", "robots", ["link_account_id", "link_address"], unique=True)


def _longer_sequences() -> None:
    if op.get_bind().dialect.name == "postgresql":  # the integers of SQLite have 64 bits
        op.alter_column("attempts", "report_sequence", type_=sa.BigInteger())
