"""A watched folder: what rests is taken once, what is none is refused with its reason, and no kill loses or doubles any."""

import hashlib
import os
import random
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlmodel import select

from fleet.errors import Conflict, Unavailable
from fleet.requests import Request
from ingestion import uploads, watching
from ingestion.models import Bag, Upload, UploadStatus
from ingestion.quotas import Limits
from ingestion.watching import Doors, Watch, alone

ROOT = Path(__file__).parents[3]
LIMITS = Limits(recording_bytes=10**8, stored_bytes=10**8, open_uploads=20)


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "put here"
    made.mkdir()
    return made


@pytest.fixture
def watch(runtime, world, folder, clock):
    """A watch that begins now, with these limits."""

    def begin(limits=LIMITS, settle_s: float = 10) -> Watch:
        doors = Doors(runtime.transaction, runtime.objects, world.operator, limits, "amr-01")
        return Watch(folder, doors, clock, settle_s=settle_s)

    with alone(folder):
        yield begin


@pytest.fixture
def taken(watch, clock):
    """What a new watch takes once everything rested."""

    def run(**chosen) -> list:
        fresh = watch(**chosen)
        first = fresh.turn()
        clock.step(11)
        return first + fresh.turn()

    return run


@pytest.fixture
def bags(runtime):
    def read() -> list[Bag]:
        with runtime.reading() as session:
            assert len(session.exec(select(Request)).all()) == len(session.exec(select(Bag)).all())
            return list(session.exec(select(Bag)).all())

    return read


@pytest.fixture
def record(points, mcap):
    """The bytes of a recording of so many points."""
    return lambda count: points(range(count)).content()


def test_a_recording_that_rests_becomes_a_bag_and_moves(runtime, folder, record, taken, bags):
    content = record(5)
    (folder / "run.mcap").write_bytes(content)
    (told,) = taken()
    (bag,) = bags()
    assert (told.name, told.sha256) == ("run.mcap", hashlib.sha256(content).hexdigest())
    assert (bag.sha256, bag.robot_name, bag.filename) == (told.sha256, "amr-01", "run.mcap")
    assert runtime.objects.read(bag.object_key) == content
    assert not (folder / "run.mcap").exists()
    assert (folder / "done/run.mcap").read_bytes() == content


def test_what_still_grows_is_left_until_it_rests(folder, record, watch, clock, bags):
    seen, content = watch(), record(50)
    for end in (100, 200, len(content)):
        (folder / "run.mcap").write_bytes(content[:end])
        assert seen.turn() == []
        clock.step(9)
    assert seen.turn() == []
    clock.step(2)
    assert len(seen.turn()) == len(bags()) == 1


def test_what_changes_while_it_is_sent_must_rest_again(folder, record, watch, clock, monkeypatch):
    real, content, seen = watching._send, record(5), watch()
    (folder / "run.mcap").write_bytes(content)

    def slow(doors, path):
        sha256 = real(doors, path)
        path.write_bytes(content + b"more")
        return sha256

    monkeypatch.setattr(watching, "_send", slow)
    seen.turn()
    clock.step(11)
    assert seen.turn() == []
    assert (folder / "run.mcap").exists()


def test_what_is_no_recording_is_refused_with_the_reason(folder, taken, bags):
    (folder / "notes.txt").write_text("not a bag")
    (folder / "lfs.bag").write_text("version https://git-lfs.github.com/spec/v1")
    (folder / "link.mcap").symlink_to("/etc/passwd")
    (folder / "empty").mkdir()
    assert {each.name for each in taken() if each.reason} == {"notes.txt", "lfs.bag", "link.mcap", "empty"}
    assert bags() == []
    assert "LFS" in (folder / "refused/lfs.bag.reason.txt").read_text()
    assert (folder / "refused/notes.txt").read_text() == "not a bag"
    assert "link" in (folder / "refused/link.mcap.reason.txt").read_text()


