"""`yardmaster robots …`."""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from deployments.cli.parts import AsJson, Organisation, Site, opened, show, show_json

if TYPE_CHECKING:
    from sqlmodel import Session

    from fleet.accounts import ManufacturerAccount
    from fleet.adapter import DiscoveredRobot
    from fleet.link_views import LinkView
    from fleet.organisations import Site as Place
    from fleet.push import Endpoint, Exposure
    from fleet.robots import Robot
    from fleet.runtime import Runtime
    from missions.foreign import ForeignOrder
    from missions.holds import Hold

    Answer = tuple[Sequence[DiscoveredRobot], str]

app = typer.Typer(no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="Name of the robot.")]


@app.command("list")
def list_robots(organisation: Organisation = "demo", as_json: AsJson = False) -> None:
    """The robots of an organisation with the latest that each said of itself."""
    from sqlmodel import col, select

    from fleet.clock import database_now
    from fleet.gateways import out_of_reach
    from fleet.organisations import organisation_named
    from fleet.robots import Robot
    from fleet.states import RobotState
    from missions import holds
    from missions.foreign import foreign_orders

    with opened().reading() as session:
        owner = organisation_named(session, organisation)
        query = (
            select(Robot, RobotState)
            .join(RobotState, col(RobotState.robot_id) == col(Robot.id), isouter=True)
            .where(Robot.organisation_id == owner.id)
            .order_by(Robot.name)
        )
        foreign, held = foreign_orders(session, [owner.id]), holds.open_holds(session, [owner.id])
        away = out_of_reach(session, [owner.id], database_now(session))
        found = [
            (
                robot.model_dump(mode="json")
                | _remarks(holds.covering(robot, held), foreign.get(robot.id))
                | {"out_of_reach": away.get(robot.id)},
                state,
            )
            for robot, state in session.exec(query).all()
        ]
    if as_json:
        show_json([robot | {"state": state.model_dump(mode="json") if state else None} for robot, state in found])
        return
    rows = [
        (
            robot["name"],
            robot["serial_number"],
            robot["model"],
            state.activity.value if state else "never heard of",
            f"{state.battery_fraction:.0%}" if state and state.battery_fraction is not None else "",
            state.observed_at.isoformat(timespec="seconds") if state else "",
            robot["held_by"]
            or robot["out_of_reach"]
            or (f"not ordered here: {robot['foreign_order']}" if robot["foreign_order"] else ""),
        )
        for robot, state in found
    ]
    show("Robots", ("name", "serial number", "model", "activity", "battery", "observed", "remark"), rows)


def _remarks(hold: "Hold | None", foreign: "ForeignOrder | None") -> dict[str, str | None]:
    from missions.holds import words

    return {"held_by": words(hold) if hold else None, "foreign_order": foreign.order if foreign else None}


@app.command("show")
def show_robot(name: Name, organisation: Organisation = "demo", as_json: AsJson = False) -> None:
    """How a robot is reached, what it exposes with which QoS and type hashes, and why a command would be refused."""
    from fleet.link_views import link_view
    from fleet.organisations import organisation_named
    from fleet.robots import robot_named

    with opened().reading() as session:
        owner = organisation_named(session, organisation)
        view = link_view(session, robot_named(session, owner.id, name))
    if as_json:
        show_json(view.model_dump(mode="json"))
        return
    _show_link(view)


def _show_link(view: "LinkView") -> None:
    rows = [
        ("commanded over", f"{view.account} ({view.manufacturer} {view.link}, {view.url})"),
        ("address", view.address),
        ("gateway", f"{view.gateway or 'none'}{'' if view.is_held else ', which does not hold it now'}"),
        ("lease", f"epoch {view.epoch}, until {view.expires_at:%H:%M:%S} UTC" if view.expires_at else ""),
        (
            "heard",
            f"{view.hearing or 'not yet'}{f' since {view.since:%Y-%m-%d %H:%M:%S}' if view.since else ''} {view.why}",
        ),
        ("told", f"{view.told_at:%Y-%m-%d %H:%M:%S}, digest {view.digest[:12]}" if view.told_at else "nothing yet"),
        *sorted(view.facts.items()),
        ("commands", " ".join(view.refusals) or "would be taken"),
    ]
    show(view.robot, ("what", "found"), rows)
    _show_endpoints(view.endpoints)


