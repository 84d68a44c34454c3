"""Uploads: parts in any order, sent twice, interrupted; verified; one bag per content; and who may see them."""

import hashlib
from uuid import uuid4

import pytest
from sqlmodel import select

from fleet.changes import Change
from fleet.errors import Conflict, Invalid, NotFound, TooLarge
from fleet.organisations import Organisation, Principal, PrincipalKind
from fleet.requests import Request, RequestStatus, settle
from ingestion import uploads
from ingestion.catalogue import Sought, bag_of, bags_of
from ingestion.models import Bag, BagStatus, Upload, UploadStatus
from ingestion.quotas import Limits

CONTENT = b"not really a bag, but stored all the same" * 100
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def sender(runtime, world):
    """The calls of one organisation's robot agent."""

    class Sender:
        def __init__(self, principal: Principal) -> None:
            self.principal = principal

        def start(self, **changed) -> Upload:
            wanted = {
                "filename": "night.mcap",
                "size": len(CONTENT),
                "sha256": SHA256,
                "robot": "amr-01",
                "mission_id": None,
                "limits": Limits(recording_bytes=10**6, stored_bytes=10**7, open_uploads=5),
            }
            with runtime.transaction() as session:
                return uploads.start(session, principal=self.principal, **wanted | changed)

        def part(self, upload: Upload, number: int, content: bytes) -> None:
            uploads.write_part(
                transaction=runtime.transaction,
                objects=runtime.objects,
                principal=self.principal,
                upload_id=upload.id,
                number=number,
                content=content,
            )

        def complete(self, upload: Upload) -> Bag:
            return uploads.complete(
                transaction=runtime.transaction,
                objects=runtime.objects,
                principal=self.principal,
                upload_id=upload.id,
            )

        def whole(self, **changed) -> Bag:
            upload = self.start(**changed)
            self.part(upload, 1, CONTENT[:1000])
            self.part(upload, 2, CONTENT[1000:])
            return self.complete(upload)

    return Sender(world.operator)


@pytest.fixture
def stranger(runtime, sender):
    """The same calls by someone of another organisation."""
    with runtime.transaction() as session:
        other = Organisation(name="other", created_at=runtime.clock.now())
        session.add(other)
        session.flush()
    return type(sender)(Principal(PrincipalKind.device, "agent", other.id))


@pytest.fixture
def stored(runtime, world):
    """The keys in the organisation's part of the object store."""
    return lambda: runtime.objects.list(str(world.organisation.id))


def test_parts_become_one_object_named_by_its_content(runtime, world, sender):
    bag = sender.whole()
    assert bag.object_key == f"{world.organisation.id}/bags/{SHA256}"
    assert runtime.objects.read(bag.object_key) == CONTENT
    assert (bag.sha256, bag.size, bag.filename) == (SHA256, len(CONTENT), "night.mcap")
    assert (bag.robot_name, bag.robot_id, bag.status) == ("amr-01", world.robots["amr-01"].id, BagStatus.stored)


def test_parts_may_come_in_any_order_and_twice(runtime, sender):
    upload = sender.start()
    sender.part(upload, 2, CONTENT[1000:])
    sender.part(upload, 1, b"x" * 1000)
    sender.part(upload, 1, CONTENT[:1000])
    assert runtime.objects.read(sender.complete(upload).object_key) == CONTENT


def test_the_parts_are_gone_when_the_bag_is_there(sender, stored):
    bag = sender.whole()
    assert stored() == [bag.object_key]


def test_an_interrupted_upload_is_found_again_with_its_parts(sender):
    first = sender.start()
    sender.part(first, 1, CONTENT[:1000])
    again = sender.start()
    assert (again.id, again.parts) == (first.id, {"1": 1000})


def test_completing_asks_once_for_the_conversion_and_tells_the_feed(runtime, sender):
    bag = sender.whole()
    with runtime.reading() as session:
        (request,) = session.exec(select(Request)).all()
        told = [(change.subject, change.kind) for change in session.exec(select(Change)).all()]
    assert (request.kind, request.key, request.parameters) == ("process-bag", SHA256, {"bag_ids": [str(bag.id)]})
    assert ("bag", "stored") in told


