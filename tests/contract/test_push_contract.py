"""What the gateway relies on, of every push link: nothing is begun twice, whoever dies, and every doubt ends in a typed outcome."""

import asyncio
import itertools

import pytest

from fleet.adapter import (
    Accepted,
    Acknowledged,
    Observation,
    OrderReport,
    OrderStatus,
    OrderTask,
    Refused,
    TaskKind,
    Unknown,
    Unsupported,
)
from fleet.errors import NotFound
from fleet.push import Exposure, Heard, Hearing

OVER = (OrderStatus.succeeded, OrderStatus.failed, OrderStatus.canceled, OrderStatus.rejected)


async def test_an_order_is_accepted_carried_out_once_and_told_as_succeeded(push_stand):
    order = push_stand.order(stops=2)
    assert isinstance(await push_stand.adapter.submit(order), Accepted)
    report = await push_stand.until(order, *OVER)
    assert report.status is OrderStatus.succeeded, report
    assert [task.status for task in report.tasks] == ["succeeded", "succeeded"]
    assert (report.key, report.serial_number, report.fence) == (order.key, order.serial_number, order.fence)
    began = await push_stand.peer.executed(order.serial_number)
    assert len(began) == len(set(began)) in (1, 2)


async def test_the_reports_rise_in_sequence_and_never_go_back_in_time(push_stand):
    order = push_stand.order(stops=2)
    await push_stand.adapter.submit(order)
    await push_stand.until(order, *OVER)
    told = push_stand.reports(order.key)
    assert told[0].status is OrderStatus.running
    assert told[-1].status is OrderStatus.succeeded
    assert all(before.sequence < after.sequence for before, after in itertools.pairwise(told))
    assert all(before.observed_at <= after.observed_at for before, after in itertools.pairwise(told))


async def test_the_same_order_sent_again_is_accepted_again_and_not_begun_again(push_stand):
    order = push_stand.order()
    copies = await asyncio.gather(*(push_stand.adapter.submit(order) for _ in range(10)))
    assert len({copy.model_dump_json() for copy in copies}) == 1
    done = await push_stand.until(order, OrderStatus.succeeded)
    assert await push_stand.adapter.submit(order) == copies[0]
    assert await push_stand.adapter.query(order.serial_number, order.key) == done
    assert len(await push_stand.peer.executed(order.serial_number)) == 1


async def test_what_the_robot_refuses_is_rejected_with_a_reason(push_stand):
    order = push_stand.order(x_m=999.0)
    outcome = await push_stand.adapter.submit(order)
    assert isinstance(outcome, Refused | Unknown)  # a rosbridge says nothing of a rejected goal at first
    report = await push_stand.until(order, *OVER)
    assert report.status is OrderStatus.rejected
    assert report.reason
    assert await push_stand.adapter.submit(order) == Refused(reason=report.reason)
    assert await push_stand.peer.executed(order.serial_number) == []


async def test_a_stop_without_a_place_is_refused_and_nothing_is_sent(push_stand):
    nowhere = OrderTask(position=0, kind=TaskKind.go_to, station="atlantis")
    order = push_stand.order().model_copy(update={"tasks": (nowhere,)})
    outcome = await push_stand.adapter.submit(order)
    assert isinstance(outcome, Refused)
    assert "atlantis" in outcome.reason
    assert (await push_stand.until(order, *OVER)).status is OrderStatus.rejected
    assert await push_stand.peer.executed(order.serial_number) == []


async def test_an_order_under_an_outdated_fence_is_refused(push_stand):
    newer = push_stand.order(fence=9)
    await push_stand.adapter.submit(newer)
    await push_stand.until(newer, *OVER)
    outcome = await push_stand.adapter.submit(push_stand.order(fence=8))
    assert isinstance(outcome, Refused)
    assert "9" in outcome.reason


async def test_a_command_under_an_outdated_fence_ends_nothing(push_stand):
    order = push_stand.long_order(fence=9)
    await push_stand.adapter.submit(order)
    await push_stand.until(order, OrderStatus.running)
    assert isinstance(await push_stand.adapter.cancel(order.serial_number, order.key, 8), Unsupported)
    assert (await push_stand.adapter.query(order.serial_number, order.key)).status is OrderStatus.running


async def test_a_robot_that_works_refuses_a_second_order(push_stand):
    running, second = push_stand.long_order(), push_stand.order()
    await push_stand.adapter.submit(running)
    outcome = await push_stand.adapter.submit(second)
    assert isinstance(outcome, Refused)
    assert running.key in outcome.reason


async def test_a_robot_that_never_had_the_order_says_so(push_stand):
    never = push_stand.order()
    await push_stand.until(never, OrderStatus.not_found)


