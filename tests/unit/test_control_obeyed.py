"""When a mission has done what control-mission told it: by its state, and for a skip by the order that its robot has."""

import pytest

from missions.board import AttemptView, MissionView
from missions.models import AttemptStatus, MissionStatus, Recall
from orchestration.flows.control import has_obeyed
from orchestration.flows.forms import MissionCommand


def view(status: MissionStatus, *attempts: tuple[AttemptStatus, Recall | None]) -> MissionView:
    tries = [AttemptView.model_construct(status=now, recall=recall) for now, recall in attempts]
    return MissionView.model_construct(status=status, attempts=tries)


@pytest.mark.parametrize(
    ("command", "status", "is_done"),
    [
        ("pause", "RUNNING", False),
        ("pause", "ASSIGNED", False),
        ("pause", "PAUSED", True),
        ("pause", "SCHEDULED", True),  # no robot has it, and none is given it
        ("pause", "SUCCEEDED", True),
        ("resume", "PAUSED", False),
        ("resume", "RUNNING", True),
        ("cancel", "RUNNING", False),
        ("cancel", "PAUSED", False),
        ("cancel", "CANCELED", True),
        ("approve", "AWAITING_APPROVAL", False),
        ("approve", "SCHEDULED", True),
        ("retry", "SCHEDULED", True),
        ("abandon", "FAILED", True),
    ],
)
def test_a_command_is_done_when_the_mission_is_where_it_was_told_to_be(command, status, is_done):
    assert has_obeyed(view(MissionStatus(status)), MissionCommand(command)) is is_done


def test_a_skip_is_done_when_the_robot_has_ended_the_order_that_held_the_task():
    running, skip = MissionStatus.running, MissionCommand.skip
    assert not has_obeyed(view(running, (AttemptStatus.running, Recall.skip)), skip)
    assert has_obeyed(view(running, (AttemptStatus.canceled, Recall.skip), (AttemptStatus.running, None)), skip)
    assert has_obeyed(view(running, (AttemptStatus.running, None)), skip)
