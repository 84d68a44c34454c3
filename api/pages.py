"""Pages of a list, newest first, by an opaque cursor; and the one filter by organisation that every list passes."""

import base64
import binascii
from collections.abc import Sequence
from typing import Annotated, Any, Generic, Protocol, TypeVar
from uuid import UUID

from fastapi import Depends, Query
from pydantic import BaseModel, Field
from sqlmodel import Session, select

from fleet.errors import Invalid
from fleet.organisations import Principal


class Owned(Protocol):
    """A row that belongs to an organisation and sorts by its id (UUID version 7: by time)."""

    id: UUID
    organisation_id: UUID


Shown = TypeVar("Shown")
Row = TypeVar("Row", bound=Owned)


class Listing(BaseModel, Generic[Shown]):
    """One page of a list, newest first."""

    items: list[Shown]
    next: str | None = Field(None, description="Give it as `cursor` for the following page; null: this was the last.")


class Place(BaseModel):
    """Which page is wanted."""

    cursor: str | None = None
    limit: int = 100


def _place(
    cursor: Annotated[str | None, Query(max_length=64, description="`next` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=500, description="How many at most.")] = 100,
) -> Place:
    return Place(cursor=cursor, limit=limit)


Wanted = Annotated[Place, Depends(_place)]


def page_of(
    session: Session, table: type[Row], caller: Principal, place: Place, *conditions: Any
) -> tuple[Sequence[Row], str | None]:
    """The rows of the caller's organisation on this page, newest first, and the cursor of the next page.

    Raises:
        Invalid: the cursor is not one of ours.
    """
    table_: Any = table  # a table's attributes are columns here, which Row's bound cannot say
    query = select(table).where(table_.organisation_id == caller.organisation_id, *conditions)
    if place.cursor is not None:
        query = query.where(table_.id < _read_cursor(place.cursor))
    rows = session.exec(query.order_by(table_.id.desc()).limit(place.limit + 1)).all()
    shown = rows[: place.limit]
    return shown, _cursor(shown[-1].id) if len(rows) > place.limit else None


def _cursor(last: UUID) -> str:
    return base64.urlsafe_b64encode(last.bytes).decode().rstrip("=")


def _read_cursor(cursor: str) -> UUID:
    try:
        return UUID(bytes=base64.b64decode(f"{cursor}==", altchars=b"-_", validate=True))
    except (binascii.Error, ValueError) as error:
        raise Invalid(f"{cursor!r} is no cursor; give `next` of an earlier page unchanged.", cursor=cursor) from error
