"""What an organisation may store and have under way; what was abandoned goes, with its parts, and nothing else."""

import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import count
from pathlib import Path

import pytest
from sqlmodel import select

from fleet.errors import Invalid, NoRoom, NotFound, TooMany
from fleet.organisations import Organisation, Principal, PrincipalKind
from fleet.requests import Request
from ingestion import folders, leftovers, parts, storing, uploads
from ingestion.folders import Piece
from ingestion.models import Bag, Upload, UploadStatus
from ingestion.quotas import Limits
from orchestration import retention

DAY_S = 86_400.0
LIMITS = Limits(recording_bytes=1000, stored_bytes=1000, open_uploads=3)


@pytest.fixture
def doors(runtime, world):
    return {"transaction": runtime.transaction, "objects": runtime.objects, "principal": world.operator}


@pytest.fixture
def announce(runtime, world):
    """Announces these bytes."""

    def run(content: bytes, *, principal=world.operator, limits=LIMITS) -> Upload:
        wanted = {"filename": "a.mcap", "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        with runtime.transaction() as session:
            return uploads.start(session, principal=principal, robot=None, mission_id=None, limits=limits, **wanted)

    return run


@pytest.fixture
def store(announce, doors):
    """Uploads these bytes whole."""

    def run(content: bytes) -> Bag:
        upload = announce(content)
        uploads.write_part(**doors, upload_id=upload.id, number=1, content=content)
        return uploads.complete(**doors, upload_id=upload.id)

    return run


def test_what_is_stored_and_announced_counts_and_more_finds_no_room(announce, store):
    store(b"a" * 600)
    announce(b"b" * 300)
    with pytest.raises(NoRoom, match="600 bytes are stored and 300 announced") as told:
        announce(b"c" * 101)
    assert told.value.status == 507
    assert announce(b"c" * 100).size == 100


def test_content_that_is_stored_already_needs_no_room(announce, store):
    store(b"a" * 1000)
    assert announce(b"a" * 1000).status is UploadStatus.open


def test_a_whole_recording_of_another_sum_left_nothing_and_takes_no_room(announce, doors):
    wrong = announce(b"a" * 1000)
    with (
        pytest.raises(Invalid, match="was announced; send it again"),
        uploads.receiving(**doors, upload_id=wrong.id) as take,
    ):
        take(b"b" * 1000)
    assert announce(b"c" * 1000).status is UploadStatus.open


def test_parts_of_another_sum_are_kept_and_take_room(announce, doors):
    wrong = announce(b"a" * 1000)
    uploads.write_part(**doors, upload_id=wrong.id, number=1, content=b"b" * 1000)
    with pytest.raises(Invalid, match="was announced; send it again"):
        uploads.complete(**doors, upload_id=wrong.id)
    with pytest.raises(NoRoom, match="1000 announced"):
        announce(b"c")


def test_an_upload_that_is_open_is_found_again_whatever_the_limit(announce):
    first = announce(b"a" * 1000)
    assert announce(b"a" * 1000).id == first.id


def test_too_many_open_uploads_are_refused_until_one_is_complete(announce, store, doors):
    several = [announce(bytes([n])) for n in range(3)]
    with pytest.raises(TooMany, match="3 uploads are open") as told:
        announce(b"another")
    assert told.value.status == 429
    uploads.write_part(**doors, upload_id=several[0].id, number=1, content=bytes([0]))
    uploads.complete(**doors, upload_id=several[0].id)
    assert announce(b"another").status is UploadStatus.open


def test_the_limits_of_one_organisation_are_not_those_of_another(runtime, announce, store):
    with runtime.transaction() as session:
        other = Organisation(name="other", created_at=runtime.clock.now())
        session.add(other)
    store(b"a" * 1000)
    assert announce(b"b" * 1000, principal=Principal(PrincipalKind.key, "k", other.id)).size == 1000


def test_many_who_announce_at_once_do_not_get_beyond_the_limit(announce):
    numbers = count()

    def one(_) -> int:
        try:
            return announce(bytes([next(numbers)]) * 400).size
        except NoRoom:
            return 0

    with ThreadPoolExecutor(6) as crowd:
        assert sum(crowd.map(one, range(6))) == 800


def test_an_abandoned_upload_goes_with_its_parts_and_its_room(runtime, world, announce, store, doors, clock):
    bag = store(b"z" * 10)
    old, busy = announce(b"a" * 500), announce(b"b" * 400)
    uploads.write_part(**doors, upload_id=old.id, number=1, content=b"a" * 100)
    clock.step(5 * DAY_S)
    uploads.write_part(**doors, upload_id=busy.id, number=1, content=b"b" * 100)
    clock.step(3 * DAY_S)
    assert retention.forget(runtime).uploads == 1
    left = runtime.objects.list(str(world.organisation.id))
    assert left == sorted([bag.object_key, f"{world.organisation.id}/uploads/{busy.id}/000001"])
    with runtime.reading() as session:
        assert session.get(Upload, old.id) is None
        assert session.get_one(Upload, busy.id).status is UploadStatus.open
    assert announce(b"c" * 500).size == 500
    with pytest.raises(NotFound):
        uploads.write_part(**doors, upload_id=old.id, number=2, content=b"a")


def test_what_failed_keeps_its_room_until_it_is_removed(runtime, announce, doors, clock):
    upload = announce(b"a" * 600)
    uploads.write_part(**doors, upload_id=upload.id, number=1, content=b"b" * 600)
    with pytest.raises(Exception, match="was announced"):
        uploads.complete(**doors, upload_id=upload.id)
    with pytest.raises(NoRoom):
        announce(b"c" * 600)
    clock.step(8 * DAY_S)
    assert retention.forget(runtime).uploads == 1
    assert announce(b"c" * 600).size == 600


def test_killed_between_parts_and_row_the_next_sweep_ends_it(runtime, world, announce, doors, clock, monkeypatch):
    upload = announce(b"a" * 500)
    uploads.write_part(**doors, upload_id=upload.id, number=1, content=b"a" * 100)
    clock.step(8 * DAY_S)
    given = {"transaction": runtime.transaction, "objects": runtime.objects}
    before = clock.now() - timedelta(days=7)

    def dying(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(parts, "remove", dying)
        with pytest.raises(KeyboardInterrupt):
            leftovers.remove_abandoned(**given, before=before, limit=10)
    assert leftovers.remove_abandoned(**given, before=before, limit=10) == 1
    assert runtime.objects.list(str(world.organisation.id)) == []
    with runtime.reading() as session:
        assert session.exec(select(Upload)).all() == []


@pytest.fixture
def killed(monkeypatch) -> Callable[..., None]:
    """Does something, and dies where this attribute would be called."""

    def run(do: Callable[[], object], place: object, name: str) -> None:
        def dying(*_, **__):
            raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(place, name, dying)
            with pytest.raises(KeyboardInterrupt):
                do()

    return run


@pytest.fixture
def swept(runtime, world, clock) -> Callable[[], list[Bag]]:
    """Sweeps when nobody has gone on for eight days; gives the bags that there are, each asked for and in the store."""

    def run() -> list[Bag]:
        clock.step(8 * DAY_S)
        assert retention.forget(runtime).uploads == 1
        assert retention.forget(runtime).uploads == 0
        assert parts.lying(runtime.objects, world.organisation.id) == {}
        with runtime.reading() as session:
            assert {row.status for row in session.exec(select(Upload))} <= {UploadStatus.complete}
            bags = list(session.exec(select(Bag)))
            assert [row.key for row in session.exec(select(Request))] == [bag.sha256 for bag in bags]
            return bags

    return run


@pytest.mark.parametrize("way", ["parts", "stream"])
def test_what_came_whole_is_a_bag_though_who_completed_it_was_killed_and_nobody_came_again(
    runtime, announce, doors, killed, swept, way: str
):
    upload = announce(b"a" * 500)

    def send() -> None:
        if way == "stream":
            with uploads.receiving(**doors, upload_id=upload.id) as take:
                take(b"a" * 500)
        else:
            uploads.write_part(**doors, upload_id=upload.id, number=1, content=b"a" * 500)
            uploads.complete(**doors, upload_id=upload.id)

    killed(send, uploads, "_enter")
    (bag,) = swept()
    assert runtime.objects.read(bag.object_key) == b"a" * 500


def test_a_folder_of_which_one_file_was_stored_when_who_completed_it_was_killed_is_a_bag_later(
    runtime, world, doors, killed, swept
):
    files = [Piece(name, 3, hashlib.sha256(name.encode() * 3).hexdigest()) for name in "ab"]
    wanted = {"filename": "run", "size": 6, "sha256": hashlib.sha256(folders.list_of(files)).hexdigest()}
    with runtime.transaction() as session:
        more = {"principal": world.operator, "robot": None, "mission_id": None, "limits": LIMITS}
        upload = uploads.start(session, files=files, **more, **wanted)
    uploads.write_part(**doors, upload_id=upload.id, number=1, content=b"aaabbb")
    killed(lambda: uploads.complete(**doors, upload_id=upload.id), storing, "list_of")
    (bag,) = swept()
    assert [runtime.objects.read(key) for key in storing.members(runtime.objects, bag.object_key).values()] == [
        b"aaa",
        b"bbb",
    ]


def test_an_abandoned_upload_of_content_that_is_a_bag_already_changes_nothing(announce, store, swept):
    bag = store(b"a" * 500)
    announce(b"a" * 500)
    assert [found.id for found in swept()] == [bag.id]


def test_files_that_a_killed_writer_left_go_when_nobody_has_written_to_them_for_a_day(runtime, world, store):
    bag = store(b"a" * 500)
    folder = Path(runtime.objects.path(bag.object_key)).parent
    for name, age_s in ((".one.tmp", DAY_S + 1), (".two.tmp", DAY_S - 60)):
        (folder / name).write_bytes(b"x")
        then = runtime.clock.now().timestamp() - age_s
        os.utime(folder / name, (then, then))
    assert retention.remove_left(runtime) == 1
    assert sorted(path.name for path in folder.iterdir()) == [".two.tmp", bag.sha256]


@pytest.mark.proof
def test_on_postgresql_many_who_announce_at_once_do_not_get_beyond_the_limit(postgres_runtime, postgres_world):
    numbers = count()
    principal = postgres_world.operator

    def one(_) -> int:
        content = bytes([next(numbers)]) * 400
        wanted = {"filename": "a.mcap", "size": 400, "sha256": hashlib.sha256(content).hexdigest()}
        try:
            with postgres_runtime.transaction() as session:
                more = {"robot": None, "mission_id": None, "limits": LIMITS}
                return uploads.start(session, principal=principal, **more, **wanted).size
        except NoRoom:
            return 0

    with ThreadPoolExecutor(6) as crowd:
        assert sum(crowd.map(one, range(6))) == 800