def test_a_name_that_is_no_text_is_refused_and_holds_up_nothing(folder, record, taken, bags):
    (folder / os.fsdecode(b"a\xff.mcap")).write_bytes(record(2))
    drive = folder / "drive"
    drive.mkdir()
    (drive / os.fsdecode(b"\xfe.mcap")).write_bytes(record(3))
    (folder / "z.mcap").write_bytes(record(4))
    told = {one.name: one.reason for one in taken()}
    assert told == {
        "a\\xff.mcap": "The name a\\xff.mcap is not UTF-8; rename it.",
        "drive": "The name \\xfe.mcap is not UTF-8; rename it.",
        "z.mcap": "",
    }
    assert [bag.filename for bag in bags()] == ["z.mcap"]


def test_the_longest_names_are_refused_and_taken_as_any(folder, record, taken, bags):
    first, second = "é" * 125 + ".txt", "é" * 125 + ".mcap"
    for turn in range(2):
        (folder / first).write_bytes(b"none")
        (folder / second).write_bytes(record(turn + 1))
        assert len(taken()) == 2
    assert len(list((folder / "refused").iterdir())) == 4
    assert [len(os.fsencode(path.name)) for path in (folder / "done").iterdir()] == [255, 255]
    assert len(bags()) == 2


def test_what_others_still_write_is_not_touched(folder, taken):
    for name in [".hidden.mcap", "run.mcap.part", "run.db3-wal", "copy.tmp"]:
        (folder / name).write_bytes(b"x")
    assert taken() == []
    assert len([path for path in folder.iterdir() if path.is_file()]) == 5  # and the lock


def test_what_a_recorder_has_open_waits_however_long_it_rests(folder, record, taken, bags):
    (folder / "drive.bag.active").write_bytes(b"#ROSBAG V2.0\n")
    with (folder / "run.mcap").open("wb") as recorder:
        recorder.write(record(5))
        recorder.flush()
        assert taken() == taken() == bags() == []
    (told,) = taken()
    assert (told.name, told.reason) == ("run.mcap", "")


def test_a_folder_with_a_file_that_is_open_waits(folder, db3_bag, taken):
    db3_bag.parent.rename(folder / "drive")
    with (folder / "drive" / db3_bag.name).open("r+b"):
        assert taken() == []
    assert len(taken()) == 1


def test_what_another_sends_at_the_same_time_is_not_refused(runtime, world, folder, record, clock, bags):
    content, given = record(5), {"transaction": runtime.transaction, "objects": runtime.objects}
    (folder / "run.mcap").write_bytes(content)

    @contextmanager
    def overtaken():
        """The other sender ends right behind our first transaction."""
        with runtime.transaction() as session:
            yield session
        with runtime.reading() as session:
            is_first = not session.exec(select(Bag)).all()
            still_open = session.exec(select(Upload.id).where(Upload.status == UploadStatus.open)).all()
        for upload_id in still_open if is_first else []:
            with uploads.receiving(**given, principal=world.operator, upload_id=upload_id) as take:
                take(content)

    with alone(folder):
        seen = Watch(folder, Doors(overtaken, runtime.objects, world.operator, LIMITS, "amr-01"), clock, settle_s=0)
        found = seen.turn() or seen.turn()
    assert [(each.name, each.reason) for each in found] == [("run.mcap", "")]
    assert len(bags()) == 1


def test_a_database_whose_recorder_has_not_closed_it_waits(folder, db3_bag, taken, bags):
    (folder / "run.db3").write_bytes(db3_bag.read_bytes())
    (folder / "run.db3-wal").write_bytes(b"x")
    assert taken() == bags() == []
    (folder / "run.db3-wal").write_bytes(b"")
    assert len(taken()) == 1


def test_a_rosbag2_folder_is_taken_as_one_recording(folder, db3_bag, taken, bags, monkeypatch):
    monkeypatch.setattr(watching, "PART_BYTES", 1000)
    db3_bag.parent.rename(folder / "drive")
    (told,) = taken()
    (bag,) = bags()
    assert (told.name, bag.filename, bag.sha256) == ("drive", "drive", told.sha256)
    assert (folder / "done/drive/metadata.yaml").is_file()


