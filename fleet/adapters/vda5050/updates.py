"""How an order is released piece by piece: base, horizon and order updates (2.1.0 section 6.6.2, 3.0 section 6.1.2), pure.

`horizon` is how many tasks ahead of what is done are released. An update begins with the node with which the base before
it ended; the rest of that base is not sent again. The robot goes by what it was told of that node first. 3.0 wants its
actions sent again all the same; in 2.x there are vehicles that then do them twice, or drop them when they are not sent, so
that they are left out, and no update is sent before they are done (option `stitching_actions`).
"""

from fleet.adapters.vda5050 import outgoing
from fleet.adapters.vda5050.following import is_refusal, refusals_in
from fleet.adapters.vda5050.options import RobotOptions
from fleet.adapters.vda5050.outgoing import Message
from fleet.adapters.vda5050.runs import Run
from fleet.adapters.vda5050.steps import is_taken
from fleet.adapters.vda5050.wire import State, Trouble

DRIVES_ITSELF = frozenset({"AUTOMATIC", "SEMIAUTOMATIC", ""})
OVER = frozenset({"succeeded", "failed", "skipped"})
OF_UPDATES = frozenset({"orderupdateerror", "outdatedorderupdate", "sameorderupdateid", "orderupdatefollowingcancel"})
SENDS_OF_PATIENCE = 8  # other reasons may pass, such as somebody in front of it: half a minute is waited for that
SENDS_BELIEVED = 3  # an error that stood before the update, too, is about it when it stands after so many sends


def begun(run: Run, horizon: int | None) -> Run:
    """The order as it is sent first."""
    return run if horizon is None else run.model_copy(update={"base_end": _end(run, horizon)})


def message(run: Run) -> Message:
    """What was sent last of the order, or is about to be."""
    bare = run.stitch if run.is_stitch_bare else None
    return outgoing.part(run.route, update_id=run.update_id, first=run.stitch, last=run.released_to, bare=bare)


def extended(run: Run, state: State, own: RobotOptions) -> Run:
    """The order with more of it released, where the robot has come far enough or asks for it; else the same object.

    It is to be kept before it is sent: the robot may have it from then on.
    """
    if run.is_whole or not _may_go_on(run, state):
        return run
    is_bare = (own.stitching_actions or ("again" if run.version.startswith("3") else "left_out")) == "left_out"
    released = [task for task in _open(run) if task <= run.released_to]
    if is_bare and run.released_to in released and _acts(run, run.released_to):
        return run
    wanted = max(own.horizon or len(run.steps), len(released) + 1 if state.is_base_wanted else 0)
    end = _end(run, wanted)
    if end <= run.released_to:
        return run
    news = {
        "update_id": run.update_id + 1,
        "stitch": run.released_to,
        "base_end": end,
        "sends": 0,
        "is_stitch_bare": is_bare,
    }
    return run.model_copy(update={**news, "troubles_before": refusals_in(state)})


def objection(run: Run, state: State) -> str:
    """Why the robot does not take the update that was sent last, in its words; "" when it has it or says nothing."""
    if is_taken(run, state) or not run.sends:
        return ""
    words = next((trouble.words for trouble in state.troubles if _objects(run, trouble)), "")
    return words and f"order update {run.update_id} is not taken: {words}"


def _may_go_on(run: Run, state: State) -> bool:
    is_ours = state.order_id == run.order_id and is_taken(run, state)
    is_held = state.is_paused or run.is_pause_asked or run.is_cancel_asked or run.cut_reason
    has_failed = any(task.status == "failed" for task in run.report.tasks)
    return is_ours and not is_held and not has_failed and state.mode in DRIVES_ITSELF and state.emergency_stop == "NONE"


def _acts(run: Run, sequence: int) -> bool:
    return any(step.action_id for step in run.steps if step.sequence == sequence)


def _open(run: Run) -> list[int]:
    """The sequences of the tasks that are not over, in their order."""
    over = {task.position for task in run.report.tasks if task.status in OVER}
    return [step.sequence for step in run.steps if step.position not in over]


def _end(run: Run, count: int) -> int:
    """Where the base ends that holds so many of the tasks to come."""
    left = _open(run)
    return left[min(count, len(left)) - 1] if left and count < len(left) else run.last_sequence


def _objects(run: Run, trouble: Trouble) -> bool:
    about, update = trouble.of("orderId"), trouble.of("orderUpdateId")
    if not is_refusal(trouble) or about not in {None, run.order_id} or update not in {None, str(run.update_id)}:
        return False
    if "".join(letter for letter in trouble.type.lower() if letter.isalpha()) in OF_UPDATES:
        return trouble.words not in run.troubles_before or run.sends >= SENDS_BELIEVED
    return about is not None and run.sends >= SENDS_OF_PATIENCE
