"""What is pursued until a robot's own state agrees: orders, cancels, pauses, questions; looked at a few times a second."""

from datetime import timedelta

from fleet.adapter import Happening, OrderStatus
from fleet.adapters.vda5050 import following, updates
from fleet.adapters.vda5050.link import Link
from fleet.adapters.vda5050.robot import AWAY, Robot
from fleet.adapters.vda5050.runs import Run
from fleet.adapters.vda5050.steps import is_taken
from fleet.adapters.vda5050.wire import STATE, State
from fleet.push import Exposure, Hearing
from fleet.push import Heard as HeardWell

SETTLED_S = 2.0  # a state so long after the last send of an order would show it: the broker keeps no QoS 0 for later
BACKOFF_MAX = 8.0
AGAIN_S = 5.0
UNDER_ONE_ID = 5  # sends of a cancelOrder that no state lists
FACTSHEET_EVERY_S, FACTSHEET_ASKED = 20.0, 3
EXPOSURE_EVERY_S = 2.0
LOSSES_EVERY_S = 3600.0


def pursue(link: Link, robot: Robot) -> bool:
    """Send what is due to this robot; True when its order has changed and must be kept."""
    _hearing(link, robot)
    _questions(link, robot)
    _answers(link, robot)
    run = robot.run
    if run is None:
        return False
    if run.is_over:
        return _after_the_end(link, robot, run)
    if not run.is_confirmed:
        return _unconfirmed(link, robot, run)
    return _confirmed(link, robot, run)


def _due(link: Link, robot: Robot, what: str, every_s: float) -> bool:
    now_s = link.now_s()
    if robot.next_s.get(what, 0.0) > now_s:
        return False
    robot.next_s[what] = now_s + every_s
    return True


def has_settled(link: Link, robot: Robot) -> bool:
    """Whether the robot has spoken since the order was last sent, late enough that it would have shown it."""
    sent_s = robot.order_sent_s
    is_later = robot.state_s is not None and robot.state_s > sent_s + SETTLED_S
    return is_later and robot.is_fresh(link.now_s())


def _unconfirmed(link: Link, robot: Robot, run: Run) -> bool:
    if run.is_cancel_asked:
        if not has_settled(link, robot):
            return False
        return link.change(
            robot, following.ended(run, OrderStatus.canceled, link.now(), "canceled before the robot took it")
        )
    now_s = link.now_s()
    if run.is_withdrawn or now_s > robot.resend_until_s or not robot.is_fresh(now_s) or robot.has_foreign_work:
        return False
    if _is_due(link, robot, run):
        link.send_order(robot)
    return False


def _is_due(link: Link, robot: Robot, run: Run) -> bool:
    """Whether what was sent last of the order is to be sent, or sent again."""
    wait_s = min(link.options.resend_s * 2.0 ** max(0, run.sends - 3), BACKOFF_MAX * link.options.resend_s)
    least_s = robot.factsheet.order_interval_s if robot.factsheet else 0.0
    return link.now_s() - robot.order_sent_s >= max(wait_s if run.sends else 0.0, least_s)


def _confirmed(link: Link, robot: Robot, run: Run) -> bool:
    state = robot.state
    if state is None or not robot.is_fresh(link.now_s()):
        return False
    reason = following.wants_end(run, state) or updates.objection(run, state)
    if reason and not run.is_cancel_asked and not run.cut_reason:
        return link.change(robot, run.model_copy(update={"cut_reason": reason}))
    if run.is_cancel_asked or run.cut_reason:
        return _ending(link, robot, run, state)
    more = updates.extended(run, state, robot.own)
    if more is not run:
        return link.change(robot, more)  # kept first; sent at the next look
    if state.order_id == run.order_id and not is_taken(run, state) and _is_due(link, robot, run):
        link.send_order(robot)
    return _turning(link, robot, run, state)


def _ending(link: Link, robot: Robot, run: Run, state: State) -> bool:
    if following.cancel_failed(run, state) and _due(link, robot, "cancel again", AGAIN_S):
        return link.change(robot, run.model_copy(update={"cancels": run.cancels + 1}))
    is_listed = run.instant_id("cancelOrder", run.cancels) in state.actions
    if not is_listed and run.cancel_sends >= UNDER_ONE_ID * (run.cancels + 1):
        # It may have answered with FAILED without listing it, and takes no id twice.
        return link.change(robot, run.model_copy(update={"cancels": run.cancels + 1}))
    if not is_listed and _due(link, robot, "cancel", link.options.resend_s):
        link.send_cancel(robot, run)
    return False


def _turning(link: Link, robot: Robot, run: Run, state: State) -> bool:
    """A pause is pursued as long as it is wanted; going on only once: who presses a button later means it."""
    if run.is_pause_asked is None:
        return False
    if run.is_pause_asked is state.is_paused:
        return not run.is_pause_asked and link.change(robot, run.model_copy(update={"is_pause_asked": None}))
    name = "startPause" if run.is_pause_asked else "stopPause"
    action_id = run.instant_id(name, run.pauses)
    if action_id not in state.actions and _due(link, robot, "pause", link.options.resend_s):
        link.send_instant(robot, action_id, name)
    return False


def _after_the_end(link: Link, robot: Robot, run: Run) -> bool:
    """An order that is over for us and that the robot works on after all is cancelled; a pause of ours is lifted."""
    state = robot.state
    if state is None or not robot.is_fresh(link.now_s()):
        return False
    if following.shows_work_of(state, run.order_id) and run.report.status is not OrderStatus.succeeded:
        if _due(link, robot, "cancel", link.options.resend_s):
            link.send_cancel(robot, run.model_copy(update={"cancels": run.cancels + 1}))
    elif run.is_pause_asked:
        return _releasing(link, robot, run, state)
    return False