def test_a_name_that_was_there_before_replaces_nothing(folder, mcap, point, taken, bags):
    channel = mcap.channel("/point", "geometry_msgs/msg/Point", "float64 x\nfloat64 y\nfloat64 z\n")
    for number in range(3):
        mcap.add(channel, number, point(1.0))
        (folder / "run.mcap").write_bytes(mcap.content())
        assert len(taken()) == 1
    assert sorted(path.name for path in (folder / "done").iterdir()) == ["run.mcap", "run.mcap.2", "run.mcap.3"]
    assert len(bags()) == 3


def test_without_room_it_waits_and_is_taken_when_there_is(folder, record, taken, bags):
    (folder / "run.mcap").write_bytes(record(5))
    assert taken(limits=Limits(10**8, 10, 20)) == []
    assert (folder / "run.mcap").exists()
    assert len(taken()) == len(bags()) == 1


def test_too_large_is_refused(folder, record, taken):
    (folder / "run.mcap").write_bytes(record(5))
    (told,) = taken(limits=Limits(10, 10**8, 20))
    assert "at most 10 are taken" in told.reason
    assert (folder / "refused/run.mcap").is_file()


def test_while_the_store_is_away_it_waits(folder, record, taken, monkeypatch):
    (folder / "run.mcap").write_bytes(record(5))

    def away(*_given, **_more):
        raise Unavailable("The object store could not be written.")

    with monkeypatch.context() as patched:
        patched.setattr(uploads, "receiving", away)
        assert taken() == []
    assert len(taken()) == 1


def test_one_watches_a_folder_at_a_time(watch, folder):
    with pytest.raises(Conflict, match="watches"), alone(folder):
        pass


@pytest.mark.parametrize("step", ["_announce", "_enter", "_send", "_free_end"])
def test_killed_between_steps_the_next_run_goes_on(runtime, folder, record, taken, bags, monkeypatch, step: str):
    (folder / "run.mcap").write_bytes(record(5))
    (folder / "notes.txt").write_text("not a bag")
    room = uploads if step == "_enter" else watching
    real = getattr(room, step)

    def dying(*given):
        real(*given)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(room, step, dying)
        with pytest.raises(KeyboardInterrupt):
            taken()
    taken()
    assert [bag.filename for bag in bags()] == ["run.mcap"]
    assert (folder / "done/run.mcap").is_file()
    assert (folder / "refused/notes.txt").is_file()
    with runtime.reading() as session:
        assert set(session.exec(select(Upload.status)).all()) == {UploadStatus.complete}


@pytest.mark.proof
def test_kill_9_at_any_instant_loses_nothing_and_takes_nothing_twice(runtime, world, folder, points, bags):
    made, contents = points(range(2000)), set()
    for number in range(12):
        made.add(1, number, made.messages[0][2])
        content = made.content()
        (folder / f"run-{number}.mcap").write_bytes(content)
        contents.add(hashlib.sha256(content).hexdigest())
    chosen = random.Random(5)
    command = [sys.executable, "-m", "deployments.cli", "--var", str(runtime.settings.var_dir), "bags", "watch"]
    command += [str(folder), "--robot", "amr-01", "-o", world.organisation.name, "--settle", "0", "--once"]
    for _ in range(8):
        child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": str(ROOT)})
        assert child.stdout is not None
        if child.stdout.readline():  # the first is taken; from here on at any instant
            time.sleep(chosen.uniform(0, 0.05))
        child.kill()
        child.wait()
        child.stdout.close()
    subprocess.run(command, cwd=ROOT, check=True, timeout=60, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert {bag.sha256 for bag in bags()} == contents
    assert len(bags()) == 12
    assert {hashlib.sha256(path.read_bytes()).hexdigest() for path in (folder / "done").iterdir()} == contents