def _show_endpoints(endpoints: "Sequence[Endpoint]") -> None:
    cells = [
        (one.name, one.kind, one.type, ", ".join(one.qos.values()), one.type_hash[-12:], one.complaint)
        for one in endpoints
    ]
    if cells:
        show("Exposes", ("name", "kind", "type", "QoS", "hash", "complaint"), cells)


@app.command("probe")
def probe(name: Name, organisation: Organisation = "demo", as_json: AsJson = False) -> None:
    """Ask live through the gateway what the robot exposes: how long that takes, and what would be refused."""
    import asyncio

    from fleet.accounts import ManufacturerAccount
    from fleet.link_views import link_view
    from fleet.organisations import organisation_named
    from fleet.robots import robot_named

    runtime = opened()
    with runtime.reading() as session:
        owner = organisation_named(session, organisation)
        robot = robot_named(session, owner.id, name)
        view = link_view(session, robot)
        account = session.get_one(ManufacturerAccount, robot.commanded_over)
    found, seconds = asyncio.run(_exposure(runtime, account, robot.address))
    refusals = [*view.refusals, *(one for one in found.refusals if one not in view.refusals)]
    if as_json:
        told = found.model_dump(mode="json") | {"refusals": refusals, "gateway": view.gateway}
        show_json(told | {"robot": name, "round_trip_ms": round(seconds * 1000, 1)})
        return
    typer.echo(f"{name} answered through {view.gateway} in {seconds * 1000:.0f} ms over {found.link}.")
    typer.echo(f"Commands: {' '.join(refusals) or 'would be taken'}")
    _show_endpoints(found.endpoints)


async def _exposure(runtime: "Runtime", account: "ManufacturerAccount", address: str) -> tuple["Exposure", float]:
    from orchestration.gateway_link import GatewayLink, Switchboard

    _check_push(account)
    switchboard = Switchboard(runtime)
    began = runtime.clock.monotonic()
    try:
        found = await GatewayLink(account, switchboard).exposure(address)
        return found, runtime.clock.monotonic() - began
    finally:
        await switchboard.close()


def _check_push(account: "ManufacturerAccount") -> None:
    from fleet.adapters import push_manufacturers
    from fleet.errors import Invalid

    if account.manufacturer not in push_manufacturers():
        raise Invalid(f"{account.name} is a cloud ({account.manufacturer}): no gateway reaches its robots.")


@app.command("discover")
def discover(
    account: Annotated[str | None, typer.Option("--account", "-a", help="Only on this account's link.")] = None,
    add: Annotated[bool, typer.Option("--add", help="Register what is not registered yet.")] = False,
    organisation: Organisation = "demo",
    site: Site = "north-plant",
    as_json: AsJson = False,
) -> None:
    """The robots that gateways see on their links, registered or not."""
    import asyncio

    from sqlmodel import col, select

    from fleet.accounts import ManufacturerAccount
    from fleet.adapters import push_manufacturers
    from fleet.organisations import organisation_named, site_named

    runtime = opened()
    with runtime.reading() as session:
        owner = organisation_named(session, organisation)
        place = site_named(session, owner.id, site) if add else None
        mine = select(ManufacturerAccount).where(
            ManufacturerAccount.organisation_id == owner.id,
            col(ManufacturerAccount.manufacturer).in_(push_manufacturers()),
        )
        accounts = session.exec(mine if account is None else mine.where(ManufacturerAccount.name == account)).all()
    seen = asyncio.run(_discovered(runtime, accounts))
    found = _registered(runtime, accounts, seen, place)
    if as_json:
        show_json(found)
        return
    cells = [
        (one["account"], one["address"], one["name"], one["model"], one["robot"] or one["problem"]) for one in found
    ]
    show("Seen", ("account", "address", "name", "model", "registered as"), cells)