async def test_a_robot_that_is_not_held_is_not_commanded(push_stand):
    await push_stand.adapter.hold(frozenset(push_stand.serial_numbers[:1]))
    order = push_stand.order(push_stand.serial_numbers[1])
    assert isinstance(await push_stand.adapter.submit(order), Unknown)
    assert await push_stand.peer.executed(order.serial_number) == []


async def test_cancel_ends_a_running_order(push_stand):
    order = push_stand.long_order()
    await push_stand.adapter.submit(order)
    await push_stand.until(order, OrderStatus.running)
    assert isinstance(await push_stand.adapter.cancel(order.serial_number, order.key, order.fence), Acknowledged)
    assert (await push_stand.until(order, *OVER)).status is OrderStatus.canceled


async def test_cancel_ends_an_order_that_was_only_just_sent(push_stand):
    order = push_stand.long_order()
    submitting = asyncio.create_task(push_stand.adapter.submit(order))
    await asyncio.sleep(0)
    await submitting
    for _ in range(2):
        assert isinstance(await push_stand.adapter.cancel(order.serial_number, order.key, order.fence), Acknowledged)
    assert (await push_stand.until(order, *OVER)).status is OrderStatus.canceled


async def test_cancel_ends_an_order_whose_answer_is_not_there_yet(push_stand):
    order = push_stand.long_order()
    await push_stand.peer.tell("mute", on=True)
    submitting = asyncio.create_task(push_stand.adapter.submit(order))
    await push_stand.eventually(lambda: _has_begun(push_stand, order))
    assert isinstance(await push_stand.adapter.cancel(order.serial_number, order.key, order.fence), Acknowledged)
    await push_stand.peer.tell("mute", on=False)
    await submitting
    assert (await push_stand.until(order, *OVER)).status is OrderStatus.canceled


async def test_cancel_ends_a_paused_order(push_stand):
    order = push_stand.long_order()
    await push_stand.adapter.submit(order)
    await push_stand.adapter.pause(order.serial_number, order.key, order.fence)
    await push_stand.until(order, OrderStatus.paused)
    await push_stand.adapter.cancel(order.serial_number, order.key, order.fence)
    assert (await push_stand.until(order, *OVER)).status is OrderStatus.canceled


async def test_cancel_of_an_order_that_is_over_changes_nothing(push_stand):
    order = push_stand.order()
    await push_stand.adapter.submit(order)
    done = await push_stand.until(order, OrderStatus.succeeded)
    assert isinstance(await push_stand.adapter.cancel(order.serial_number, order.key, order.fence), Acknowledged)
    assert await push_stand.adapter.query(order.serial_number, order.key) == done


async def test_an_order_that_is_canceled_before_it_arrives_never_begins(push_stand):
    order = push_stand.order()
    assert isinstance(await push_stand.adapter.cancel(order.serial_number, order.key, order.fence), Acknowledged)
    assert isinstance(await push_stand.adapter.submit(order), Refused)
    assert (await push_stand.until(order, *OVER)).status is OrderStatus.canceled
    assert await push_stand.peer.executed(order.serial_number) == []


async def test_a_cancel_that_is_sent_to_the_wrong_robot_ends_nothing(push_stand):
    order = push_stand.long_order()
    await push_stand.adapter.submit(order)
    running = await push_stand.until(order, OrderStatus.running)
    await push_stand.adapter.cancel(push_stand.serial_numbers[1], order.key, order.fence)
    assert await push_stand.adapter.query(order.serial_number, order.key) == running


async def test_a_paused_order_stays_as_it_is_until_it_is_resumed(push_stand):
    order = push_stand.long_order()
    await push_stand.adapter.submit(order)
    await push_stand.until(order, OrderStatus.running)
    assert isinstance(await push_stand.adapter.pause(order.serial_number, order.key, order.fence), Acknowledged)
    paused = await push_stand.until(order, OrderStatus.paused)
    assert await push_stand.adapter.query(order.serial_number, order.key) == paused
    assert isinstance(await push_stand.adapter.resume(order.serial_number, order.key, order.fence), Acknowledged)
    resumed = await push_stand.until(order, OrderStatus.running)
    assert resumed.sequence > paused.sequence


async def test_two_robots_work_without_touching_each_others_orders(push_stand):
    first, second = (push_stand.long_order(serial) for serial in push_stand.serial_numbers)
    await asyncio.gather(push_stand.adapter.submit(first), push_stand.adapter.submit(second))
    await asyncio.gather(push_stand.until(first, OrderStatus.running), push_stand.until(second, OrderStatus.running))
    await push_stand.adapter.cancel(first.serial_number, first.key, first.fence)
    await push_stand.until(first, OrderStatus.canceled)
    assert (await push_stand.adapter.query(second.serial_number, second.key)).status is OrderStatus.running
    crossed = await push_stand.adapter.query(first.serial_number, second.key)
    assert crossed.status is OrderStatus.not_found


