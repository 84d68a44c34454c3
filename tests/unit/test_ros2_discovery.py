"""What a DDS domain shows of its robots, and why a command would be refused: from captured discovery and from spoilt peers."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fleet.adapters.ros2.discovery import GRAPH_TOPIC, Graph, Told
from fleet.adapters.ros2.names import user_data
from fleet.adapters.ros2.qos import FOREVER, LATCHED, SENSOR, Profile, fitting_reader, mismatch
from fleet.adapters.ros2.types import Types, known_types

OURS = bytes(16)
ACTION, NAVIGATE = "/robot_01/navigate_to_pose", "nav2_msgs/action/NavigateToPose"
SERVER = "action_server"
SEND_GOAL = "rq/robot_01/navigate_to_pose/_action/send_goalRequest"


@pytest.fixture(scope="module")
def captured(shared_data: Path) -> list[dict[str, Any]]:
    return json.loads((shared_data / "ros2_wire" / "endpoints.json").read_text())["endpoints"]


@pytest.fixture(scope="module")
def server(captured) -> list[Told]:
    """The endpoints of a real rclpy Nav2-style server, as Cyclone would tell of them."""
    return [_told(one, number) for number, one in enumerate(captured, start=1) if one["role"] == SERVER]


@pytest.fixture
def graph_of(captured) -> Callable[..., Graph]:
    def build(endpoints: list[Told], types: Types | None = None) -> Graph:
        graph = Graph(types or known_types("jazzy"), OURS)
        for told in endpoints:
            graph.tell(told)
        nodes: dict[str, list[bytes]] = {}
        for one in captured:
            if one["role"] == SERVER:
                for node in one["nodes"]:
                    nodes.setdefault(node, []).append(bytes.fromhex(one["endpoint_guid"]))
        graph.tell_nodes(endpoints[0].guid, nodes)
        return graph

    return build


def _told(one: dict[str, Any], handle: int) -> Told:
    qos = one["qos"]
    profile = Profile(
        is_reliable=qos["Reliability"]["kind"] == "Reliable",
        durability={"Volatile": "volatile", "TransientLocal": "transient local"}[qos["Durability"]["kind"]],
        depth=qos["History"].get("depth", 0),
    )
    return Told(
        guid=bytes.fromhex(one["endpoint_guid"]),
        is_alive=True,
        is_writer=one["kind"] == "publication",
        handle=handle,
        topic=one["topic"],
        type=one["type"],
        profile=profile,
        announced=user_data(one["user_data"].encode()),
    )


def _changed(endpoints: list[Told], topic: str, **changes: Any) -> list[Told]:
    assert any(topic in told.topic for told in endpoints)
    return [replace(told, **changes) if topic in told.topic else told for told in endpoints]


def _of_vendor(endpoints: list[Told], vendor: bytes) -> list[Told]:
    return [replace(told, guid=vendor + told.guid[2:]) for told in endpoints]


def test_a_real_server_shows_its_action_topics_and_services_with_their_node(server, graph_of):
    seen = {(one.name, one.kind): one for one in graph_of(server).seen()}

    action = seen[ACTION, "action"]
    assert (action.type, action.namespace, action.nodes) == (NAVIGATE, "/robot_01", ("/robot_01/bt_navigator",))
    assert (action.vendor, action.complaint) == ("Eclipse Cyclone DDS", "")
    battery = seen["/robot_01/battery_state", "publisher"]
    assert (battery.type, battery.qos["reliability"]) == ("sensor_msgs/msg/BatteryState", "best effort")
    assert seen["/robot_01/bt_navigator/get_parameters", "service"].type == "rcl_interfaces/srv/GetParameters"
    assert not any("_action" in name for name, _ in seen)
    assert {one.complaint for one in seen.values()} == {""}


def test_a_command_to_a_real_server_meets_no_objection(server, graph_of):
    graph = graph_of(server)

    assert not graph.objection(ACTION, NAVIGATE)
    assert not graph.objection("/robot_01/bt_navigator/get_parameters", "rcl_interfaces/srv/GetParameters")
    assert graph.incarnation(ACTION) == next(told for told in server if told.topic == SEND_GOAL).guid.hex()


def test_two_servers_of_one_process_would_both_execute_a_command(server, graph_of):
    twin = [replace(told, guid=told.guid[:12] + bytes([told.guid[12] ^ 0x40]) + told.guid[13:],
                    announced=dict(told.announced) | {"serviceid": told.announced.get("serviceid", "") + "f"})
            for told in server if "_action" in told.topic]  # fmt: skip

    objection = graph_of([*server, *twin]).objection(ACTION, NAVIGATE)

    assert objection.why.startswith("More than one server answers")


def test_a_server_that_was_set_up_anew_in_its_process_is_another_one(server, graph_of):
    graph = graph_of(server)
    before = graph.incarnation(ACTION)

    for told in server:
        if "_action" in told.topic:
            graph.tell(replace(told, is_alive=False))
            graph.tell(replace(told, guid=told.guid[:14] + bytes([told.guid[14] ^ 0x80]) + told.guid[15:]))

    assert graph.incarnation(ACTION) not in ("", before)


def test_a_fast_dds_robot_is_heard_and_not_commanded(server, graph_of):
    seen = {(one.name, one.kind): one for one in graph_of(_of_vendor(server, b"\x01\x0f")).seen()}

    assert "runs on eProsima Fast DDS" in seen[ACTION, "action"].complaint
    assert "Use a rosbridge for its commands." in seen[ACTION, "action"].complaint
    assert seen["/robot_01/battery_state", "publisher"].complaint == ""


@pytest.mark.parametrize(
    ("distro", "other"), [("humble", "it is the one of jazzy, kilted, rolling"), ("iron", "jazzy")]
)
def test_an_action_of_another_distribution_is_refused_with_the_ones_that_fit(server, graph_of, distro, other):
    objection = graph_of(server, known_types(distro)).objection(ACTION, NAVIGATE)

    assert f"Its definition of {NAVIGATE}_GetResult_Response" in objection.why
    assert f"differs from that of {distro}" in objection.why
    assert other in objection.why
    assert not objection.may_pass


def test_a_definition_that_no_distribution_has_asks_for_the_robots_own(server, graph_of):
    spoilt = _changed(server, SEND_GOAL, announced={"typehash": "RIHS01_" + "ab" * 32})

    objection = graph_of(spoilt).objection(ACTION, NAVIGATE)

    assert "it is of no distribution known here: give the robot's own definition" in objection.why


def test_a_peer_without_type_hashes_is_one_of_humble(server, graph_of):
    silent = [replace(told, announced={}) for told in server]

    assert not graph_of(silent, known_types("humble")).objection(ACTION, NAVIGATE)
    assert "set the account's distro to that of the robot" in graph_of(silent).objection(ACTION, NAVIGATE).why


def test_an_action_of_an_unknown_type_asks_for_its_definition(server, graph_of):
    strange = _changed(server, SEND_GOAL, type="acme_msgs::action::dds_::Greet_SendGoal_Request_")

    seen = next(one for one in graph_of(strange).seen() if one.kind == "action")

    assert seen.type == "acme_msgs/action/Greet"
    assert "acme_msgs/action/Greet is not known for jazzy" in seen.complaint


def test_the_policy_that_keeps_a_server_from_hearing_is_named(server, graph_of):
    deaf = _changed(server, SEND_GOAL, profile=Profile(durability="transient local"))

    assert "durability: offered volatile, requested transient local" in graph_of(deaf).objection(ACTION, NAVIGATE).why


def test_a_status_list_that_latecomers_cannot_hear_is_complained_of(server, graph_of):
    spoilt = _changed(server, "_action/status", profile=Profile(is_reliable=False))

    seen = next(one for one in graph_of(spoilt).seen() if one.kind == "action")

    assert "Its status list cannot be heard" in seen.complaint
    assert "reliability: offered best effort, requested reliable" in seen.complaint
    assert "durability: offered volatile, requested transient local" in seen.complaint


def test_a_subscriber_that_asks_more_than_its_publisher_offers_is_complained_of(server, graph_of):
    battery = next(told for told in server if told.topic.endswith("battery_state"))
    reader = replace(
        battery, guid=battery.guid[:12] + b"\0\0\x77\4", is_writer=False, profile=Profile(deadline_ns=10**9)
    )

    seen = next(one for one in graph_of([*server, reader]).seen() if one.kind == "subscriber" and "battery" in one.name)

    assert "It does not hear /robot_01/bt_navigator" in seen.complaint
    assert "reliability: offered best effort, requested reliable" in seen.complaint
    assert "deadline: offered infinite, requested 1 s" in seen.complaint


def test_a_server_that_is_only_half_there_may_be_starting(server, graph_of):
    half = [told for told in server if not told.topic.endswith("_action/get_resultReply")]

    objection = graph_of(half).objection(ACTION, NAVIGATE)

    assert objection.may_pass
    assert "only half there" in objection.why


def test_two_servers_of_one_action_are_not_commanded_until_one_is_gone(server, graph_of):
    second = [replace(told, guid=b"\x01\x10" + b"\x55" * 10 + told.guid[12:]) for told in server]
    graph = graph_of([*server, *second])

    objection = graph.objection(ACTION, NAVIGATE)

    assert objection.may_pass
    assert "More than one server answers" in objection.why
    assert graph.incarnation(ACTION) == ""
    assert not graph.objection(ACTION, NAVIGATE, is_one_enough=True)
    for told in second:
        graph.tell(Told(told.guid, is_alive=False))
    assert not graph.objection(ACTION, NAVIGATE)


def test_an_absent_server_is_told_with_those_that_are_there(server, graph_of):
    objection = graph_of(server).objection("/robot_02/navigate_to_pose", NAVIGATE)

    assert objection.may_pass
    assert objection.why == f"No server of /robot_02/navigate_to_pose is seen; {NAVIGATE} is served at {ACTION}."


def test_what_has_gone_is_shown_no_more_and_its_node_is_forgotten(server, graph_of):
    graph = graph_of(server)
    for told in server:
        assert graph.tell(Told(told.guid, is_alive=False)) == told.topic

    assert graph.seen() == []
    for told in server:
        graph.tell(told)
    assert any(told.topic == GRAPH_TOPIC and told.is_writer for told in server)
    assert {one.nodes for one in graph.seen()} == {()}
    assert {one.namespace for one in graph.seen() if one.kind == "action"} == {"/robot_01"}


def test_telling_the_same_twice_changes_nothing(server, graph_of):
    graph = graph_of(server)
    before = graph.seen()

    assert {graph.tell(told) for told in server} == {""}
    assert graph.tell(Told(b"\x09" * 16, is_alive=False)) == ""
    assert graph.seen() == before


def test_our_own_endpoints_are_not_shown(server):
    graph = Graph(known_types("jazzy"), server[0].guid)
    for told in server:
        graph.tell(told)

    assert graph.seen() == []


def test_what_a_node_outside_hears_does_not_belong_to_the_robot(server, graph_of):
    odometry = next(told for told in server if told.topic.endswith("odom"))
    listener = replace(odometry, guid=b"\x01\x10" + b"\x66" * 14, is_writer=False)
    graph = graph_of([*server, listener])
    graph.tell_nodes(listener.guid, {"/operator_screen": [listener.guid]})

    seen = next(one for one in graph.seen() if one.kind == "subscriber" and one.name == "/robot_01/odom")

    assert (seen.namespace, seen.nodes) == ("/", ("/operator_screen",))


@pytest.mark.parametrize(
    ("offered", "requested", "policies"),
    [
        (Profile(), Profile(), []),
        (Profile(), SENSOR, []),
        (SENSOR, Profile(), ["reliability"]),
        (Profile(), LATCHED, ["durability"]),
        (LATCHED, Profile(), []),
        (Profile(deadline_ns=10), Profile(deadline_ns=20), []),
        (Profile(deadline_ns=FOREVER), Profile(deadline_ns=20), ["deadline"]),
        (Profile(latency_ns=5), Profile(), ["latency budget"]),
        (Profile(), Profile(liveliness="manual by topic"), ["liveliness"]),
        (Profile(lease_ns=10), Profile(lease_ns=5), ["liveliness"]),
        (Profile(is_exclusive=True), Profile(), ["ownership"]),
        (Profile(), Profile(order="by source"), ["destination order"]),
        (Profile(is_xcdr1=False), Profile(), ["data representation"]),
        (Profile(partitions=("a",)), Profile(), ["partition"]),
        (SENSOR, LATCHED, ["reliability", "durability"]),
    ],
)
def test_offers_meet_requests_as_the_dds_table_says(offered, requested, policies):
    said = mismatch(offered, requested)

    assert [part.partition(":")[0] for part in said.split("; ") if part] == policies


def test_a_reader_asks_for_the_last_message_only_where_every_publisher_keeps_one():
    kept = Profile(durability="transient local", depth=1)

    assert fitting_reader([kept, kept]).durability == "transient local"
    assert not fitting_reader([kept, Profile()]).is_reliable
    assert not fitting_reader([]).is_reliable
    assert fitting_reader([Profile(partitions=("a",))]).partitions == ("a",)


def test_a_service_whose_replies_nobody_writes_is_half_there(server, graph_of):
    name, type = "/robot_01/bt_navigator/get_parameters", "rcl_interfaces/srv/GetParameters"
    half = [told for told in server if told.topic != f"rr{name}Reply"]

    assert "only half there" in graph_of(half).objection(name, type).why


def test_what_is_shown_after_many_small_changes_is_what_would_be_shown_at_once(server, graph_of):
    graph = graph_of(server)
    graph.seen()
    for told in server[::2]:
        graph.tell(Told(told.guid, is_alive=False))
        graph.seen()
    for told in server[::2]:
        graph.tell(told)
        graph.seen()
    graph.tell_nodes(server[0].guid, {"/robot_01/other_node": [told.guid for told in server]})

    fresh = Graph(known_types("jazzy"), OURS)
    for told in server:
        fresh.tell(told)
    fresh.tell_nodes(server[0].guid, {"/robot_01/other_node": [told.guid for told in server]})
    assert graph.seen() == fresh.seen()
