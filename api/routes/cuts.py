"""Cuts: a span of a recording, such as half a minute before an error, as a small dataset of its own."""

from uuid import UUID

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from api.deps import Operator, Parts
from api.problems import described
from api.routes.uploads import limits_of
from api.strict import StrictRoute
from fleet.requests import RequestStatus
from ingestion import cuts
from ingestion.catalogue import bag_of
from ingestion.cuts import CutWanted

router = APIRouter(tags=["bags"], route_class=StrictRoute)


class CutRead(BaseModel):
    """A cut that was asked for."""

    request_id: UUID
    status: RequestStatus = Field(description="done: it is a bag.")
    sha256: str = Field(description="Of the bag that it becomes: GET /v1/bags/by-sha256/{sha256} is 404 until then.")
    error: str | None = Field(description="Why it could not be cut out.")


@router.post("/v1/bags/{bag_id}/cuts", status_code=202, responses=described(401, 403, 404, 409, 422, 507))
def ask_for_cut(bag_id: UUID, wanted: CutWanted, runtime: Parts, caller: Operator, response: Response) -> CutRead:
    """Ask for the time around an event, or from an instant up to another, as a bag of its own.

    The same span again is the same cut. `GET /v1/requests/{request_id}` tells how far it is.
    """
    with runtime.transaction() as session:
        bag = bag_of(session, caller.organisation_id, bag_id)
        request, sha256 = cuts.ask(session, bag, wanted, limits=limits_of(runtime), who=str(caller))
    response.headers["Location"] = f"/v1/requests/{request.id}"
    return CutRead(request_id=request.id, status=request.status, sha256=sha256, error=request.error)
