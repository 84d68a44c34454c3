"""The round: missions asked for in Prefect, carried out by the robots, one cancelled while it runs, one refused at the desk."""

import asyncio
import json
from uuid import UUID

from sqlmodel import Session, col, select

from deployments.demo.night import SOON_S, Night, Outcome, problems_of
from fleet.adapter import Activity, AdapterAccount, Observation, OrderStatus, Page
from fleet.adapters import opener
from fleet.adapters.simulated.record import read_record
from fleet.adapters.simulated.site_map import SITE_MAP
from fleet.errors import Rejected
from fleet.organisations import StationKind
from fleet.robots import Robot
from missions import board
from missions.models import MISSION_TERMINAL, Mission, MissionStatus, Round

ROUND = "Night round"
PATROL = "Fence patrol"
GAS = "Gas survey"
BLOCKED_STATION = "workshop"
BLOCKED = f"Look after {BLOCKED_STATION}"
RECORDED_MAX = 4
PATROL_LEGS = 20
ROUND_WITHIN_S = 400.0
STANDS_FOR_S = 2.0
MOVED_M = 0.01


def wanted_missions() -> list[dict[str, object]]:
    """The form of the round as an operator fills it in: 13 missions."""
    points = [place.name for place in SITE_MAP if place.kind is StationKind.inspection_point]
    inspections = [_inspection(point, is_recorded=index < RECORDED_MAX) for index, point in enumerate(points)]
    legs = [
        task
        for leg in range(PATROL_LEGS)
        for task in (_task("go_to", ("gate", "transformer-1")[leg % 2]), _task("wait", None, duration_s=60))
    ]
    return [
        {"name": PATROL, "tasks": legs, "priority": 10},
        {
            "name": BLOCKED,
            "tasks": [_task("go_to", BLOCKED_STATION), _task("reading", BLOCKED_STATION)],
            "attempts_max": 3,
        },
        *inspections,
        {"name": "Check the gate", "tasks": [_task("go_to", "gate"), _task("wait", None, duration_s=10)]},
    ]


def impossible_mission() -> dict[str, object]:
    """The form of a mission that no robot of the site can do."""
    return {"name": GAS, "tasks": [_task("go_to", "boiler-1")], "required_capabilities": ["inspect_gas"]}


def _inspection(point: str, *, is_recorded: bool) -> dict[str, object]:
    tasks = [_task("record_bag", None)] if is_recorded else []
    return {
        "name": f"Inspect {point}",
        "tasks": [*tasks, _task("go_to", point), _task("reading", point)],
        "required_capabilities": ["inspect_thermal"],
    }


def _task(kind: str, station: str | None, **parameters: object) -> dict[str, object]:
    return {"kind": kind, "station": station, "parameters": parameters}


async def fly_round(night: Night) -> Outcome:
    """Press request-round, watch every mission to its end, and cancel the patrol from Prefect while it runs."""
    form = {"name": ROUND, "missions": wanted_missions(), "organisation": "demo", "site": "north-plant"}
    run_id = await night.prefect.press("request-round", form, key="demo/round")
    round_id = await _round_of(night, run_id)
    await _watch(night, round_id, lambda view: _only_patrol_runs(view), "Every mission but the patrol ending")
    stop_problems = await _cancel_patrol(night, round_id)
    refusal_problems = await _be_refused(night)
    view = await _watch(night, round_id, lambda view: view.is_finished, "The end of the round")
    await night.ended(run_id, "request-round", within_s=SOON_S)
    counts = ", ".join(f"{count} {status.lower()}" for status, count in sorted(view.counts.items()) if count)
    problems = (*problems_of(checks_of(view)), *stop_problems, *refusal_problems)
    told = f"{len(view.missions)} missions: {counts}; 1 refused at the desk"
    return Outcome(told, night.page_of(run_id), problems)


async def _be_refused(night: Night) -> tuple[str, ...]:
    """Ask for what no robot can do: the run says why, and nothing is left of it."""
    try:
        await night.run("request-mission", {"mission": impossible_mission()}, within_s=SOON_S)
        words = "it was taken"
    except Rejected as refused:
        words = refused.message
    query = select(Mission.id).where(Mission.organisation_id == night.organisation_id, Mission.name == GAS)
    left = await night.read(lambda session: session.exec(query).all())
    return problems_of(
        {
            f"{GAS!r} was refused with the missing capability ({words})": "inspect_gas" in words,
            f"nothing is left of the refused {GAS!r}": not left,
        }
    )


async def _round_of(night: Night, run_id: str) -> UUID:
    def look(session: Session) -> UUID | None:
        return session.exec(select(Round.id).where(Round.key == run_id)).first()

    found = await night.until(
        lambda: night.read(look), lambda it: it is not None, within_s=SOON_S, what="The round's rows"
    )
    assert found is not None
    return found


