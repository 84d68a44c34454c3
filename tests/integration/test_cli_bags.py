"""`yardmaster bags …`: recordings are inspected, found, shown and cut from the command line."""

import hashlib
import json
import subprocess
import sys
from datetime import timedelta

import pytest
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore
from sqlalchemy import delete
from typer.testing import CliRunner

from deployments.cli.app import app
from fleet.database import new_id
from fleet.errors import NotFound
from fleet.events import Event
from fleet.organisations import Organisation
from ingestion.bags.processing import process
from ingestion.models import Bag, BagTopic

START_NS = 1_772_402_400_000_000_000  # 2026-03-01 22:00 UTC
FLOAT = "std_msgs/msg/Float64"


@pytest.fixture
def recording(tmp_path):
    """A recording of two minutes: a number a second on /voltage."""
    types = get_typestore(Stores.ROS2_HUMBLE)
    with Writer(tmp_path / "night", version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        line = writer.add_connection("/voltage", FLOAT, typestore=types)
        for second in range(120):
            content = types.serialize_cdr(types.types[FLOAT](data=float(second)), FLOAT)
            writer.write(line, START_NS + second * 10**9, content)
    return tmp_path / "night" / "night.mcap"


@pytest.fixture
def bag(runtime, world, recording):
    """The recording as a converted bag of amr-01."""
    content = recording.read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    robot, mine = world.robots["amr-01"], world.organisation.id
    runtime.objects.put(f"{mine}/bags/{sha256}", content)
    known = {"robot_id": robot.id, "robot_name": robot.name, "uploaded_at": runtime.clock.now()}
    row = Bag(
        organisation_id=mine,
        sha256=sha256,
        size=len(content),
        filename="night.mcap",
        object_key=f"{mine}/bags/{sha256}",
        **known,
    )
    with runtime.transaction() as session:
        session.add(row)
    process(transaction=runtime.transaction, objects=runtime.objects, bag_id=row.id)
    return row


@pytest.fixture
def run(settings):
    """`yardmaster bags` in the test's installation; gives what it says. Errors of ours are raised as they are."""

    def command(*arguments: object, code: int = 0) -> str:
        env = {"YARDMASTER_VAR_DIR": str(settings.var_dir), "COLUMNS": "250"}
        ran = CliRunner().invoke(app, ["bags", *map(str, arguments)], env=env)
        if ran.exception is not None and not isinstance(ran.exception, SystemExit):
            raise ran.exception
        assert ran.exit_code == code, ran.output
        return ran.stdout

    return command


def test_a_recording_is_inspected_without_an_installation(run, recording):
    told = json.loads(run("inspect", recording, "--json"))
    assert (told["format"], told["status"], told["messages"], told["duration_s"]) == ("mcap", "complete", 120, 119.0)
    assert [(topic["name"], topic["messages"], topic["rate_hz"]) for topic in told["topics"]] == [("/voltage", 120, 1)]
    shown = run("inspect", recording)
    assert "120 messages: complete" in shown
    assert "from 2026-03-01T22:00:00+00:00, 119.000 s" in shown
    assert "/voltage" in shown


def test_the_exit_code_of_an_inspection_tells_what_a_conversion_would_be(run, recording, tmp_path):
    (tmp_path / "cut.mcap").write_bytes(recording.read_bytes()[:2000])
    (tmp_path / "no.mcap").write_bytes(b"no recording")
    assert "lost:" in run("inspect", tmp_path / "cut.mcap", code=3)
    assert "This is no recording we know" in run("inspect", tmp_path / "no.mcap", code=2)


@pytest.mark.parametrize(
    "wanted",
    [
        [],
        ["--robot", "amr-01", "--site", "north"],
        ["--topic", "/volt*", "--type", FLOAT],
        ["--since", "2026-03-01", "--until", "2026-03-01"],
        ["--status", "complete"],
    ],
    ids=" ".join,
)
def test_a_bag_is_listed_by_what_is_in_it(run, bag, wanted):
    assert [found["id"] for found in json.loads(run("list", "-o", "acme", *wanted, "--json"))] == [str(bag.id)]


@pytest.mark.parametrize(
    "wanted",
    [
        ["--robot", "amr-02"],
        ["--site", "south"],
        ["--topic", "/volt"],
        ["--since", "2026-03-02"],
        ["--status", "refused"],
        ["--error", "voltage"],
        ["--anomaly", "*"],
        ["--trigger", "error"],
        ["--mission", str(new_id())],
    ],
    ids=lambda words: words[0],
)
def test_a_bag_that_is_not_so_is_not_listed(run, bag, wanted):
    assert json.loads(run("list", "-o", "acme", *wanted, "--json")) == []


def test_a_person_sees_the_bags_in_a_table(run, bag):
    shown = run("list", "-o", "acme")
    for told in ("1 bags", str(bag.id), "night.mcap", "2026-03-01 22:00:00", "complete"):
        assert told in shown


def test_bags_are_searched_for_a_text(run, bag):
    assert [found["id"] for found in json.loads(run("search", "VOLT", "-o", "acme", "--json"))] == [str(bag.id)]
    assert json.loads(run("search", "current", "-o", "acme", "--json")) == []


@pytest.fixture
def event(runtime, world, bag):
    """A fault of the robot in the middle of the bag."""
    with runtime.transaction() as session:
        at = session.get_one(Bag, bag.id).started_at + timedelta(seconds=60)
        known = {"organisation_id": world.organisation.id, "robot_id": bag.robot_id}
        row = Event(key="k", kind="bumper_hit", occurred_at=at, received_at=at, **known)
        session.add(row)
    return row


def test_a_bag_is_shown_with_topics_quality_and_events(run, bag, event):
    told = json.loads(run("show", "night.mcap", "-o", "acme", "--json"))
    assert [(topic["name"], topic["rows"], topic["errors"]) for topic in told["contents"]] == [("/voltage", 120, [])]
    assert [found["kind"] for found in told["events"]] == ["bumper_hit"]
    shown = run("show", bag.id, "-o", "acme")
    for words in ("/voltage", FLOAT, "1 topics", "bumper_hit", str(event.id)):
        assert words in shown


def test_a_span_is_cut_out(run, bag, tmp_path):
    span = ["--from", "2026-03-01T22:00:10Z", "--to", "2026-03-01T22:00:20"]
    told = json.loads(run("cut", bag.sha256[:10], "-o", "acme", *span, "--out", tmp_path / "cut", "--json"))
    assert (told["messages"], told["bag_sha256"]) == (10, bag.sha256)
    assert (tmp_path / "cut" / "manifests" / f"{told['sha256']}.json").is_file()


def test_the_time_around_an_event_is_cut_out(run, bag, event, tmp_path):
    told = json.loads(run("cut", bag.id, "-o", "acme", "--event", event.id, "--out", tmp_path / "cut", "--json"))
    assert told["messages"] == 61
    told = run("cut", bag.id, "-o", "acme", "--event", event.id, "--before", 5, "--after", 0, "--out", tmp_path / "cut")
    assert "6 messages in" in told


def test_a_cut_without_a_folder_becomes_a_bag_that_is_shown(run, bag, event):
    told = json.loads(run("cut", bag.id, "-o", "acme", "--event", event.id, "--json"))
    assert (told["messages"], told["cut_of_id"], told["cut_event_id"]) == (61, str(bag.id), str(event.id))
    assert [found["kind"] for found in told["events"]] == ["bumper_hit"]
    assert json.loads(run("cut", bag.id, "-o", "acme", "--event", event.id, "--json"))["id"] == told["id"]
    assert len(json.loads(run("list", "-o", "acme", "--json"))) == 2


@pytest.mark.parametrize(
    "span",
    [
        [],
        ["--from", "2026-03-01T22:00:10Z"],
        ["--from", "noon", "--to", "2026-03-01T22:00:10Z"],
        ["--from", "2026-03-01", "--to", "2026-03-02", "--event", "018f0000-0000-7000-8000-000000000001"],
    ],
    ids=" ".join,
)
def test_a_cut_says_from_when_to_when_or_which_event(run, bag, tmp_path, span):
    run("cut", bag.id, "-o", "acme", *span, "--out", tmp_path / "cut", code=2)
    assert not (tmp_path / "cut").exists()


def test_an_event_or_bag_of_another_organisation_is_not_there(runtime, run, bag, event, tmp_path):
    with runtime.transaction() as session:
        session.add(Organisation(name="other", created_at=runtime.clock.now()))
    for command in (["show", bag.id], ["cut", bag.id, "--event", event.id, "--out", tmp_path / "cut"]):
        with pytest.raises(NotFound, match="There is no bag"):
            run(*command, "-o", "other")
    with pytest.raises(NotFound, match="There is no event"):
        run("cut", bag.id, "-o", "acme", "--event", new_id(), "--out", tmp_path / "cut")


def test_what_is_not_converted_is_told_when_a_cut_is_asked_for(runtime, run, bag, event, tmp_path):
    runtime.objects.delete(f"{bag.organisation_id}/lake/manifests/{bag.sha256}.json")
    with pytest.raises(NotFound, match="convert it again"):
        run("cut", bag.id, "-o", "acme", "--event", event.id, "--out", tmp_path / "cut")


def test_bags_from_before_the_catalogue_are_catalogued_once(runtime, run, bag):
    with runtime.transaction() as session:
        session.exec(delete(BagTopic))
    assert run("catalogue", "-o", "acme") == "1 bags, 1 topics\n"
    assert run("catalogue", "-o", "acme") == "0 bags, 0 topics\n"
    assert run("catalogue", "-o", "acme", "--again") == "1 bags, 1 topics\n"
    assert json.loads(run("list", "-o", "acme", "--topic", "/voltage", "--json"))[0]["id"] == str(bag.id)


@pytest.mark.parametrize(
    ("is_even", "also"), [(False, set()), (True, {"pyarrow.parquet", "pyarrow.fs", "pyarrow._compute"})]
)
def test_a_conversion_waits_for_nothing_that_it_does_not_need(tmp_path, is_even, also):
    types = get_typestore(Stores.ROS2_HUMBLE)
    said = types.types["std_msgs/msg/String"]
    dim = types.types["std_msgs/msg/MultiArrayDimension"]
    kind = "std_msgs/msg/MultiArrayLayout"
    with Writer(tmp_path / "run", version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        text = writer.add_connection("/said", "std_msgs/msg/String", typestore=types)
        lists = writer.add_connection("/lists", kind, typestore=types)
        for n in range(300):  # in order and each as long as the others, or neither
            time, length, elements = (START_NS + n, 5, 2) if is_even else (START_NS - n, n % 7, n % 3)
            writer.write(text, time, types.serialize_cdr(said(data="x" * length), "std_msgs/msg/String"))
            many = [dim(label=str(n % 5), size=place, stride=1) for place in range(elements)]
            writer.write(lists, time, types.serialize_cdr(types.types[kind](dim=many, data_offset=n), kind))
    script = (
        f"import sys; sys.argv = ['yardmaster', 'bags', 'convert', {str(tmp_path / 'run/run.mcap')!r}, "
        f"'--out', {str(tmp_path / 'lake')!r}]\n"
        "from deployments.cli.converting import converted, plainly_asked\n"
        "print('ENDED', converted(plainly_asked(sys.argv[1:])))\n"
        "print('LOADED', *sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "run.mcap: complete, 600 messages" in ran.stdout
    assert "ENDED 0" in ran.stdout
    loaded = set(ran.stdout.partition("LOADED ")[2].split())
    assert loaded & {"typer", "rich", "pydantic", "yaml", "pandas", "fsspec", "pyarrow.compute", "sqlalchemy"} == set()
    assert loaded & ({"sqlite3", "zipfile", "ingestion.bags.media", "ingestion.bags.ros1"} | also) == set()
