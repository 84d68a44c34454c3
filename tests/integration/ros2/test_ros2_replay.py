"""Captures of a real rclpy client and server, replayed: our server answers them as rclpy did, our endpoints look like theirs."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from cyclonedds.builtin import BuiltinDataReader, BuiltinTopicDcpsPublication, BuiltinTopicDcpsSubscription
from cyclonedds.domain import DomainParticipant

from fleet.adapters.ros2.dds_domain import address_of
from fleet.adapters.ros2.dds_participant import Participant, Reader, Spot, Took, Writer
from fleet.adapters.ros2.link import GoalStatus
from fleet.adapters.ros2.names import ros_type, user_data
from fleet.adapters.ros2.qos import SERVICE
from fleet.adapters.ros2.types import known_types
from fleet.clock import SystemClock

ACTION, NAVIGATE = "/robot_01/navigate_to_pose", "nav2_msgs/action/NavigateToPose"
STAMPS = {  # where a reply holds the server's own time, by the type of the reply
    f"{NAVIGATE}_SendGoal_Response": [slice(24, 32)],
    "action_msgs/srv/CancelGoal_Response": [slice(44, 52)],
}
SCENARIOS = (
    "success", "reject", "cancel", "abort", "duplicate_goal", "unknown_goal", "result_after_reconnect", "cancel_variants",
)  # fmt: skip


@dataclass
class Wire:
    """A client that sends captured bytes and keeps the bytes that come back."""

    participant: Participant
    writers: dict[str, Writer]
    readers: dict[str, Reader]
    replies: list[bytes]

    async def reply_to(self, request: bytes) -> bytes:
        async with asyncio.timeout(5.0):
            while True:
                found = [reply for reply in self.replies if reply[4:20] == request[4:20]]
                if found:
                    self.replies.remove(found[0])
                    return found[0]
                await asyncio.sleep(0.005)


@pytest.fixture(scope="module")
def captures(shared_data: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (shared_data / "ros2_wire" / "dds.jsonl").read_text().splitlines()]


@pytest.fixture
async def wire(url, navigator, until) -> AsyncIterator[Wire]:
    participant = Participant(address_of(url), known_types("jazzy"), clock=SystemClock(), node="/captured_client")
    replies: list[bytes] = []
    writers, readers = {}, {}

    def heard(samples: list[Took], _: int) -> None:
        replies.extend(took.sample for took in samples)

    types = {
        "send_goal": f"{NAVIGATE}_SendGoal",
        "get_result": f"{NAVIGATE}_GetResult",
        "cancel_goal": "action_msgs/srv/CancelGoal",
    }
    for service, type in types.items():
        ids, name = {"clientid": participant.next_id()}, f"{ACTION}/_action/{service}"
        readers[service] = participant.reader(
            Spot(f"rr{name}Reply", f"{type}_Response", participant.node, ids), SERVICE, heard
        )
        writers[service] = participant.writer(
            Spot(f"rq{name}Request", f"{type}_Request", participant.node, ids), SERVICE
        )
    await until(lambda: all(one.matched() for one in (*writers.values(), *readers.values())))
    yield Wire(participant, writers, readers, replies)
    await participant.close()


@pytest.fixture
def masked() -> Callable[[str, bytes], bytes]:
    """A reply without the instants that are the server's own."""

    def mask(type: str, reply: bytes) -> bytes:
        bare = bytearray(reply)
        for where in STAMPS.get(type, []):
            if len(bare) >= where.stop:
                bare[where] = bytes(8)
        return bytes(bare)

    return mask


