"""An order of ours as a VDA 5050 route: from where the robot stands, by what its factsheet and the options say."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from fleet.adapter import Order, OrderTask, TaskKind
from fleet.adapters.vda5050.options import Binding, RobotOptions, options_from
from fleet.adapters.vda5050.outgoing import Envelope
from fleet.adapters.vda5050.routes import Ability, Unfit, tasks_of, written
from fleet.adapters.vda5050.wire import ActionOffered, Factsheet, Header, Place
from fleet.errors import Invalid

AT = datetime(2026, 3, 1, 22, 0, tzinfo=UTC)
HERE = Place(1.0, 1.0, 0.0, "hall", True)


@pytest.fixture
def ability():
    return Ability(Envelope("2.1.0", "acme", "7"), RobotOptions(), None, HERE, "dock-1")


@pytest.fixture
def sheet():
    offered = {
        name: ActionOffered(name, frozenset({scope}), ("HARD", "SOFT"), ())
        for name, scope in (("pick", "NODE"), ("wait", "NODE"), ("startCharging", "NODE"), ("cancelOrder", "INSTANT"))
    }
    return Factsheet(Header(1, AT, "2.1.0"), actions=offered)


@pytest.fixture
def order():
    def make(*tasks: dict) -> Order:
        built = tuple(OrderTask(position=index, **task) for index, task in enumerate(tasks))
        return Order(key="m/1", fence=1, serial_number="acme/7", mission_id="m", tasks=built)

    return make


GO = {"kind": TaskKind.go_to, "station": "gate", "x_m": 5.0, "y_m": 1.0}


def test_a_route_begins_where_the_robot_stands_under_the_name_it_gives_to_it(ability, order):
    route = written(order(GO), ability, AT, 0).route
    start, gate = route["nodes"]
    assert (start["nodeId"], start["sequenceId"]) == ("dock-1", 0)
    assert (start["nodePosition"]["x"], start["nodePosition"]["mapId"]) == (1.0, "hall")
    assert (gate["nodeId"], gate["sequenceId"], gate["nodePosition"]["x"]) == ("gate", 2, 5.0)
    assert [edge["sequenceId"] for edge in route["edges"]] == [1]


def test_tasks_at_one_station_share_its_node(ability, order):
    wait = {"kind": TaskKind.wait, "station": "gate", "x_m": 5.0, "y_m": 1.0, "parameters": {"duration_s": 3.0}}
    run = written(order(GO, wait, wait), ability, AT, 0)
    assert len(run.route["nodes"]) == 2
    actions = run.route["nodes"][1]["actions"]
    assert [one["actionParameters"] for one in actions] == [[{"key": "duration", "value": 3.0}]] * 2
    assert len({one["actionId"] for one in actions}) == 2


def test_the_same_key_gives_the_same_ids(ability, order):
    first, again = written(order(GO), ability, AT, 0), written(order(GO), ability, AT, 5)
    assert first.order_id == again.order_id
    assert first.route == again.route


def test_a_task_that_nothing_binds_is_refused_and_says_what_is_offered(ability, order, sheet):
    able = replace(ability, factsheet=sheet)
    with pytest.raises(Unfit, match=r"task 1 \(reading\).*it offers pick, startCharging, wait"):
        written(order(GO, {"kind": TaskKind.reading}), able, AT, 0)
    with pytest.raises(Unfit, match="no action 'weld' at nodes"):
        written(order({"kind": TaskKind.action, "parameters": {"name": "weld"}}), able, AT, 0)


def test_a_dock_charges_where_the_factsheet_offers_it(ability, order, sheet):
    dock = {"kind": TaskKind.dock, "station": "dock-1", "x_m": 0.0, "y_m": 0.0}
    assert written(order(dock), ability, AT, 0).route["nodes"][1]["actions"] == []
    charged = written(order(dock), replace(ability, factsheet=sheet), AT, 0).route["nodes"][1]["actions"]
    assert [one["actionType"] for one in charged] == ["startCharging"]


def test_a_line_guided_robot_is_given_names_without_positions(ability, order):
    able = replace(ability, options=RobotOptions(is_line_guided=True, nodes={"gate": "17"}), place=None)
    nodes = written(order(GO), able, AT, 0).route["nodes"]
    assert [(node["nodeId"], "nodePosition" in node) for node in nodes] == [("dock-1", False), ("17", False)]


@pytest.mark.parametrize("place", [None, replace(HERE, is_localized=False)])
def test_a_robot_that_does_not_know_where_it_is_is_given_nothing(ability, order, place):
    with pytest.raises(Unfit, match="where it stands"):
        written(order(GO), replace(ability, place=place, last_node_id=""), AT, 0)


def test_an_order_beyond_the_limits_of_the_factsheet_is_refused(ability, order, sheet):
    few = replace(ability, factsheet=replace(sheet, nodes_max=2))
    with pytest.raises(Unfit, match="at most 2"):
        written(order(GO, GO, GO), few, AT, 0)
    short = replace(ability, factsheet=replace(sheet, id_length=3), last_node_id="a")
    with pytest.raises(Unfit, match="longer name than 3"):
        written(order(GO), short, AT, 0)
    numbers = replace(ability, factsheet=replace(sheet, is_id_numerical=True))
    with pytest.raises(Unfit, match="numbers as node names"):
        written(order(GO), numbers, AT, 0)


def test_a_station_without_a_place_is_refused_by_its_name(ability, order):
    with pytest.raises(Unfit, match="'nowhere'"):
        written(order({"kind": TaskKind.go_to, "station": "nowhere"}), ability, AT, 0)


def test_what_can_be_asked_follows_from_options_and_factsheet(sheet):
    assert tasks_of(RobotOptions(), sheet) == {TaskKind.go_to, TaskKind.dock, TaskKind.wait, TaskKind.action}
    bound = RobotOptions(reading=Binding(action="scan", unit="K"))
    assert TaskKind.reading in tasks_of(bound, None)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"version": "1.1.0"}, "1.1.0"),
        ({"robots": {"a/b": {"version": "4.0.0"}}}, "4.0.0"),
        ({"bindings": {"dance": {"action": "x"}}}, "dance"),
        ({"resend_s": 0}, "resend_s"),
        ({"nonsense": 1}, "nonsense"),
    ],
)
def test_wrong_options_are_refused_by_name(given, said):
    with pytest.raises(Invalid, match=said):
        options_from(given)


def test_a_robots_own_options_come_before_the_accounts():
    options = options_from(
        {
            "bindings": {"wait": {"action": "hold"}, "reading": {"action": "scan"}},
            "robots": {
                "a/b": {
                    "version": "2.0.0",
                    "instant_actions_key": "instantActions",
                    "bindings": {"wait": {"action": "stay"}},
                }
            },
        }
    )
    own = options.of("a/b")
    assert (own.version, own.instant_actions_key, own.wait.action, own.reading.action) == (
        "2.0.0",
        "instantActions",
        "stay",
        "scan",
    )
    assert options.of("a/c").wait.action == "hold"
