"""The two transition tables and what a history says, without a database."""

from datetime import UTC, datetime
from itertools import pairwise
from uuid import UUID

import pytest

from fleet.errors import Conflict
from missions.lifecycle import ATTEMPT_MOVES, MISSION_MOVES, replay
from missions.models import ATTEMPT_TERMINAL, MISSION_TERMINAL, AttemptStatus, MissionStatus, Transition


@pytest.fixture
def history():
    """Makes a history of a subject from its statuses."""

    def make(*statuses: str, subject: str = "mission") -> list[Transition]:
        return [
            Transition(
                organisation_id=UUID(int=1),
                mission_id=UUID(int=2),
                subject=subject,
                subject_id=UUID(int=2),
                from_status=was,
                to_status=to,
                version=version,
                who="test",
                why="",
                at=datetime(2026, 1, 1, tzinfo=UTC),
            )
            for version, (was, to) in enumerate(pairwise([None, *statuses]))
        ]

    return make


def test_every_status_has_its_line_in_the_tables():
    assert set(MISSION_MOVES) == set(MissionStatus)
    assert set(ATTEMPT_MOVES) == set(AttemptStatus)


def test_exactly_the_terminal_statuses_lead_nowhere():
    assert {status for status, moves in MISSION_MOVES.items() if not moves} == MISSION_TERMINAL
    assert {status for status, moves in ATTEMPT_MOVES.items() if not moves} == ATTEMPT_TERMINAL


@pytest.mark.parametrize("moves", [MISSION_MOVES, ATTEMPT_MOVES])
def test_from_every_live_status_an_end_can_be_reached(moves):
    for start in moves:
        seen, reached = {start}, set(moves[start])
        while reached - seen:
            seen |= reached
            reached = reached.union(*(moves[status] for status in seen))
        assert any(not moves[status] for status in seen), start


def test_nothing_goes_back_to_before_it_was_sent():
    backwards = [was for was, moves in ATTEMPT_MOVES.items() if AttemptStatus.prepared in moves]
    assert backwards == []


def test_a_retry_goes_back_to_scheduled_without_passing_failed():
    live = {MissionStatus.assigned, MissionStatus.running, MissionStatus.paused}
    assert {was for was, moves in MISSION_MOVES.items() if MissionStatus.scheduled in moves} >= live
    assert MISSION_MOVES[MissionStatus.failed] == frozenset()


def test_a_history_is_replayed_to_its_last_status(history):
    assert replay(history("CREATED", "SCHEDULED", "ASSIGNED", "RUNNING", "SUCCEEDED")) == "SUCCEEDED"


def test_a_wish_leaves_the_status_where_it_is(history):
    assert replay(history("CREATED", "SCHEDULED", "SCHEDULED", "ASSIGNED")) == "ASSIGNED"


def test_an_empty_history_has_no_status():
    assert replay([]) is None


def test_a_history_with_a_forbidden_move_is_refused(history):
    with pytest.raises(Conflict, match="version 2"):
        replay(history("CREATED", "SCHEDULED", "RUNNING"))


def test_a_history_with_a_gap_is_refused(history):
    lines = history("PREPARED", "DISPATCHED", "RUNNING", subject="attempt")
    with pytest.raises(Conflict):
        replay([lines[0], lines[2]])
