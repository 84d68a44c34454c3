"""Holds: keep robots from being given missions, and let them go again."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response
from sqlmodel import Session, col, select

from api.deps import Operator, Parts, Reader
from api.pages import Listing, Wanted, page_of
from api.problems import described
from api.strict import StrictRoute
from fleet.organisations import Principal
from missions import holds
from missions.holds import Hold, HoldView, HoldWanted

router = APIRouter(tags=["holds"], route_class=StrictRoute)


@router.get("/v1/holds", responses=described(401, 403, 422))
def list_holds(
    runtime: Parts,
    caller: Reader,
    place: Wanted,
    is_open: Annotated[
        bool | None, Query(alias="open", description="Only holds that are not, or are, released.")
    ] = None,
) -> Listing[HoldView]:
    """The holds of your organisation, newest first."""
    released = col(Hold.released_at)
    conditions = [] if is_open is None else [released.is_(None) if is_open else released.is_not(None)]
    with runtime.reading() as session:
        rows, following = page_of(session, Hold, caller, place, *conditions)
        return Listing(items=holds.views(session, rows), next=following)


@router.post("/v1/holds", status_code=201, responses=described(401, 403, 404, 409, 422))
def put_hold(wanted: HoldWanted, runtime: Parts, caller: Operator, response: Response) -> HoldView:
    """Hold a robot, a site or the whole fleet: nothing new is given to it until the hold is released.

    Asking again with the same `key` gives the same hold (200 instead of 201), also when it is released.
    """
    with runtime.transaction() as session:
        is_known = _is_known(session, caller, wanted.key)
        row = holds.hold(session, organisation_id=caller.organisation_id, wanted=wanted, who=str(caller))
        response.status_code = 200 if is_known else 201
        return holds.views(session, [row])[0]


@router.post("/v1/holds/{hold_id}/release", responses=described(401, 403, 404))
def release_hold(hold_id: UUID, runtime: Parts, caller: Operator) -> HoldView:
    """Let what is held be given missions again; what the hold paused goes on. Releasing twice is harmless."""
    with runtime.transaction() as session:
        row = holds.release(session, organisation_id=caller.organisation_id, hold_id=hold_id, who=str(caller))
        return holds.views(session, [row])[0]


def _is_known(session: Session, caller: Principal, key: str) -> bool:
    same = (Hold.organisation_id == caller.organisation_id, Hold.key == key)
    return session.exec(select(Hold.id).where(*same)).first() is not None
