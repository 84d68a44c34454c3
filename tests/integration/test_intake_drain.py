"""Intake: stored deliveries become states, events, alerts and reports on missions; one bad one hurts no other."""

from datetime import timedelta

import pytest
from sqlalchemy import event
from sqlalchemy.exc import OperationalError
from sqlmodel import select

from fleet.adapter import Activity, Happening, Observation, OrderReport, OrderStatus, Reported
from fleet.adapters.simulated import translate, wire
from fleet.errors import Conflict
from fleet.events import Alert, Event
from fleet.runtime import Runtime
from fleet.states import RobotState
from ingestion import inbox
from ingestion.models import Delivery, DeliveryStatus
from missions import feedback
from orchestration.intake import drain, replay


@pytest.fixture
def post(runtime: Runtime, world, clock):
    """Stores a delivery that says these things in the cloud's words, or holds these raw bytes; gives its id."""

    def do(key: str, *said: Reported, raw: bytes | None = None):
        entries = tuple(translate.entry_from(one) for one in said)
        body = raw if raw is not None else wire.Batch(entries=entries).model_dump_json(by_alias=True).encode()
        delivery = inbox.arriving(
            world.account, key=key, source="webhook", headers={}, body=body, received_at=clock.now()
        )
        with runtime.transaction() as session:
            inbox.receive(session, delivery)
        return delivery.id

    return do


@pytest.fixture
def rows(runtime: Runtime):
    """Every row of a table."""

    def read(table):
        with runtime.reading() as session:
            return session.exec(select(table)).all()

    return read


@pytest.fixture
def delivery(runtime: Runtime):
    """The delivery of this id as it stands."""

    def read(delivery_id) -> Delivery:
        with runtime.reading() as session:
            return session.get_one(Delivery, delivery_id)

    return read


@pytest.fixture
def seen(clock):
    """Makes an observation of a robot, now or seconds ago."""

    def make(serial: str = "SN-amr-01", ago_s: float = 0, battery: float = 0.4) -> Observation:
        return Observation(
            serial_number=serial,
            observed_at=clock.now() - timedelta(seconds=ago_s),
            activity=Activity.idle,
            battery_fraction=battery,
            x_m=1.0,
            y_m=2.0,
            yaw_rad=0.0,
        )

    return make


@pytest.fixture
def happened(clock):
    """Makes a happening of a robot, now or seconds ago."""

    def make(kind: str, key: str, serial: str | None = "SN-amr-01", ago_s: float = 0, **fields) -> Happening:
        return Happening(
            key=key,
            kind=kind,
            occurred_at=clock.now() - timedelta(seconds=ago_s),
            serial_number=serial,
            severity="error",
            fields=fields,
        )

    return make


def test_an_observation_becomes_the_robots_state(runtime: Runtime, world, post, seen, rows, delivery):
    delivery_id = post("d-1", seen())
    assert drain(runtime) == 1
    (state,) = rows(RobotState)
    assert (state.robot_id, state.x_m, state.y_m) == (world.robots["amr-01"].id, 1.0, 2.0)
    assert state.battery_fraction == pytest.approx(0.4)
    assert delivery(delivery_id).status is DeliveryStatus.applied


def test_nothing_waiting_is_nothing_done(runtime: Runtime, world):
    assert drain(runtime) == 0


def test_a_drained_delivery_is_not_drained_again(runtime: Runtime, post, seen):
    post("d-1", seen())
    assert (drain(runtime), drain(runtime)) == (1, 0)


def test_no_more_than_the_limit_is_drained_at_once_oldest_first(runtime: Runtime, post, seen, delivery):
    ids = [post(f"d-{number}", seen(ago_s=10 - number)) for number in range(3)]
    assert drain(runtime, limit=2) == 2
    applied = [delivery(one).status is DeliveryStatus.applied for one in ids]
    assert applied == [True, True, False]


def test_a_happening_told_by_webhook_and_again_by_poll_is_one_event(runtime: Runtime, post, happened, rows):
    post("d-1", happened("component_failed", "n-7", component="drive_motor", operating_hours=812.5))
    post("d-2", happened("component_failed", "n-7", component="drive_motor", operating_hours=812.5))
    drain(runtime)
    (event,) = rows(Event)
    assert event.kind == "component_failed"
    assert event.fields["component"] == "drive_motor"
    assert event.fields["operating_hours"] == pytest.approx(812.5)


