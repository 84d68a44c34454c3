"""What an operator can fill in wrong and Prefect's server lets through: refused at the first line, nothing written."""

from uuid import uuid4

import pytest
from sqlmodel import func, select

from missions.holds import Hold
from missions.models import Mission, Round
from missions.schedules.models import Schedule
from reports.models import Report

pytestmark = [pytest.mark.serial, pytest.mark.timeout(900)]
TASK = {"kind": "go_to", "station": "press-1"}
MISSION = {"name": "Look", "tasks": [TASK]}
AT_ONCE = 4  # Prefect's server on SQLite stalls on its lock when many runs are active
TABLES = (Mission, Round, Report, Schedule, Hold)
NOBODY = "There is no organisation 'nobody'"
FORMS = [
    ("request-mission", {"mission": MISSION, "altitude": 3}, "altitude: Extra inputs are not permitted (it is 3)"),
    ("request-mission", {"mission": MISSION, "organisation": "nobody"}, NOBODY),
    ("request-mission", {"mission": MISSION, "site": "moon"}, "There is no site 'moon'; known sites: north-plant"),
    ("request-mission", {"mission": {**MISSION, "robot": "r2"}}, "There is no robot 'r2'"),
    ("request-mission", {"mission": {**MISSION, "tasks": [{"kind": "go_to"}]}}, "is a go_to and names no station"),
    (
        "request-mission",
        {"mission": {**MISSION, "not_after_at": "tomorrow"}},
        "mission.not_after_at: Input should be a valid datetime",
    ),
    (
        "request-round",
        {"missions": [MISSION, {**MISSION, "tasks": [{"kind": "go_to", "station": "moon"}]}]},
        "the station 'moon'; known stations: press-1, press-2",
    ),
    ("request-round", {"missions": []}, "take the template 'one mission for every inspection point'"),
    ("control-mission", {"mission": str(uuid4()), "command": "retry"}, "There is no mission"),
    ("poll-manufacturer", {"account": "nobody"}, "account: there is no account 'nobody' that is polled"),
    ("receive-webhooks", {"organisation": "nobody"}, NOBODY),
    ("receive-webhooks", {"delivery_ids": ["x"]}, "delivery_ids.0: Input should be a valid UUID"),
    ("process-bag", {"bag_ids": ["x"]}, "bag_ids.0: Input should be a valid UUID"),
    ("train-rul", {"organisation": "nobody"}, NOBODY),
    ("publish-report", {"site": "moon"}, "There is no site 'moon'"),
    ("publish-report", {"period_from": "yesterday"}, "period_from: Input should be a valid datetime"),
    ("publish-report", {"period_from": "2026-01-01T00:00:00"}, "Say how far it is from UTC"),
    (
        "publish-report",
        {"period_to": "0001-01-01T00:00:00Z"},
        "period_to: 0001-01-01T00:00:00+00:00 is before the year 1970",
    ),
]
MORE = [
    (
        "request-mission",
        {"mission": {**MISSION, "not_after_at": "2026-01-01T00:00:00Z"}},
        "not_after_at 2026-01-01T00:00:00+00:00 has passed",
    ),
    ("control-round", {"round": "Atlantis", "command": "cancel"}, "round: there is no round 'Atlantis'"),
    ("approve-mission", {"mission": "Atlantis"}, "there is no mission 'Atlantis'; give its id"),
    ("hold", {"scope": "robot", "reason": "x"}, "A hold on a robot names a robot"),
    ("hold", {"scope": "site", "site": "moon", "reason": "x"}, "There is no site 'moon'"),
    ("release-hold", {"scope": "site"}, "name the site whose holds are to be released"),
    ("release-hold", {"scope": "fleet", "robot": "amr-01"}, "name neither robot nor site; this names robot 'amr-01'"),
    ("release-hold", {"scope": "robot", "robot": "amr-01", "site": "moon"}, "name that robot and nothing else"),
    ("create-schedule", {"name": "x", "when": {"rule": "0 6 * *"}, "missions": [MISSION]}, "0 6 * *"),
    (
        "create-schedule",
        {"name": "x", "when": {"rule": "0 6 * * *", "timezone": "Moon/Base"}, "missions": [MISSION]},
        "Moon/Base",
    ),
    ("create-schedule", {"name": "x", "when": {"rule": "0 6 * * *"}}, "take the template"),
    ("control-schedule", {"schedule": "Atlantis", "command": "pause"}, "There is no schedule 'Atlantis'"),
    ("control-schedule", {"schedule": "x", "command": "revise"}, "give a rule or missions to revise"),
]


@pytest.fixture
def written(prefect):
    def count() -> list[int]:
        with prefect.runtime.reading() as session:
            return [session.exec(select(func.count()).select_from(table)).one() for table in TABLES]

    return count


@pytest.mark.parametrize("all_forms", [FORMS, pytest.param(MORE, marks=pytest.mark.proof)], ids=["first", "more"])
def test_every_wrong_form_fails_with_a_sentence_that_names_the_value_and_leaves_nothing(prefect, written, all_forms):
    before = written()
    ended = []
    for start in range(0, len(all_forms), AT_ONCE):
        forms = all_forms[start : start + AT_ONCE]
        pressed = [(prefect.press(deployment, **form), told) for deployment, form, told in forms]
        ended += [(prefect.state(run_id), told) for run_id, told in pressed]
    assert [state["type"] for state, _ in ended] == ["FAILED"] * len(all_forms)
    assert [(told, state["message"]) for state, told in ended if told not in state["message"]] == []
    assert written() == before


def test_what_the_form_itself_forbids_is_refused_before_there_is_a_run(prefect):
    form = {"parameters": {"mission": {**MISSION, "priority": 10**9}}}
    answer = prefect.api.post(f"/deployments/{prefect.ids['request-mission']}/create_flow_run", json=form)
    assert answer.status_code == 409
    assert "mission.priority" in answer.text
    assert "1000000000 is greater than the maximum of 100" in answer.text
