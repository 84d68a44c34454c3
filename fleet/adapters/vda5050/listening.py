"""What robots say, taken in: newer wins, what is wrong is complained of, and their orders follow."""

from collections.abc import Iterable
from datetime import datetime
from hashlib import sha256

from fleet.adapter import Happening
from fleet.adapters.vda5050 import following, wire
from fleet.adapters.vda5050.link import Link, log
from fleet.adapters.vda5050.robot import AWAY, Robot
from fleet.adapters.vda5050.wire import CONNECTION, FACTSHEET, STATE, VISUALIZATION, State, Trouble
from fleet.mqtt import Heard

# What a message that nobody thought of may raise; it costs that message, not the link.
UNFORESEEN = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError)
LEVELS = {"FATAL": "error", "CRITICAL": "error", "URGENT": "warning", "WARNING": "warning"}


def take(link: Link, message: Heard) -> Robot | None:
    """Take one message in, whatever it is; the robot when its order has changed and must be kept."""
    try:
        return _take(link, message)
    except UNFORESEEN:
        log.exception("vda 5050 message not understood", topic=message.topic, size=len(message.payload))
        return None


def _take(link: Link, message: Heard) -> Robot | None:
    named = _named(link, message.topic)
    if named is None:
        return None
    address, topic = named
    robot = link.any_robot(address)
    complaints: list[str] = []
    if topic == STATE:
        is_changed = _state(link, robot, message, complaints)
    else:
        is_changed = False
        _other(link, robot, topic, message, complaints)
    if complaints and robot.complain(topic, complaints):
        log.warning("vda 5050 message complained of", robot=address, topic=topic, complaints=complaints[:3])
    return robot if is_changed else None


def _named(link: Link, topic: str) -> tuple[str, str] | None:
    """Address and last level of a topic `interface/version/manufacturer/serialNumber/name`."""
    parts = topic.removeprefix(f"{link.options.interface}/").split("/")
    return (f"{parts[1]}/{parts[2]}", parts[3]) if len(parts) == 4 else None


def _state(link: Link, robot: Robot, message: Heard, complaints: list[str]) -> bool:
    state = wire.read_state(message.payload, complaints)
    if state is None or robot.address not in link.robots:
        return False
    if message.is_retained:
        complaints.append("state: the broker had kept one; it may be of any age and is not believed")
        return False
    if state.order_id is None or (state.header.number is None and state.header.at is None):
        complaints.append("state: without an orderId, or without headerId and timestamp, it is not believed")
        return False
    if not robot.takes(STATE, state.header):
        return False
    before, robot.state, robot.state_s = robot.state, state, link.now_s()
    robot.told_version = state.header.version or robot.told_version
    robot.place = state.place or robot.place
    link.outbox.stir(robot.address)
    at = robot.observed_at(link.now())
    for happening in _happenings(robot, before, state, at):
        link.outbox.put(happening)
    run = robot.run
    is_changed = run is not None and link.change(robot, following.heard(run, state, at))
    robot.changed.set()
    return is_changed


def _other(link: Link, robot: Robot, topic: str, message: Heard, complaints: list[str]) -> None:
    if topic == CONNECTION:
        _connection(link, robot, message, complaints)
    elif topic == FACTSHEET:
        sheet = wire.read_factsheet(message.payload, complaints)
        if sheet is not None:
            robot.factsheet = sheet
            robot.told_version = robot.told_version or sheet.header.version
            robot.takes(FACTSHEET, sheet.header)
    elif topic == VISUALIZATION and not message.is_retained:
        said = wire.read_visualization(message.payload, complaints)
        if said is not None and robot.takes(VISUALIZATION, said[0]) and said[1] is not None:
            robot.place = said[1]
            link.outbox.stir(robot.address)


def _connection(link: Link, robot: Robot, message: Heard, complaints: list[str]) -> None:
    said = wire.read_connection(message.payload, complaints)
    if said is None or not said[1]:
        return
    header, robot.connection = said
    # A retained ONLINE proves nothing: only a fresh state does. That it went away is believed at once.
    robot.connection_s = link.now_s()
    robot.told_version = header.version or robot.told_version
    robot.takes(CONNECTION, header)
    if robot.connection == "ONLINE" and not message.is_retained:
        robot.newest.pop(STATE, None)  # it may have begun anew, with a new count and a new clock
    if robot.connection in AWAY:
        link.outbox.stir(robot.address)
    robot.changed.set()


def _happenings(robot: Robot, before: State | None, state: State, at: datetime) -> Iterable[Happening]:
    known = {(trouble.type, trouble.references) for trouble in before.troubles} if before else set()
    for trouble in state.troubles:
        if (trouble.type, trouble.references) not in known:
            yield _happening(robot, trouble, at)


def _happening(robot: Robot, trouble: Trouble, at: datetime) -> Happening:
    # An error that stands is told once an hour at most, also when the gateway is started anew meanwhile.
    digest = sha256(repr((trouble.type, trouble.references, f"{at:%Y-%m-%dT%H}")).encode()).hexdigest()[:16]
    return Happening.model_validate(
        {
            "key": f"{robot.address}/error/{digest}",
            "kind": "robot_error",
            "occurred_at": at,
            "serial_number": robot.address,
            "severity": LEVELS.get(trouble.level, "warning"),
            "fields": {
                "error_type": trouble.type,
                "level": trouble.level,
                "description": trouble.description[:500],
                **{f"about_{key}"[:60]: value[:200] for key, value in trouble.references[:5]},
            },
        }
    )


def complain_of_topic(link: Link, sentence: str) -> None:
    """Note at the robot what the broker link says of one of its topics, where the sentence begins with that."""
    parts = sentence.split(" ")[0].removeprefix(f"{link.options.interface}/").split("/")
    if len(parts) == 4 and f"{parts[1]}/{parts[2]}" in link.robots:
        link.robots[f"{parts[1]}/{parts[2]}"].complain(parts[3], [f"{parts[3]}: {sentence.partition(' ')[2]}"])