def _releasing(link: Link, robot: Robot, run: Run, state: State) -> bool:
    """Lift our pause; a robot that is not paused may have ours still before it, so it is asked to go on all the same."""
    action_id = run.instant_id("stopPause", run.pauses + 1)
    asked_id, asked_s = robot.release_asked
    is_later = asked_id == action_id and robot.state_s is not None and robot.state_s > asked_s + SETTLED_S
    if not state.is_paused and (action_id in state.actions or is_later):
        return link.change(robot, run.model_copy(update={"is_pause_asked": None}))
    is_asked = asked_id == action_id and not state.is_paused
    is_due = not is_asked and not robot.has_foreign_work and _due(link, robot, "pause", link.options.resend_s)
    if is_due and link.send_instant(robot, action_id, "stopPause"):
        robot.release_asked = (action_id, link.now_s())
    return False


def _questions(link: Link, robot: Robot) -> None:
    """Ask a quiet robot for its state, and one that has not told it for its factsheet."""
    now_s = link.now_s()
    heard_s = robot.state_s if robot.state_s is not None else robot.since_s
    if now_s - heard_s > link.options.quiet_after_s and robot.connection not in AWAY:
        if _due(link, robot, "state", link.options.quiet_after_s):
            link.ask_for(robot, "stateRequest")
    elif robot.state_s is None and robot.connection not in AWAY:
        # In its own version, which the broker keeps with its connection or factsheet and tells at once.
        is_known = robot.own.version or robot.told_version or now_s - robot.since_s > SETTLED_S
        if is_known and link.mqtt.is_connected and _due(link, robot, "first state", 1.0):
            link.ask_for(robot, "stateRequest")
    elif _lacks_factsheet(robot, now_s) and _due(link, robot, "factsheet", FACTSHEET_EVERY_S):
        robot.next_s["asked"] = robot.next_s.get("asked", 0.0) + 1
        link.ask_for(robot, "factsheetRequest")


def _lacks_factsheet(robot: Robot, now_s: float) -> bool:
    asked = robot.next_s.get("asked", 0.0)
    return robot.factsheet is None and robot.is_fresh(now_s) and asked < FACTSHEET_ASKED


def _answers(link: Link, robot: Robot) -> None:
    """Answer what a 3.0 robot asks to be allowed, by the zones of the account's options."""
    asks = [ask for ask in (robot.state.asks if robot.state else ()) if ask.status == "REQUESTED"]
    if not asks or not _due(link, robot, "answers", link.options.resend_s):
        return
    zones = link.options.zones
    granted = [(ask.request_id, (zones.get(ask.wanted) or zones.get("*")) == "grant") for ask in asks]
    link.send_responses(robot, granted, link.now() + timedelta(seconds=link.options.zone_lease_s))
    refused = [ask.wanted for ask, (_, is_granted) in zip(asks, granted, strict=True) if not is_granted]
    if refused:
        robot.complain(STATE, [f"state: it asks for {refused[0]!r}, which the account's options do not grant (zones)"])


def _hearing(link: Link, robot: Robot) -> None:
    hearing, why = _heard(link, robot)
    if hearing is None or hearing is robot.hearing:
        return
    robot.hearing, robot.hearing_since = hearing, link.now()
    link.outbox.put(HeardWell(serial_number=robot.address, hearing=hearing, since=robot.hearing_since, why=why))
    link.outbox.stir(robot.address)


def _heard(link: Link, robot: Robot) -> tuple[Hearing | None, str]:
    now_s = link.now_s()
    if not link.mqtt.is_connected:
        is_patient = now_s - robot.since_s < SETTLED_S and robot.hearing is None
        return (None, "") if is_patient else (Hearing.trouble, f"no connection to the broker: {link.mqtt.why}")
    if robot.is_fresh(now_s):
        return Hearing.well, ""
    if robot.connection in AWAY:
        return Hearing.silent, AWAY[robot.connection]
    if robot.state_s is None:
        is_patient = now_s - robot.since_s < link.options.quiet_after_s
        return (None, "") if is_patient else (Hearing.silent, "no state of it has been heard on this broker")
    return Hearing.silent, f"no state of it has been heard for {robot.silent_after_s:g} s"


def exposures(link: Link, told: dict[str, str]) -> list[Exposure]:
    """The exposures of held robots that are not as `told` (address -> digest) has them; `told` is brought up to date."""
    changed = []
    for robot in link.robots.values():
        if robot.state is None and not robot.connection and robot.factsheet is None:
            continue
        exposure = robot.exposure(link.now_s())
        if told.get(robot.address) != exposure.digest:
            told[robot.address] = exposure.digest
            changed.append(exposure)
    return changed


def losses(link: Link) -> list[Happening]:
    """Robots of which messages were lost on the way (gaps in their header ids), each told once an hour at most."""
    found, now = [], link.now()
    for robot in link.robots.values():
        lost = {topic: one.lost for topic, one in robot.newest.items() if one.lost}
        if sum(lost.values()) > robot.lost_told and _due(link, robot, "losses", LOSSES_EVERY_S):
            robot.lost_told = sum(lost.values())
            found.append(
                Happening(
                    key=f"{robot.address}/messages_lost/{now:%Y-%m-%dT%H:%M}",
                    kind="messages_lost",
                    occurred_at=now,
                    serial_number=robot.address,
                    severity="warning",
                    fields=dict(lost),
                )
            )
    return found
