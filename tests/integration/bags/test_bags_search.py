"""Search: bags are found by errors of logs and of robots, by alerts and triggers, and a database reads indexes for it."""

from datetime import timedelta

import pytest
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import StoragePlugin, Writer
from sqlmodel import select

from fleet.database import new_id
from fleet.events import Alert, Event, Severity
from ingestion.bags import convert
from ingestion.bags.cataloguing import errors_in
from ingestion.catalogue import Sought, bags_of
from ingestion.lake import Lake, ObjectStore
from ingestion.models import Bag, BagTopic
from ingestion.recordings import Recording

START_NS = 1_772_402_400_000_000_000  # 2026-03-01 22:00 UTC
LOG, LOG1 = "rcl_interfaces/msg/Log", "rosgraph_msgs/msg/Log"
LINES = [
    (20, "planner", "fine"),
    (30, "planner", "slow"),
    (40, "planner", "No valid path found to the goal at all times 12.5"),
    (40, "planner", "No valid path found to the goal at all times 13.7"),
    (50, "driver", "gone\n  for ever"),
]


@pytest.fixture
def told(tmp_path):
    """What the catalogue is told of a recording's errors, topic by topic."""

    def tell(source) -> dict[int, str]:
        manifest = convert(source, tmp_path / "lake")
        return errors_in(Lake(ObjectStore(f"file://{tmp_path}/lake", signing_key=b""), "", "local"), manifest)

    return tell


