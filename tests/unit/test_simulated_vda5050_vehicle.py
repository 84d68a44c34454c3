"""The simulated vehicle takes, refuses, extends and cancels orders as the standard has it (VDA 5050 2.1.0, 6.6)."""

from datetime import UTC, datetime

import pytest

from fleet.adapters.simulated.vda5050_ground import BenchGround
from fleet.adapters.simulated.vda5050_messages import Identity
from fleet.adapters.simulated.vda5050_vehicle import Vehicle
from fleet.timepieces import SteppableClock

START = datetime(2026, 3, 1, 22, 0, tzinfo=UTC)


@pytest.fixture
def clock():
    return SteppableClock(START)


@pytest.fixture
def ground(clock):
    return BenchGround(clock)


@pytest.fixture
def vehicle(ground):
    return Vehicle(ground, Identity("bench", "V1", "2.1.0"))


def node(name, sequence, x_m, *, released=True, actions=()):
    place = {"x": x_m, "y": 0.0, "mapId": "m", "allowedDeviationXY": 0.5}
    return {
        "nodeId": name,
        "sequenceId": sequence,
        "released": released,
        "nodePosition": place,
        "actions": list(actions),
    }


def order(*nodes, order_id="o", update_id=0):
    return {"orderId": order_id, "orderUpdateId": update_id, "nodes": list(nodes), "edges": []}


def instant(name, action_id, **parameters):
    listed = [{"key": key, "value": value} for key, value in parameters.items()]
    action = {"actionType": name, "actionId": action_id, "blockingType": "NONE", "actionParameters": listed}
    return {"actions": [action]}


WAIT = {
    "actionType": "wait",
    "actionId": "w",
    "blockingType": "HARD",
    "actionParameters": [{"key": "duration", "value": 2.0}],
}
HERE = node("here", 0, 0.0)


def errors(vehicle):
    return [fault.type_2 for fault in vehicle.shown().faults]


def test_an_order_is_driven_node_by_node_and_its_actions_are_carried_out(vehicle, clock):
    vehicle.take_order(order(HERE, node("a", 2, 5.0, actions=[WAIT])))
    shown = vehicle.shown()
    assert (shown.order_id, shown.nodes, shown.is_driving) == ("o", [("a", 2, True)], True)
    assert [status for _, _, status, _ in shown.actions] == ["WAITING"]
    clock.step(1.0)
    shown = vehicle.shown()
    assert (shown.nodes, shown.last_node, shown.place[0]) == ([], ("a", 2), 5.0)
    assert [status for _, _, status, _ in shown.actions] == ["RUNNING"]
    clock.step(2.0)
    assert [status for _, _, status, _ in vehicle.shown().actions] == ["FINISHED"]


def test_the_same_order_again_is_ignored(vehicle, ground):
    for _ in range(3):
        vehicle.take_order(order(HERE, node("a", 2, 60.0)))
    assert ground.begun == ["vda5050/o"]
    assert errors(vehicle) == []


def test_another_order_is_refused_while_one_is_carried_out_and_taken_afterwards(vehicle, clock):
    vehicle.take_order(order(HERE, node("a", 2, 5.0)))
    vehicle.take_order(order(HERE, node("b", 2, 6.0), order_id="p"))
    assert errors(vehicle) == ["orderError"]
    assert vehicle.shown().order_id == "o"
    clock.step(1.0)
    vehicle.take_order(order(node("a", 0, 5.0), node("b", 2, 6.0), order_id="p"))
    assert (vehicle.shown().order_id, errors(vehicle)) == ("p", [])


@pytest.mark.parametrize(
    ("message", "error"),
    [
        ({"orderId": "o"}, "validationError"),
        (order(order_id=7), "validationError"),
        (order(node("far", 0, 30.0), node("a", 2, 5.0)), "noRouteError"),
        (order(HERE, node("a", 2, 999.0)), "orderError"),
        (order(HERE, node("a", 2, 5.0, actions=[WAIT | {"actionType": "dance"}])), "orderError"),
    ],
)
def test_what_cannot_be_done_is_refused_with_the_kind_of_error_and_nothing_begins(vehicle, ground, message, error):
    vehicle.take_order(message)
    assert errors(vehicle) == [error]
    assert ground.begun == []
    assert vehicle.shown().order_id == ""


