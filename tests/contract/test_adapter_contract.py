"""What the core relies on, of every adapter: it is the same for a cloud, a gateway link and the simulated maker."""

import asyncio
import itertools

import pytest

from fleet.adapter import (
    Accepted,
    Acknowledged,
    Happening,
    Observation,
    OrderReport,
    OrderStatus,
    OrderTask,
    Refused,
    TaskKind,
    Unknown,
)
from fleet.errors import Invalid, Unavailable

OVER = (OrderStatus.succeeded, OrderStatus.failed, OrderStatus.canceled, OrderStatus.rejected)


async def test_an_order_is_accepted_carried_out_and_told_as_succeeded(stand):
    order = stand.order()
    assert isinstance(await stand.adapter.submit(order), Accepted)
    report = await stand.until(order, *OVER)
    assert report.status is OrderStatus.succeeded
    assert [task.status for task in report.tasks] == ["succeeded"]
    assert (report.key, report.serial_number, report.fence) == (order.key, order.serial_number, order.fence)


async def test_the_same_order_sent_again_is_accepted_again_and_not_started_again(stand):
    order = stand.order()
    first = await stand.adapter.submit(order)
    done = await stand.until(order, OrderStatus.succeeded)
    assert await stand.adapter.submit(order) == first
    assert await stand.adapter.query(order.serial_number, order.key) == done


async def test_ten_copies_of_an_order_at_once_are_one_order(stand):
    order = stand.order()
    outcomes = await asyncio.gather(*(stand.adapter.submit(order) for _ in range(10)))
    assert all(isinstance(outcome, Accepted) for outcome in outcomes)
    report = await stand.until(order, *OVER)
    assert report.status is OrderStatus.succeeded


async def test_an_order_that_the_robot_cannot_do_is_refused_with_the_reason(stand):
    nowhere = OrderTask(position=0, kind=TaskKind.go_to, station="atlantis")
    order = stand.order().model_copy(update={"tasks": (nowhere,)})
    outcome = await stand.adapter.submit(order)
    assert isinstance(outcome, Refused)
    assert "atlantis" in outcome.reason
    assert isinstance(await stand.adapter.submit(order), Refused)
    report = await stand.adapter.query(order.serial_number, order.key)
    assert isinstance(report, OrderReport)
    assert report.status is OrderStatus.rejected


async def test_an_order_under_an_outdated_fence_is_refused(stand):
    newer = stand.order(fence=9)
    await stand.adapter.submit(newer)
    await stand.until(newer, *OVER)
    outcome = await stand.adapter.submit(stand.order(fence=8))
    assert isinstance(outcome, Refused)
    assert "9" in outcome.reason


async def test_a_robot_that_works_refuses_a_second_order(stand):
    running, second = stand.order(long=True), stand.order()
    await stand.adapter.submit(running)
    outcome = await stand.adapter.submit(second)
    assert isinstance(outcome, Refused)
    assert running.key in outcome.reason


async def test_a_robot_that_never_had_the_order_says_so(stand):
    report = await stand.adapter.query(stand.serial_numbers[0], "never/1")
    assert isinstance(report, OrderReport)
    assert report.status is OrderStatus.not_found


async def test_cancel_ends_a_running_order(stand):
    order = stand.order(long=True)
    await stand.adapter.submit(order)
    await stand.until(order, OrderStatus.running)
    assert isinstance(await stand.adapter.cancel(order.serial_number, order.key, order.fence), Acknowledged)
    assert (await stand.until(order, *OVER)).status is OrderStatus.canceled


async def test_cancel_ends_an_order_that_was_only_just_accepted(stand):
    order = stand.order(long=True)
    await stand.adapter.submit(order)
    await stand.adapter.cancel(order.serial_number, order.key, order.fence)
    assert (await stand.until(order, *OVER)).status is OrderStatus.canceled


