"""Gateways, and how each robot is reached."""

from uuid import UUID

from fastapi import APIRouter

from api.deps import Parts, Reader
from api.pages import Listing, Wanted, page_of
from api.problems import described
from fleet.gateways import Gateway
from fleet.link_views import GatewayView, LinkView, gateway_views, link_view, robot_of

router = APIRouter(tags=["robots"])


@router.get("/v1/gateways", responses=described(401, 403, 422))
def list_gateways(runtime: Parts, caller: Reader, place: Wanted) -> Listing[GatewayView]:
    """The gateways of your organisation, newest first: whom they serve, and whether they are there."""
    with runtime.reading() as session:
        rows, following = page_of(session, Gateway, caller, place)
        return Listing(items=gateway_views(session, rows), next=following)


@router.get("/v1/robots/{robot_id}/link", responses=described(401, 403, 404))
def show_link(robot_id: UUID, runtime: Parts, caller: Reader) -> LinkView:
    """How a robot is reached, what it exposes, and why a command would be refused now."""
    with runtime.reading() as session:
        return link_view(session, robot_of(session, caller.organisation_id, robot_id))