def test_a_report_on_an_order_goes_to_the_missions_with_the_robot_as_the_one_who_says_it(
    runtime: Runtime, world, post, clock, monkeypatch
):
    told = []
    monkeypatch.setattr(feedback, "apply", lambda _session, **said: told.append(said))
    report = OrderReport(
        key="m/1", serial_number="SN-amr-02", status=OrderStatus.running, observed_at=clock.now(), sequence=3
    )
    post("d-1", report)
    drain(runtime)
    (one,) = told
    assert (one["robot"].name, one["who"], one["report"]) == ("amr-02", "robot:amr-02", report)


def test_an_order_nobody_knows_is_an_event_and_the_delivery_is_applied(runtime: Runtime, post, clock, rows, delivery):
    report = OrderReport(
        key="x/1", serial_number="SN-amr-01", status=OrderStatus.running, observed_at=clock.now(), sequence=1
    )
    delivery_id = post("d-1", report)
    drain(runtime)
    assert delivery(delivery_id).status is DeliveryStatus.applied
    assert len(rows(Event)) == 1


def test_an_unknown_robot_is_told_once_and_its_delivery_is_applied(runtime: Runtime, post, seen, rows, delivery):
    ids = [post(f"d-{number}", seen(serial="SN-stranger", ago_s=number)) for number in range(2)]
    drain(runtime)
    (event,) = rows(Event)
    assert (event.kind, event.fields["serial_number"]) == ("unknown_robot", "SN-stranger")
    assert [delivery(one).status for one in ids] == [DeliveryStatus.applied] * 2


def test_what_happens_to_an_unknown_robot_is_still_recorded(runtime: Runtime, post, happened, rows):
    post("d-1", happened("battery_low", "n-1", serial="SN-stranger"))
    drain(runtime)
    assert {(event.kind, event.robot_id) for event in rows(Event)} == {("unknown_robot", None), ("battery_low", None)}


@pytest.mark.parametrize("raw", [b"", b"\xff\xfe", b"[]", b'{"entries": [{}]}', b"[" * 100_000, b'{"entries": 1e999}'])
def test_nonsense_is_rejected_with_its_reason_and_its_bytes_are_kept(
    runtime: Runtime, post, rows, delivery, raw: bytes
):
    delivery_id = post("d-1", raw=raw)
    assert drain(runtime) == 1
    row = delivery(delivery_id)
    assert (row.status, row.body) == (DeliveryStatus.rejected, raw)
    assert row.error
    assert [event.kind for event in rows(Event)] == ["delivery_rejected"]


def test_a_poisoned_delivery_between_two_good_ones_blocks_neither(runtime: Runtime, post, seen, delivery):
    ids = [post("d-1", seen()), post("d-2", raw=b"nonsense"), post("d-3", seen(serial="SN-amr-02"))]
    drain(runtime)
    statuses = [delivery(one).status for one in ids]
    assert statuses == [DeliveryStatus.applied, DeliveryStatus.rejected, DeliveryStatus.applied]


def test_what_a_delivery_did_before_it_failed_is_undone_as_a_whole(
    runtime: Runtime, post, seen, clock, rows, delivery, monkeypatch
):
    def broken(_session, **_said):
        raise ValueError("a report nobody foresaw")

    monkeypatch.setattr(feedback, "apply", broken)
    report = OrderReport(key="m/1", serial_number="SN-amr-01", status=OrderStatus.running, observed_at=clock.now())
    delivery_id = post("d-1", seen(), report)
    drain(runtime)
    assert rows(RobotState) == []
    assert "a report nobody foresaw" in delivery(delivery_id).error


@pytest.mark.parametrize("passing", [Conflict("written by another"), OperationalError("UPDATE", {}, Exception("busy"))])
def test_what_may_pass_is_tried_again_later(runtime: Runtime, post, clock, delivery, monkeypatch, passing: Exception):
    def busy(_session, **_said):
        raise passing

    with monkeypatch.context() as patched:
        patched.setattr(feedback, "apply", busy)
        report = OrderReport(key="m/1", serial_number="SN-amr-01", status=OrderStatus.running, observed_at=clock.now())
        delivery_id = post("d-1", report)
        drain(runtime)
    assert (delivery(delivery_id).status, delivery(delivery_id).tries) == (DeliveryStatus.received, 1)
    assert drain(runtime) == 0
    clock.step(2)
    assert drain(runtime) == 1
    assert delivery(delivery_id).status is DeliveryStatus.applied


