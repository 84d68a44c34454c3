"""Whatever is sent, to robots and by the simulated one, is valid by the official schemas of its version."""

import json
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, FormatChecker

from fleet.adapter import Order, OrderTask, TaskKind
from fleet.adapters.simulated import vda5050_messages as said
from fleet.adapters.vda5050 import outgoing, routes, updates
from fleet.adapters.vda5050.options import Binding, RobotOptions
from fleet.adapters.vda5050.outgoing import Action, Envelope
from fleet.adapters.vda5050.routes import Ability
from fleet.adapters.vda5050.wire import Place, read_factsheet, read_state
from fleet.settings import read_settings

AT = datetime(2026, 3, 1, 22, 0, 0, 123_456, tzinfo=UTC)
FOLDER = read_settings().shared_data / "vda5050"
FOLDERS = {"2.0.0": "2.0.0", "2.1.0": "2.1.0", "3.0.0": "3.0.0-fixed"}
pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason=f"the official schemas are not at {FOLDER}")


@cache
def validator(version: str, name: str) -> Draft202012Validator:
    schema = json.loads((FOLDER / FOLDERS[version] / f"{name}.schema").read_text())
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema, format_checker=FormatChecker())


NAMES = st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), min_size=1, max_size=12)
VALUES = st.one_of(st.text(max_size=8), st.booleans(), st.integers(-5, 5), st.floats(-1e6, 1e6))
TASKS = st.builds(
    OrderTask,
    position=st.just(0),
    kind=st.sampled_from(TaskKind),
    station=NAMES,
    x_m=st.floats(-1e4, 1e4),
    y_m=st.floats(-1e4, 1e4),
    parameters=st.dictionaries(st.sampled_from(["name", "duration_s", "quantity", "yaw_rad"]), VALUES),
)
VERSIONS = st.sampled_from(sorted(FOLDERS))
OPTIONS = RobotOptions(
    reading=Binding(action="takeReading", parameters={"quantity": "$parameters.quantity|temperature"}, unit=""),
    record_bag=Binding(action="recordRun", parameters={"missionId": "$mission_id"}, blocking="SINGLE", unit=""),
    action={"*": Binding(action="perform", parameters={"name": "$parameters.name"}, unit="")},
)


@settings(max_examples=150, deadline=None)
@given(VERSIONS, st.lists(TASKS, min_size=1, max_size=6), NAMES, st.none() | st.integers(1, 3))
def test_every_order_and_every_update_of_it_is_valid(version, tasks, last_node, horizon):
    placed = tuple(task.model_copy(update={"position": index}) for index, task in enumerate(tasks))
    order = Order(key="m/1", fence=1, serial_number="acme/7", mission_id="m", tasks=placed)
    envelope = Envelope(version, "acme", "7")
    ability = Ability(envelope, OPTIONS, None, Place(0.0, 0.0, 0.0, "hall", True), last_node)
    run = updates.begun(routes.written(order, ability, AT, 0), horizon)
    messages = []
    while not messages or not run.is_whole:
        run = _next(run) if messages else run
        body = json.loads(outgoing.order(envelope, 2**32 - 1, AT, run.order_id, updates.message(run)))
        validator(version, "order").validate(body)
        assert len(body["edges"]) == len(body["nodes"]) - 1
        sequences = sorted([one["sequenceId"] for one in body["nodes"] + body["edges"]])
        assert sequences == list(range(sequences[0], run.last_sequence + 1))
        messages.append(body)
    assert [body["orderUpdateId"] for body in messages] == list(range(len(messages)))
    for before, after in pairwise(messages):
        released = [node for node in before["nodes"] if node["released"]]
        left_out = {} if version == "3.0.0" else {"actions": []}
        assert after["nodes"][0] == released[-1] | left_out, "an update begins with the last node of the base before"
    assert all(one["released"] for one in messages[-1]["nodes"] + messages[-1]["edges"])


def _next(run):
    """As it is when the robot has done all that is released."""
    over = {step.position for step in run.steps if step.sequence <= run.released_to}
    tasks = [
        task.model_copy(update={"status": "succeeded"}) if task.position in over else task for task in run.report.tasks
    ]
    done = run.model_copy(update={"report": run.report.model_copy(update={"tasks": tuple(tasks)})})
    said = {"orderId": run.order_id, "orderUpdateId": run.update_id, "operatingMode": "AUTOMATIC"}
    return updates.extended(done, read_state(json.dumps(said).encode(), []), RobotOptions(horizon=1))


@settings(max_examples=50, deadline=None)
@given(VERSIONS, st.sampled_from(["actions", "instantActions"]), st.dictionaries(NAMES, VALUES, max_size=3))
def test_every_instant_action_is_valid_in_both_dialects(version, key, parameters):
    action = Action("id", "cancelOrder", tuple(parameters.items()))
    body = json.loads(outgoing.instant_actions(Envelope(version, "acme", "7"), 1, AT, [action], key=key))
    validator(version, "instantActions").validate(body)
    assert body[key] == body["actions"]


def test_answers_to_requests_are_valid():
    envelope = Envelope("3.0.0", "acme", "7")
    body = outgoing.responses(envelope, 1, AT, [("r1", True), ("r2", False)], AT + timedelta(seconds=60))
    validator("3.0.0", "responses").validate(json.loads(body))


@pytest.mark.parametrize("version", sorted(FOLDERS))
def test_what_the_simulated_robot_says_is_valid_and_understood_without_complaint(version):
    who = said.Identity("simulated", "SIM-0001", version)
    shown = said.Shown(
        order_id="o",
        update_id=0,
        last_node=("a", 0),
        nodes=[("b", 2, True), ("c", 4, False)],
        actions=[("x", "wait", "RUNNING", "")],
        instant=[("i", "startPause", "FINISHED", "done")],
        faults=[said.Fault("orderError", "INVALID_ORDER", "FATAL", "no", (("orderId", "o"),))],
        place=(1.0, 2.0, 0.5),
        battery_fraction=0.5,
        is_charging=False,
        is_driving=True,
        is_paused=False,
    )
    state = said.headed(who, 1, AT, said.state(who, shown))
    validator(version, "state").validate(state)
    complaints = []
    understood = read_state(json.dumps(state).encode(), complaints)
    assert complaints == []
    assert (understood.nodes, understood.edges, understood.place.x_m) == ((2, 4), (1, 3), 1.0)
    for word in ("ONLINE", "OFFLINE", "CONNECTION_BROKEN"):
        validator(version, "connection").validate(said.headed(who, 1, AT, said.connection(who, word)))
    sheet = said.headed(who, 1, AT, said.factsheet(who))
    if version != "2.0.0":  # 2.0.0 has no schema of it
        validator(version, "factsheet").validate(sheet)
    read = read_factsheet(json.dumps(sheet).encode(), complaints)
    assert complaints == []
    assert "takeReading" in read.actions
