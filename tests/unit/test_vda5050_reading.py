"""Messages of VDA 5050 robots are taken as far as they can be, and complained of where they cannot."""

import json

import pytest

from fleet.adapters.vda5050 import wire

GOOD = {
    "headerId": 4,
    "timestamp": "2026-03-01T22:00:00.50Z",
    "version": "2.1.0",
    "manufacturer": "acme",
    "serialNumber": "7",
    "orderId": "o-1",
    "orderUpdateId": 0,
    "lastNodeId": "a",
    "lastNodeSequenceId": 0,
    "nodeStates": [{"nodeId": "b", "sequenceId": 2, "released": True}],
    "edgeStates": [{"edgeId": "e1", "sequenceId": 1, "released": True}],
    "driving": True,
    "actionStates": [{"actionId": "x", "actionStatus": "WAITING"}],
    "batteryState": {"batteryCharge": 80.0, "charging": False},
    "operatingMode": "AUTOMATIC",
    "errors": [],
    "safetyState": {"eStop": "NONE", "fieldViolation": False},
    "agvPosition": {"x": 1.0, "y": 2.0, "theta": 0.5, "mapId": "hall", "positionInitialized": True},
}


def test_a_good_state_is_read_whole_and_without_complaint():
    complaints = []
    state = wire.read_state(json.dumps(GOOD).encode(), complaints)
    assert complaints == []
    assert (state.order_id, state.nodes, state.edges, state.is_driving) == ("o-1", (2,), (1,), True)
    assert state.place == wire.Place(1.0, 2.0, 0.5, "hall", True)
    assert state.battery_fraction == 0.8
    assert state.header.at.isoformat() == "2026-03-01T22:00:00.500000+00:00"


def test_a_state_of_3_0_says_the_same_under_its_own_names():
    said = {name: value for name, value in GOOD.items() if name not in {"agvPosition", "batteryState", "safetyState"}}
    said |= {
        "mobileRobotPosition": {"x": 1.0, "y": 2.0, "theta": 0.5, "mapId": "hall", "localized": False},
        "powerSupply": {"stateOfCharge": 80.0, "charging": True},
        "safetyState": {"activeEmergencyStop": "REMOTE", "fieldViolation": False},
        "instantActionStates": [{"actionId": "i", "actionStatus": "FINISHED", "actionResult": "done"}],
        "zoneRequests": [{"requestId": "r", "requestType": "ACCESS", "zoneId": "z", "requestStatus": "REQUESTED"}],
        "operatingMode": "TEACH_IN",
    }
    complaints = []
    state = wire.read_state(json.dumps(said).encode(), complaints)
    assert complaints == []
    assert not state.place.is_localized
    assert (state.battery_fraction, state.is_charging) == (0.8, True)
    assert (state.emergency_stop, state.mode) == ("REMOTE", "TEACH_IN")
    assert state.actions["i"] == wire.ActionSaid("FINISHED", "done", is_instant=True)
    assert state.asks == (wire.Ask("r", "z", "REQUESTED"),)


@pytest.mark.parametrize(
    ("change", "complaint", "attribute", "value"),
    [
        ({"driving": "true"}, "driving is 'true'", "is_driving", True),
        ({"orderUpdateId": "3"}, "orderUpdateId is '3'", "update_id", 3),
        ({"orderId": 17}, "orderId is '17'", "order_id", "17"),
        ({"orderId": None}, "orderId is missing", "order_id", None),
        ({"nodeStates": "none"}, "nodeStates is 'none', no array", "nodes", None),
        ({"nodeStates": [None, {"sequenceId": 4}]}, "1 things that are no objects", "nodes", (4,)),
        ({"errors": [{"errorLevel": "WARNING"}]}, "errorType is missing", "update_id", 0),
        ({"batteryState": {"batteryCharge": 140, "charging": False}}, "140 percent", "battery_fraction", 1.0),
        ({"batteryState": None}, "batteryState is missing", "battery_fraction", None),
        ({"timestamp": "yesterday"}, "no instant", "order_id", "o-1"),
        ({"timestamp": "9999-12-31T23:59:59-23:59"}, "no instant of our time", "order_id", "o-1"),
        ({"agvPosition": {"x": "NaN", "y": 1, "mapId": "m"}}, "x is 'NaN'", "place", None),
        ({"shoeSize": 44}, "shoeSize", "order_id", "o-1"),
        ({"headerId": 1e300}, "", "order_id", "o-1"),
    ],
)
def test_what_is_wrong_in_a_state_is_said_and_the_rest_is_taken(change, complaint, attribute, value):
    complaints = []
    state = wire.read_state(json.dumps(GOOD | change).encode(), complaints)
    assert getattr(state, attribute) == value
    assert complaint in "; ".join(complaints)


@pytest.mark.parametrize("payload", [b"", b"no json", b"[1, 2]", b"7", b"\xff\xfe\x00", b"{" * 100_000, b'{"a":'])
def test_what_is_no_object_is_refused_with_a_sentence(payload):
    complaints = []
    assert wire.read_state(payload, complaints) is None
    assert complaints
    assert wire.read_connection(payload, []) is None
    assert wire.read_factsheet(payload, []) is None
    assert wire.read_visualization(payload, []) is None


def test_nan_a_byte_order_mark_and_bytes_that_are_no_utf_8_do_not_cost_the_message():
    for payload in (
        b'{"orderId": "o", "driving": true, "agvPosition": {"x": NaN, "y": 1.0}}',
        b'\xef\xbb\xbf{"orderId": "o", "driving": true}',
        b'{"orderId": "o", "driving": true, "lastNodeId": "\xff"}',
    ):
        complaints = []
        state = wire.read_state(payload, complaints)
        assert (state.order_id, state.is_driving, state.place) == ("o", True, None)
        assert "no strict JSON" in complaints[0]


def test_a_connection_is_read_in_both_spellings():
    for said in ("CONNECTIONBROKEN", "CONNECTION_BROKEN", "connectionbroken"):
        assert wire.read_connection(json.dumps({"connectionState": said}).encode(), [])[1] == "CONNECTION_BROKEN"


def test_a_factsheet_that_says_hardly_anything_is_one():
    sheet = wire.read_factsheet(b'{"protocolFeatures": {"agvActions": [{"actionType": "pick"}, 3]}}', [])
    assert set(sheet.actions) == {"pick"}
    assert (sheet.id_length, sheet.nodes_max) == (None, None)


def test_an_instant_action_that_never_ends_is_no_order_of_anybody():
    quiet = GOOD | {"nodeStates": [], "edgeStates": []}
    waiting = {"actionId": "r", "actionType": "stateRequest", "actionStatus": "RUNNING"}
    assert not wire.read_state(json.dumps(quiet | {"actionStates": [waiting]}).encode(), []).has_work
    picking = waiting | {"actionType": "pick"}
    assert wire.read_state(json.dumps(quiet | {"actionStates": [picking]}).encode(), []).has_work
