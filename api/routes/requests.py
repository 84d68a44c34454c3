"""Requests: ask for work that a flow does (a report, a training, a round) and see how far it got."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field, JsonValue
from sqlmodel import Session, col, select

from api.deps import Operator, Parts
from api.problems import described
from api.strict import StrictRoute
from fleet import requests
from fleet.errors import Conflict, Invalid, NotFound
from fleet.organisations import Principal
from fleet.requests import Request, RequestStatus
from ingestion.models import Bag

router = APIRouter(tags=["requests"], route_class=StrictRoute)

PROCESS_BAG = "process-bag"
Kind = Literal["process-bag", "train-rul", "publish-report", "request-mission", "request-round", "control-mission"]


class RequestCreate(BaseModel):
    """What is asked for."""

    model_config = ConfigDict(extra="forbid")

    kind: Kind = Field(description="The kind of work; each is also a deployment in Prefect.")
    key: str = Field(min_length=1, max_length=200, description="Your own name for it; asking twice is one request.")
    parameters: dict[str, JsonValue] = Field(
        default_factory=dict, description="As the form of the deployment; the organisation is always your own."
    )


class RequestRead(BaseModel):
    """A request and how far it got."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    kind: str
    key: str
    parameters: dict[str, JsonValue]
    status: RequestStatus
    requested_by: str
    created_at: datetime
    error: str | None


@router.post("/v1/requests", status_code=202, responses=described(401, 403, 409, 422))
def ask(wanted: RequestCreate, runtime: Parts, caller: Operator, response: Response) -> RequestRead:
    """Ask for work. It is started within seconds; look at `GET /v1/requests/{id}` for how far it got."""
    with runtime.transaction() as session:
        if wanted.kind == PROCESS_BAG:
            _check_bags(session, caller, wanted.parameters)
        row = requests.ask(
            session,
            organisation_id=caller.organisation_id,
            kind=wanted.kind,
            key=wanted.key,
            parameters=dict(wanted.parameters),
            requested_by=str(caller),
        )
        if row.parameters != wanted.parameters:
            raise Conflict(
                f"The key {wanted.key!r} was used for {wanted.kind} with other parameters; take another key.",
                request=str(row.id),
            )
    response.headers["Location"] = f"/v1/requests/{row.id}"
    return RequestRead.model_validate(row)


def _check_bags(session: Session, caller: Principal, parameters: dict[str, JsonValue]) -> None:
    given = parameters.get("bag_ids")
    try:
        ids = {UUID(str(one)) for one in given} if isinstance(given, list) else set()
    except ValueError as error:
        raise Invalid(f"parameters.bag_ids holds something that is no bag id: {error}.") from error
    mine = Bag.organisation_id == caller.organisation_id
    found = set(session.exec(select(Bag.id).where(mine, col(Bag.id).in_(ids))).all())
    if not ids or found != ids:
        missing = ", ".join(sorted(map(str, ids - found))) or "none was given"
        raise Invalid(f"parameters.bag_ids must name bags of your organisation; not among them: {missing}.")


@router.get("/v1/requests/{request_id}", responses=described(401, 403, 404))
def show_request(request_id: UUID, runtime: Parts, caller: Operator) -> RequestRead:
    """One request and how far it got."""
    with runtime.reading() as session:
        row = session.get(Request, request_id)
    if row is None or row.organisation_id != caller.organisation_id:
        raise NotFound(f"There is no request {request_id}.", request=str(request_id))
    return RequestRead.model_validate(row)