def test_a_horizon_is_shown_and_not_driven_until_an_update_releases_it(vehicle, clock, ground):
    vehicle.take_order(order(HERE, node("a", 2, 5.0), node("b", 4, 6.0, released=False)))
    clock.step(1.0)
    assert vehicle.shown().nodes == [("b", 4, False)]
    vehicle.take_order(order(node("a", 2, 5.0), node("b", 4, 6.0), update_id=1))
    assert vehicle.shown().update_id == 1
    vehicle.shown()
    clock.step(1.0)
    assert (vehicle.shown().nodes, vehicle.shown().last_node) == ([], ("b", 4))
    assert ground.begun == ["vda5050/o", "vda5050/o/1"]


def test_an_update_that_does_not_begin_where_the_base_ends_is_refused(vehicle):
    vehicle.take_order(order(HERE, node("a", 2, 60.0)))
    vehicle.take_order(order(HERE, node("c", 2, 7.0), update_id=1))
    assert errors(vehicle) == ["orderUpdateError"]
    assert vehicle.shown().update_id == 0


def test_an_update_that_is_older_is_refused(vehicle):
    vehicle.take_order(order(HERE, node("a", 2, 60.0), update_id=3))
    vehicle.take_order(order(HERE, node("a", 2, 60.0), update_id=2))
    assert errors(vehicle) == ["orderUpdateError"]


def test_a_cancel_stops_it_clears_the_route_and_keeps_the_order_id(vehicle, ground):
    vehicle.take_order(order(HERE, node("a", 2, 60.0, actions=[WAIT])))
    vehicle.take_instant(instant("cancelOrder", "c1"))
    shown = vehicle.shown()
    assert (shown.order_id, shown.nodes, shown.is_driving) == ("o", [], False)
    assert [status for _, _, status, _ in shown.actions] == ["FAILED"]
    assert shown.instant == [("c1", "cancelOrder", "FINISHED", "")]


def test_a_cancel_without_an_order_fails_with_the_error_of_the_standard(vehicle):
    vehicle.take_instant(instant("cancelOrder", "c1"))
    assert vehicle.shown().instant[0][2] == "FAILED"
    assert errors(vehicle) == ["noOrderToCancel"]


def test_a_cancel_that_names_another_order_ends_nothing(vehicle):
    vehicle.take_order(order(HERE, node("a", 2, 60.0)))
    vehicle.take_instant(instant("cancelOrder", "c1", orderId="another"))
    assert vehicle.shown().nodes
    assert vehicle.shown().instant[0][2] == "FAILED"


def test_an_instant_action_is_carried_out_once(vehicle):
    vehicle.take_order(order(HERE, node("a", 2, 60.0)))
    vehicle.take_instant(instant("startPause", "p1"))
    vehicle.take_instant(instant("stopPause", "p2"))
    vehicle.take_instant(instant("startPause", "p1"))
    assert not vehicle.shown().is_paused


def test_a_pause_stops_it_and_it_goes_on_after(vehicle, clock):
    vehicle.take_order(order(HERE, node("a", 2, 5.0)))
    vehicle.take_instant(instant("startPause", "p1"))
    clock.step(10.0)
    assert (vehicle.shown().is_paused, vehicle.shown().nodes) == (True, [("a", 2, True)])
    vehicle.take_instant(instant("stopPause", "p2"))
    clock.step(1.0)
    assert vehicle.shown().nodes == []


def test_an_instant_action_that_it_does_not_know_fails(vehicle):
    vehicle.take_instant(instant("dance", "d1"))
    assert vehicle.shown().instant[0][2] == "FAILED"
    assert errors(vehicle) == ["instantActionError"]


def test_it_remembers_its_order_over_a_restart_unless_it_forgets(vehicle, ground):
    vehicle.take_order(order(HERE, node("a", 2, 60.0)))
    reborn = Vehicle(ground, vehicle.who)
    assert reborn.shown().order_id == "o"
    assert reborn.shown().nodes
    reborn.restart(forgets=True)
    assert (reborn.shown().order_id, reborn.shown().nodes) == ("", [])


def test_an_order_in_another_mode_than_automatic_is_refused(vehicle):
    vehicle.faults.mode = "MANUAL"
    vehicle.take_order(order(HERE, node("a", 2, 5.0)))
    assert vehicle.shown().order_id == ""
    assert errors(vehicle) == ["orderError"]
