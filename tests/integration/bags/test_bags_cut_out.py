"""A cut as a bag of its own: found, downloaded and asked for again as any bag, and never counted twice in the lake."""

import hashlib
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit
from uuid import UUID

import numpy as np
import pytest
from rosbags.rosbag2 import StoragePlugin, Writer
from sqlmodel import select

from fleet.database import new_id
from fleet.errors import Conflict, Invalid, NoRoom, NotFound
from fleet.events import Event
from fleet.objectstore import ObjectStore
from fleet.organisations import Organisation
from fleet.requests import Request, RequestStatus, settle
from ingestion import addresses, cuts, storing
from ingestion.bags.cuts import make
from ingestion.bags.processing import catalogue, lake_holding, process
from ingestion.catalogue import Sought, bags_of, events_within, topics_of
from ingestion.cuts import CutWanted, Span, span_of
from ingestion.lake import read_topic
from ingestion.models import Bag, BagStatus
from ingestion.quality import differences
from ingestion.quotas import Limits
from orchestration.assets.tables import bags_on
from orchestration.work.cuts import cut_out

START = datetime(2026, 3, 1, 22, 0, tzinfo=UTC)
START_NS = 1_772_402_400_000_000_000
FLOAT, PICTURE = "std_msgs/msg/Float64", "sensor_msgs/msg/CompressedImage"
LIMITS = Limits(recording_bytes=10**9, stored_bytes=10**9, open_uploads=10)


def _span(begin: float, end: float) -> Span:
    return Span(START + timedelta(seconds=begin), START + timedelta(seconds=end))


