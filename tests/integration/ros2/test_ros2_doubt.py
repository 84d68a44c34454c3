"""When it is not clear how things stand: lost replies, two servers, lists of strangers, publishers that come later."""

import asyncio
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest

from fleet.adapters.ros2.dds import open_dds
from fleet.adapters.ros2.link import (
    CancelDeclined,
    Ended,
    GoalSeen,
    GoalStatus,
    NoAnswer,
    Refusal,
    Sample,
    Statuses,
    Taken,
    UnknownGoal,
)
from fleet.adapters.ros2.peer import Peer, open_peer
from fleet.adapters.ros2.peer_goals import stamp
from fleet.adapters.ros2.qos import STATUS, Profile
from fleet.clock import SteppableClock
from fleet.errors import Invalid

NODE, ACTION, NAVIGATE = "/robot_01/bt_navigator", "/robot_01/navigate_to_pose", "nav2_msgs/action/NavigateToPose"
STATUS_TYPE = "action_msgs/msg/GoalStatusArray"


class Scripted:
    """An action server whose every answer is written by the test; it counts the requests for results."""

    def __init__(self, peer: Peer, status: Profile = STATUS) -> None:
        self.asked: list[UUID] = []
        self.lost = 0  # so many requests for results are never answered
        self.answers: asyncio.Queue[dict[str, object]] = asyncio.Queue()  # to the others, in order
        self.cancel_answer: dict[str, object] = {"return_code": 0}
        within = f"{ACTION}/_action"
        peer.service(
            NODE, f"{within}/send_goal", f"{NAVIGATE}_SendGoal", lambda _: {"accepted": True, "stamp": stamp(5)}
        )
        peer.service(NODE, f"{within}/get_result", f"{NAVIGATE}_GetResult", self._get_result)
        peer.service(NODE, f"{within}/cancel_goal", "action_msgs/srv/CancelGoal", lambda _: self.cancel_answer)
        self._status = peer.publisher(NODE, f"{within}/status", STATUS_TYPE, status)

    async def _get_result(self, request: dict[str, Any]) -> dict[str, object]:
        self.asked.append(UUID(bytes=bytes(request["goal_id"]["uuid"])))
        if len(self.asked) <= self.lost:
            await asyncio.Event().wait()
        return await self.answers.get()

    def list(self, goals: dict[UUID, int]) -> None:
        entries = [
            {"goal_info": {"goal_id": {"uuid": [*goal_id.bytes]}, "stamp": stamp(7)}, "status": status}
            for goal_id, status in goals.items()
        ]
        self._status.publish({"status_list": entries})


@pytest.fixture
def scripted(peer: Peer) -> Scripted:
    return Scripted(peer)


async def test_a_result_is_asked_for_once_however_often_it_is_waited_for(link, scripted):
    goal_id = uuid4()

    for _ in range(5):
        assert isinstance(await link.result(ACTION, NAVIGATE, goal_id, timeout_s=0.1), NoAnswer)
    assert scripted.asked == [goal_id]

    scripted.answers.put_nowait({"status": 4})
    assert isinstance(await link.result(ACTION, NAVIGATE, goal_id, timeout_s=5.0), Ended)


async def test_a_result_whose_reply_was_lost_is_asked_for_again_when_the_list_says_that_it_is_over(
    link, scripted, until
):
    goal_id = uuid4()
    scripted.lost = 1
    scripted.answers.put_nowait({"status": 6, "result": {"error_code": 5}})
    link.statuses(ACTION)
    assert isinstance(await link.result(ACTION, NAVIGATE, goal_id, timeout_s=0.2), NoAnswer)

    scripted.list({goal_id: 6})
    await until(lambda: link.statuses(ACTION).goals)
    ended = await link.result(ACTION, NAVIGATE, goal_id, timeout_s=5.0)

    assert ended == Ended(GoalStatus.aborted, {"error_code": 5, "error_msg": ""})
    assert scripted.asked == [goal_id, goal_id]


async def test_a_result_that_is_long_in_coming_is_asked_for_again(url, scripted, clock: SteppableClock):
    goal_id = uuid4()
    async with open_dds(url, clock=clock, node="/patient") as patient:
        assert isinstance(await patient.result(ACTION, NAVIGATE, goal_id, timeout_s=0.5), NoAnswer)
        clock.step(20.0)
        assert isinstance(await patient.result(ACTION, NAVIGATE, goal_id, timeout_s=0.2), NoAnswer)
        assert scripted.asked == [goal_id]
        clock.step(11.0)
        assert isinstance(await patient.result(ACTION, NAVIGATE, goal_id, timeout_s=0.2), NoAnswer)

    assert scripted.asked == [goal_id, goal_id]


