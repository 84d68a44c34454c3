"""What people see of a mission the moment it was written: made of what was written, without reading it again."""

from collections.abc import Mapping
from typing import Any

from missions.board import MissionView, TaskView, TransitionView, View
from missions.drafts import Draft
from missions.lifecycle import Begun

NOTHING_YET: Mapping[str, Any] = {"robot": None, "started_at": None, "finished_at": None, "attempts": [], "results": []}


def first_view(drafted: Draft, begun: Begun, *, waiting_for: str) -> MissionView:
    """The view of the mission that `drafted` became; `waiting_for` says why it has no robot yet."""
    # Every value comes from a table's row as it was checked and written, so none is checked again.
    tasks = [
        TaskView.model_construct(**_chosen(task, TaskView), station=station)
        for task, station in zip(drafted.tasks, drafted.stations, strict=True)
    ]
    transitions = [TransitionView.model_construct(**_chosen(line, TransitionView)) for line in begun.history]
    return MissionView.model_construct(
        **_chosen(begun.row, MissionView),
        **NOTHING_YET,
        waiting_for=waiting_for,
        tasks=tasks,
        transitions=transitions,
    )


def _chosen(row: Mapping[str, object], view: type[View]) -> dict[str, Any]:
    return {name: row[name] for name in view.model_fields if name in row}
