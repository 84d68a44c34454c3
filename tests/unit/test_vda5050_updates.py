"""An order is released piece by piece as its tasks are done, and an update is believed when a state shows it (6.6.2)."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from fleet.adapter import Order, OrderStatus, OrderTask, TaskKind
from fleet.adapters.vda5050 import following, steps, updates
from fleet.adapters.vda5050.options import RobotOptions
from fleet.adapters.vda5050.outgoing import Envelope
from fleet.adapters.vda5050.routes import Ability, written
from fleet.adapters.vda5050.wire import ActionSaid, Header, Place, State, Trouble
from fleet.push import Inheritance

AT = datetime(2026, 3, 1, 22, 0, tzinfo=UTC)
STANDS = Place(0.0, 0.0, 0.0, "hall", True)


@pytest.fixture
def run():
    """go_to gate, wait there, go_to press, go_to gate again: nodes 0, 2 (with the wait), 4, 6; one task ahead."""
    places = {"gate": 5.0, "press": 9.0}
    tasks = [
        OrderTask(position=position, kind=TaskKind.go_to, station=station, x_m=places[station], y_m=0.0)
        if station
        else OrderTask(position=position, kind=TaskKind.wait)
        for position, station in enumerate(["gate", "", "press", "gate"])
    ]
    order = Order(key="m/1", fence=1, serial_number="acme/7", mission_id="m", tasks=tuple(tasks))
    ability = Ability(Envelope("2.1.0", "acme", "7"), RobotOptions(), None, STANDS, "here")
    whole = written(order, ability, AT, 0)
    return updates.begun(whole, 1).model_copy(update={"sends": 1})


@pytest.fixture
def wait_id(run):
    return run.steps[1].action_id


@pytest.fixture
def state(run, wait_id):
    """The robot has the order and drives to the gate."""
    return State(
        header=Header(1, AT, "2.1.0"),
        order_id=run.order_id,
        update_id=0,
        last_node_id="here",
        last_sequence=0,
        nodes=(2, 4, 6),
        horizon=frozenset({4, 6}),
        edges=(1, 3, 5),
        actions={wait_id: ActionSaid("WAITING")},
        is_driving=True,
        is_paused=False,
        place=None,
        battery_fraction=0.5,
        is_charging=False,
        mode="AUTOMATIC",
        troubles=(),
        emergency_stop="NONE",
    )


@pytest.fixture
def done(state, wait_id):
    """It stands at the gate and has waited: all that is released is done."""
    at_gate = replace(state, nodes=(4, 6), edges=(3, 5), last_node_id="gate", last_sequence=2, is_driving=False)
    return replace(at_gate, actions={wait_id: ActionSaid("FINISHED")})


@pytest.fixture
def updated(run, done):
    """The order with its first update sent once, which no state shows yet."""
    heard = following.heard(run, done, AT)
    return updates.extended(heard, done, RobotOptions(horizon=1)).model_copy(update={"sends": 1})


def released(run):
    message = updates.message(run)
    return message["orderUpdateId"], [(node["sequenceId"], node["released"]) for node in message["nodes"]]


def test_only_the_first_tasks_are_released_at_first_and_a_stop_keeps_its_actions(run):
    assert released(run) == (0, [(0, True), (2, True), (4, False), (6, False)])
    edges = updates.message(run)["edges"]
    assert [(edge["sequenceId"], edge["released"]) for edge in edges] == [(1, True), (3, False), (5, False)]


def test_more_is_released_when_the_tasks_are_done_beginning_with_the_node_where_the_base_ended(run, state, done):
    driving = following.heard(run, state, AT)
    assert updates.extended(driving, state, RobotOptions(horizon=1)) is driving
    there = following.heard(driving, done, AT)
    update = updates.extended(there, done, RobotOptions(horizon=1))
    assert released(update) == (1, [(2, True), (4, True), (6, False)])
    told = updates.message(run)["nodes"][1]
    assert updates.message(update)["nodes"][0] == told | {"actions": []}
    three = updates.extended(there.model_copy(update={"version": "3.0.0"}), done, RobotOptions(horizon=1))
    assert updates.message(three)["nodes"][0] == told, "3.0 wants its actions again"
    again = updates.extended(there, done, RobotOptions(horizon=1, stitching_actions="again"))
    assert updates.message(again)["nodes"][0] == told


def test_a_robot_that_asks_for_a_new_base_is_given_one_more_task_once_no_action_is_left_where_it_ends(run, state, done):
    asking = replace(state, is_base_wanted=True)
    driving = following.heard(run.model_copy(update={"version": "3.0.0"}), asking, AT)
    early = updates.extended(following.heard(run, asking, AT), asking, RobotOptions(horizon=1))
    assert early.update_id == 0, "in 2.x the wait at the gate would be left out before it is done"
    assert released(updates.extended(driving, asking, RobotOptions(horizon=1))) == (
        1,
        [(2, True), (4, True), (6, False)],
    )


def test_without_a_horizon_the_rest_is_released_at_once(run, done):
    heard = following.heard(run, done, AT)
    assert released(updates.extended(heard, done, RobotOptions(horizon=None))) == (1, [(2, True), (4, True), (6, True)])


def test_nothing_further_is_released_before_the_robot_has_the_last_update(updated, done):
    assert updates.extended(updated, done, RobotOptions(horizon=2)) is updated
    assert not steps.is_taken(updated, done)
    assert steps.is_taken(updated, replace(done, update_id=1))


def test_a_robot_that_never_fills_in_the_number_of_the_update_is_believed_by_the_nodes_it_drives_to(updated, done):
    assert steps.is_taken(updated, replace(done, update_id=None, horizon=frozenset({6})))


@pytest.mark.parametrize(
    "held",
    [{"is_paused": True}, {"mode": "MANUAL"}, {"emergency_stop": "AUTOACK"}, {"order_id": "another"}],
)
def test_a_robot_that_is_held_is_released_nothing(run, done, held):
    heard = following.heard(run, done, AT)
    assert updates.extended(heard, replace(done, **held), RobotOptions(horizon=1)) is heard


@pytest.mark.parametrize("wish", [{"is_cancel_asked": True}, {"is_pause_asked": True}, {"cut_reason": "broken"}])
def test_an_order_that_is_to_end_or_to_pause_is_released_no_further(run, done, wish):
    heard = following.heard(run, done, AT).model_copy(update=wish)
    assert updates.extended(heard, done, RobotOptions(horizon=1)) is heard


def test_an_order_whose_task_has_failed_is_released_no_further(run, done, wait_id):
    broken = replace(done, actions={wait_id: ActionSaid("FAILED")})
    heard = following.heard(run, broken, AT)
    assert updates.extended(heard, broken, RobotOptions(horizon=1)) is heard
    assert following.wants_end(heard, broken) == "task 1 failed"


def test_standing_at_the_decision_point_is_no_end_whether_the_horizon_is_listed_or_not(run, state, done):
    unlisted = {"nodes": (), "edges": (), "horizon": frozenset()}
    for at_gate in (done, replace(done, **unlisted)):
        driving = following.heard(run, replace(state, nodes=(2,), horizon=frozenset(), edges=(1,)), AT)
        heard = following.heard(driving, at_gate, AT)
        assert heard.report.status is OrderStatus.running
        assert [task.status for task in heard.report.tasks] == ["succeeded", "succeeded", "pending", "pending"]
        assert updates.extended(heard, at_gate, RobotOptions(horizon=1)).update_id == 1


def test_a_robot_that_may_stand_at_the_decision_point_is_not_said_to_have_ended_the_order(run, state, done, wait_id):
    # It keeps no lastNodeSequenceId, lists no horizon, and the gate is visited twice: it may be waiting for more.
    unlisted = {"nodes": (), "edges": (), "horizon": frozenset(), "last_sequence": 0}
    driving = following.heard(run, replace(state, nodes=(2,), horizon=frozenset(), edges=(1,)), AT)
    assert following.heard(driving, replace(done, **unlisted), AT).report.status is OrderStatus.running


def test_a_horizon_that_is_gone_means_that_the_order_was_ended_at_the_robot_and_no_update_begins_it_anew(
    run, state, done
):
    driving = following.heard(run, state, AT)
    ended = following.heard(driving, replace(done, nodes=(), edges=(), horizon=frozenset()), AT)
    assert ended.report.status is OrderStatus.canceled
    assert "at gate" in ended.report.reason


def test_an_update_that_the_robot_does_not_take_is_told_in_its_words(updated, done):
    about = (("orderId", updated.order_id), ("orderUpdateId", "1"))
    refused = replace(done, troubles=(Trouble("orderUpdateError", "WARNING", "no continuation", about),))
    assert updates.objection(updated, refused) == ("order update 1 is not taken: orderUpdateError: no continuation")
    assert updates.objection(updated, replace(refused, update_id=1)) == "", "it has it: the error is of a late copy"


@pytest.mark.parametrize(
    "about", [(("orderId", "another"),), (("orderUpdateId", "0"),), (("orderId", "another"), ("orderUpdateId", "1"))]
)
def test_an_error_about_something_else_is_no_objection(updated, done, about):
    assert (
        updates.objection(updated, replace(done, troubles=(Trouble("orderUpdateError", "WARNING", "", about),))) == ""
    )


def test_an_error_that_stood_before_the_update_counts_only_when_it_stands_after_several_sends(run, done):
    standing = replace(done, troubles=(Trouble("orderUpdateError", "WARNING", "old"),))
    heard = following.heard(run, standing, AT)
    update = updates.extended(heard, standing, RobotOptions(horizon=1)).model_copy(update={"sends": 1})
    assert updates.objection(update, standing) == ""
    assert updates.objection(update.model_copy(update={"sends": 3}), standing) != ""


def test_a_reason_that_may_pass_is_waited_for_before_the_order_is_given_up(updated, done):
    about = (("orderId", updated.order_id), ("orderUpdateId", "1"))
    blocked = replace(done, troubles=(Trouble("orderError", "WARNING", "protective field", about),))
    assert updates.objection(updated.model_copy(update={"sends": 7}), blocked) == ""
    assert "protective field" in updates.objection(updated.model_copy(update={"sends": 8}), blocked)


def test_a_gateway_that_finds_more_released_than_it_knows_of_goes_on_from_there(run, done):
    later = replace(done, update_id=3, horizon=frozenset({6}))
    heard = following.heard(run, later, AT)
    assert (heard.update_id, heard.released_to) == (3, 4)
    assert heard.report.tasks[1].status == "succeeded"


def test_an_update_of_another_gateway_under_the_same_number_is_what_counts(updated, done):
    both = updated.model_copy(update={"base_end": 6})
    heard = following.heard(both, replace(done, update_id=1, horizon=frozenset({6})), AT)
    assert (heard.update_id, heard.released_to) == (1, 4)
    assert following.heard(both, done, AT).released_to == 6, "of a state before the update nothing follows"


def test_an_order_that_another_gateway_sent_is_taken_over_as_far_as_the_robot_shows_it_released(run, state):
    fresh = run.model_copy(update={"sends": 0, "base_end": None})
    taken = following.taken_over(fresh, replace(state, update_id=2, nodes=(4, 6), horizon=frozenset({6})))
    assert (taken.update_id, taken.released_to, taken.is_whole) == (2, 4, False)
    told = following.taken_over(fresh, state, Inheritance(since_s=5.0, done=(0,), sequence=10**15))
    assert told.report.tasks[0].status == "succeeded", "what the platform was told is not taken back"
    assert told.report.sequence == 10**15
    whole = following.taken_over(fresh, replace(state, horizon=frozenset()))
    assert whole.is_whole


def test_a_robot_that_lists_only_the_nodes_of_the_newest_update_has_not_passed_the_others(run, state):
    further = run.model_copy(update={"update_id": 1, "stitch": 4, "base_end": 6})
    listed = replace(state, update_id=1, nodes=(4, 6), horizon=frozenset(), is_driving=True)
    heard = following.heard(further, listed, AT)
    assert [task.status for task in heard.report.tasks] == ["running", "pending", "pending", "pending"]
    there = following.heard(heard, replace(listed, last_node_id="gate", last_sequence=2), AT)
    assert there.report.tasks[0].status == "succeeded"


def test_an_order_with_its_last_update_done_has_succeeded(run, done):
    last = run.model_copy(update={"update_id": 2, "stitch": 4, "base_end": 6, "is_confirmed": True})
    at_end = replace(done, update_id=2, nodes=(), edges=(), horizon=frozenset(), last_node_id="gate", last_sequence=6)
    assert following.heard(last, at_end, AT).report.status is OrderStatus.succeeded
