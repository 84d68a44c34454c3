"""ROS 2 on the wire against captures of real peers (rclpy on rmw_cyclonedds): our codec, names and type hashes."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.adapters.ros2.names import (
    REPLY,
    REQUEST,
    TOPIC,
    dds_topic,
    dds_type,
    endpoint_id,
    namespace_of,
    ros_name,
    ros_type,
    to_user_data,
    user_data,
    vendor,
)
from fleet.adapters.ros2.types import DISTROS, HEADER, Types, fitting_distros, known_types
from fleet.errors import Invalid

NAVIGATE = "nav2_msgs/action/NavigateToPose"
GREET = "acme_msgs/action/Greet"
GREETING = """# who
string name
uint8 times 3 # or more
float32[2] pauses [0.5, 1.5]
string<=9 tone 'warm'
---
bool is_done
---
uint8 so_far
"""


@pytest.fixture(scope="module")
def jazzy() -> Types:
    return known_types("jazzy")


@pytest.fixture(scope="module")
def captures(shared_data: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (shared_data / "ros2_wire" / "dds.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def real_endpoints(shared_data: Path) -> list[dict[str, Any]]:
    return json.loads((shared_data / "ros2_wire" / "endpoints.json").read_text())["endpoints"]


@pytest.fixture(scope="module")
def parts(captures: list[dict[str, Any]]) -> list[tuple[str, bytes, dict[str, Any], tuple[bytes, int] | None]]:
    """(type, bytes, fields as their owner decoded them, header) of every capture."""

    def split(capture: dict[str, Any]) -> tuple[str, bytes, dict[str, Any], tuple[bytes, int] | None]:
        fields = dict(capture["decoded"])
        header = fields.pop("request_header", None)
        framed = None if header is None else (bytes.fromhex(header["client_guid_hex"]), header["sequence_number"])
        return ros_type(capture["dds_type"]), bytes.fromhex(capture["cdr_hex"]), fields, framed

    return [split(capture) for capture in captures]


def test_every_captured_message_is_encoded_to_the_same_bytes_from_its_fields(jazzy, parts):
    differing = [type for type, sample, fields, header in parts if jazzy.encode(type, fields, header) != sample]

    assert len(parts) > 400
    assert differing == []


def test_every_captured_message_is_decoded_to_the_fields_its_owner_saw(jazzy, parts):
    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: plain(field) for name, field in value.items()}
        if isinstance(value, list):
            return [plain(element) for element in value]
        return value.tolist() if hasattr(value, "tolist") else value

    for type, sample, fields, header in parts:
        decoded = plain(jazzy.decode(type, sample, has_header=header is not None))
        assert json.dumps(decoded) == json.dumps(fields)


def test_the_header_of_a_request_is_the_clients_eight_bytes_and_its_number(parts):
    framed = [(sample, header) for _, sample, _, header in parts if header is not None]

    assert len(framed) > 80
    assert all(HEADER.unpack_from(sample, 4) == header for sample, header in framed)


def test_every_type_hash_that_real_peers_announce_is_computed_here(jazzy, real_endpoints):
    announced = {ros_type(one["type"]): user_data(one["user_data"].encode())["typehash"] for one in real_endpoints}
    known = {type: hash for type, hash in announced.items() if type in jazzy}

    assert {type: jazzy.hash(type) for type in known} == known
    assert f"{NAVIGATE}_GetResult_Response" in known
    assert set(announced) - set(known) == {"rosbridge_msgs/msg/ConnectedClients"}


def test_every_captured_topic_and_type_name_is_made_again_from_its_ros_name(real_endpoints):
    for one in real_endpoints:
        assert dds_type(ros_type(one["type"])) == one["type"]
        named = ros_name(one["topic"])
        if named is not None:
            assert dds_topic(*named) == one["topic"]


def test_user_data_is_written_as_a_real_client_writes_it(real_endpoints):
    client = next(one for one in real_endpoints if one["role"] == "rclpy_client" and "clientid" in one["user_data"])
    said = user_data(client["user_data"].encode())
    guid, number = bytes.fromhex(client["endpoint_guid"]), int(said["clientid"].rpartition(".")[2], 16)

    assert (
        to_user_data({"clientid": endpoint_id(guid, number), "typehash": said["typehash"]}).decode()
        == client["user_data"]
    )


def test_the_vendor_is_read_from_the_guid(real_endpoints):
    assert {vendor(bytes.fromhex(one["endpoint_guid"])) for one in real_endpoints} == {"Eclipse Cyclone DDS"}
    assert vendor(bytes.fromhex("010f000000000000")) == "eProsima Fast DDS"
    assert vendor(b"\x09\x99") == "unknown DDS vendor 0999"


@pytest.mark.parametrize(
    ("part", "name", "topic"),
    [
        (TOPIC, "/r/odom", "rt/r/odom"),
        (REQUEST, "/r/reset", "rq/r/resetRequest"),
        (REPLY, "/r/reset", "rr/r/resetReply"),
    ],
)
def test_a_name_and_its_topic_are_each_others(part, name, topic):
    assert dds_topic(part, name) == topic
    assert ros_name(topic) == (part, name)


@pytest.mark.parametrize("topic", ["", "rt", "DCPSTopic", "rq/r/reset", "plain/topic", "ros_discovery_info"])
def test_a_topic_that_is_not_of_ros_has_no_ros_name(topic):
    assert ros_name(topic) is None


@pytest.mark.parametrize(("name", "namespace"), [("/robot_01/odom", "/robot_01"), ("/a/b/c", "/a"), ("/odom", "/")])
def test_the_namespace_of_a_name_is_its_first_part(name, namespace):
    assert namespace_of(name) == namespace


def test_an_action_of_humble_has_another_result_than_one_of_jazzy_and_the_hash_tells():
    ours, theirs = (known_types(distro).hash(f"{NAVIGATE}_GetResult_Response") for distro in ("jazzy", "humble"))

    assert ours != theirs
    assert fitting_distros(f"{NAVIGATE}_GetResult_Response", theirs) == ["humble"]
    assert fitting_distros(f"{NAVIGATE}_GetResult_Response", ours) == ["jazzy", "kilted", "rolling"]
    assert fitting_distros(f"{NAVIGATE}_GetResult_Response", "RIHS01_00") == []


@pytest.mark.parametrize("distro", DISTROS)
def test_every_action_of_every_distribution_is_encoded_and_decoded(distro, shared_data):
    types = known_types(distro)
    theirs = json.loads((shared_data / "ros2_interfaces" / "nav2_actions.json").read_text())
    actions = theirs["main" if distro == "rolling" else distro]
    for name, sections in actions.items():
        for section in ("goal", "result", "feedback"):
            type = f"nav2_msgs/action/{name}_{section.capitalize()}"
            fields = [field for _, field, *_ in sections[section]["fields"]] or ["structure_needs_at_least_one_member"]
            assert list(types.default(type)) == fields
            wanted = {constant: value for _, constant, value in sections[section]["constants"]}
            assert {constant: str(value) for constant, value in types.constants(type).items()} == wanted


def test_a_field_that_is_not_given_has_the_default_of_its_definition(jazzy):
    goal = jazzy.default("nav2_msgs/action/DockRobot_Goal")

    assert (goal["use_dock_id"], goal["max_staging_time"], goal["dock_id"]) == (True, 1000.0, "")
    assert goal["dock_pose"]["pose"]["orientation"] == {"x": 0.0, "y": 0.0, "z": 0.0, "w": 1.0}


def test_the_constants_of_an_action_are_those_of_all_its_parts():
    assert known_types("jazzy").constants("nav2_msgs/action/FollowWaypoints") == {
        "NONE": 0,
        "UNKNOWN": 600,
        "TASK_EXECUTOR_FAILED": 601,
    }


def test_a_users_own_action_is_known_by_its_text():
    types = Types("jazzy", {GREET: GREETING})

    goal = types.default(f"{GREET}_Goal")
    assert goal | {"pauses": [*goal["pauses"]]} == {"name": "", "times": 3, "pauses": [0.5, 1.5], "tone": "warm"}
    sample = types.encode(f"{GREET}_SendGoal_Request", {"goal_id": {"uuid": [7] * 16}, "goal": {"name": "Ö"}})
    assert types.decode(f"{GREET}_SendGoal_Request", sample)["goal"]["name"] == "Ö"
    assert types.hash(f"{GREET}_FeedbackMessage").startswith("RIHS01_")


def test_a_users_definition_takes_the_place_of_ours():
    own = Types("jazzy", {NAVIGATE: "string station\n---\n---\n"})

    assert list(own.default(f"{NAVIGATE}_Goal")) == ["station"]
    assert "pose" in known_types("jazzy").default(f"{NAVIGATE}_Goal")


@pytest.mark.parametrize(
    ("type", "text", "why"),
    [
        ("Greet", "", "no ROS type"),
        (GREET, "string name\n", "has 1 parts"),
        (GREET, "string 5 names\n---\n---\n", "cannot be read"),
        (GREET, "acme_msgs/Nothing name\n---\n---\n", "acme_msgs/msg/Nothing, which is not defined"),
        (GREET, "uint8 times many\n---\n---\n", "'many' is no default"),
    ],
)
def test_a_definition_that_cannot_be_read_is_refused_with_the_reason(type, text, why):
    with pytest.raises(Invalid, match=why):
        Types("jazzy", {type: text})


def test_an_unknown_distribution_is_refused_with_the_known_ones():
    with pytest.raises(Invalid, match="humble, iron, jazzy, kilted, rolling"):
        Types("indigo")


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"destination": 1}, "has no field destination; it has pose, behavior_tree"),
        ({"behavior_tree": 5}, r"behavior_tree is a text, not 5"),
        ({"pose": 5}, r"Goal.pose is a geometry_msgs/msg/PoseStamped"),
        ({"pose": {"pose": {"position": {"x": "far"}}}}, r"position.x is a float64, not 'far'"),
        ({"pose": {"header": {"stamp": {"sec": 1.5}}}}, r"stamp.sec is a int32, not 1.5"),
        ({"pose": {"header": {"stamp": {"sec": 2**40}}}}, "do not fit"),
    ],
)
def test_values_that_do_not_fit_are_refused_by_the_name_of_their_field(jazzy, fields, why):
    with pytest.raises(Invalid, match=why):
        jazzy.encode(f"{NAVIGATE}_Goal", fields)


@pytest.mark.parametrize("uuid", [[1] * 15, [1] * 17, [300] * 16, "text", 5])
def test_an_array_of_another_length_or_range_is_refused(jazzy, uuid):
    with pytest.raises(Invalid, match="uuid"):
        jazzy.encode(f"{NAVIGATE}_GetResult_Request", {"goal_id": {"uuid": uuid}})


@settings(deadline=None, max_examples=60)
@given(sample=st.binary(max_size=200))
def test_bytes_of_any_kind_are_decoded_or_refused(sample):
    try:
        decoded = known_types("jazzy").decode(f"{NAVIGATE}_FeedbackMessage", sample)
    except Invalid:
        return
    assert set(decoded) == {"goal_id", "feedback"}


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_a_captured_message_that_is_cut_or_changed_is_decoded_or_refused(data, parts):
    type, sample, _, header = data.draw(st.sampled_from(parts))
    spoilt = bytearray(sample[: data.draw(st.integers(0, len(sample)))])
    if spoilt:
        spoilt[data.draw(st.integers(0, len(spoilt) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        decoded = known_types("jazzy").decode(type, bytes(spoilt), has_header=header is not None)
    except Invalid:
        return
    assert list(decoded) == [name for name, _ in known_types("jazzy").fields(type)]


@pytest.fixture
def pose_values() -> dict[str, Any]:
    return {"header": {"frame_id": "map"}, "pose": {"position": {"x": 1.0}}}


def test_big_endian_peers_are_read(jazzy, pose_values):
    little = jazzy.encode("geometry_msgs/msg/PoseStamped", pose_values)
    message = jazzy._build("geometry_msgs/msg/PoseStamped", pose_values, "")
    big = bytes(jazzy._store.serialize_cdr(message, "geometry_msgs/msg/PoseStamped", little_endian=False))

    assert big[:2] != little[:2]
    assert jazzy.decode("geometry_msgs/msg/PoseStamped", big)["pose"]["position"]["x"] == 1.0


def test_an_encoding_that_ros_does_not_use_is_refused(jazzy):
    with pytest.raises(Invalid, match="not plain CDR: 00090000"):
        jazzy.decode("std_msgs/msg/String", bytes.fromhex("0009000000000000"))


def test_a_byte_has_no_sign(jazzy):
    sample = jazzy.encode("diagnostic_msgs/msg/DiagnosticStatus", {"level": 200})

    assert sample[4] == 200
    assert jazzy.decode("diagnostic_msgs/msg/DiagnosticStatus", sample)["level"] == 200
