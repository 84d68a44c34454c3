"""Alembic's entry: the tables of every room, on the connection that `deployments.schema` hands over."""

from typing import Any, Literal

from alembic import context
from alembic.autogenerate.api import AutogenContext

from deployments.schema import every_table

# A migration speaks plain SQL types, so that it stands still when our own column types change.
PLAIN_TYPES = {
    "UTCDateTime": "sa.DateTime(timezone=True)",
    "EnumText": "sa.String(32)",
    "AutoString": "sa.String()",
    "JSON": "sa.JSON().with_variant(postgresql.JSONB(), 'postgresql')",
}


def render_item(kind: str, thing: Any, _context: AutogenContext) -> str | Literal[False]:
    """How a column type is written into a migration file."""
    return PLAIN_TYPES.get(type(thing).__name__, False) if kind == "type" else False


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=every_table(),
    render_as_batch=True,
    render_item=render_item,
    compare_type=True,
)
with context.begin_transaction():
    context.run_migrations()