@pytest.mark.parametrize("ended", [RequestStatus.failed, RequestStatus.done])
def test_content_whose_conversion_came_to_nothing_is_asked_for_again_when_it_is_sent_again(runtime, sender, ended):
    bag = sender.whole()
    assert sender.whole().id == bag.id
    with runtime.transaction() as session:
        (request,) = session.exec(select(Request)).all()
        settle(session, request.id, ended, error="the store had lost it")
    again = sender.start()
    sender.part(again, 1, CONTENT)
    assert [sender.complete(again).id for _ in range(2)] == [bag.id] * 2
    with runtime.transaction() as session:
        keys = {row.key: row.parameters for row in session.exec(select(Request)).all()}
        session.get_one(Bag, bag.id).status = BagStatus.refused
    asked = {"bag_ids": [str(bag.id)]}
    assert keys == {SHA256: asked, f"{SHA256}/{again.id}": asked}
    sender.whole()
    with runtime.reading() as session:
        assert len(session.exec(select(Request)).all()) == 2  # what was converted, or refused, is not asked for again


def test_completing_twice_gives_the_same_bag(runtime, sender):
    upload = sender.start()
    sender.part(upload, 1, CONTENT)
    assert sender.complete(upload).id == sender.complete(upload).id
    with runtime.reading() as session:
        assert len(session.exec(select(Request)).all()) == 1


def test_the_same_content_twice_is_one_bag(runtime, sender, world):
    first, second = sender.whole(), sender.whole(filename="again.mcap", robot="amr-02")
    assert (second.id, second.filename, second.robot_name) == (first.id, "night.mcap", "amr-01")
    with runtime.reading() as session:
        assert [bag.id for bag in bags_of(session, world.organisation.id)] == [first.id]


