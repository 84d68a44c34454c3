"""Intake against an account that is hostile or broken: what no database can keep is rejected and holds up nobody."""

import json

import pytest
from sqlalchemy.exc import ProgrammingError
from sqlmodel import select

from fleet.adapter import Happening
from fleet.events import Event
from fleet.runtime import Runtime
from fleet.states import RobotState
from ingestion import inbox
from ingestion.models import Delivery, DeliveryStatus
from missions import feedback
from orchestration import intake
from orchestration.intake import drain

STAMP_US = 1_772_402_400_000_000
GOOD_UNIT = {"type": "UNIT", "unitSn": "SN-amr-01", "stampUs": STAMP_US, "mode": "STANDBY"}
NOTICE = {"type": "NOTICE", "noticeId": "n-1", "code": "ODD", "stampUs": STAMP_US, "unitSn": "SN-amr-01"}
JOB = {
    "type": "JOB",
    "token": "m/1",
    "unitSn": "SN-amr-01",
    "state": "DONE",
    "stampUs": STAMP_US,
    "revision": 1,
    "epoch": 0,
}
HOSTILE = {
    "a serial number with a NUL": GOOD_UNIT | {"unitSn": "SN\0"},
    "a serial number of a megabyte": GOOD_UNIT | {"unitSn": "x" * 900_000},
    "a position no map has": GOOD_UNIT | {"xMm": 1e308, "yMm": -1e308},
    "the last stamp there is": GOOD_UNIT | {"stampUs": 10**18},
    "a notice id with a NUL": NOTICE | {"noticeId": "n\0"},
    "a code with a NUL": NOTICE | {"code": "\0"},
    "details with a NUL": NOTICE | {"details": {"why\0": "a\0b"}},
    "a number of a thousand digits": NOTICE | {"details": {"count": 10**999}},
    "an order key with a NUL": JOB | {"token": "\0"},
    "a revision beyond every column": JOB | {"revision": 10**30, "epoch": 10**30},
    "steps before the first": JOB | {"steps": [{"index": -1, "state": "OK"}]},
}


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.proof)])
def database(request: pytest.FixtureRequest) -> tuple[Runtime, object]:
    """The runtime and the world on either database."""
    names = ("runtime", "world") if request.param == "sqlite" else ("postgres_runtime", "postgres_world")
    runtime, world = (request.getfixturevalue(name) for name in names)
    return runtime, world


@pytest.fixture
def post(database, clock):
    """Stores a delivery of these entries; gives its id."""
    runtime, world = database

    def do(key: str, *entries: dict) -> object:
        body = json.dumps({"entries": entries}).encode()
        delivery = inbox.arriving(
            world.account, key=key, source="webhook", headers={}, body=body, received_at=clock.now()
        )
        with runtime.transaction() as session:
            inbox.receive(session, delivery)
        return delivery.id

    return do


@pytest.fixture
def status_of(database):
    """How far a delivery is."""

    def read(delivery_id: object) -> DeliveryStatus:
        with database[0].reading() as session:
            return session.get_one(Delivery, delivery_id).status

    return read


@pytest.mark.parametrize("entry", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_delivery_holds_up_neither_the_one_before_nor_the_one_after(
    database, post, status_of, clock, entry: dict
):
    runtime = database[0]
    before, _, after = post("d-1", GOOD_UNIT), post("d-2", entry), post("d-3", GOOD_UNIT | {"unitSn": "SN-amr-02"})
    drain(runtime)
    assert (status_of(before), status_of(after)) == (DeliveryStatus.applied, DeliveryStatus.applied)
    with runtime.reading() as session:
        assert len(session.exec(select(RobotState)).all()) == 2


@pytest.mark.parametrize("entry", HOSTILE.values(), ids=HOSTILE.keys())
def test_every_hostile_delivery_is_settled_in_the_end_and_stays_readable(database, post, status_of, clock, entry: dict):
    runtime = database[0]
    hostile = post("d-1", entry)
    for _ in range(inbox.TRIES_MAX):
        drain(runtime)
        clock.step(inbox.BACKOFF_MAX_S * 1.25)
    assert status_of(hostile) in (DeliveryStatus.applied, DeliveryStatus.rejected)
    with runtime.reading() as session:
        for event in session.exec(select(Event)).all():
            json.dumps(event.fields, allow_nan=False)


def test_a_thousand_unknown_robots_in_one_delivery_are_each_told_once(database, post):
    runtime = database[0]
    post("d-1", *({**GOOD_UNIT, "unitSn": f"SN-{number}"} for number in range(1000)))
    post("d-2", *({**GOOD_UNIT, "unitSn": f"SN-{number}"} for number in range(1000)))
    drain(runtime)
    with runtime.reading() as session:
        told = session.exec(select(Event)).all()
    assert len(told) == len({event.fields["serial_number"] for event in told}) == 1000


def test_a_value_that_no_column_takes_is_rejected_with_its_reason(database, post, clock, monkeypatch):
    runtime = database[0]
    odd = Happening(key="n-1", kind="odd", occurred_at=clock.now(), fields={"share": float("nan")})
    monkeypatch.setattr(intake, "translator", lambda _manufacturer: lambda _body: [odd])
    delivery_id = post("d-1")
    drain(runtime)
    with runtime.reading() as session:
        row = session.get_one(Delivery, delivery_id)
    assert row.status is DeliveryStatus.rejected
    assert "not JSON compliant" in row.error


def test_a_reason_with_a_nul_is_kept_readable(database, post, monkeypatch):
    runtime = database[0]

    def refuse(_session, **_said) -> None:
        raise ValueError("what the robot said: \0")

    monkeypatch.setattr(feedback, "apply", refuse)
    delivery_id = post("d-1", JOB)
    drain(runtime)
    with runtime.reading() as session:
        assert (
            session.get_one(Delivery, delivery_id).error == "ValueError: what the robot said: \N{REPLACEMENT CHARACTER}"
        )


def test_a_database_without_our_tables_rejects_no_delivery(database, post, status_of, monkeypatch):
    runtime = database[0]

    def no_table(_session, **_said) -> None:
        raise ProgrammingError("SELECT 1", {}, Exception("no such table"))

    monkeypatch.setattr(feedback, "apply", no_table)
    delivery_id = post("d-1", JOB)
    with pytest.raises(ProgrammingError):
        drain(runtime)
    assert status_of(delivery_id) is DeliveryStatus.received
