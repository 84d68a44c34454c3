"""Holding robots and letting them go: a person's word that nothing new is given to a robot, a site or a whole fleet."""

from typing import Any
from uuid import UUID

from prefect import flow, get_run_logger
from prefect.artifacts import acreate_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed
from sqlmodel import Session

from fleet.errors import Invalid
from fleet.organisations import organisation_named, site_named
from fleet.robots import robot_named
from missions import holds
from missions.holds import HoldScope, HoldView, HoldWanted, Meanwhile
from orchestration.flows import edge
from orchestration.flows.forms import Name, Reason
from orchestration.markdown import table_text


@flow(name="hold", flow_run_name="Hold {scope}: {reason}")
async def hold(
    scope: HoldScope,
    reason: Reason,
    robot: Name | None = None,
    site: Name | None = None,
    meanwhile: Meanwhile = Meanwhile.finish,
    organisation: Name = "demo",
) -> State[Any]:
    """Give nothing new to a robot, to the robots of a site, or to the whole fleet, until release-hold.

    Args:
        scope: Hold one robot, all robots of a site, or all of the organisation.
        reason: Why; whoever wonders what a mission waits for reads it.
        robot: Name of the robot, when one is held.
        site: Name of the site, when one is held.
        meanwhile: What becomes of missions under way on held robots: they finish, pause until the release, or are cancelled.
        organisation: Whose robots.
    """
    who, key = edge.who("hold"), edge.run_id()
    wanted = HoldWanted(scope=scope, robot=robot, site=site, meanwhile=meanwhile, reason=reason, key=key)

    def put(session: Session) -> tuple[UUID, list[HoldView]]:
        owner = organisation_named(session, organisation)
        made = holds.hold(session, organisation_id=owner.id, wanted=wanted, who=who)
        return made.id, holds.views(session, holds.open_holds(session, [owner.id]))

    hold_id, are_open = await edge.written(put)
    return await _shown("Held", f"{_words(scope, robot, site)} is held: {reason} (hold {hold_id}).", are_open)


@flow(name="release-hold", flow_run_name="Release {scope}")
async def release_hold(
    scope: HoldScope = HoldScope.robot,
    robot: Name | None = None,
    site: Name | None = None,
    hold_id: UUID | None = None,
    organisation: Name = "demo",
) -> State[Any]:
    """Let held robots be given missions again; what the hold had paused goes on.

    Args:
        scope: Release every hold on one robot, on a site, or on the fleet.
        robot: Name of the robot.
        site: Name of the site.
        hold_id: Only the hold of this id; then the fields above are left empty.
        organisation: Whose robots.
    """
    who = edge.who("release-hold")

    def release(session: Session) -> tuple[int, list[HoldView]]:
        owner = organisation_named(session, organisation)
        if hold_id is not None:
            open_ids = {row.id for row in holds.open_holds(session, [owner.id])}
            count = int(holds.release(session, organisation_id=owner.id, hold_id=hold_id, who=who).id in open_ids)
        else:
            subject = _subject(session, owner.id, scope, robot, site)
            count = len(holds.release_all(session, organisation_id=owner.id, scope=scope, subject_id=subject, who=who))
        return count, holds.views(session, holds.open_holds(session, [owner.id]))

    count, are_open = await edge.written(release)
    what = f"hold {hold_id}" if hold_id else _words(scope, robot, site)
    return await _shown(
        "Released" if count else "Nothing held",
        f"{what}: {count} holds released, {len(are_open)} still open.",
        are_open,
    )


def _subject(
    session: Session, organisation_id: UUID, scope: HoldScope, robot: str | None, site: str | None
) -> UUID | None:
    is_only = {HoldScope.fleet: not (robot or site), HoldScope.robot: not site, HoldScope.site: not robot}[scope]
    if scope is HoldScope.fleet and is_only:
        return None
    if scope is HoldScope.robot and robot and is_only:
        return robot_named(session, organisation_id, robot).id
    if scope is HoldScope.site and site and is_only:
        return site_named(session, organisation_id, site).id
    raise Invalid(_wrong_names(scope, robot, site))


def _wrong_names(scope: HoldScope, robot: str | None, site: str | None) -> str:
    named = " and ".join(f"{kind} {name!r}" for kind, name in (("robot", robot), ("site", site)) if name)
    if scope is HoldScope.fleet:
        return f"scope: to release the holds on the whole fleet name neither robot nor site; this names {named}."
    if not named:
        return f"{scope}: name the {scope} whose holds are to be released, or give the hold's id."
    return f"scope: to release the holds on a {scope} name that {scope} and nothing else; this names {named}."


def _words(scope: HoldScope, robot: str | None, site: str | None) -> str:
    return {HoldScope.robot: f"robot {robot}", HoldScope.site: f"site {site}", HoldScope.fleet: "the fleet"}[scope]


async def _shown(name: str, text: str, are_open: list[HoldView]) -> State[Any]:
    rows = [
        {
            "held": _words(view.scope, view.robot, view.site),
            "reason": view.reason,
            "meanwhile": view.meanwhile.value,
            "who": view.who,
            "since": f"{view.created_at:%Y-%m-%d %H:%M:%S} UTC",
            "id": str(view.id),
        }
        for view in are_open
    ]
    await acreate_markdown_artifact(
        f"## Open holds ({len(rows)})\n\n{table_text(rows) if rows else 'None.'}", key="holds"
    )
    get_run_logger().info(text)
    return Completed(name=name, message=text[0].upper() + text[1:])
