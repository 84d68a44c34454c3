"""The link over real DDS on loopback, against a server that behaves as rclpy does."""

import asyncio
import threading
from uuid import uuid4

import pytest

from fleet.adapters.ros2.dds import open_dds
from fleet.adapters.ros2.link import (
    AlreadyOver,
    CancelDeclined,
    Canceling,
    Declined,
    Ended,
    GoalStatus,
    NoAnswer,
    Refusal,
    Sample,
    Statuses,
    Taken,
    UnknownGoal,
)
from fleet.adapters.ros2.peer import open_peer
from fleet.adapters.ros2.qos import Profile
from fleet.errors import Invalid, Unavailable

NODE, ACTION, NAVIGATE = "/robot_01/bt_navigator", "/robot_01/navigate_to_pose", "nav2_msgs/action/NavigateToPose"
RESET, TRIGGER = "/robot_01/reset", "std_srvs/srv/Trigger"
BATTERY, BATTERY_STATE = "/robot_01/battery_state", "sensor_msgs/msg/BatteryState"


async def test_a_goal_is_taken_once_and_its_result_told_when_it_ends(link, navigator, goal):
    goal_id = uuid4()

    taken = await link.send_goal(ACTION, NAVIGATE, goal_id, goal)
    again = await link.send_goal(ACTION, NAVIGATE, goal_id, goal)
    waiting = asyncio.create_task(link.result(ACTION, NAVIGATE, goal_id, timeout_s=5.0))
    early = await link.result(ACTION, NAVIGATE, goal_id, timeout_s=0.05)
    navigator.served.finish(goal_id, GoalStatus.aborted, {"error_code": 103, "error_msg": "no path"})

    assert isinstance(taken, Taken)
    assert again == Declined()
    assert isinstance(early, NoAnswer)
    assert await waiting == Ended(GoalStatus.aborted, {"error_code": 103, "error_msg": "no path"})
    assert navigator.began == [goal_id]


async def test_a_declined_goal_is_told_as_such_and_has_no_result(link, navigator, far_goal):
    goal_id = uuid4()

    assert await link.send_goal(ACTION, NAVIGATE, goal_id, far_goal) == Declined()
    assert await link.result(ACTION, NAVIGATE, goal_id, timeout_s=2.0) == UnknownGoal()
    assert navigator.began == []


async def test_a_link_that_never_sent_the_goal_gets_its_result(link, navigator, goal, url):
    goal_id = uuid4()
    await link.send_goal(ACTION, NAVIGATE, goal_id, goal)

    async with open_dds(url, node="/second_gateway") as second:
        waiting = asyncio.create_task(second.result(ACTION, NAVIGATE, goal_id, timeout_s=5.0))
        assert isinstance(await second.send_goal(ACTION, NAVIGATE, goal_id, goal), Declined)
        navigator.served.finish(goal_id, GoalStatus.succeeded)
        assert await waiting == Ended(GoalStatus.succeeded, {"error_code": 0, "error_msg": ""})


async def test_a_cancel_ends_a_running_goal(link, navigator, goal):
    goal_id = uuid4()
    await link.send_goal(ACTION, NAVIGATE, goal_id, goal)

    assert await link.cancel_goal(ACTION, NAVIGATE, goal_id) == Canceling()
    ended = await link.result(ACTION, NAVIGATE, goal_id, timeout_s=2.0)
    assert isinstance(ended, Ended)
    assert ended.status == GoalStatus.canceled
    assert await link.cancel_goal(ACTION, NAVIGATE, goal_id) == AlreadyOver()
    assert await link.cancel_goal(ACTION, NAVIGATE, uuid4()) == UnknownGoal()


async def test_a_robot_may_decline_to_cancel(link, navigator, goal):
    navigator.may_cancel = False
    goal_id = uuid4()
    await link.send_goal(ACTION, NAVIGATE, goal_id, goal)

    assert await link.cancel_goal(ACTION, NAVIGATE, goal_id) == CancelDeclined()


async def test_a_goal_that_is_never_answered_is_unknown_and_may_have_arrived(link, navigator, goal):
    arrived = []

    async def think(goal_id, _) -> bool:
        arrived.append(goal_id)
        await asyncio.Event().wait()
        return True

    navigator.takes = think
    goal_id = uuid4()

    answer = await link.send_goal(ACTION, NAVIGATE, goal_id, goal)

    assert isinstance(answer, NoAnswer)
    assert "did not answer within 1 s" in answer.why
    assert arrived == [goal_id]


