"""What the states of a robot make of an order: accepted when shown, over when they say so, never by silence."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from fleet.adapter import Order, OrderStatus, OrderTask, TaskKind
from fleet.adapters.vda5050 import following, runs, steps
from fleet.adapters.vda5050.options import RobotOptions
from fleet.adapters.vda5050.outgoing import Envelope
from fleet.adapters.vda5050.routes import Ability, written
from fleet.adapters.vda5050.wire import ActionSaid, Header, Place, State, Trouble

AT = datetime(2026, 3, 1, 22, 0, tzinfo=UTC)


@pytest.fixture
def order():
    tasks = (
        OrderTask(position=0, kind=TaskKind.go_to, station="gate", x_m=5.0, y_m=0.0),
        OrderTask(position=1, kind=TaskKind.wait, parameters={"duration_s": 3.0}),
        OrderTask(position=2, kind=TaskKind.go_to, station="press", x_m=9.0, y_m=0.0),
    )
    return Order(key="m/1", fence=1, serial_number="acme/7", mission_id="m", tasks=tasks)


@pytest.fixture
def run(order):
    ability = Ability(
        Envelope("2.1.0", "acme", "7"), RobotOptions(), None, Place(0.0, 0.0, 0.0, "hall", True), "start-node"
    )
    return written(order, ability, AT, 0).model_copy(update={"sends": 1})


@pytest.fixture
def state(run):
    """The first state that shows the order."""
    return State(
        header=Header(1, AT, "2.1.0"),
        order_id=run.order_id,
        update_id=0,
        last_node_id="start-node",
        last_sequence=0,
        nodes=(2, 4),
        edges=(1, 3),
        actions={run.steps[1].action_id: ActionSaid("WAITING")},
        is_driving=False,
        is_paused=False,
        place=None,
        battery_fraction=0.5,
        is_charging=False,
        mode="AUTOMATIC",
        troubles=(),
        emergency_stop="NONE",
    )


@pytest.fixture
def action_id(run):
    return run.steps[1].action_id


def test_an_order_is_accepted_when_a_state_shows_it_and_not_before(run, state):
    other = following.heard(run, replace(state, order_id="another", nodes=(), edges=(), actions={}), AT)
    assert not other.is_confirmed
    shown = following.heard(run, state, AT)
    assert shown.is_confirmed
    assert shown.report.status is OrderStatus.accepted


def test_an_order_is_followed_task_by_task_to_its_end(run, state, action_id):
    later = AT + timedelta(seconds=5)
    run = following.heard(run, replace(state, is_driving=True), AT)
    assert (run.report.status, [task.status for task in run.report.tasks]) == (
        OrderStatus.running,
        ["running", "pending", "pending"],
    )
    there = replace(state, nodes=(4,), edges=(3,), last_node_id="gate", last_sequence=2)
    run = following.heard(run, replace(there, actions={action_id: ActionSaid("RUNNING")}), later)
    assert [task.status for task in run.report.tasks] == ["succeeded", "running", "pending"]
    assert run.report.tasks[0].finished_at == later
    run = following.heard(
        run, replace(there, actions={action_id: ActionSaid("FINISHED", "slept")}, is_driving=True), later
    )
    assert [task.status for task in run.report.tasks] == ["succeeded", "succeeded", "running"]
    end = replace(state, nodes=(), edges=(), last_node_id="press", last_sequence=4)
    run = following.heard(run, replace(end, actions={action_id: ActionSaid("FINISHED", "slept")}), later)
    assert run.report.status is OrderStatus.succeeded
    assert run.report.tasks[1].message == "slept"


def test_the_sequence_rises_with_every_change_and_stays_without_one(run, state):
    first = following.heard(run, state, AT)
    again = following.heard(first, state, AT)
    assert again is first or again.report.sequence == first.report.sequence
    moved = following.heard(first, replace(state, is_driving=True), AT - timedelta(hours=1))
    assert moved.report.sequence == first.report.sequence + 1


@pytest.mark.parametrize(
    "kind", ["validationError", "orderError", "noRouteError", "UNKNOWN_MAP_ID", "OTHER_ORDER_ACTIVE"]
)
def test_an_error_about_the_order_is_a_rejection_in_the_robots_words(run, state, kind):
    trouble = Trouble(kind, "WARNING", "no such node", (("orderId", run.order_id),))
    refused = following.heard(run, replace(state, order_id="", nodes=(), edges=(), actions={}, troubles=(trouble,)), AT)
    assert (refused.report.status, refused.report.reason) == (OrderStatus.rejected, f"{kind}: no such node")
    assert all(task.status == "skipped" for task in refused.report.tasks)


def test_an_error_about_another_order_is_no_rejection_of_ours(run, state):
    trouble = Trouble("orderError", "WARNING", "no", (("orderId", "another"),))
    idle = replace(state, order_id="", nodes=(), edges=(), actions={}, troubles=(trouble,))
    assert following.heard(run, idle, AT) is run


def test_an_error_without_a_reference_that_stood_before_counts_only_after_a_second_send(run, state):
    trouble = Trouble("orderError", "WARNING", "no")
    idle = replace(state, order_id="", nodes=(), edges=(), actions={}, troubles=(trouble,))
    known = run.model_copy(update={"troubles_before": following.refusals_in(idle)})
    assert following.heard(known, idle, AT) is known
    twice = following.heard(known.model_copy(update={"sends": 2}), idle, AT)
    assert twice.report.status is OrderStatus.rejected


def test_a_robot_that_shows_another_order_afterwards_has_lost_ours_and_nothing_is_sent_again(run, state):
    shown = following.heard(run, state, AT)
    lost = following.heard(shown, replace(state, order_id="", nodes=(), edges=(), actions={}), AT)
    assert lost.report.status is OrderStatus.failed
    assert "restarted" in lost.report.reason


def test_a_cancelled_order_is_canceled_once_the_robot_stands_and_has_nothing_left(run, state, action_id):
    asked = following.heard(run, state, AT).model_copy(update={"is_cancel_asked": True})
    cancel = asked.instant_id("cancelOrder", 0)
    running = {action_id: ActionSaid("RUNNING"), cancel: ActionSaid("RUNNING")}
    assert following.heard(asked, replace(state, actions=running), AT).report.status is OrderStatus.running
    failed = {action_id: ActionSaid("FAILED"), cancel: ActionSaid("FINISHED")}
    over = following.heard(asked, replace(state, nodes=(), edges=(), actions=failed), AT)
    assert (over.report.status, over.report.reason) == (OrderStatus.canceled, "canceled on request")


@pytest.mark.parametrize("wish", [{"is_cancel_asked": True}, {"cut_reason": "task 0 failed"}])
def test_what_fails_while_a_cancel_is_under_way_ends_nothing_before_the_cancel(run, state, action_id, wish):
    asked = following.heard(run, state, AT).model_copy(update=wish)
    failed = {action_id: ActionSaid("FAILED"), asked.instant_id("cancelOrder", 0): ActionSaid("RUNNING")}
    assert following.heard(asked, replace(state, nodes=(), edges=(), actions=failed), AT).report.status is (
        OrderStatus.running
    )


def test_a_robot_that_may_wait_for_more_is_not_believed_to_be_cancelled_before_it_says_so(run, state):
    asked = following.heard(run, state, AT).model_copy(update={"is_cancel_asked": True, "base_end": 2})
    failed = {run.steps[1].action_id: ActionSaid("FAILED")}
    waits = replace(state, nodes=(), edges=(), actions=failed, last_node_id="gate", last_sequence=2)
    assert following.heard(asked, waits, AT).report.status is OrderStatus.running
    cancel = asked.instant_id("cancelOrder", 0)
    said = following.heard(asked, replace(waits, actions={cancel: ActionSaid("FINISHED")}), AT)
    assert said.report.status is OrderStatus.canceled
    often = asked.model_copy(update={"cancel_sends": 7})
    assert following.heard(often, waits, AT).report.status is OrderStatus.canceled, "one that lists no instant actions"


def test_a_cancel_that_comes_after_the_end_leaves_the_order_succeeded(run, state, action_id):
    asked = following.heard(run, state, AT).model_copy(update={"is_cancel_asked": True})
    done = {action_id: ActionSaid("FINISHED"), asked.instant_id("cancelOrder", 0): ActionSaid("FAILED")}
    end = replace(state, nodes=(), edges=(), actions=done, last_node_id="press", last_sequence=4)
    assert following.heard(asked, end, AT).report.status is OrderStatus.succeeded


def test_an_order_that_is_ended_at_the_robot_itself_is_canceled_with_the_place(run, state, action_id):
    shown = following.heard(run, state, AT)
    cut = replace(state, nodes=(), edges=(), actions={action_id: ActionSaid("FINISHED")}, last_node_id="gate")
    over = following.heard(shown, replace(cut, last_sequence=2), AT)
    assert over.report.status is OrderStatus.canceled
    assert "at gate" in over.report.reason


def test_the_id_alone_without_its_route_ends_nothing(run, state):
    bare = replace(state, nodes=(), edges=(), actions={})
    shown = following.heard(run, bare, AT)
    assert shown.report.status is OrderStatus.accepted
    assert following.heard(shown, state, AT).report.status is OrderStatus.accepted


def test_the_id_alone_beside_the_place_and_count_of_the_order_before_is_no_end(run, state, action_id):
    # The order before ended at the same stop, the fourth item of its route as well.
    before = replace(state, order_id="before", nodes=(), edges=(), actions={}, last_node_id="press", last_sequence=4)
    sent = following.about_to_be_sent(run, before)
    shown = following.heard(sent, replace(before, order_id=run.order_id), AT)
    assert (shown.report.status, {task.status for task in shown.report.tasks}) == (OrderStatus.accepted, {"pending"})
    assert following.heard(shown, state, AT).report.status is OrderStatus.accepted


def test_an_order_that_is_done_before_its_first_state_has_succeeded_at_once(run, state, action_id):
    sent = following.about_to_be_sent(run, replace(state, order_id=""))
    done = replace(state, nodes=(), edges=(), actions={action_id: ActionSaid("FINISHED")})
    over = following.heard(sent, replace(done, last_node_id="press", last_sequence=4), AT)
    assert over.report.status is OrderStatus.succeeded


def test_a_failed_action_asks_for_the_end_of_the_rest_and_fails_the_order(run, state, action_id):
    broken = replace(state, nodes=(4,), edges=(3,), actions={action_id: ActionSaid("FAILED", "arm stuck")})
    broken = replace(broken, last_node_id="gate", last_sequence=2)
    shown = following.heard(run, broken, AT)
    assert shown.report.status is OrderStatus.running
    assert following.wants_end(shown, broken) == "task 1 failed"
    over = following.heard(
        shown.model_copy(update={"cut_reason": "task 1 failed"}), replace(broken, nodes=(), edges=()), AT
    )
    assert over.report.status is OrderStatus.failed
    assert "arm stuck" in over.report.reason


def test_an_action_that_ran_and_is_no_longer_listed_when_all_is_behind_the_robot_was_done(run, state, action_id):
    acting = following.heard(run, replace(state, actions={action_id: ActionSaid("RUNNING")}), AT)
    end = replace(state, nodes=(), edges=(), actions={}, last_node_id="press", last_sequence=4)
    over = following.heard(acting, end, AT)
    assert over.report.status is OrderStatus.succeeded
    assert over.report.tasks[1].message == "the robot lists it no longer"
    blamed = replace(end, troubles=(Trouble("actionError", "WARNING", "", (("actionId", action_id),)),))
    for doubt in (replace(end, lists_actions=False), blamed):
        assert following.heard(acting, doubt, AT).report.status is OrderStatus.running
    asked = acting.model_copy(update={"is_cancel_asked": True})
    assert following.heard(asked, end, AT).report.status is OrderStatus.canceled


def test_a_robot_that_never_lists_its_actions_is_waited_for_with_the_reason(run, state):
    driving = following.heard(run, replace(state, actions={}), AT)
    over = following.heard(
        driving, replace(state, nodes=(), edges=(), actions={}, last_sequence=4, last_node_id=""), AT
    )
    assert (over.report.status, over.report.reason) == (
        OrderStatus.running,
        "the robot lists no state of the action of task 1",
    )


@pytest.mark.parametrize("wish", [{}, {"is_cancel_asked": True}])
def test_an_order_that_is_cut_on_its_way_to_a_place_of_the_name_it_came_from_has_not_arrived(order, state, wish):
    here = Ability(Envelope("2.1.0", "acme", "7"), RobotOptions(), None, Place(0.0, 0.0, 0.0, "hall", True), "gate")
    run = written(order.model_copy(update={"tasks": order.tasks[:1]}), here, AT, 0).model_copy(update={"sends": 1})
    driving = replace(state, nodes=(2,), edges=(1,), actions={}, last_node_id="gate", is_driving=True)
    run = following.heard(run, driving, AT).model_copy(update=wish)
    cut = following.heard(run, replace(driving, nodes=(), edges=(), is_driving=False), AT)
    assert cut.report.status is OrderStatus.canceled
    arrived = following.heard(run, replace(driving, nodes=(), edges=(), is_driving=False, last_sequence=2), AT)
    assert arrived.report.status is OrderStatus.succeeded


def test_a_critical_error_about_an_action_of_the_order_ends_it(run, state, action_id):
    trouble = Trouble("gripperError", "CRITICAL", "jammed", (("actionId", action_id),))
    shown = following.heard(run, replace(state, troubles=(trouble,)), AT)
    assert following.wants_end(shown, replace(state, troubles=(trouble,))) == "gripperError: jammed"


def test_a_paused_robot_has_a_paused_order(run, state):
    assert following.heard(run, replace(state, is_paused=True), AT).report.status is OrderStatus.paused


@pytest.mark.parametrize(
    ("result", "unit", "expected"),
    [
        ("21.4", "degC", (21.4, "degC")),
        ("21.4 K", "degC", (21.4, "K")),
        ('{"value": 3, "unit": "bar"}', "", (3.0, "bar")),
        ("nan", "degC", (None, None)),
        ("done", "degC", (None, None)),
        ("{", "", (None, None)),
        ("", "", (None, None)),
    ],
)
def test_a_reading_is_taken_from_the_words_of_a_result(result, unit, expected):
    assert steps.reading(result, unit) == expected


@pytest.mark.parametrize(("length", "is_numerical"), [(None, False), (20, False), (None, True), (12, True)])
def test_an_order_id_is_known_again_without_the_factsheet_that_shaped_it(length, is_numerical):
    ours = runs.shaped("m/1", length=length, is_numerical=is_numerical)
    assert runs.shape_of(ours, "m/1") == (length, is_numerical)
    assert runs.shape_of(ours, "m/2") is None
    assert runs.shape_of(ours[:2], "m/1") is None, "so few characters may agree by chance"


def test_a_run_that_another_release_kept_is_read(run):
    kept = run.model_dump(mode="json") | {"last_node_id": "press", "is_end_unique": True}
    assert runs.Run.model_validate(kept) == run


def test_ids_follow_from_the_key_and_keep_the_robots_limits():
    assert runs.order_id("m/1") == runs.order_id("m/1") != runs.order_id("m/2")
    assert len(runs.shaped("m/1", length=20, is_numerical=False)) == 20
    number = runs.shaped("m/1", length=18, is_numerical=True)
    assert number.isdecimal()
    assert len(number) == 18