async def test_cancel_ends_a_paused_order(stand):
    order = stand.order(long=True)
    await stand.adapter.submit(order)
    await stand.adapter.pause(order.serial_number, order.key, order.fence)
    await stand.until(order, OrderStatus.paused)
    await stand.adapter.cancel(order.serial_number, order.key, order.fence)
    assert (await stand.until(order, *OVER)).status is OrderStatus.canceled


async def test_cancel_of_an_order_that_is_over_changes_nothing(stand):
    order = stand.order()
    await stand.adapter.submit(order)
    done = await stand.until(order, OrderStatus.succeeded)
    assert isinstance(await stand.adapter.cancel(order.serial_number, order.key, order.fence), Acknowledged)
    assert await stand.adapter.query(order.serial_number, order.key) == done


async def test_an_order_that_is_canceled_before_it_arrives_never_starts(stand):
    order = stand.order()
    assert isinstance(await stand.adapter.cancel(order.serial_number, order.key, order.fence), Acknowledged)
    assert isinstance(await stand.adapter.submit(order), Refused)
    assert (await stand.until(order, *OVER)).status is OrderStatus.canceled


async def test_a_second_cancel_is_acknowledged_like_the_first(stand):
    order = stand.order(long=True)
    await stand.adapter.submit(order)
    for _ in range(2):
        assert isinstance(await stand.adapter.cancel(order.serial_number, order.key, order.fence), Acknowledged)


async def test_a_paused_order_stays_as_it_is_until_it_is_resumed(stand):
    order = stand.order(long=True)
    await stand.adapter.submit(order)
    await stand.until(order, OrderStatus.running)
    await stand.adapter.pause(order.serial_number, order.key, order.fence)
    paused = await stand.until(order, OrderStatus.paused)
    assert await stand.adapter.query(order.serial_number, order.key) == paused
    assert isinstance(await stand.adapter.resume(order.serial_number, order.key, order.fence), Acknowledged)
    resumed = await stand.until(order, OrderStatus.running)
    assert resumed.sequence > paused.sequence


async def test_every_change_of_an_order_has_a_later_sequence_and_no_earlier_time(stand):
    order = stand.order()
    await stand.adapter.submit(order)
    await stand.until(order, *OVER)
    told = [
        said
        async for page in stand.adapter.pages("")
        for said in stand.adapter.events_from(page.body)
        if isinstance(said, OrderReport) and said.key == order.key
    ]
    assert [said.status for said in told][-1] is OrderStatus.succeeded
    assert all(before.sequence < after.sequence for before, after in itertools.pairwise(told))
    assert all(before.observed_at <= after.observed_at for before, after in itertools.pairwise(told))


async def test_two_robots_work_without_touching_each_others_orders(stand):
    first, second = (stand.order(serial, long=True) for serial in stand.serial_numbers)
    await asyncio.gather(stand.adapter.submit(first), stand.adapter.submit(second))
    await asyncio.gather(stand.until(first, OrderStatus.running), stand.until(second, OrderStatus.running))
    await stand.adapter.cancel(first.serial_number, first.key, first.fence)
    await stand.until(first, OrderStatus.canceled)
    assert (await stand.adapter.query(second.serial_number, second.key)).status is OrderStatus.running
    crossed = await stand.adapter.query(first.serial_number, second.key)
    assert crossed.status is OrderStatus.not_found


async def test_a_cancel_that_is_sent_to_the_wrong_robot_ends_nothing(stand):
    order = stand.order(long=True)
    await stand.adapter.submit(order)
    running = await stand.until(order, OrderStatus.running)
    await stand.adapter.cancel(stand.serial_numbers[1], order.key, order.fence)
    assert await stand.adapter.query(order.serial_number, order.key) == running


async def test_a_lost_answer_is_unknown_and_the_order_is_found_by_asking(stand):
    order = stand.order()
    stand.wire.is_cut = True
    assert isinstance(await stand.adapter.submit(order), Unknown)
    assert isinstance(await stand.adapter.query(order.serial_number, order.key), Unknown)
    assert isinstance(await stand.adapter.cancel("elsewhere", order.key, order.fence), Unknown)
    stand.wire.is_cut = False
    assert (await stand.until(order, *OVER)).status is OrderStatus.succeeded