async def _watch(night: Night, round_id: UUID, holds: object, what: str) -> board.RoundView:
    async def look() -> board.RoundView:
        view = await night.read(lambda session: board.round_view(session, night.organisation_id, round_id))
        night.tell(" ".join(f"{status.lower()}: {count}" for status, count in sorted(view.counts.items()) if count))
        return view

    assert callable(holds)
    return await night.until(look, holds, within_s=ROUND_WITHIN_S, what=what)


def _only_patrol_runs(view: board.RoundView) -> bool:
    others = [mission for mission in view.missions if mission.name != PATROL]
    patrol = mission_named(view, PATROL)
    is_running = patrol.status in {MissionStatus.running, *MISSION_TERMINAL}
    return is_running and all(mission.status in MISSION_TERMINAL for mission in others)


def mission_named(view: board.RoundView, name: str) -> board.MissionView:
    """The one mission of the round with this name."""
    return next(mission for mission in view.missions if mission.name == name)


async def _cancel_patrol(night: Night, round_id: UUID) -> tuple[str, ...]:
    view = await night.read(lambda session: board.round_view(session, night.organisation_id, round_id))
    patrol = mission_named(view, PATROL)
    serial = await night.read(lambda session: _serial(session, night.organisation_id, patrol.robot))
    night.tell(f"cancelling {PATROL!r} on {patrol.robot} through the deployment control-mission")
    form: dict[str, object] = {
        "mission": str(patrol.id),
        "command": "cancel",
        "reason": "the demo wants the robot back",
    }
    await night.run("control-mission", form, within_s=SOON_S)
    report, before, after = await _standing(night, serial)
    return problems_of(
        {
            "the patrol was running when it was cancelled": patrol.status is MissionStatus.running,
            f"the robot itself says that what it did was canceled (it says {report})": report == OrderStatus.canceled,
            "the robot let go of the order": after.activity not in {Activity.executing, Activity.paused},
            f"the robot stands still after the cancel (it moved from {_at(before)} to {_at(after)})": _distance(
                before, after
            )
            < MOVED_M,
        }
    )


async def _standing(night: Night, serial: str) -> tuple[str, Observation, Observation]:
    """How the last thing ended that the robot was told, by its own record; its cloud's word on it STANDS_FOR_S apart."""
    access = night.platform.access
    account = AdapterAccount(name="demo", base_url=night.platform.site_url, credential=access.credential)
    async with opener("simulated")(account) as adapter:
        before = _of(serial, adapter.events_from((await adapter.observe_all()).body))
        await asyncio.sleep(STANDS_FOR_S)
        page: Page = await adapter.observe_all()
        after = _of(serial, adapter.events_from(page.body))
    record = await asyncio.to_thread(read_record, night.var / "site" / "journal.db")
    told = [report for report in record.reports.values() if report.serial_number == serial]
    newest = max(told, key=lambda report: report.observed_at, default=None)
    return newest.status.value if newest else "nothing", before, after


def _of(serial: str, said: object) -> Observation:
    assert isinstance(said, list | tuple)
    return next(one for one in said if isinstance(one, Observation) and one.serial_number == serial)


def _distance(before: Observation, after: Observation) -> float:
    (x0, y0), (x1, y1) = _at(before), _at(after)
    return float(((x1 - x0) ** 2 + (y1 - y0) ** 2) ** 0.5)


def _at(observation: Observation) -> tuple[float, float]:
    return round(observation.x_m or 0.0, 2), round(observation.y_m or 0.0, 2)


def _serial(session: Session, organisation_id: UUID, name: str | None) -> str:
    query = select(Robot.serial_number).where(Robot.organisation_id == organisation_id, col(Robot.name) == name)
    return session.exec(query).one()


def checks_of(view: board.RoundView) -> dict[str, bool]:
    """What must be true of the finished round."""
    patrol, blocked = (mission_named(view, name) for name in (PATROL, BLOCKED))
    others = [mission for mission in view.missions if mission.name not in {PATROL, BLOCKED}]
    tries = [attempt.status.value for attempt in blocked.attempts]
    readings = [result for mission in others for result in mission.results if result.value is not None]
    return {
        "the round has at least 12 missions": len(view.missions) >= 12,
        "every ordinary mission succeeded": all(mission.status is MissionStatus.succeeded for mission in others),
        f"{BLOCKED!r} failed once and then succeeded (its attempts: {tries})": tries == ["FAILED", "SUCCEEDED"],
        f"{PATROL!r} was cancelled": patrol.status is MissionStatus.canceled,
        "at least 10 readings with units were taken": sum(bool(result.unit) for result in readings) >= 10,
    }


def as_json(view: board.RoundView) -> str:
    """The round for people who look at the demo's folder later."""
    return json.dumps(view.model_dump(mode="json"), indent=1)