@pytest.fixture
def content(tmp_path, humble) -> bytes:
    """A minute of /voltage, ten a second, and of /camera, one a second."""
    types = humble.types
    with Writer(tmp_path / "run", version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        numbers = writer.add_connection("/voltage", FLOAT, typestore=humble)
        pictures = writer.add_connection("/camera", PICTURE, typestore=humble)
        for n in range(600):
            writer.write(numbers, START_NS + n * 10**8, humble.serialize_cdr(types[FLOAT](data=float(n)), FLOAT))
            if n % 10 == 0:
                header = types["std_msgs/msg/Header"](types["builtin_interfaces/msg/Time"](1, 0), "camera")
                jpeg = np.frombuffer(b"\xff\xd8\xff" + bytes([n // 10]) * 40, np.uint8)
                told = humble.serialize_cdr(types[PICTURE](header, "jpeg", jpeg), PICTURE)
                writer.write(pictures, START_NS + n * 10**8, told)
    return (tmp_path / "run" / "run.mcap").read_bytes()


@pytest.fixture
def bag(runtime, world, content) -> Bag:
    """The recording as a converted bag of amr-01."""
    sha256, robot = hashlib.sha256(content).hexdigest(), world.robots["amr-01"]
    key = f"{world.organisation.id}/bags/{sha256}"
    runtime.objects.put(key, content)
    known = {"robot_id": robot.id, "robot_name": robot.name, "uploaded_at": START, "mission_id": new_id()}
    row = Bag(
        organisation_id=world.organisation.id,
        sha256=sha256,
        size=len(content),
        filename="run.mcap",
        **known,
        object_key=key,
    )
    with runtime.transaction() as session:
        session.add(row)
    process(transaction=runtime.transaction, objects=runtime.objects, bag_id=row.id)
    with runtime.reading() as session:
        return session.get_one(Bag, row.id)


@pytest.fixture
def event(runtime, world) -> Event:
    """A fault of amr-01 half a minute after the begin."""
    at = START + timedelta(seconds=30)
    known = {"organisation_id": world.organisation.id, "robot_id": world.robots["amr-01"].id}
    row = Event(key="k", kind="fault", occurred_at=at, received_at=at, **known)
    with runtime.transaction() as session:
        session.add(row)
    return row


@pytest.fixture
def cut(runtime, bag):
    """Makes a cut of the bag."""

    def made(begin: float, end: float, **also) -> Bag:
        return make(transaction=runtime.transaction, objects=runtime.objects, bag=bag, span=_span(begin, end), **also)

    return made


@pytest.fixture
def ask(runtime, bag):
    """Asks for a cut of the bag; gives the request and the SHA-256."""

    def asked(limits: Limits = LIMITS, **wanted) -> tuple[Request, str]:
        with runtime.transaction() as session:
            return cuts.ask(session, bag, CutWanted(**wanted), limits=limits, who="user:ops")

    return asked


def test_a_cut_is_a_bag_that_names_the_bag_and_the_event_it_is_of(runtime, world, bag, event, cut):
    made = cut(10, 20, event_id=event.id)
    assert (made.cut_of_id, made.cut_event_id, made.robot_id, made.mission_id) == (
        bag.id,
        event.id,
        bag.robot_id,
        bag.mission_id,
    )
    assert (made.status, made.messages, made.topics) == (BagStatus.complete, 110, 2)
    assert (made.started_at, made.finished_at) == (START + timedelta(seconds=10), START + timedelta(seconds=19.9))
    with runtime.reading() as session:
        assert [(topic.name, topic.rows) for topic in topics_of(session, made)] == [("/camera", 10), ("/voltage", 100)]
        assert events_within(session, made) == []
        assert bags_of(session, world.organisation.id, Sought(topic="/volt*", cut_of=bag.id)) == [made]
        assert cuts.cuts_of(session, bag) == [made]


def test_its_rows_are_not_counted_a_second_time_in_the_lake(runtime, world, cut):
    cut(10, 20)
    assert read_topic(runtime.objects, world.organisation.id, "/voltage").num_rows == 600
    with runtime.reading() as session:
        assert [bag.filename for bag in bags_on(session, START.date())] == ["run.mcap"]


def test_the_same_span_again_is_the_same_bag_and_writes_nothing(runtime, cut):
    made = cut(10, 20)
    folder = runtime.objects.local_path(made.object_key).parent
    before = {path: path.stat().st_ino for path in folder.rglob("*") if path.is_file()}
    assert cut(10, 20).id == made.id
    assert {path: path.stat().st_ino for path in folder.rglob("*") if path.is_file()} == before
    assert cut(10, 21).id != made.id


def test_a_cut_of_a_cut_is_one_of_its_rows(runtime, cut):
    made = cut(10, 20)
    again = make(transaction=runtime.transaction, objects=runtime.objects, bag=made, span=_span(12, 13))
    assert (again.cut_of_id, again.messages) == (made.id, 11)


def test_every_file_of_it_is_downloaded_and_has_the_hash_in_its_list(runtime, cut):
    made = cut(10, 20)
    listed = dict(reversed(line.split("  ", 1)) for line in runtime.objects.read(made.object_key).decode().splitlines())
    with runtime.reading() as session:
        given = {address.path: address for address in addresses.to_read(session, runtime.objects, made)}
    assert given.keys() == listed.keys()
    assert len(listed) == 1 + 2 + 10  # manifest, tables, pictures
    size = 0
    for path, address in given.items():
        number = urlsplit(address.url).path.rpartition("/")[2]
        query = dict(pair.split("=") for pair in urlsplit(address.url).query.split("&"))
        proof = addresses.Proof(int(query["expires"]), query["signature"], START)
        found = addresses.read_by(runtime.objects, made, int(number), proof)
        content = runtime.objects.read(found.key)
        assert (found.path, found.sha256, hashlib.sha256(content).hexdigest()) == (path, *[listed[path]] * 2)
        size += len(content)
    assert made.size == size
    assert storing.is_stored(runtime.objects, made.object_key, made.size)


@pytest.mark.parametrize("place", [2, 11, 13, 14], ids=["picture", "table", "manifest", "list"])
def test_killed_at_any_file_the_next_run_makes_the_same(runtime, bag, cut, monkeypatch, place):
    written, whole = [], ObjectStore.create

    def until_killed(store, key):
        written.append(key)
        if len(written) == place:
            raise KeyboardInterrupt
        return whole(store, key)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(ObjectStore, "create", until_killed)
        cut(10, 20)
    with runtime.reading() as session:
        assert session.exec(select(Bag).where(Bag.cut_of_id == bag.id)).all() == []
    made = cut(10, 20)
    lake = lake_holding(runtime.objects, made)
    assert differences(lake, lake.manifest(made.sha256)) == []
    assert storing.is_stored(runtime.objects, made.object_key, made.size)


def test_a_cut_whose_files_are_gone_is_made_again(runtime, cut):
    made = cut(10, 20)
    runtime.objects.delete(made.object_key)
    assert cut(10, 20).id == made.id
    assert storing.is_stored(runtime.objects, made.object_key, made.size)


def test_a_cut_is_not_converted_and_is_catalogued_from_its_own_manifest(runtime, cut):
    made = cut(10, 20)
    given = {"transaction": runtime.transaction, "objects": runtime.objects, "bag_id": made.id}
    with pytest.raises(Conflict, match="convert the bag it was cut from"):
        process(**given)
    assert catalogue(**given) == 2


def test_what_to_cut_is_the_time_around_an_event_or_between_instants(runtime, bag, event):
    with runtime.reading() as session:
        around = span_of(session, bag, CutWanted(event_id=event.id, seconds_before=5, seconds_after=1))
        assert around == Span(
            event.occurred_at - timedelta(seconds=5), event.occurred_at + timedelta(seconds=1, microseconds=1)
        )
        both = CutWanted(event_id=event.id, begin=START, end=START + timedelta(seconds=2))
        assert span_of(session, bag, both) == _span(0, 2)


@pytest.mark.parametrize(
    ("wanted", "error", "words"),
    [
        ({}, Invalid, "Say what is to be cut out"),
        ({"begin": START}, Invalid, "Say what is to be cut out"),
        ({"begin": START, "end": START}, Invalid, "must come after"),
        ({"event_id": UUID(int=1)}, NotFound, "There is no event"),
        ({"begin": START - timedelta(1), "end": START}, NotFound, "has no message"),
        ({"begin": START + timedelta(1), "end": START + timedelta(2)}, NotFound, "has no message"),
    ],
    ids=str,
)
def test_what_cannot_be_cut_is_refused_at_once(runtime, bag, wanted, error, words):
    with runtime.reading() as session, pytest.raises(error, match=words):
        span_of(session, bag, CutWanted(**wanted))


def test_another_organisations_event_is_none(runtime, bag, event):
    with runtime.transaction() as session:
        other = Organisation(name="other", created_at=START)
        session.add(other)
        session.flush()
        session.get_one(Event, event.id).organisation_id = other.id
    with runtime.reading() as session, pytest.raises(NotFound, match="There is no event"):
        span_of(session, bag, CutWanted(event_id=event.id))


def test_a_bag_that_is_not_converted_cannot_be_cut(runtime, bag):
    bag.started_at = bag.finished_at = None
    with runtime.reading() as session, pytest.raises(Conflict, match="not converted yet"):
        span_of(session, bag, CutWanted(begin=START, end=START + timedelta(seconds=1)))


def test_the_same_cut_is_asked_for_once_and_anew_when_it_failed(runtime, bag, event, ask):
    first, sha256 = ask(event_id=event.id)
    assert ask(event_id=event.id) == (first, sha256)
    assert (first.kind, first.parameters["bag"], first.parameters["event"]) == ("cut-bag", str(bag.id), str(event.id))
    with runtime.transaction() as session:
        settle(session, first.id, RequestStatus.failed, error="no")
    second, _ = ask(event_id=event.id)
    assert (second.id != first.id, second.status) == (True, RequestStatus.pending)
    assert ask(event_id=event.id)[0].id == second.id


def test_a_cut_for_which_there_is_no_room_is_not_asked_for(bag, ask):
    full = Limits(recording_bytes=1, stored_bytes=bag.size + 10, open_uploads=0)
    with pytest.raises(NoRoom):
        ask(full, begin=START, end=START + timedelta(seconds=30))


def test_the_heavy_child_makes_what_was_asked_for(runtime, settings, bag, event, ask, monkeypatch):
    monkeypatch.setenv("YARDMASTER_VAR_DIR", str(settings.var_dir))
    _, sha256 = ask(event_id=event.id, seconds_before=30, seconds_after=0)
    with runtime.reading() as session:
        span = span_of(session, bag, CutWanted(event_id=event.id, seconds_before=30, seconds_after=0))
    cut = cut_out(bag.id, span, event.id)
    assert (cut.messages, cut.topics) == (332, [("/camera", PICTURE, 31), ("/voltage", FLOAT, 301)])
    with runtime.reading() as session:
        made = bags_of(session, bag.organisation_id, Sought(cut_of=bag.id))
        assert [(one.sha256, str(one.id)) for one in made] == [(sha256, cut.bag_id)]
        assert [one.id for one in events_within(session, made[0])] == [event.id]
