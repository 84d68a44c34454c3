"""The demo's own judgement: what it asks for, and that it says no when something did not hold."""

import json
from datetime import UTC, datetime
from uuid import UUID

import pytest
from rich.console import Console

from deployments.demo.bags import recordings_in
from deployments.demo.missions import BLOCKED, PATROL, checks_of, impossible_mission, wanted_missions
from deployments.demo.night import Outcome, problems_of
from deployments.demo.stages import Done, carry_out, keep, show, stages_of
from fleet.errors import NotFound, Unavailable
from missions.board import AttemptView, MissionView, ResultView, RoundView
from missions.models import AttemptStatus, Desired, MissionCreate, MissionStatus

AT = datetime(2026, 3, 1, 22, 0, tzinfo=UTC)
DONE = Done("Missions", "14 missions", 29.3, "Prefect: /runs", ())
BROKEN = Done("Report", "", 3.0, "var/demo/report", ("the pdf file is one",))


@pytest.fixture
def mission():
    """A mission view that ended like this."""

    def build(name: str, status: MissionStatus, tries: list[AttemptStatus], reason: str = "") -> MissionView:
        attempts = [
            AttemptView(number=number, status=tried, robot="amr-01", reason="", started_at=AT, finished_at=AT)
            for number, tried in enumerate(tries, start=1)
        ]
        result = ResultView(
            attempt=1, position=1, status="succeeded", value=40.5, unit="degC", message="", finished_at=AT
        )
        return MissionView(
            id=UUID(int=1), round_id=None, retry_of=None, name=name, key=name, status=status, desired=Desired.run,
            version=1, reason=reason, priority=0, robot="amr-01", required_capabilities=[], requested_by="prefect:demo",
            earliest_start_at=None, not_after_at=None, created_at=AT, updated_at=AT, started_at=AT, finished_at=AT,
            attempts=attempts, tasks=[], results=[result], transitions=[],
        )  # fmt: skip

    return build


@pytest.fixture
def night_of(mission):
    """A round as a good night leaves it, with these missions in the place of its own."""

    def build(**instead: MissionView) -> RoundView:
        succeeded, failed = AttemptStatus.succeeded, AttemptStatus.failed
        special = {
            PATROL: mission(PATROL, MissionStatus.canceled, [AttemptStatus.canceled]),
            BLOCKED: mission(BLOCKED, MissionStatus.succeeded, [failed, succeeded]),
        } | {view.name: view for view in instead.values()}
        others = [mission(f"Inspect {n}", MissionStatus.succeeded, [succeeded]) for n in range(11)]
        missions = [*special.values(), *others]
        return RoundView(
            id=UUID(int=2), name="Night", key="k", requested_by="x", created_at=AT, counts={}, is_finished=True,
            missions=missions,
        )  # fmt: skip

    return build


def test_the_round_asks_for_at_least_twelve_missions_that_the_form_takes():
    forms = [
        MissionCreate.model_validate({**wanted, "key": str(index)}) for index, wanted in enumerate(wanted_missions())
    ]
    assert len(forms) >= 12
    assert len({form.name for form in forms}) == len(forms)


def test_a_good_night_has_no_problem(night_of):
    assert problems_of(checks_of(night_of())) == ()


def test_a_blocked_mission_that_never_failed_is_a_problem(night_of, mission):
    lucky = mission(BLOCKED, MissionStatus.succeeded, [AttemptStatus.succeeded])
    assert any("failed once and then succeeded" in line for line in problems_of(checks_of(night_of(lucky=lucky))))


def test_a_patrol_that_was_not_cancelled_is_a_problem(night_of, mission):
    deaf = mission(PATROL, MissionStatus.succeeded, [AttemptStatus.succeeded])
    assert any("was cancelled" in line for line in problems_of(checks_of(night_of(deaf=deaf))))


def test_the_impossible_mission_is_a_form_that_only_its_capability_spoils():
    form = MissionCreate.model_validate({**impossible_mission(), "key": "gas"})
    assert form.required_capabilities == ["inspect_gas"]


async def test_an_error_in_a_stage_is_its_problem_and_stops_no_other():
    async def broken(night: object) -> Outcome:
        raise Unavailable("The cloud did not answer.")

    done = await carry_out(("Polling", broken), None)
    assert (done.what, done.problems) == ("Polling", ("The cloud did not answer.",))


def test_recordings_come_first_and_only_when_there_are_some(tmp_path):
    assert stages_of([])[0][0] == "Polling"
    assert stages_of([tmp_path / "a.bag"])[0][0] == "Recordings brought along"


def test_recordings_are_found_below_a_folder_in_order(tmp_path):
    (tmp_path / "sub").mkdir()
    for name in ("sub/b.mcap", "a.bag", "notes.txt", "c.db3"):
        (tmp_path / name).touch()
    assert [path.name for path in recordings_in(tmp_path)] == ["a.bag", "c.db3", "b.mcap"]


def test_a_folder_without_recordings_is_told(tmp_path):
    with pytest.raises(NotFound, match="no recording"):
        recordings_in(tmp_path)


def test_the_table_says_of_each_stage_whether_it_held():
    console = Console(width=120, record=True, file=None, quiet=False)
    with console.capture() as shown:
        show(console, [DONE, BROKEN], seconds=61.0)
    text = shown.get()
    assert "The night took 61 s" in text
    assert "FAILED Report: the pdf file is one" in text
    assert "OK" in text


def test_the_result_for_machines_is_not_ok_when_one_stage_was_not(tmp_path):
    good = json.loads(keep(tmp_path, [DONE], seconds=1.0, at=AT).read_text())
    bad = json.loads(keep(tmp_path, [DONE, BROKEN], seconds=1.0, at=AT).read_text())
    assert (good["is_ok"], bad["is_ok"]) == (True, False)
    assert bad["stages"][1]["problems"] == ["the pdf file is one"]