async def test_a_lost_answer_is_unknown_and_the_order_is_found_by_asking(push_stand):
    order = push_stand.order()
    await push_stand.peer.tell("mute", on=True)
    assert isinstance(await push_stand.adapter.submit(order), Unknown)
    assert isinstance(await push_stand.adapter.query(order.serial_number, order.key), Unknown)
    await push_stand.peer.tell("mute", on=False)
    assert (await push_stand.until(order, *OVER)).status is OrderStatus.succeeded
    assert len(await push_stand.peer.executed(order.serial_number)) == 1


async def test_a_gateway_that_dies_takes_its_live_order_up_again_and_begins_nothing_anew(push_stand):
    order = push_stand.long_order()
    await push_stand.adapter.submit(order)
    before = await push_stand.until(order, OrderStatus.running)
    await push_stand.reopen()
    assert (await push_stand.until(order, OrderStatus.running)).sequence >= before.sequence
    assert isinstance(await push_stand.adapter.submit(order), Accepted)
    await push_stand.adapter.cancel(order.serial_number, order.key, order.fence)
    assert (await push_stand.until(order, *OVER)).status is OrderStatus.canceled
    assert len(await push_stand.peer.executed(order.serial_number)) == 1


async def test_a_gateway_that_was_dead_when_the_order_ended_learns_how(push_stand):
    order = push_stand.order()
    await push_stand.adapter.submit(order)
    await push_stand.close()
    await asyncio.sleep(0.5)  # the robot goes on by itself; nobody here can see when it is done
    await push_stand.open()
    assert (await push_stand.until(order, *OVER)).status is OrderStatus.succeeded
    assert len(await push_stand.peer.executed(order.serial_number)) == 1


async def test_another_gateway_without_the_journal_begins_nothing_anew(push_stand):
    order = push_stand.long_order()
    await push_stand.adapter.submit(order)
    await push_stand.until(order, OrderStatus.running)
    await push_stand.reopen(journal="another")
    said = await push_stand.adapter.query(order.serial_number, order.key)
    assert isinstance(said, Unknown) or said.status is OrderStatus.running
    await push_stand.adapter.submit(order)
    assert len(await push_stand.peer.executed(order.serial_number)) == 1


async def test_an_order_that_ended_while_no_gateway_was_there_is_not_said_to_be_canceled_by_the_next_one(push_stand):
    order = push_stand.order()
    await push_stand.adapter.submit(order)
    await push_stand.close()
    await asyncio.sleep(0.5)  # the robot goes on by itself; nobody here can see when it is done
    await push_stand.open(journal="another")
    doubt = await push_stand.inherit(order)
    if push_stand.tells_goals_apart:
        assert doubt is None
        await push_stand.adapter.cancel(order.serial_number, order.key, order.fence)
        assert (await push_stand.until(order, *OVER)).status is OrderStatus.succeeded
    else:
        assert isinstance(doubt, Unknown)
    assert len(await push_stand.peer.executed(order.serial_number)) == 1


async def test_another_gateway_goes_on_with_the_tasks_that_are_left_and_begins_none_twice(push_stand):
    order = push_stand.order(stops=3)
    await push_stand.adapter.submit(order)
    await push_stand.reopen(journal="another")
    doubt = await push_stand.inherit(order, is_begun=True)
    if push_stand.tells_goals_apart:
        assert (await push_stand.until(order, *OVER)).status is OrderStatus.succeeded
    else:
        assert isinstance(doubt, Unknown)
    began = await push_stand.peer.executed(order.serial_number)
    assert len(began) == len(set(began))


async def test_a_gateway_that_comes_back_asks_about_what_another_did_meanwhile_and_goes_on_with_nothing_from_memory(
    push_stand,
):
    if not push_stand.tells_goals_apart:
        pytest.skip("the other gateway does not go on here")
    order, next_one = push_stand.order(stops=2), push_stand.order(fence=2, stops=2)
    push_stand.epoch = 1
    await push_stand.reopen()
    await push_stand.adapter.submit(order)
    push_stand.epoch = 2
    await push_stand.reopen(journal="another")
    assert await push_stand.inherit(order) is None
    await push_stand.until(order, OrderStatus.succeeded)
    await push_stand.adapter.submit(next_one)
    await push_stand.until(next_one, OrderStatus.succeeded)
    began = await push_stand.peer.executed(order.serial_number)
    push_stand.epoch = 3
    await push_stand.reopen()  # its journal ends in the middle of the first order
    assert push_stand.file.of("bench").live() == []
    assert await push_stand.inherit(next_one, earlier=(order.key,), has_worked=True) is None
    assert (await push_stand.until(next_one, *OVER)).status is OrderStatus.succeeded
    assert await push_stand.peer.executed(order.serial_number) == began


