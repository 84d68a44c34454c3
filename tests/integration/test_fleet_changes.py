"""The changes feed: one order, no gap, and a bell that wakes the readers."""

import pytest

from fleet import changes
from fleet.runtime import Runtime


def _record(runtime: Runtime, world, kind: str) -> None:
    with runtime.transaction() as session:
        changes.record(
            session,
            organisation_id=world.organisation.id,
            subject="mission",
            subject_id="m",
            kind=kind,
            fields={"n": 1},
        )


def _publish(runtime: Runtime, limit: int = 1000) -> int:
    with runtime.transaction() as session:
        return changes.publish(session, limit=limit)


def _kinds(runtime: Runtime, position: int) -> list[tuple[int | None, str]]:
    with runtime.reading() as session:
        return [(change.position, change.kind) for change in changes.after(session, position)]


def test_an_unpublished_change_is_not_read(runtime: Runtime, world):
    _record(runtime, world, "created")
    assert _kinds(runtime, 0) == []


def test_positions_rise_without_a_gap_over_several_publishings(runtime: Runtime, world):
    for kind in ("created", "scheduled", "assigned"):
        _record(runtime, world, kind)
    assert [_publish(runtime, limit=2), _publish(runtime), _publish(runtime)] == [2, 1, 0]
    assert _kinds(runtime, 0) == [(1, "created"), (2, "scheduled"), (3, "assigned")]


def test_a_reader_goes_on_after_the_position_it_has_seen(runtime: Runtime, world):
    _record(runtime, world, "created")
    _publish(runtime)
    _record(runtime, world, "running")
    _publish(runtime)
    assert _kinds(runtime, 1) == [(2, "running")]


def test_a_change_that_was_rolled_back_leaves_no_gap(runtime: Runtime, world):
    try:
        with runtime.transaction() as session:
            changes.record(session, organisation_id=world.organisation.id, subject="m", subject_id=1, kind="x")
            session.flush()
            raise LookupError
    except LookupError:
        _record(runtime, world, "created")
    _publish(runtime)
    assert _kinds(runtime, 0) == [(1, "created")]


def test_the_bell_rings_after_the_commit_and_wakes_every_listener(runtime: Runtime, world):
    with runtime.doorbell.listen() as first, runtime.doorbell.listen() as second:
        _record(runtime, world, "created")
        assert (first.wait(5), second.wait(5)) == (True, True)
        assert first.wait(0.01) is False


def test_several_rings_before_a_look_are_told_as_one(runtime: Runtime):
    with runtime.doorbell.listen() as listener:
        for _ in range(3):
            runtime.doorbell.ring()
        assert listener.wait(5) is True
        assert listener.wait(0.01) is False


def test_a_reading_or_silent_transaction_rings_nobody(runtime: Runtime):
    with runtime.doorbell.listen() as listener:
        with runtime.transaction():
            pass
        assert listener.wait(0.01) is False


def test_a_listener_that_died_without_closing_disturbs_no_ring(runtime: Runtime):
    listener = runtime.doorbell.listen()
    folder = runtime.settings.var_dir / "yardmaster.db.bells"
    (folder / "1").touch()  # a port on which nobody listens
    runtime.doorbell.ring()
    assert listener.wait(5) is True
    listener.__exit__(None, None, None)


def test_no_more_than_the_limit_is_published_oldest_first(runtime: Runtime, world):
    for kind in ("a", "b", "c", "d", "e"):
        _record(runtime, world, kind)
    assert _publish(runtime, limit=3) == 3
    assert _kinds(runtime, 0) == [(1, "a"), (2, "b"), (3, "c")]
    assert _publish(runtime, limit=3) == 2
    assert _kinds(runtime, 3) == [(4, "d"), (5, "e")]


@pytest.mark.proof
def test_on_postgresql_positions_rise_without_a_gap_too(postgres_runtime: Runtime, postgres_world):
    for kind in ("a", "b", "c"):
        _record(postgres_runtime, postgres_world, kind)
    assert [_publish(postgres_runtime, limit=2), _publish(postgres_runtime), _publish(postgres_runtime)] == [2, 1, 0]
    assert _kinds(postgres_runtime, 0) == [(1, "a"), (2, "b"), (3, "c")]