def test_a_crash_after_storing_and_before_the_row_is_healed_by_completing_again(runtime, sender, monkeypatch):
    upload = sender.start()
    sender.part(upload, 1, CONTENT)
    with monkeypatch.context() as patch:
        patch.setattr(uploads, "_enter", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            sender.complete(upload)
    assert sender.complete(upload).sha256 == SHA256


@pytest.fixture
def overtaken(runtime, sender, monkeypatch):
    """Lets another call complete the upload just before this one reads the parts, or just before it stores them."""

    def do(step: str) -> None:
        real, calls = getattr(uploads, step), []

        def slow(*given):
            calls.append(given)
            if len(calls) == 1:
                sender.complete(given[-1] if step == "_verify" else given[1])
            return real(*given)

        monkeypatch.setattr(uploads, step, slow)

    return do


@pytest.mark.parametrize("step", ["_verify", "_store"])
def test_whoever_is_overtaken_while_completing_gets_the_same_bag(runtime, sender, stored, overtaken, step: str):
    upload = sender.start()
    sender.part(upload, 1, CONTENT[:1000])
    sender.part(upload, 2, CONTENT[1000:])
    overtaken(step)
    bag = sender.complete(upload)
    assert stored() == [bag.object_key]
    assert runtime.objects.read(bag.object_key) == CONTENT
    with runtime.reading() as session:
        row = session.get_one(Upload, upload.id)
        assert (row.status, row.bag_id) == (UploadStatus.complete, bag.id)
        assert len(session.exec(select(Request)).all()) == 1


def test_a_part_that_is_gone_from_the_store_is_told_and_can_be_sent_again(runtime, sender, stored):
    upload = sender.start()
    sender.part(upload, 1, CONTENT)
    runtime.objects.delete(stored()[0])
    with pytest.raises(Conflict, match="gone from the store"):
        sender.complete(upload)
    sender.part(upload, 1, CONTENT)
    assert runtime.objects.read(sender.complete(upload).object_key) == CONTENT


def test_a_part_that_went_past_us_in_another_size_counts_as_it_lies_in_the_store(runtime, sender, stored):
    upload = sender.start()
    sender.part(upload, 1, CONTENT[:10])
    runtime.objects.put(f"{upload.organisation_id}/uploads/{upload.id}/000001", CONTENT)
    assert runtime.objects.read(sender.complete(upload).object_key) == CONTENT


def test_another_hash_fails_the_upload_names_both_and_loses_nothing(runtime, sender, stored):
    upload = sender.start(sha256="0" * 64)
    sender.part(upload, 1, CONTENT)
    with pytest.raises(Invalid, match=SHA256) as refused:
        sender.complete(upload)
    assert refused.value.fields == {"expected": "0" * 64, "received": SHA256}
    with runtime.reading() as session:
        assert session.get_one(Upload, upload.id).status is UploadStatus.failed
        assert session.exec(select(Bag)).all() == []
    assert [runtime.objects.read(key) for key in stored()] == [CONTENT]
    with pytest.raises(Conflict, match="is failed"):
        sender.complete(upload)
    with pytest.raises(Conflict, match="takes no more parts"):
        sender.part(upload, 2, b"x")


def test_a_part_replaced_while_completing_never_becomes_a_bag(runtime, sender, stored, monkeypatch):
    upload = sender.start()
    sender.part(upload, 1, CONTENT)
    verify = uploads._verify

    def verify_and_be_overtaken(*parts):
        verify(*parts)
        sender.part(upload, 1, CONTENT[::-1])

    with monkeypatch.context() as patch:
        patch.setattr(uploads, "_verify", verify_and_be_overtaken)
        with pytest.raises(Conflict, match="complete it again"):
            sender.complete(upload)
    assert [key for key in stored() if "/bags/" in key] == []


def test_missing_bytes_keep_the_upload_open_and_say_what_is_missing(sender):
    upload = sender.start()
    sender.part(upload, 2, CONTENT[1000:])
    with pytest.raises(Invalid, match="part 1 is missing") as refused:
        sender.complete(upload)
    assert refused.value.fields["expected"] == len(CONTENT)
    assert refused.value.fields["missing_parts"] == [1]
    sender.part(upload, 1, CONTENT[:1000])
    assert sender.complete(upload).sha256 == SHA256


def test_an_empty_recording_is_stored_like_any_other(sender):
    nothing = hashlib.sha256(b"").hexdigest()
    assert sender.complete(sender.start(size=0, sha256=nothing)).size == 0


def test_more_bytes_than_announced_are_refused(sender):
    upload = sender.start(size=1500)
    sender.part(upload, 1, b"x" * 1000)
    with pytest.raises(TooLarge, match="would have 1600 bytes; 1500 were announced"):
        sender.part(upload, 2, b"x" * 600)


@pytest.mark.parametrize(("number", "content"), [(0, b"x"), (-1, b"x"), (100_001, b"x"), (1, b"")])
def test_a_part_of_no_sense_is_refused(sender, number, content):
    with pytest.raises(Invalid):
        sender.part(sender.start(), number, content)


def test_a_part_above_its_limit_is_refused(sender, monkeypatch):
    monkeypatch.setattr(uploads, "PART_MAX_BYTES", 100)
    with pytest.raises(TooLarge, match="at most 100 fit"):
        sender.part(sender.start(), 1, b"x" * 101)


@pytest.mark.parametrize(
    ("changed", "error", "told"),
    [
        ({"size": 10**6 + 1}, TooLarge, "at most 1000000 are taken"),
        ({"size": -1}, Invalid, "must not be negative"),
        ({"sha256": "abc"}, Invalid, "not a SHA-256"),
        ({"filename": "../../etc/passwd"}, Invalid, "not a plain file name"),
        ({"filename": "a\\b.bag"}, Invalid, "not a plain file name"),
        ({"filename": ""}, Invalid, "not a plain file name"),
        ({"filename": "x" * 256}, Invalid, "not a plain file name"),
        ({"robot": "amr-99"}, NotFound, "known robots: amr-01, amr-02"),
    ],
)
def test_an_upload_of_no_sense_is_refused_at_its_start(sender, changed, error, told):
    with pytest.raises(error, match=told):
        sender.start(**changed)


def test_a_recording_of_no_known_robot_belongs_to_robot_unknown(sender):
    bag = sender.whole(robot=None)
    assert (bag.robot_name, bag.robot_id) == ("unknown", None)


def test_another_organisation_sees_neither_upload_nor_bag(runtime, sender, stranger):
    upload = sender.start()
    with pytest.raises(NotFound):
        stranger.part(upload, 1, b"x")
    with pytest.raises(NotFound):
        stranger.complete(upload)
    bag = sender.whole()
    with runtime.reading() as session:
        assert bags_of(session, stranger.principal.organisation_id) == []
        with pytest.raises(NotFound):
            bag_of(session, stranger.principal.organisation_id, bag.id)


def test_the_same_content_in_two_organisations_is_two_bags(sender, stranger):
    mine, theirs = sender.whole(), stranger.whole(robot=None)
    assert mine.id != theirs.id
    assert mine.object_key != theirs.object_key


def test_an_upload_that_never_was_is_not_found(sender):
    with pytest.raises(NotFound, match="There is no upload"):
        sender.complete(Upload(id=uuid4(), filename="x", size=0, sha256="", uploaded_by="x"))


def test_bags_are_listed_newest_first_by_robot_and_status(runtime, sender, world, clock):
    first = sender.whole()
    clock.step(60)
    upload = sender.start(size=3, sha256=hashlib.sha256(b"two").hexdigest(), robot="amr-02")
    sender.part(upload, 1, b"two")
    second = sender.complete(upload)
    with runtime.reading() as session:
        organisation = world.organisation.id
        assert [bag.id for bag in bags_of(session, organisation)] == [second.id, first.id]
        assert [bag.id for bag in bags_of(session, organisation, Sought(robot="amr-01"))] == [first.id]
        assert bags_of(session, organisation, Sought(status=BagStatus.complete)) == []
        assert bag_of(session, organisation, first.id).filename == "night.mcap"