async def test_a_link_without_answer_is_unavailable_for_questions_about_all_robots(stand):
    stand.wire.is_cut = True
    with pytest.raises(Unavailable):
        await stand.adapter.discover()
    with pytest.raises(Unavailable):
        await stand.adapter.observe_all()
    with pytest.raises(Unavailable):
        _ = [page async for page in stand.adapter.pages("")]


async def test_after_a_restart_of_the_other_side_it_still_knows_what_was_done_and_goes_on_with_the_rest(stand):
    done, live = stand.order(), stand.order(stand.serial_numbers[1], long=True)
    await asyncio.gather(stand.adapter.submit(done), stand.adapter.submit(live))
    before = await stand.until(done, OrderStatus.succeeded)
    await stand.until(live, OrderStatus.running)
    await stand.restart()
    assert await stand.until(done, OrderStatus.succeeded) == before
    assert isinstance(await stand.adapter.submit(done), Accepted)
    assert isinstance(await stand.adapter.cancel(live.serial_number, live.key, live.fence), Acknowledged)
    assert (await stand.until(live, *OVER)).status is OrderStatus.canceled


async def test_the_robots_are_discovered_with_what_they_can_do(stand):
    robots = await stand.adapter.discover()
    assert set(stand.serial_numbers) <= {robot.serial_number for robot in robots}
    assert all("drive" in robot.capabilities for robot in robots)


async def test_one_answer_tells_of_every_robot(stand):
    page = await stand.adapter.observe_all()
    seen = [said for said in stand.adapter.events_from(page.body) if isinstance(said, Observation)]
    robots = await stand.adapter.discover()
    assert sorted(said.serial_number for said in seen) == sorted(robot.serial_number for robot in robots)


async def test_the_history_goes_on_where_the_cursor_stands(stand):
    order = stand.order()
    await stand.adapter.submit(order)
    await stand.until(order, *OVER)
    pages = [page async for page in stand.adapter.pages("")]
    later = stand.order()
    await stand.adapter.submit(later)
    await stand.until(later, *OVER)
    news = [
        said
        async for page in stand.adapter.pages(pages[-1].next_cursor)
        for said in stand.adapter.events_from(page.body)
    ]
    keys = {said.key for said in news if isinstance(said, OrderReport)}
    assert keys == {later.key}


async def test_the_same_page_has_the_same_key_and_a_longer_one_another(stand):
    order = stand.order()
    await stand.adapter.submit(order)
    await stand.until(order, *OVER)
    first, again = [[page.key async for page in stand.adapter.pages("")] for _ in range(2)]
    assert first == again
    await stand.adapter.submit(stand.order())
    assert [page.key async for page in stand.adapter.pages("")] != first


async def test_recorded_samples_are_understood_the_same_every_time(stand):
    assert stand.good_samples
    for sample in stand.good_samples:
        said = stand.adapter.events_from(sample)
        assert said == stand.adapter.events_from(sample)
        assert all(isinstance(one, OrderReport | Observation | Happening) for one in said)


async def test_samples_that_are_no_words_of_this_maker_are_invalid_and_say_where(stand):
    assert stand.bad_samples
    for sample in stand.bad_samples:
        with pytest.raises(Invalid) as refused:
            stand.adapter.events_from(sample)
        assert " at " in refused.value.message


@pytest.mark.parametrize("nonsense", [b"", b"\xff\xfe\x00", b"<html>502</html>", b"[]", b'{"entries": 3}', b"null"])
async def test_nonsense_bytes_are_invalid(stand, nonsense):
    with pytest.raises(Invalid):
        stand.adapter.events_from(nonsense)


async def test_the_link_says_that_it_deduplicates_and_can_be_asked(stand):
    found = stand.adapter.capabilities
    assert found.deduplicates
    assert found.queryable
    assert found.cancellable
