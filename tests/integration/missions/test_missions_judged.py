"""The judge of the fault world: what a mission that takes up another did not do itself was done before it."""

import pytest
from sqlmodel import select

from fleet.adapter import Order, OrderStatus, OrderTask
from missions.models import Mission
from missions.scripted import Execution
from missions.simulation import books


@pytest.fixture
def runs(yard):
    """Writes into the robots' own history that an attempt did so many of its tasks."""

    def write(attempt, status: OrderStatus, positions: range, done: int) -> None:
        tasks = tuple(OrderTask(position=position, kind="go_to") for position in positions)
        order = Order(
            key=attempt.key,
            fence=attempt.fence,
            serial_number="SN-amr-01",
            mission_id=str(attempt.mission_id),
            tasks=tasks,
        )
        yard.robots.history.append(Execution(order, status, done=done))

    return write


@pytest.mark.parametrize(("done_before", "wrong"), [(2, 0), (1, 1)])
def test_what_was_done_before_it_was_taken_up_again_counts_and_nothing_else(yard, runs, done_before: int, wrong: int):
    mission, attempt = yard.running("m", tasks=[{"station": "gate"}] * 3)
    yard.command(mission, "cancel")
    yard.say(attempt, OrderStatus.canceled, 3, tasks=yard.done(0, 1))
    runs(attempt, OrderStatus.canceled, range(3), done_before)
    again = yard.command(mission, "retry")
    (second,) = yard.assign("amr-01")
    yard.send()
    yard.say(second, OrderStatus.succeeded, 3, tasks=yard.done(2))
    runs(second, OrderStatus.succeeded, range(2, 3), 1)
    assert again.first_task == 2
    with yard.runtime.reading() as session:
        assert books.disagreeing(session, session.exec(select(Mission)).all(), yard.robots) == wrong
