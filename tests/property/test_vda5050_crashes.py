"""Whatever is lost, doubled, restarted or killed in between: a robot begins an order at most once, and its end is known."""

import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.adapter import Order, OrderStatus, OrderTask, TaskKind
from fleet.adapters.simulated import vda5050_messages as messages
from fleet.adapters.simulated.vda5050_ground import BenchGround
from fleet.adapters.simulated.vda5050_vehicle import Vehicle
from fleet.adapters.vda5050 import following, outgoing, runs, steps, updates
from fleet.adapters.vda5050.options import RobotOptions
from fleet.adapters.vda5050.outgoing import Action, Envelope
from fleet.adapters.vda5050.routes import Ability, written
from fleet.adapters.vda5050.wire import Place, read_state
from fleet.journal import JournalFile
from fleet.timepieces import SteppableClock

START = datetime(2026, 3, 1, 22, 0, tzinfo=UTC)
WHO = messages.Identity("bench", "V1", "2.1.0")
ENVELOPE = Envelope("2.1.0", "bench", "V1")
STEPS = st.lists(
    st.sampled_from(["send", "send lost", "state", "state lost", "pass", "kill gateway", "close robot", "cancel"]),
    max_size=40,
)


class Wire:
    """Gateway's run and robot, with nothing between them but what the test lets through."""

    def __init__(self, folder: Path, *, is_long: bool, horizon: int | None) -> None:
        self.horizon, self.state = horizon, None
        self.clock = SteppableClock(START)
        self.ground = BenchGround(self.clock)
        self.vehicle = Vehicle(self.ground, WHO)
        self.file = JournalFile(folder / "journal.db")
        self.journal = self.file.of("bench")
        tasks = [
            OrderTask(position=position, kind=TaskKind.go_to, station=f"stop {position}", x_m=x_m, y_m=0.0)
            for position, x_m in enumerate([1.0, 2.0, 60.0 if is_long else 3.0])
        ]
        self.order = Order(key="m/1", fence=1, serial_number="bench/V1", mission_id="m", tasks=tuple(tasks))
        ability = Ability(ENVELOPE, RobotOptions(), None, Place(0.0, 0.0, 0.0, messages.MAP, True), "")
        self.run = updates.begun(written(self.order, ability, START, 0), horizon)
        self.journal.admit(self.order, self.run.model_dump(mode="json"))
        self.number = 0

    def step(self, name: str) -> None:
        if name in {"send", "send lost"}:
            self.send(is_lost=name == "send lost")
        elif name == "state":
            self.hear()
        elif name == "pass":
            self.clock.step(0.2)
        elif name == "kill gateway":
            entry, self.state = self.journal.entry("m/1"), None
            self.run = runs.Run.model_validate(dict(entry.state))
        elif name == "close robot":
            self.vehicle = Vehicle(self.ground, WHO)
        elif name == "cancel" and not self.run.is_over:
            self.keep(self.run.model_copy(update={"is_cancel_asked": True}))

    def send(self, *, is_lost: bool) -> None:
        run = self.run
        if run.is_over:
            return
        if run.is_confirmed and run.is_cancel_asked:
            cancel = Action(run.instant_id("cancelOrder", run.cancels), "cancelOrder")
            body, take = outgoing.instant_actions(ENVELOPE, 1, START, [cancel]), self.vehicle.take_instant
        elif not run.is_confirmed or (self.state is not None and not steps.is_taken(run, self.state)):
            body, take = outgoing.order(ENVELOPE, 1, START, run.order_id, updates.message(run)), self.vehicle.take_order
            self.run = run.model_copy(update={"sends": run.sends + 1})
        else:
            return
        if not is_lost:
            take(orjson.loads(body))

    def hear(self) -> None:
        self.number += 1
        body = messages.headed(WHO, self.number, self.clock.now(), messages.state(WHO, self.vehicle.shown()))
        state = read_state(orjson.dumps(body), [])
        self.state = state
        heard = following.heard(self.run, state, self.clock.now())
        if heard is not self.run:
            self.keep(heard)
        more = updates.extended(self.run, state, RobotOptions(horizon=self.horizon))
        if more is not self.run and not self.run.is_over:
            self.keep(more)

    def keep(self, run: runs.Run) -> None:
        assert run.report.sequence >= self.run.report.sequence
        assert not (self.run.is_over and run.report != self.run.report), "an order that was over has changed"
        self.run = run
        self.journal.save("m/1", run.model_dump(mode="json"), is_over=run.is_over)


@settings(max_examples=120, deadline=None)
@given(STEPS, st.booleans(), st.sampled_from([None, 1, 2]))
def test_an_order_begins_at_most_once_and_comes_to_an_end_that_the_robot_agrees_with(happenings, is_long, horizon):
    with tempfile.TemporaryDirectory() as folder:
        wire = Wire(Path(folder), is_long=is_long, horizon=horizon)
        for name in happenings:
            wire.step(name)
        wire.step("cancel" if is_long else "pass")
        for _ in range(12):
            for name in ("send", "state", "pass", "state"):
                wire.step(name)
        wire.file.close()
        assert len(wire.ground.begun) == len(set(wire.ground.begun)), "a part of the order began twice"
        assert wire.run.is_over, wire.run.report
        legs = [wire.ground.given(word).status for word in wire.ground.begun]
        assert all(status is OrderStatus.succeeded for status in legs[:-1])
        if wire.run.report.status is OrderStatus.succeeded:
            assert wire.ground.place == (3.0, 0.0)
            assert legs[-1] is OrderStatus.succeeded
        else:
            assert wire.vehicle.shown().nodes == [], "canceled, and the robot has something left to do"
        assert wire.run.report.status in {OrderStatus.succeeded, OrderStatus.canceled}
        assert wire.run.report.observed_at <= START + timedelta(hours=1)