@pytest.mark.parametrize("scenario", SCENARIOS)
async def test_captured_requests_are_answered_with_the_bytes_of_rclpy(scenario, captures, wire, navigator, masked):
    types, asked, compared = known_types("jazzy"), {}, 0
    for capture in (one for one in captures if one["scenario"] == scenario):
        type, sample = ros_type(capture["dds_type"]), bytes.fromhex(capture["cdr_hex"])
        service = capture["dds_topic"].rpartition("/")[2].removesuffix("Request").removesuffix("Reply")
        if capture["dds_topic"].startswith("rq/"):
            asked[sample[4:20], service] = sample
            wire.writers[service].write(sample)
        elif capture["dds_topic"].startswith("rr/"):
            request = asked.pop((sample[4:20], service))
            _end_as_captured(
                navigator, types.decode(type.replace("_Response", "_Request"), request, has_header=True), capture
            )
            assert masked(type, await wire.reply_to(request)) == masked(type, sample)
            compared += 1
        elif "status" in service:
            _run_as_captured(navigator, capture)
    assert compared >= 2


def _end_as_captured(navigator: Any, request: dict[str, Any], reply: dict[str, Any]) -> None:
    """A captured result says how the goal had ended."""
    if "result" in reply["decoded"] and reply["decoded"]["status"]:
        goal_id = UUID(bytes=bytes(request["goal_id"]["uuid"]))
        navigator.served.finish(goal_id, GoalStatus(reply["decoded"]["status"]), reply["decoded"]["result"])


def _run_as_captured(navigator: Any, capture: dict[str, Any]) -> None:
    """A captured status list says which goals had succeeded; what others came to stands in their results."""
    for entry in capture["decoded"]["status_list"]:
        goal_id, status = UUID(bytes=bytes(entry["goal_info"]["goal_id"]["uuid"])), GoalStatus(entry["status"])
        if status == GoalStatus.succeeded:
            navigator.served.finish(goal_id, status)


@pytest.fixture
def shapes() -> Callable[[Any], dict[str, Any]]:
    """Policies in the form of the captures."""

    def shape(qos: Any) -> Iterator[tuple[str, dict[str, Any]]]:
        for policy in qos.policies:
            scope, _, kind = type(policy).__name__.partition(".")
            values = {one.name: getattr(policy, one.name) for one in fields(policy)} if is_dataclass(policy) else {}
            values = {
                name: {"depth": value.depth} if hasattr(value, "depth") else value for name, value in values.items()
            }
            yield scope, ({"kind": kind} if kind else {}) | values

    return lambda qos: dict(shape(qos))


async def test_our_endpoints_look_like_those_of_a_real_client_and_server(
    url, link, peer, navigator, goal, shared_data, shapes
):
    real = json.loads((shared_data / "ros2_wire" / "endpoints.json").read_text())["endpoints"]
    link.statuses(ACTION)
    await link.send_goal(ACTION, NAVIGATE, uuid4(), goal)
    prefixes = {link._participant.guid[:12]: "rclpy_client", peer.participant.guid[:12]: "action_server"}
    onlooker = DomainParticipant(address_of(url).domain)
    topics = {"publication": BuiltinTopicDcpsPublication, "subscription": BuiltinTopicDcpsSubscription}
    readers = {kind: BuiltinDataReader(onlooker, topic) for kind, topic in topics.items()}
    await asyncio.sleep(0.3)
    compared = []
    for kind, reader in readers.items():
        for sample in reader.take(N=200):
            role = prefixes.get(sample.key.bytes[:12])
            theirs = [
                one for one in real if (one["role"], one["kind"], one["topic"]) == (role, kind, sample.topic_name)
            ]
            if not theirs:
                continue
            ours, wanted = shapes(sample.qos), theirs[0]["qos"]
            said, want = (user_data(text) for text in (ours.pop("Userdata")["data"], theirs[0]["user_data"].encode()))
            if kind == "publication":  # ours gives up where rmw waits for ever; only the writer knows
                assert ours["Reliability"].pop("max_blocking_time") < wanted["Reliability"].pop("max_blocking_time")
            assert (sample.type_name, ours) == (theirs[0]["type"], wanted)
            assert (list(said), said["typehash"]) == (list(want), want["typehash"])
            compared.append((role, kind, sample.topic_name))
    onlooker.__del__()

    assert len(compared) == 18