def test_a_rejected_delivery_is_understood_anew_when_replayed(runtime: Runtime, post, rows, delivery):
    delivery_id = post("d-1", raw=b"nonsense")
    drain(runtime)
    assert replay(runtime, [delivery_id]) == 1
    assert drain(runtime) == 1
    assert delivery(delivery_id).status is DeliveryStatus.rejected
    assert len(rows(Event)) == 1


def test_an_applied_delivery_replayed_changes_nothing(runtime: Runtime, post, seen, happened, rows):
    delivery_id = post("d-1", seen(), happened("component_failed", "n-1", component="drive_motor"))
    drain(runtime)
    before = (len(rows(Event)), len(rows(Alert)), rows(RobotState)[0].received_at)
    replay(runtime, [delivery_id])
    drain(runtime)
    assert (len(rows(Event)), len(rows(Alert)), rows(RobotState)[0].received_at) == before


def test_an_account_without_an_adapter_rejects_and_says_which_are_known(runtime: Runtime, world, post, seen, delivery):
    with runtime.transaction() as session:
        session.get_one(type(world.account), world.account.id).manufacturer = "nobody"
    delivery_id = post("d-1", seen())
    drain(runtime)
    assert "'nobody'" in delivery(delivery_id).error
    assert "simulated" in delivery(delivery_id).error


@pytest.fixture
def statements(runtime: Runtime):
    """How many statements a drain takes."""
    seen: list[str] = []
    event.listen(runtime.engine, "before_cursor_execute", lambda *told: seen.append(told[2]))

    def count() -> int:
        seen.clear()
        drain(runtime)
        return len(seen)

    return count


def test_a_robot_that_is_charged_in_the_next_delivery_closes_the_alert_of_the_one_before(
    runtime: Runtime, post, seen, happened, rows
):
    post("d-1", happened("battery_low", "low", ago_s=60))
    post("d-2", seen(battery=0.9))
    assert drain(runtime) == 2
    (alert,) = rows(Alert)
    assert alert.closed_at is not None


def test_of_two_deliveries_at_once_the_newer_state_stands_whichever_came_first(runtime: Runtime, post, seen, rows):
    post("d-1", seen(battery=0.5))
    post("d-2", seen(battery=0.3, ago_s=30))
    assert drain(runtime) == 2
    (state,) = rows(RobotState)
    assert state.battery_fraction == pytest.approx(0.5)


@pytest.mark.parametrize("first", ["from the future", "true"])
def test_of_two_deliveries_at_once_one_stamped_in_the_future_gives_way_to_the_true_one(
    runtime: Runtime, post, seen, rows, first: str
):
    said = {"from the future": seen(battery=0.3, ago_s=-3600), "true": seen(battery=0.5)}
    for key in sorted(said, key=lambda key: key != first):
        post(key, said[key])
    assert drain(runtime) == 2
    (state,) = rows(RobotState)
    assert state.battery_fraction == pytest.approx(0.5)


def test_many_deliveries_cost_no_more_statements_than_two(runtime: Runtime, post, seen, statements):
    for number in range(2):
        post(f"a-{number}", seen(ago_s=10 - number))
    few = statements()
    for number in range(8):
        post(f"b-{number}", seen(ago_s=8 - number))
    assert statements() == few


def test_one_that_meets_a_conflict_is_put_off_and_the_others_are_applied(
    runtime: Runtime, post, seen, clock, delivery, monkeypatch
):
    def refuse(*_: object, **__: object) -> None:
        raise Conflict("Somebody else was faster.")

    monkeypatch.setattr(feedback, "apply", refuse)
    report = OrderReport(
        key="k/1", serial_number="SN-amr-01", status=OrderStatus.running, observed_at=clock.now(), sequence=1
    )
    fine, late = post("d-1", seen()), post("d-2", report)
    drain(runtime)
    assert (delivery(fine).status, delivery(late).status) == (DeliveryStatus.applied, DeliveryStatus.received)
    assert delivery(late).tries == 1
