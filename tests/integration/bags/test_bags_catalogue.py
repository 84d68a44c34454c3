"""The catalogue: what is in a converted bag is found by robot, site, date, topic, type and by what its diagnostics said."""

import hashlib
from datetime import date, timedelta
from uuid import UUID

import pytest
from rosbags.rosbag2 import StoragePlugin, Writer
from sqlalchemy import delete
from sqlmodel import select

from fleet.database import new_id
from fleet.errors import Conflict, NotFound
from fleet.events import Alert, Event
from fleet.organisations import Organisation
from ingestion import catalogue
from ingestion.bags.processing import catalogue as catalogue_again
from ingestion.bags.processing import process
from ingestion.catalogue import Sought, bag_called, bags_of
from ingestion.models import Bag, BagStatus, BagTopic
from ingestion.recordings import Recording

START_NS = 1_772_402_400_000_000_000  # 2026-03-01 22:00 UTC
SECOND_NS = 10**9
POINT, DIAGNOSTICS = "geometry_msgs/msg/Point", "diagnostic_msgs/msg/DiagnosticArray"


@pytest.fixture
def recording(tmp_path, humble):
    """The bytes of an MCAP file: a point a second on a topic, and diagnostics of level and text."""
    types = humble.types

    def diagnostics(level: int, text: str):
        header = types["std_msgs/msg/Header"](types["builtin_interfaces/msg/Time"](0, 0), "")
        values = {"name": "drive", "message": text, "hardware_id": "", "values": []}
        status = types["diagnostic_msgs/msg/DiagnosticStatus"](level=level, **values)
        return types[DIAGNOSTICS](header, [status])

    def record(*, topic: str = "/point", said: tuple[tuple[int, str], ...] = (), seconds=range(4), day: int = 0):
        start = START_NS + day * 86_400 * SECOND_NS
        folder = tmp_path / new_id().hex
        with Writer(folder, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
            line = writer.add_connection(topic, POINT, typestore=humble)
            for second in seconds:
                point = types[POINT](x=float(second), y=0.0, z=0.0)
                writer.write(line, start + second * SECOND_NS, humble.serialize_cdr(point, POINT))
            if said:
                line = writer.add_connection("/diagnostics", DIAGNOSTICS, typestore=humble)
            for number, (level, text) in enumerate(said):
                content = humble.serialize_cdr(diagnostics(level, text), DIAGNOSTICS)
                writer.write(line, start + number * SECOND_NS, content)
        return (folder / f"{folder.name}.mcap").read_bytes()

    return record


@pytest.fixture
def kept(runtime, world):
    """A bag of these bytes, stored and converted; gives its id."""

    def keep(content: bytes, robot: str = "amr-01", filename: str = "night.mcap", owner: UUID | None = None) -> UUID:
        organisation_id = owner or world.organisation.id
        key = f"{organisation_id}/bags/{hashlib.sha256(content).hexdigest()}"
        runtime.objects.put(key, content)
        bag = Bag(
            organisation_id=organisation_id,
            sha256=hashlib.sha256(content).hexdigest(),
            size=len(content),
            filename=filename,
            object_key=key,
            robot_id=None if owner else world.robots[robot].id,
            robot_name=robot,
            uploaded_at=runtime.clock.now(),
        )
        with runtime.transaction() as session:
            session.add(bag)
        process(transaction=runtime.transaction, objects=runtime.objects, bag_id=bag.id)
        return bag.id

    return keep


@pytest.fixture
def topics(runtime):
    """The catalogued topics of a bag."""

    def of(bag_id: UUID) -> list[BagTopic]:
        with runtime.reading() as session:
            return catalogue.topics_of(session, session.get_one(Bag, bag_id))

    return of


@pytest.fixture
def found(runtime, world):
    """The ids of the bags that are found."""

    def find(**sought) -> list[UUID]:
        with runtime.reading() as session:
            return [bag.id for bag in bags_of(session, world.organisation.id, Sought(**sought))]

    return find


def test_a_converted_bag_has_its_topics_with_their_quality_in_the_catalogue(kept, recording, topics):
    (row,) = topics(kept(recording(seconds=[*range(20), 60, 61])))
    assert (row.name, row.type, row.definition, row.rows, row.rejected) == ("/point", POINT, "recorded", 22, 0)
    assert row.rate_hz == pytest.approx(1.0, rel=0.016)
    assert (row.gaps, row.longest_gap_s, row.duplicates, row.log_time_regressions) == (1, 41.0, 0, 0)
    assert row.finished_at - row.started_at == timedelta(seconds=61)
    assert row.bytes == 22 * 28


def test_processing_again_leaves_each_topic_there_once(runtime, kept, recording, topics):
    bag_id = kept(recording(said=((2, "hot"),)))
    before = [topic.model_dump() for topic in topics(bag_id)]
    process(transaction=runtime.transaction, objects=runtime.objects, bag_id=bag_id)
    assert [topic.model_dump() for topic in topics(bag_id)] == before
    assert len(before) == 2


def test_a_bag_from_before_the_catalogue_gets_its_topics_from_its_manifest(runtime, world, kept, recording, topics):
    bag_id = kept(recording(said=((2, "hot"),)))
    before = [topic.model_dump() for topic in topics(bag_id)]
    with runtime.transaction() as session:
        session.exec(delete(BagTopic))
    with runtime.reading() as session:
        assert [bag.id for bag in catalogue.uncatalogued(session, world.organisation.id)] == [bag_id]
    assert catalogue_again(transaction=runtime.transaction, objects=runtime.objects, bag_id=bag_id) == 2
    assert [topic.model_dump() for topic in topics(bag_id)] == before
    with runtime.reading() as session:
        assert catalogue.uncatalogued(session, world.organisation.id) == []


def test_what_diagnostics_warned_of_is_kept_once_each_and_what_is_fine_is_not(kept, recording, topics):
    said = ((0, "all is well"), (1, "warm"), (2, "too  hot\n"), (2, "too hot"))
    diagnostics, point = topics(kept(recording(said=said)))
    assert diagnostics.errors.splitlines() == ["drive: warm", "drive: too hot"]
    assert point.errors == ""


def test_bags_are_found_by_robot_site_and_status(kept, recording, found):
    first = kept(recording(), "amr-01")
    second = kept(recording(seconds=range(5)), "amr-02")
    assert found(robot="amr-02") == [second]
    assert found(site="north") == [second, first]
    assert found(site="south") == []
    assert found(status=BagStatus.complete) == [second, first]
    assert found(status=BagStatus.refused) == []
    assert found(mission_id=new_id()) == []


def test_bags_are_found_by_the_days_they_were_recorded_on(kept, recording, found):
    first, second = kept(recording()), kept(recording(day=2))
    assert found(since=date(2026, 3, 1), until=date(2026, 3, 1)) == [first]
    assert found(since=date(2026, 3, 2)) == [second]
    assert found(until=date(2026, 3, 2)) == [first]
    assert found(since=date(2026, 3, 2), until=date(2026, 3, 2)) == []
    assert found(since=date.min, until=date.max) == [second, first]


def test_a_bag_over_midnight_is_found_on_both_days(kept, recording, found):
    bag = kept(recording(seconds=(0, 3 * 3600)))
    assert found(since=date(2026, 3, 1), until=date(2026, 3, 1)) == [bag]
    assert found(since=date(2026, 3, 2), until=date(2026, 3, 2)) == [bag]


def test_bags_are_found_by_topic_and_type_in_which_a_star_stands_for_anything(kept, recording, found):
    first, second = kept(recording(topic="/arm_1/point")), kept(recording(topic="/armX1/point"))
    assert found(topic="/arm_1/point") == [first]
    assert found(topic="/arm_*") == [first]
    assert found(topic="/arm*") == [second, first]
    assert found(type=POINT) == [second, first]
    assert found(type="*/Imu") == []
    assert found(topic="/armX1/point", type="*/Point") == [second]


def test_bags_are_found_by_a_part_of_what_their_diagnostics_said(kept, recording, found):
    hot, full = kept(recording(said=((2, "Motor hot"),))), kept(recording(said=((1, "disk 100% full"),)))
    assert found(error="motor HOT") == [hot]
    assert found(error="100%") == [full]
    assert found(error="%") == [full]
    assert found(text="motor") == [hot]
    assert found(text="diagnostics") == [full, hot]
    assert found(error="diagnostics") == []


def test_text_is_sought_in_file_names_too(kept, recording, found):
    bag = kept(recording(), filename="crash_7.mcap")
    kept(recording(seconds=range(5)), filename="crash-7.mcap")
    assert found(text="CRASH_") == [bag]


def test_another_organisations_bags_are_never_found(runtime, world, kept, recording, found):
    with runtime.transaction() as session:
        other = Organisation(name="other", created_at=runtime.clock.now())
        session.add(other)
    theirs = kept(recording(said=((2, "hot"),)), owner=other.id)
    assert found(topic="/point", error="hot", text="night") == []
    with runtime.reading() as session, pytest.raises(NotFound, match="There is no bag"):
        bag_called(session, world.organisation.id, str(theirs))


def test_a_bag_is_called_by_its_id_its_hash_or_its_name(runtime, world, kept, recording):
    bag_id = kept(recording(), filename="once.mcap")
    for number in range(2):
        kept(recording(seconds=range(number + 5)), filename="twice.mcap")
    with runtime.reading() as session:
        sha256 = session.get_one(Bag, bag_id).sha256
        for name in (str(bag_id), sha256, sha256.upper(), sha256[:8], sha256[:32], "once.mcap"):
            assert bag_called(session, world.organisation.id, name).id == bag_id
        for name in ("", sha256[:7], str(new_id()), "%"):
            with pytest.raises(NotFound):
                bag_called(session, world.organisation.id, name)
        with pytest.raises(Conflict, match="give the id"):
            bag_called(session, world.organisation.id, "twice.mcap")


def test_the_events_of_its_robot_while_it_was_recorded_belong_to_a_bag(runtime, world, kept, recording):
    bag_id = kept(recording())
    with runtime.transaction() as session:
        bag = session.get_one(Bag, bag_id)
        for key, robot, seconds in (("a", "amr-01", 2), ("b", "amr-01", 5), ("c", "amr-02", 2), ("d", "amr-01", 0)):
            at = bag.started_at + timedelta(seconds=seconds)
            known = {"organisation_id": world.organisation.id, "robot_id": world.robots[robot].id}
            session.add(Event(key=key, kind="fault", occurred_at=at, received_at=at, **known))
    with runtime.reading() as session:
        events = catalogue.events_within(session, session.get_one(Bag, bag_id))
    assert [event.key for event in events] == ["d", "a"]


@pytest.mark.proof
def test_the_catalogue_is_the_same_on_postgresql(postgres_runtime, postgres_world, recording):
    content = recording(topic="/arm_1/point", said=((2, "too hot"),))
    sha256, mine = hashlib.sha256(content).hexdigest(), postgres_world.organisation.id
    postgres_runtime.objects.put(sha256, content)
    robot = postgres_world.robots["amr-01"]
    known = {"filename": "n.mcap", "object_key": sha256, "robot_id": robot.id, "robot_name": robot.name}
    bag = Bag(organisation_id=mine, sha256=sha256, size=1, uploaded_at=postgres_runtime.clock.now(), **known)
    with postgres_runtime.transaction() as session:
        session.add(bag)
    for _ in range(2):
        process(transaction=postgres_runtime.transaction, objects=postgres_runtime.objects, bag_id=bag.id)
    at = bag.uploaded_at.replace(second=0)
    with postgres_runtime.transaction() as session:
        known = {"organisation_id": mine, "robot_id": robot.id, "occurred_at": at, "received_at": at}
        session.add(Event(key="k", kind="fault", severity="error", fields={"code": "E42"}, **known))
        session.add(Alert(organisation_id=mine, robot_id=robot.id, rule="silent", message="Look.", opened_at=at))
        session.add(
            Recording(
                organisation_id=mine,
                robot_id=robot.id,
                trigger_id="t",
                kind="anomaly",
                bag_id=bag.id,
                asked_by="x",
                asked_at=at,
            )
        )
    wanted = Sought(site="north", topic="/arm_*", error="HOT", text="diag", since=date(2026, 3, 1))
    with postgres_runtime.reading() as session:
        for also in (
            {"error": "e42"},
            {"anomaly": "silent"},
            {"anomaly": "*"},
            {"trigger": "anomaly"},
            {"text": "E42"},
        ):
            assert [found.id for found in bags_of(session, mine, Sought(**also))] == [bag.id]
        assert [found.id for found in bags_of(session, mine, wanted)] == [bag.id]
        assert len(session.exec(select(BagTopic)).all()) == 2
        assert bags_of(session, mine, Sought(error="cold")) == []