def test_errors_of_a_log_are_known_by_node_and_first_words_each_once(told, tmp_path, humble):
    stamp = humble.types["builtin_interfaces/msg/Time"](1, 0)
    with Writer(tmp_path / "run", version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        line = writer.add_connection("/rosout", LOG, typestore=humble)
        for number, (level, name, said) in enumerate(LINES):
            row = humble.types[LOG](stamp=stamp, level=level, name=name, msg=said, file="", function="", line=0)
            writer.write(line, START_NS + number, humble.serialize_cdr(row, LOG))
    assert told(tmp_path / "run") == {0: "planner: No valid path found to the goal at\ndriver: gone for ever"}


def test_errors_of_a_ros_1_log_have_levels_of_their_own(told, tmp_path, noetic):
    header = noetic.types["std_msgs/msg/Header"](1, noetic.types["builtin_interfaces/msg/Time"](1, 0), "")
    with Writer1(tmp_path / "run.bag") as writer:
        line = writer.add_connection("/rosout", LOG1, typestore=noetic)
        for number, (level, said) in enumerate([(4, "a warning"), (8, "an error"), (16, "the end")]):
            row = noetic.types[LOG1](header, level, "node", said, "", "", 0, [])
            writer.write(line, START_NS + number, noetic.serialize_ros1(row, LOG1))
    assert told(tmp_path / "run.bag") == {0: "node: an error\nnode: the end"}


def test_what_is_only_called_a_log_is_left_alone(told, mcap, tmp_path):
    channel = mcap.channel("/rosout", LOG, "float64 level\nstring name\nstring msg\n")
    mcap.add(channel, START_NS, bytes(24))
    (tmp_path / "odd.mcap").write_bytes(mcap.content())
    assert told(tmp_path / "odd.mcap") == {}


@pytest.fixture
def kept(runtime, world):
    """A minute of amr-01 as a catalogued bag that begins so many minutes after 22:00; gives its id."""

    def keep(minute: int = 0, *, errors: str = "", robot: str = "amr-01"):
        at = runtime.clock.now() + timedelta(minutes=minute)
        known = {"organisation_id": world.organisation.id, "robot_id": world.robots[robot].id, "robot_name": robot}
        span = {"started_at": at, "finished_at": at + timedelta(seconds=59), "uploaded_at": at}
        bag = Bag(sha256=new_id().hex * 2, size=1, filename="run.mcap", object_key="none", **known, **span)
        row = {"bag_id": bag.id, "number": 0, "organisation_id": bag.organisation_id, "name": "/log", "type": LOG}
        with runtime.transaction() as session:
            session.add(bag)
            session.flush()
            session.add(BagTopic(errors=errors, **row))
        return bag.id

    return keep


@pytest.fixture
def happens(runtime, world):
    """Something that a robot tells, so many seconds after 22:00."""

    def happen(seconds: float, severity: str, robot: str = "amr-01", **fields) -> None:
        at = runtime.clock.now() + timedelta(seconds=seconds)
        known = {"organisation_id": world.organisation.id, "robot_id": world.robots[robot].id}
        event = Event(key=new_id().hex, kind="fault", occurred_at=at, received_at=at, fields=fields, **known)
        event.severity = Severity(severity)
        with runtime.transaction() as session:
            session.add(event)

    return happen


@pytest.fixture
def found(runtime, world):
    """The ids of the bags that are found, the oldest first."""

    def find(**sought) -> list:
        with runtime.reading() as session:
            return sorted(bag.id for bag in bags_of(session, world.organisation.id, Sought(**sought)))

    return find


def test_a_bag_is_found_by_the_code_of_an_error_that_its_robot_told_meanwhile(kept, happens, found):
    first, second, other = kept(), kept(1), kept(robot="amr-02")
    happens(30, "error", code="JOB_E42")
    happens(70, "info", code="JOB_E42")
    assert found(error="job_e42") == found(text="job_e42") == [first]
    happens(80, "warning", code="JOB_E42")
    assert found(error="job_e42") == [first, second]
    assert found(error="fault", robot="amr-02") == []
    assert other not in found(error="fault")


def test_what_a_robot_told_is_found_in_any_language_and_with_quotes(kept, happens, found):
    bag = kept()
    happens(30, "error", what='Übertemperatur am Antrieb "links"')
    assert found(error="Übertemperatur am Antrieb") == found(text='antrieb "links') == [bag]
    assert found(error="Übertemperatur am Arm") == []


def test_a_bag_is_found_by_the_alerts_that_were_opened_meanwhile(runtime, world, kept, found):
    first, second, _ = kept(), kept(1), kept(robot="amr-02")
    known = {"organisation_id": world.organisation.id, "robot_id": world.robots["amr-01"].id}
    with runtime.transaction() as session:
        for seconds, rule, message in ((10, "battery_low", "Send it to a dock."), (100, "silent", "It is silent.")):
            at = runtime.clock.now() + timedelta(seconds=seconds)
            session.add(Alert(rule=rule, message=message, opened_at=at, **known))
    assert found(anomaly="*") == [first, second]
    assert found(anomaly="battery") == found(anomaly="DOCK") == [first]
    assert found(anomaly="silent", until=runtime.clock.now().date()) == [second]
    assert found(anomaly="%") == []


def test_a_bag_is_found_by_what_began_it(runtime, world, kept, found):
    shaken, asked, _ = kept(), kept(1), kept(2)
    known = {"organisation_id": world.organisation.id, "robot_id": world.robots["amr-01"].id}
    known |= {"asked_by": "device:x", "asked_at": runtime.clock.now()}
    with runtime.transaction() as session:
        session.add(Recording(trigger_id="anomaly/drive/vibration", kind="anomaly", bag_id=shaken, **known))
        session.add(Recording(trigger_id="request/k", kind="request", why="noise", bag_id=asked, **known))
        session.add(Recording(trigger_id="error/1", kind="error", **known))
    assert found(trigger="anomaly") == found(anomaly="*") == found(anomaly="vibration") == [shaken]
    assert found(trigger="request") == [asked]
    assert found(trigger="error") == found(anomaly="noise") == []


@pytest.fixture
def plan(runtime, world):
    """How SQLite goes about a search."""

    def explain(**sought) -> list[str]:
        query = select(Bag.id).where(*Sought(**sought).conditions(world.organisation.id))
        with runtime.reading() as session:
            told = query.compile(session.connection(), compile_kwargs={"render_postcompile": True})
            values = tuple(["x"] * len(told.positiontup))
            return [row[-1] for row in session.connection().exec_driver_sql(f"EXPLAIN QUERY PLAN {told}", values)]

    return explain


@pytest.mark.parametrize(
    ("sought", "index"),
    [
        ({"topic": "/t"}, "COVERING INDEX ix_bag_topics_named (organisation_id=? AND name=?"),
        ({"topic": "/t*"}, "COVERING INDEX ix_bag_topics_named (organisation_id=?"),
        ({"type": "a/b"}, "COVERING INDEX ix_bag_topics_of_type (organisation_id=? AND type=?"),
        ({"error": "hot"}, "ix_bag_topics_with_errors (organisation_id=?"),
        ({"error": "hot"}, "ix_events_of_robot (robot_id=? AND occurred_at>? AND occurred_at<?"),
        ({"text": "hot"}, "COVERING INDEX ix_bag_topics_named (organisation_id=?"),
        ({"text": "hot"}, "ix_bag_topics_with_errors (organisation_id=?"),
        ({"anomaly": "hot"}, "ix_alerts_robot_id (robot_id=?"),
        ({"trigger": "error"}, "recordings"),
    ],
    ids=str,
)
def test_a_search_reads_no_more_than_an_index(plan, sought, index):
    steps = plan(**sought)
    assert any(index in step for step in steps), steps
    assert [step for step in steps if step.startswith("SCAN") and "recordings" not in step and "bags" not in step] == []


def test_topics_are_looked_through_once_and_not_once_for_each_bag(plan):
    steps = plan(site="north", topic="/t", type="a/*")
    assert [step for step in steps if "CORRELATED" in step] == []