async def _discovered(runtime: "Runtime", accounts: Sequence["ManufacturerAccount"]) -> "list[Answer]":
    import asyncio

    from fleet.errors import Unavailable
    from orchestration.gateway_link import GatewayLink, Switchboard

    switchboard = Switchboard(runtime)
    try:
        asked = [GatewayLink(account, switchboard).discover() for account in accounts]
        answers = await asyncio.gather(*asked, return_exceptions=True)
    finally:
        await switchboard.close()
    told: list[Answer] = []
    for answer in answers:
        if isinstance(answer, Unavailable):
            told.append(((), answer.message))
        elif isinstance(answer, BaseException):
            raise answer
        else:
            told.append((answer, ""))
    return told


def _registered(
    runtime: "Runtime", accounts: Sequence["ManufacturerAccount"], seen: "Sequence[Answer]", site: "Place | None"
) -> list[dict[str, str]]:
    """A line for each robot that is seen, and for each account of which nothing is known; with a site they are added."""
    from fleet.robots import add_robot, robots_by_serial

    found = []
    with runtime.transaction() as session:
        for account, (robots, problem) in zip(accounts, seen, strict=True):
            if problem:
                found.append(_line(account.name, None, None, problem))
            known = robots_by_serial(session, account.id, {robot.serial_number for robot in robots})
            for robot in robots:
                row = known.get(robot.serial_number)
                if row is None and site is not None:
                    row = add_robot(session, _new(robot, account, site, runtime.clock.now()))
                found.append(_line(account.name, robot, row))
    return found


def _line(account: str, seen: "DiscoveredRobot | None", row: "Robot | None", problem: str = "") -> dict[str, str]:
    return {
        "account": account,
        "address": seen.serial_number if seen else "",
        "name": seen.name if seen else "",
        "model": seen.model if seen else "",
        "robot": row.name if row else "",
        "problem": problem,
    }


def _new(seen: "DiscoveredRobot", account: "ManufacturerAccount", site: "Place", now: datetime) -> "Robot":
    from fleet.robots import Robot

    return Robot(
        organisation_id=account.organisation_id,
        site_id=site.id,
        account_id=account.id,
        name=seen.name,
        serial_number=seen.serial_number,
        model=seen.model,
        capabilities=list(seen.capabilities),
        created_at=now,
    )


def _check_free(session: "Session", robot: "Robot") -> None:
    """An order that the robot has would be asked about elsewhere, not be found there, and be begun a second time."""
    from sqlmodel import col, select

    from fleet.errors import Conflict
    from fleet.robots import Robot
    from missions.models import Attempt

    session.get_one(Robot, robot.id, with_for_update=True, populate_existing=True)
    live = select(Attempt.key).where(Attempt.robot_id == robot.id, col(Attempt.finished_at).is_(None))
    key = session.exec(live).first()
    if key is not None:
        raise Conflict(
            f"{robot.name} has the order {key} over its present link; wait until it is over or cancel its mission, "
            "then link the robot.",
            robot=robot.name,
        )


@app.command("link")
def link(
    name: Name,
    account: Annotated[
        str, typer.Option("--account", "-a", help="The push account to command it over; '': its own again.")
    ],
    address: Annotated[str, typer.Option(help="Its address there, such as /amr_01 or maker/serial.")] = "",
    organisation: Organisation = "demo",
) -> None:
    """Command a robot over another account than the one its history comes from."""
    from fleet.accounts import account_named
    from fleet.organisations import organisation_named
    from fleet.robots import robot_named

    with opened().transaction() as session:
        owner = organisation_named(session, organisation)
        robot = robot_named(session, owner.id, name)
        over = account_named(session, owner.id, account) if account else None
        if over is not None:
            _check_push(over)
        _check_free(session, robot)
        robot.link_account_id = over.id if over else None
        robot.link_address = (address or robot.serial_number) if over else None
        session.add(robot)
    typer.echo(f"{name} is commanded over {account or 'its own account'}")