async def test_the_status_list_is_heard_by_who_comes_late_and_followed(link, navigator, goal, until, url):
    first, second = uuid4(), uuid4()
    await link.send_goal(ACTION, NAVIGATE, first, goal)
    heard: list[Statuses] = []

    async with open_dds(url, node="/late") as late:
        watching = late.watch(ACTION, heard.append)
        await until(lambda: first in late.statuses(ACTION).goals)
        await link.send_goal(ACTION, NAVIGATE, second, goal)
        navigator.served.finish(second, GoalStatus.succeeded)
        await until(lambda: late.statuses(ACTION).goals.get(second, None) is not None)
        await until(lambda: late.statuses(ACTION).goals[second].status == GoalStatus.succeeded)
        assert late.statuses(ACTION).goals[first].status == GoalStatus.executing
        watching.close()

    assert heard[-1].is_heard


async def test_a_server_that_goes_takes_its_status_list_with_it(link, navigator, goal, until):
    await link.send_goal(ACTION, NAVIGATE, uuid4(), goal)
    heard: list[Statuses] = []
    link.watch(ACTION, heard.append)
    await until(lambda: link.statuses(ACTION).is_heard)

    navigator.served.close()
    await until(lambda: not link.statuses(ACTION).is_heard)

    assert heard[-1] == Statuses(is_heard=False, goals={})
    assert link.incarnation(ACTION) == ""


async def test_a_server_of_another_distribution_is_refused_before_anything_is_sent(url, link, goal):
    reached = []
    async with open_peer(url, distro="iron", node=NODE) as old:
        old.action_server(NODE, ACTION, NAVIGATE, lambda goal_id, _: bool(reached.append(goal_id)), lambda _: True)
        while not any(seen.kind == "action" for seen in link.endpoints()):
            await link.changed()

        answer = await link.send_goal(ACTION, NAVIGATE, uuid4(), goal)

        assert isinstance(answer, Refusal)
        assert "it is the one of iron: set the account's distro to that" in answer.reason
        assert next(seen for seen in link.endpoints() if seen.kind == "action").complaint == answer.reason
        assert reached == []


async def test_a_server_that_appears_while_it_is_waited_for_gets_the_goal(link, peer, navigator, goal):
    navigator.served.close()
    sending = asyncio.create_task(link.send_goal(ACTION, NAVIGATE, uuid4(), goal))
    await asyncio.sleep(0.2)
    assert not sending.done()

    navigator.serve(peer)

    assert isinstance(await sending, Taken)


async def test_an_absent_server_is_refused_in_bounded_time(link, navigator, goal):
    async with asyncio.timeout(4.5):
        answer = await link.send_goal("/robot_02/navigate_to_pose", NAVIGATE, uuid4(), goal)

    assert isinstance(answer, Refusal)
    assert f"{NAVIGATE} is served at {ACTION}" in answer.reason


async def test_fields_that_do_not_fit_are_told_before_a_server_is_looked_for(link):
    with pytest.raises(Invalid, match="has no field destination"):
        await link.send_goal(ACTION, NAVIGATE, uuid4(), {"destination": "dock"})


async def test_two_clients_of_one_service_each_get_their_own_replies(link, peer, url):
    asked: list[str] = []
    all_asked = asyncio.Event()

    async def answer(request) -> dict[str, object]:
        asked.extend(request["names"])
        if len(asked) == 8:
            all_asked.set()
        await all_asked.wait()
        return {"types": [int(name) for name in request["names"]]}

    service, type = "/robot_01/get_types", "rcl_interfaces/srv/GetParameterTypes"
    peer.service(NODE, service, type, answer)
    async with open_dds(url, node="/other_gateway") as other:
        calls = [
            one.call(service, type, {"names": [str(number)]}, timeout_s=10.0)
            for number, one in enumerate([link, other] * 4)
        ]
        replies = await asyncio.gather(*calls)

    assert [list(reply["types"]) for reply in replies] == [[number] for number in range(8)]
    assert len(asked) == 8


async def test_a_service_that_does_not_answer_leaves_no_answer_and_its_late_reply_is_nobodys(link, peer):
    go_on = asyncio.Event()

    async def answer(_) -> dict[str, object]:
        await go_on.wait()
        return {"success": True, "message": "late"}

    peer.service(NODE, RESET, TRIGGER, answer)

    first = await link.call(RESET, TRIGGER, {}, timeout_s=0.3)
    go_on.set()
    second = await link.call(RESET, TRIGGER, {}, timeout_s=5.0)

    assert isinstance(first, NoAnswer)
    assert second == {"success": True, "message": "late"}


async def test_a_best_effort_publisher_is_heard(link, peer, until):
    heard: list[Sample] = []
    link.listen(BATTERY, BATTERY_STATE, heard.append, max_rate_hz=100.0)
    publisher = peer.publisher(NODE, BATTERY, BATTERY_STATE, Profile(is_reliable=False, depth=5))

    async with asyncio.timeout(5.0):
        while not heard:
            publisher.publish({"percentage": 0.5})
            await asyncio.sleep(0.02)

    assert heard[0].fields["percentage"] == 0.5
    assert 0 <= heard[0].received_ns - heard[0].sent_ns < 10**9


