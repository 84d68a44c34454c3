"""What results, replies and messages mean, and what a rosbridge's frames say: also the captured ones."""

import base64
import json
from uuid import UUID

import numpy as np
import pytest

from fleet.adapters.ros2 import rosbridge_frames as frames
from fleet.adapters.ros2.link import Ended, GoalStatus, NoAnswer, Refusal
from fleet.adapters.ros2.outcomes import Came, came_of, why_aborted
from fleet.adapters.ros2.runs import Yields

NAVIGATE = "nav2_msgs/action/NavigateToPose"
GOAL = UUID("6f0a4c1e-5d0b-5a55-9d1c-0b8a5e0f7a21")


def test_a_reading_has_its_value_unit_and_words():
    yields = Yields(value="readings.1.value", unit="unit", message="words")
    answer = {"readings": [{"value": 1.0}, {"value": np.float32(2.5)}], "unit": "degC", "words": "warm"}
    assert came_of(yields, answer, (0,)) == Came(value=2.5, unit="degC", message="warm")


@pytest.mark.parametrize("value", [None, float("nan"), "hot"])
def test_a_reading_without_a_number_has_failed_and_says_what_was_there(value):
    assert "reading" in came_of(Yields(value="reading"), {"reading": value}, (0,)).failure


def test_an_answer_that_says_it_did_not_succeed_is_believed():
    came = came_of(Yields(success="success", message="message"), {"success": False, "message": "jammed"}, (0,))
    assert came.failure == "the robot says it did not succeed: jammed"


@pytest.mark.parametrize("missed", [[1], np.array([1], dtype=np.int32), [{"index": 1, "error_code": 206}]])
def test_missed_waypoints_are_the_tasks_that_failed_in_every_distributions_words(missed):
    came = came_of(Yields(), {"missed_waypoints": missed}, (4, 5, 6))
    assert came.missed == (5,)
    assert came.failure


@pytest.mark.parametrize("missed", [[], np.array([], dtype=np.int32)])
def test_no_missed_waypoints_are_a_success(missed):
    assert came_of(Yields(), {"missed_waypoints": missed}, (4,)) == Came()


@pytest.mark.parametrize(
    ("result", "words"),
    [
        ({"error_code": 103, "error_msg": ""}, "aborted: error_code 103 (controller: INVALID_PATH)"),
        ({"error_code": 206, "error_msg": "occupied"}, "aborted: error_code 206 (planner: GOAL_OCCUPIED): occupied"),
        ({"error_code": 4242}, "aborted: error_code 4242"),
        ({"result": {}}, "aborted by the robot, which gives no code"),  # Humble has none
    ],
)
def test_an_aborted_goal_tells_its_code_and_nav2s_name_of_it(result, words):
    assert why_aborted(NAVIGATE, result) == words


def test_the_codes_of_others_are_not_given_nav2s_names():
    assert why_aborted("acme_msgs/action/Honk", {"error_code": 103}) == "aborted: error_code 103"


@pytest.fixture
def captured(shared_data):
    return [json.loads(line) for line in (shared_data / "ros2_wire" / "rosbridge.jsonl").read_text().splitlines()]


def test_our_goals_cancels_and_subscriptions_are_those_that_a_real_rosbridge_obeyed(captured):
    sent = {
        frame["frame"]["op"]: frame["frame"]
        for frame in captured
        if frame["direction"] == "to_robot" and frame.get("frame")
    }
    goal = sent["send_action_goal"]
    ours = json.loads(frames.send_goal(goal["action"], goal["action_type"], GOAL, goal["args"]))
    assert ours == goal | {"id": f"goal:{GOAL}"}
    cancel = sent["cancel_action_goal"]
    assert json.loads(frames.cancel_goal(cancel["action"], GOAL)) == cancel | {"id": f"goal:{GOAL}"}
    call = sent["call_service"]
    assert json.loads(frames.call(call["id"], call["service"], call["type"], call["args"])) == call


def test_every_captured_result_is_understood(captured):
    results = [
        (one["scenario"], frames.goal_ended(one["frame"]))
        for one in captured
        if one["direction"] == "from_robot" and one["frame"]["op"] == "action_result"
    ]
    said = dict(results)
    assert said["success"] == Ended(GoalStatus.succeeded, {"error_code": 0, "error_msg": ""})
    assert said["abort"] == Ended(GoalStatus.aborted, {"error_code": 103, "error_msg": ""})
    assert said["second_connection_cancel"].status is GoalStatus.canceled
    assert isinstance(said["bad_args"], Refusal)


def test_every_captured_service_response_is_an_answer_or_says_that_nothing_was_called(captured):
    answers = [
        frames.service_answer(one["frame"])
        for one in captured
        if one["direction"] == "from_robot"
        and one["frame"]["op"] == "service_response"
        and one["scenario"] == "service_call"
    ]
    assert [isinstance(answer, Refusal) for answer in answers[:4]] == [False, False, True, True]


def test_a_rejected_goal_as_later_bridges_tell_it_is_declined():
    frame = {"op": "action_result", "result": False, "status": 0, "values": "Action goal was rejected"}
    assert frames.goal_ended(frame) is None


@pytest.mark.parametrize("status", [2, 99, None, "4", True])
def test_a_result_of_no_final_status_is_no_result(status):
    frame = {"op": "action_result", "result": True, "status": status, "values": {}}
    ended = frames.goal_ended(frame)
    assert isinstance(ended, NoAnswer) or (status == "4" and ended == Ended(GoalStatus.succeeded, {}))


ENTRY = {
    "goal_info": {"goal_id": {"uuid": base64.b64encode(GOAL.bytes).decode()}, "stamp": {"sec": 3, "nanosec": 5}},
    "status": 2,
}


def test_a_status_list_is_read_in_both_ways_of_writing_an_id():
    zero = {"goal_info": {"goal_id": {"uuid": [0] * 16}}, "status": 4}
    found = frames.statuses_of({"status_list": [ENTRY, zero]})
    said = {goal: seen.status for goal, seen in found.goals.items()}
    assert said == {GOAL: GoalStatus.executing, UUID(int=0): GoalStatus.succeeded}
    assert found.goals[GOAL].stamp_ns == 3_000_000_005


@pytest.mark.parametrize(
    "entry",
    [
        7,
        {"goal_info": {"goal_id": {"uuid": "short"}}, "status": 4},
        {"goal_info": {"goal_id": {"uuid": list(GOAL.bytes)}}, "status": 42},
        {"goal_info": {"goal_id": {"uuid": [900] * 16}}, "status": 4},
    ],
)
def test_a_list_of_which_an_entry_cannot_be_read_is_none_since_that_goal_would_seem_new_later(entry):
    assert frames.statuses_of({"status_list": [ENTRY, entry]}) is None
    assert frames.statuses_of({"status_list": "none"}) is None


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "\x00", "[" * 100_000])
def test_what_is_no_frame_is_none(text):
    assert frames.parsed(text) is None
