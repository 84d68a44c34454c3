"""The server half over real DDS: it behaves as rclpy's action servers and services do, also when asked oddly."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import pytest

from fleet.adapters.ros2.dds import DdsLink, open_dds
from fleet.adapters.ros2.dds_domain import address_of
from fleet.adapters.ros2.dds_participant import Participant, Spot
from fleet.adapters.ros2.discovery import GRAPH_TOPIC, GRAPH_TYPE
from fleet.adapters.ros2.link import Declined, Ended, GoalStatus, NoAnswer, Sample, Taken, UnknownGoal
from fleet.adapters.ros2.peer import Peer, open_peer
from fleet.adapters.ros2.peer_goals import nanoseconds
from fleet.adapters.ros2.qos import FEEDBACK, SENSOR, Profile
from fleet.adapters.ros2.types import known_types
from fleet.clock import SteppableClock, SystemClock
from fleet.errors import Invalid

NODE, ACTION, NAVIGATE = "/robot_01/bt_navigator", "/robot_01/navigate_to_pose", "nav2_msgs/action/NavigateToPose"
TRIGGER = "std_srvs/srv/Trigger"


async def test_a_goal_offered_twice_while_the_robot_still_thinks_is_taken_once(link, navigator, goal):
    decide = asyncio.Event()

    async def think(*_) -> bool:
        await decide.wait()
        return True

    navigator.takes = think
    goal_id = uuid4()

    first = asyncio.create_task(link.send_goal(ACTION, NAVIGATE, goal_id, goal))
    await asyncio.sleep(0.2)
    second = await link.send_goal(ACTION, NAVIGATE, goal_id, goal)
    decide.set()

    assert second == Declined()
    assert isinstance(await first, Taken)


async def test_feedback_tells_how_a_goal_goes(link, navigator, goal, until):
    heard: list[Sample] = []
    link.listen(f"{ACTION}/_action/feedback", f"{NAVIGATE}_FeedbackMessage", heard.append, max_rate_hz=50.0)
    goal_id = uuid4()
    await link.send_goal(ACTION, NAVIGATE, goal_id, goal)

    async with asyncio.timeout(5.0):
        while not heard:
            navigator.served.feedback(goal_id, {"distance_remaining": 1.5, "number_of_recoveries": 2})
            await asyncio.sleep(0.02)

    fields = heard[-1].fields
    assert UUID(bytes=bytes(fields["goal_id"]["uuid"])) == goal_id
    assert (fields["feedback"]["distance_remaining"], fields["feedback"]["number_of_recoveries"]) == (1.5, 2)


async def test_goals_of_before_a_restart_are_answered_where_the_robot_remembers_them(link, navigator, until):
    ended, running = uuid4(), uuid4()

    navigator.served.restore(
        {
            ended: (1_700_000_000_000_000_000, GoalStatus.aborted, {"error_code": 7}),
            running: (1_700_000_001_000_000_000, GoalStatus.executing, {}),
        }
    )

    answer = await link.result(ACTION, NAVIGATE, ended, timeout_s=5.0)
    assert answer == Ended(GoalStatus.aborted, {"error_code": 7, "error_msg": ""})
    await until(lambda: link.statuses(ACTION).is_heard)
    goals = link.statuses(ACTION).goals
    assert goals[ended].stamp_ns == 1_700_000_000_000_000_000
    assert goals[running].status == GoalStatus.executing
    waiting = asyncio.create_task(link.result(ACTION, NAVIGATE, running, timeout_s=5.0))
    await asyncio.sleep(0.1)
    navigator.served.finish(running, GoalStatus.succeeded)
    assert isinstance(await waiting, Ended)


async def test_a_result_is_forgotten_after_fifteen_minutes_as_by_rclpy(link, url, clock: SteppableClock, goal):
    async with open_peer(url, node=NODE, clock=clock) as robot:
        server = robot.action_server(NODE, ACTION, NAVIGATE, lambda *_: True, lambda _: True)
        old, new = uuid4(), uuid4()
        taken = await link.send_goal(ACTION, NAVIGATE, old, goal)
        server.finish(old, GoalStatus.succeeded)
        assert isinstance(await link.result(ACTION, NAVIGATE, old, timeout_s=5.0), Ended)

        clock.step(901.0)
        await link.send_goal(ACTION, NAVIGATE, new, goal)

        assert await link.result(ACTION, NAVIGATE, old, timeout_s=5.0) == UnknownGoal()
        assert isinstance(taken, Taken)
        assert taken.stamp_ns == nanoseconds({"sec": int(clock.now().timestamp()) - 901, "nanosec": 0})


async def test_several_who_ask_for_one_result_are_all_told(link, navigator, goal, url):
    goal_id = uuid4()
    await link.send_goal(ACTION, NAVIGATE, goal_id, goal)
    async with open_dds(url, node="/second") as second:
        waiting = [
            asyncio.create_task(one.result(ACTION, NAVIGATE, goal_id, timeout_s=5.0)) for one in (link, second, link)
        ]
        await asyncio.sleep(0.3)
        navigator.served.finish(goal_id, GoalStatus.succeeded)
        answers = await asyncio.gather(*waiting)

    assert [type(answer) for answer in answers] == [Ended, Ended, Ended]


async def test_a_handler_that_fails_leaves_its_request_unanswered_and_the_service_alive(link, peer):
    asked = []

    def answer(_) -> dict[str, object]:
        asked.append(len(asked))
        if len(asked) == 1:
            raise Invalid("the arm is not mounted")
        return {"success": True}

    peer.service(NODE, "/robot_01/grip", TRIGGER, answer)

    assert isinstance(await link.call("/robot_01/grip", TRIGGER, {}, timeout_s=0.5), NoAnswer)
    assert await link.call("/robot_01/grip", TRIGGER, {}, timeout_s=5.0) == {"success": True, "message": ""}


async def test_forty_robots_of_one_process_are_told_apart_by_their_nodes(link, url, until):
    async with open_peer(url, node="/site") as site:
        for number in range(40):
            node = f"/robot_{number:02}/bt_navigator"
            site.action_server(node, f"/robot_{number:02}/navigate_to_pose", NAVIGATE, lambda *_: True, lambda _: True)
            site.publisher(node, f"/robot_{number:02}/battery_state", "sensor_msgs/msg/BatteryState", SENSOR)
        async with asyncio.timeout(5.0):
            while len([seen for seen in link.endpoints() if seen.nodes]) < 80:
                await link.changed()
        by_robot = {seen.namespace: seen.nodes for seen in link.endpoints() if seen.kind == "action"}
        assert by_robot == {f"/robot_{number:02}": (f"/robot_{number:02}/bt_navigator",) for number in range(40)}


async def test_more_topics_than_one_wait_looks_at_are_all_heard(link, peer):
    heard: dict[int, Sample] = {}
    publishers = []
    for number in range(150):
        topic = f"/robot_01/counter_{number}"
        link.listen(
            topic, "std_msgs/msg/Int32", lambda sample, number=number: heard.update({number: sample}), max_rate_hz=50.0
        )
        publishers.append(peer.publisher(NODE, topic, "std_msgs/msg/Int32", Profile(is_reliable=False, depth=5)))

    async with asyncio.timeout(10.0):
        while len(heard) < 150:
            for number, publisher in enumerate(publishers):
                publisher.publish({"data": number})
            await asyncio.sleep(0.05)

    assert {number: sample.fields["data"] for number, sample in heard.items()} == {
        number: number for number in range(150)
    }


async def test_a_topic_that_is_no_longer_listened_to_is_not_read_while_the_flood_goes_on(link, peer):
    heard: list[Sample] = []
    publisher = peer.publisher(NODE, "/robot_01/flood", "std_msgs/msg/Int32", FEEDBACK)
    flooding = asyncio.create_task(_flood(publisher))
    for _ in range(20):
        listening = link.listen("/robot_01/flood", "std_msgs/msg/Int32", heard.append, max_rate_hz=200.0)
        await asyncio.sleep(0.02)
        listening.close()
        listening.close()
    count = len(heard)
    await asyncio.sleep(0.1)
    flooding.cancel()

    assert count > 0
    assert len(heard) == count


async def _flood(publisher) -> None:
    while True:
        publisher.publish({"data": 1})
        await asyncio.sleep(0)


@pytest.fixture
async def onlooker(url) -> AsyncIterator[list[dict[str, object]]]:
    """What others hear in ros_discovery_info, newest last."""
    heard: list[dict[str, object]] = []
    types = known_types("jazzy")
    participant = Participant(address_of(url), types, clock=SystemClock(), node="/onlooker")
    kept = Profile(durability="transient local", depth=0)
    participant.reader(
        Spot(GRAPH_TOPIC, GRAPH_TYPE, "/onlooker"),
        kept,
        lambda samples, _: heard.extend(types.decode(GRAPH_TYPE, took.sample) for took in samples),
    )
    yield heard
    await participant.close()


async def test_others_see_our_nodes_with_their_endpoints_as_ros2_node_list_does(
    onlooker, link: DdsLink, peer: Peer, until
):
    service = peer.service(NODE, "/robot_01/reset", TRIGGER, lambda _: {})

    def nodes_of(participant: Participant) -> dict[str, tuple[int, int]]:
        mine = [one for one in onlooker if bytes(one["gid"]["data"]) == participant.guid]
        return {
            f"{node['node_namespace'].rstrip('/')}/{node['node_name']}": (
                len(node["reader_gid_seq"]),
                len(node["writer_gid_seq"]),
            )
            for node in (mine[-1]["node_entities_info_seq"] if mine else [])
        }

    await until(lambda: nodes_of(peer.participant).get(NODE) == (1, 2))
    await until(lambda: "/yardmaster_gateway" in nodes_of(link._participant))
    service.close()
    await until(lambda: nodes_of(peer.participant).get(NODE) == (0, 1))


@pytest.mark.parametrize(
    "distro",
    ["jazzy", pytest.param("humble", marks=pytest.mark.proof), pytest.param("rolling", marks=pytest.mark.proof)],
)
async def test_cyclone_takes_a_message_of_every_type(url, distro):
    types = known_types(distro)
    participant = Participant(address_of(url), types, clock=SystemClock(), node="/types")
    for number, type in enumerate(sorted(types._store.fielddefs)):
        writer = participant.writer(Spot(f"rt/type_{number}", type, "/types"), Profile())
        writer.write(types.encode(type, {}))
        writer.close()
    await participant.close()

    assert number > 150


async def test_cyclone_refuses_bytes_that_are_not_of_the_type(peer):
    writer = peer.participant.writer(Spot("rt/robot_01/name", "std_msgs/msg/String", NODE), Profile())

    with pytest.raises(Invalid, match="not of its type"):
        writer.write(bytes.fromhex("00010000ffffffff"))


async def test_a_peer_of_humble_announces_no_hashes_and_is_driven_by_an_account_of_humble_only(url, goal):
    async with open_peer(url, distro="humble", node=NODE) as old:
        old.action_server(NODE, ACTION, NAVIGATE, lambda *_: True, lambda _: True)
        async with open_dds(url, distro="humble", node="/humble_gateway") as fitting:
            assert isinstance(await fitting.send_goal(ACTION, NAVIGATE, uuid4(), goal), Taken)
        async with open_dds(url, distro="jazzy", node="/jazzy_gateway") as other:
            refused = await other.send_goal(ACTION, NAVIGATE, uuid4(), goal)

    assert "announces no type hash" in refused.reason