async def test_an_order_that_never_came_is_known_never_to_have_come_where_the_robot_tells(push_stand):
    before, never = push_stand.order(), push_stand.order(fence=2)
    await push_stand.adapter.submit(before)
    await push_stand.until(before, OrderStatus.succeeded)
    await push_stand.reopen(journal="another")
    doubt = await push_stand.inherit(never, earlier=(before.key,), has_worked=True)
    if not push_stand.tells_goals_apart:
        assert isinstance(doubt, Unknown)
        return
    assert doubt is None
    await push_stand.until(never, OrderStatus.not_found)
    assert isinstance(await push_stand.adapter.submit(never), Accepted)
    assert (await push_stand.until(never, *OVER)).status is OrderStatus.succeeded


async def test_an_order_that_may_be_done_and_forgotten_is_unknown_and_nothing_is_sent(push_stand):
    order = push_stand.order()
    await push_stand.adapter.submit(order)
    await push_stand.until(order, OrderStatus.succeeded)
    await push_stand.close()
    await push_stand.peer.restart()
    await push_stand.open(journal="another")
    assert isinstance(await push_stand.inherit(order, is_begun=True), Unknown)
    assert len(await push_stand.peer.executed(order.serial_number)) == 1


async def test_a_robot_that_restarts_and_forgets_leaves_no_order_that_seems_to_run_and_is_not_sent_it_again(push_stand):
    order = push_stand.long_order()
    await push_stand.adapter.submit(order)
    await push_stand.until(order, OrderStatus.running)
    await push_stand.peer.restart()

    async def is_told() -> bool:
        said = await push_stand.adapter.query(order.serial_number, order.key)
        return isinstance(said, Unknown) or said.status in (OrderStatus.failed, OrderStatus.canceled)

    await push_stand.eventually(is_told, within_s=30)
    assert len(await push_stand.peer.executed(order.serial_number)) == 1


async def test_a_robot_that_falls_silent_is_told_as_silent_and_as_heard_again(push_stand):
    robot = push_stand.serial_numbers[0]
    await push_stand.eventually(lambda: _is(push_stand, robot, Hearing.well))
    await push_stand.peer.tell("quiet", on=True)
    await push_stand.eventually(lambda: _is(push_stand, robot, Hearing.silent))
    assert isinstance(await push_stand.adapter.query(robot, "never/1"), Unknown | OrderReport)
    await push_stand.peer.tell("quiet", on=False)
    await push_stand.eventually(lambda: _is(push_stand, robot, Hearing.well))


async def test_nonsense_from_the_robots_harms_nothing(push_stand):
    await push_stand.peer.tell("nonsense")
    order = push_stand.order()
    assert isinstance(await push_stand.adapter.submit(order), Accepted)
    assert (await push_stand.until(order, *OVER)).status is OrderStatus.succeeded


async def test_observations_tell_where_the_robots_are_and_what_they_do(push_stand):
    order = push_stand.long_order()
    await push_stand.adapter.submit(order)
    robot = order.serial_number

    async def is_observed() -> bool:
        seen = [told for told in push_stand.told if isinstance(told, Observation) and told.serial_number == robot]
        return any(
            told.order_key == order.key and told.x_m == 1.0 and told.battery_fraction is not None for told in seen
        )

    await push_stand.eventually(is_observed)


async def test_what_a_robot_exposes_is_told_once_and_can_be_asked(push_stand):
    robot = push_stand.serial_numbers[0]

    async def would_be_commanded() -> bool:
        return (await push_stand.adapter.exposure(robot)).refusals == ()

    await push_stand.eventually(would_be_commanded)  # a robot is seen endpoint by endpoint
    await push_stand.eventually(lambda: _was_exposed(push_stand, robot))
    digests = [told.digest for told in push_stand.told if isinstance(told, Exposure) and told.serial_number == robot]
    assert all(before != after for before, after in itertools.pairwise(digests))
    with pytest.raises(NotFound, match=robot):
        await push_stand.adapter.exposure("/nobody")


async def test_the_robots_are_discovered_with_what_they_can_do(push_stand):
    robots = {robot.serial_number: robot for robot in await push_stand.adapter.discover()}
    assert set(push_stand.serial_numbers) <= set(robots)
    found = push_stand.adapter.capabilities(push_stand.serial_numbers[0])
    assert found.deduplicates
    assert found.queryable
    assert found.cancellable
    assert TaskKind.go_to in found.tasks


async def _has_begun(push_stand, order):
    return bool(await push_stand.peer.executed(order.serial_number))


async def _is(push_stand, robot, hearing):
    told = [one for one in push_stand.told if isinstance(one, Heard) and one.serial_number == robot]
    return bool(told) and told[-1].hearing is hearing


async def _was_exposed(push_stand, robot):
    return any(isinstance(one, Exposure) and one.serial_number == robot for one in push_stand.told)