async def test_the_last_message_of_a_publisher_that_keeps_it_is_heard_by_who_comes_late(link, peer, until):
    publisher = peer.publisher(
        NODE, "/robot_01/map_name", "std_msgs/msg/String", Profile(durability="transient local", depth=1)
    )
    publisher.publish({"data": "hall"})
    publisher.publish({"data": "yard"})
    await until(lambda: any(seen.name == "/robot_01/map_name" for seen in link.endpoints()))
    heard: list[Sample] = []

    link.listen("/robot_01/map_name", "std_msgs/msg/String", heard.append, max_rate_hz=10.0)
    await until(lambda: heard)

    assert heard[0].fields == {"data": "yard"}


async def test_of_a_flood_only_the_newest_is_told_at_the_rate_asked_for(link, peer, until):
    heard: list[Sample] = []
    link.listen(BATTERY, BATTERY_STATE, heard.append, max_rate_hz=5.0)
    publisher = peer.publisher(NODE, BATTERY, BATTERY_STATE, Profile(is_reliable=False, depth=5))
    sent = 0
    until_s = asyncio.get_running_loop().time() + 1.0
    while asyncio.get_running_loop().time() < until_s:
        for _ in range(20):
            sent += 1
            publisher.publish({"voltage": float(sent)})
        await asyncio.sleep(0.005)
    await until(lambda: heard and heard[-1].fields["voltage"] == sent)

    assert sent > 500
    assert len(heard) <= 8
    assert [sample.fields["voltage"] for sample in heard] == sorted(sample.fields["voltage"] for sample in heard)
    assert sum(sample.missed for sample in heard) > 0


async def test_messages_of_another_definition_are_not_read(link, url, until):
    heard: list[Sample] = []
    async with (
        open_peer(url, definitions={"acme_msgs/msg/Load": "string item\n"}) as stranger,
        open_dds(url, definitions={"acme_msgs/msg/Load": "float64 mass\nfloat64 height\n"}) as mine,
    ):
        mine.listen("/robot_01/load", "acme_msgs/msg/Load", heard.append, max_rate_hz=100.0)
        publisher = stranger.publisher(NODE, "/robot_01/load", "acme_msgs/msg/Load")
        await until(lambda: any(seen.name == "/robot_01/load" for seen in mine.endpoints()))
        for _ in range(20):
            publisher.publish({"item": "a crate of something"})
            await asyncio.sleep(0.01)
        complaint = next(seen for seen in mine.endpoints() if seen.name == "/robot_01/load").complaint

    assert heard == []
    assert "Its definition of acme_msgs/msg/Load" in complaint


async def test_a_topic_of_an_unknown_type_or_without_a_rate_is_refused(link):
    with pytest.raises(Invalid, match="acme_msgs/msg/Load is not known for jazzy"):
        link.listen("/robot_01/load", "acme_msgs/msg/Load", print, max_rate_hz=1.0)
    with pytest.raises(Invalid, match="give a rate above 0"):
        link.listen(BATTERY, BATTERY_STATE, print, max_rate_hz=0.0)


async def test_what_is_seen_changes_when_a_robot_comes_and_goes(link, url):
    assert not [seen for seen in link.endpoints() if seen.kind == "service"]
    async with open_peer(url, node=NODE) as robot:
        robot.service(NODE, RESET, TRIGGER, lambda _: {})
        async with asyncio.timeout(5.0):
            while not [seen for seen in link.endpoints() if seen.name == RESET and seen.nodes]:
                await link.changed()
        seen = next(seen for seen in link.endpoints() if seen.name == RESET)
        assert (seen.namespace, seen.nodes, seen.complaint) == ("/robot_01", (NODE,), "")
    async with asyncio.timeout(5.0):
        while [seen for seen in link.endpoints() if seen.name == RESET]:
            await link.changed()


async def test_one_process_opens_a_domain_in_one_way_only(link, url):
    with pytest.raises(Invalid, match="open in this process with other settings"):
        async with open_dds(f"{url}&participants=9"):
            pass


@pytest.mark.parametrize("interface", ["nope0", "10.99.99.99"])
async def test_an_interface_that_is_not_there_is_told_and_the_domain_can_be_opened_later(url, interface):
    domain = url.partition("&")[0]
    with pytest.raises(Unavailable, match=f"cannot be opened on interface '{interface}'"):
        async with open_dds(f"{domain}&interface={interface}"):
            pass

    async with open_dds(url) as link:
        assert link.endpoints() == ()


async def test_a_closed_link_leaves_no_thread_behind(url):
    async with open_dds(url):
        assert [thread for thread in threading.enumerate() if thread.name == "ros2-dds"]

    assert not [thread for thread in threading.enumerate() if thread.name == "ros2-dds"]