async def test_a_result_is_asked_of_the_server_that_came_after_the_one_that_was_asked(
    link, url, navigator, goal, until
):
    goal_id = uuid4()
    await link.send_goal(ACTION, NAVIGATE, goal_id, goal)
    assert isinstance(await link.result(ACTION, NAVIGATE, goal_id, timeout_s=0.1), NoAnswer)
    before = link.incarnation(ACTION)
    navigator.served.close()
    await until(lambda: link.incarnation(ACTION) == "")

    async with open_peer(url, node=NODE) as successor:
        successor.action_server(NODE, ACTION, NAVIGATE, lambda *_: True, lambda _: True)
        await until(lambda: link.incarnation(ACTION) not in ("", before))
        assert await link.result(ACTION, NAVIGATE, goal_id, timeout_s=5.0) == UnknownGoal()


async def test_two_servers_of_one_action_get_no_goal_and_may_both_be_cancelled(link, url, navigator, goal, until):
    goal_id = uuid4()
    await link.send_goal(ACTION, NAVIGATE, goal_id, goal)
    reached = []
    async with open_peer(url, node="/robot_01/impostor") as second:
        second.action_server("/robot_01/impostor", ACTION, NAVIGATE, lambda *_: bool(reached.append(1)), lambda _: True)
        await until(lambda: "More than one server" in link.objection(ACTION, NAVIGATE))

        refused = await link.send_goal(ACTION, NAVIGATE, uuid4(), goal)
        cancelled = await link.cancel_goal(ACTION, NAVIGATE, goal_id)

    assert isinstance(refused, Refusal)
    assert refused.may_pass
    assert not isinstance(cancelled, Refusal | NoAnswer)
    assert (len(navigator.began), reached) == (1, [])


async def test_a_list_with_a_status_that_there_is_not_is_read(link, scripted, until):
    known, odd = uuid4(), uuid4()
    link.statuses(ACTION)

    scripted.list({known: 2, odd: 77})
    await until(lambda: link.statuses(ACTION).is_heard)

    assert link.statuses(ACTION).goals == {
        known: GoalSeen(GoalStatus.executing, 7),
        odd: GoalSeen(GoalStatus.unknown, 7),
    }


async def test_a_server_that_says_yes_to_a_cancel_and_means_other_goals_has_declined(link, scripted):
    other = {"goal_id": {"uuid": [9] * 16}}
    scripted.cancel_answer = {"return_code": 0, "goals_canceling": [other]}

    assert await link.cancel_goal(ACTION, NAVIGATE, uuid4()) == CancelDeclined()


async def test_a_status_list_that_nobody_can_hear_is_shown_to_the_operator_and_the_goal_is_still_taken(
    link, peer, goal, until
):
    Scripted(peer, Profile(is_reliable=False, depth=1))
    shown: Callable[[], list[str]] = lambda: [seen.complaint for seen in link.endpoints() if seen.kind == "action"]  # noqa: E731  # looked at twice
    await until(lambda: any(shown()))

    assert "Its status list cannot be heard" in shown()[0]
    assert await link.send_goal(ACTION, NAVIGATE, uuid4(), goal) == Taken(stamp_ns=5)


async def test_a_watcher_that_is_closed_is_told_nothing_more(link, scripted, until):
    told: list[Statuses] = []
    watching = link.watch(ACTION, told.append)
    scripted.list({uuid4(): 2})
    await until(lambda: told)

    watching.close()
    watching.close()
    count = len(told)
    scripted.list({})
    await until(lambda: not link.statuses(ACTION).goals)

    assert len(told) == count


async def test_a_publisher_that_comes_later_and_keeps_its_message_is_heard(link, peer, until):
    heard: list[Sample] = []
    link.listen("/robot_01/site_name", "std_msgs/msg/String", heard.append, max_rate_hz=10.0)

    publisher = peer.publisher(
        NODE, "/robot_01/site_name", "std_msgs/msg/String", Profile(durability="transient local", depth=1)
    )
    publisher.publish({"data": "north"})
    await until(lambda: heard)

    assert heard[0].fields == {"data": "north"}


async def test_strangers_who_only_ask_and_listen_change_nothing_of_what_is_seen_of_a_robot(link, url, navigator, until):
    await until(lambda: any(seen.nodes for seen in link.endpoints()))
    await asyncio.sleep(0.3)
    before = [seen for seen in link.endpoints() if seen.namespace == "/robot_01"]
    async with open_dds(url, node="/stranger") as stranger:
        stranger.statuses(ACTION)
        await stranger.cancel_goal(ACTION, NAVIGATE, uuid4())
        await asyncio.sleep(0.2)
        during = [seen for seen in link.endpoints() if seen.namespace == "/robot_01"]

    assert before == during
    assert [seen.name for seen in before] == [ACTION]


async def test_nothing_is_sent_of_a_type_that_is_not_known(link):
    with pytest.raises(Invalid, match="acme_msgs/srv/Greet_Request is not known for jazzy"):
        await link.call("/robot_01/greet", "acme_msgs/srv/Greet", {}, timeout_s=1.0)
    assert "acme_msgs/action/Greet is not known" in link.objection("/robot_01/greet", "acme_msgs/action/Greet")
