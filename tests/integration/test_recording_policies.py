"""Policies and recordings as rows: versions that stay, the most specific one, one row for each trigger."""

import hashlib
from datetime import timedelta

import pytest
from sqlmodel import select

from fleet.changes import Change
from fleet.errors import Conflict, NotFound
from ingestion import recording_policies, recordings
from ingestion.models import Bag
from ingestion.quotas import Limits
from ingestion.recording_policy import Applies, RecordingPolicy, Trigger
from ingestion.recordings import Recording, RecordingWanted, TriggerTold
from ingestion.statuses import TriggerKind
from ingestion.uploads import complete, start, write_part


@pytest.fixture
def put(runtime, world):
    """Writes a policy in a transaction of its own."""

    def write(name="night", who="user:ops", why="because", split_s=3600.0, **applies):
        policy = RecordingPolicy(
            applies_to=Applies(**applies), split_s=split_s, triggers=(Trigger(on=TriggerKind.error),)
        )
        with runtime.transaction() as session:
            return recording_policies.put(
                session, organisation_id=world.organisation.id, name=name, policy=policy, why=why, who=who
            )

    return write


@pytest.fixture
def policy_of(runtime, world):
    """The name of the policy and version that counts for a robot."""

    def found(robot="amr-01"):
        with runtime.reading() as session:
            row = recording_policies.policy_of(session, world.robots[robot])
            return row.label if row else None

    return found


def test_the_most_specific_policy_counts(put, policy_of):
    assert policy_of() is None
    put("all", everywhere=True)
    assert policy_of() == "all@1"
    put("hall", sites=["north"])
    assert policy_of() == "hall@1"
    put("one", robots=["amr-01"])
    assert (policy_of("amr-01"), policy_of("amr-02")) == ("one@1", "hall@1")


def test_a_policy_that_lets_a_robot_go_leaves_it_to_the_next_one(put, policy_of):
    put("all", everywhere=True)
    put("one", robots=["amr-01"])
    put("one")
    assert policy_of() == "all@1"


def test_every_version_stays_with_who_and_why(runtime, world, put):
    put(why="first", everywhere=True)
    runtime.clock.step(60)
    put(why="longer", who="user:eve", split_s=7200.0, everywhere=True)
    with runtime.reading() as session:
        rows = recording_policies.versions(session, world.organisation.id, "night")
    assert [(row.version, row.why, row.written_by, row.policy.split_s) for row in rows] == [
        (2, "longer", "user:eve", 7200.0),
        (1, "first", "user:ops", 3600.0),
    ]
    assert rows[0].written_at - rows[1].written_at == timedelta(seconds=60)


def test_the_same_again_is_no_new_version(put):
    assert put(everywhere=True).version == 1
    assert put(everywhere=True, why="once more", who="user:eve").version == 1
    assert put(sites=["north"]).version == 2
    assert put(everywhere=True).version == 3


@pytest.mark.parametrize("applies", [{"robots": ["amr-01"]}, {"sites": ["north"]}, {"everywhere": True}])
def test_two_policies_for_the_same_are_refused(put, applies):
    put("one", **applies)
    with pytest.raises(Conflict, match=r"'one'.*already; take it out there first"):
        put("two", **applies)
    put("one")
    assert put("two", **applies).version == 1


def test_unknown_robots_and_sites_are_refused_by_name(put):
    with pytest.raises(NotFound, match="'amr-09'"):
        put(robots=["amr-09"])
    with pytest.raises(NotFound, match="'south'"):
        put(sites=["south"])


def test_a_policy_that_nobody_wrote_is_not_found_and_the_known_are_named(runtime, world, put):
    put("hall", sites=["north"])
    with runtime.reading() as session, pytest.raises(NotFound, match="known policies: hall"):
        recording_policies.versions(session, world.organisation.id, "none")


WANTED = RecordingWanted(key="k", why="it squeaks")


def test_a_request_is_told_to_its_robot_until_it_is_uploaded_or_an_hour_old(runtime, world):
    robot = world.robots["amr-01"]
    with runtime.transaction() as session:
        recordings.ask(session, robot, WANTED, who="user:ops")
        assert recordings.ask(session, robot, WANTED, who="user:eve").asked_by == "user:ops"
        (order,) = recordings.open_requests(session, robot)
        assert (order.id, order.before_s, order.after_s, order.why) == ("request/k", 300.0, 120.0, "it squeaks")
        assert recordings.open_requests(session, world.robots["amr-02"]) == []
    runtime.clock.step(3601)
    with runtime.reading() as session:
        assert recordings.open_requests(session, robot) == []
        (view,) = recordings.views(session, session.exec(select(Recording)).all())
    assert view.status == "expired"


def test_what_a_program_found_is_asked_for_as_an_anomaly_with_the_spans_of_that(runtime, world):
    robot = world.robots["amr-01"]
    triggers = (Trigger(on=TriggerKind.request, before_s=10), Trigger(on=TriggerKind.anomaly, before_s=20))
    policy = RecordingPolicy(applies_to=Applies(everywhere=True), triggers=triggers)
    with runtime.transaction() as session:
        recording_policies.put(
            session, organisation_id=world.organisation.id, name="n", policy=policy, why="", who="user:ops"
        )
        recordings.ask(session, robot, RecordingWanted(key="k", why="drift", kind=TriggerKind.anomaly), who="key:model")
        (order,) = recordings.open_requests(session, robot)
    assert (order.kind, order.before_s) == (TriggerKind.anomaly, 20)


def test_a_request_takes_what_it_leaves_out_from_the_robots_policy(runtime, world):
    robot = world.robots["amr-01"]
    policy = RecordingPolicy(
        applies_to=Applies(everywhere=True), triggers=(Trigger(on=TriggerKind.request, before_s=10, after_s=20),)
    )
    with runtime.transaction() as session:
        recording_policies.put(
            session, organisation_id=world.organisation.id, name="n", policy=policy, why="", who="user:ops"
        )
        recordings.ask(session, robot, WANTED.model_copy(update={"after_s": 0.0}), who="user:ops")
        (order,) = recordings.open_requests(session, robot)
    assert (order.before_s, order.after_s) == (10, 0)


@pytest.fixture
def upload(runtime, world):
    """Uploads content as the recording of a trigger, step by step as the API does; may stop before the end."""

    def send(content: bytes, *, trigger="event/x", is_completed=True):
        robot, sha256 = world.robots["amr-01"], hashlib.sha256(content).hexdigest()
        told = TriggerTold(id=trigger, kind=TriggerKind.error, at=runtime.clock.now(), event="x", policy="night@1")
        with runtime.transaction() as session:
            row = recordings.announced(session, robot, told, who="device:site")
            before = recordings.finished_upload(session, row, sha256=sha256)
            begun = before or start(
                session,
                principal=world.operator,
                filename="a.mcap",
                size=len(content),
                sha256=sha256,
                robot="amr-01",
                mission_id=None,
                limits=Limits(recording_bytes=10_000, stored_bytes=1_000_000, open_uploads=10),
            )
            recordings.arriving(session, row, begun)
        parts = {"transaction": runtime.transaction, "objects": runtime.objects, "principal": world.operator}
        if before is None:
            write_part(**parts, upload_id=begun.id, number=1, content=content)
        return complete(**parts, upload_id=begun.id) if is_completed else None

    return send


def _recordings(runtime):
    with runtime.reading() as session:
        return session.exec(select(Recording)).all()


def test_a_triggered_recording_is_a_row_with_its_event_policy_and_bag(runtime, upload):
    bag = upload(b"one")
    (row,) = _recordings(runtime)
    assert (row.trigger_id, row.kind, row.event_key, row.policy) == ("event/x", TriggerKind.error, "x", "night@1")
    assert row.bag_id == bag.id
    assert row.stored_at == runtime.clock.now()


def test_a_robot_that_lost_the_answer_makes_no_second_recording(runtime, upload):
    assert upload(b"one").id == upload(b"one").id
    assert len(_recordings(runtime)) == 1
    with runtime.reading() as session:
        assert len(session.exec(select(Bag)).all()) == 1
        told = session.exec(select(Change.kind).where(Change.subject == "recording")).all()
    assert sorted(told) == ["announced", "stored"]


def test_an_upload_that_broke_off_is_followed_by_the_next(runtime, upload):
    upload(b"one", is_completed=False)
    assert _recordings(runtime)[0].bag_id is None
    bag = upload(b"one")
    assert _recordings(runtime)[0].bag_id == bag.id


def test_a_stored_recording_is_not_replaced_by_other_content(runtime, upload):
    bag = upload(b"one")
    with pytest.raises(Conflict, match="stored already, with other content"):
        upload(b"two")
    assert _recordings(runtime)[0].bag_id == bag.id


def test_two_triggers_of_the_same_content_are_two_recordings_of_one_bag(runtime, upload):
    assert upload(b"one", trigger="event/x").id == upload(b"one", trigger="event/y").id
    assert len({row.bag_id for row in _recordings(runtime)}) == 1
    assert len(_recordings(runtime)) == 2


def test_the_upload_of_a_request_answers_it(runtime, world, upload):
    with runtime.transaction() as session:
        recordings.ask(session, world.robots["amr-01"], WANTED, who="user:ops")
    bag = upload(b"one", trigger="request/k")
    (row,) = _recordings(runtime)
    assert (row.bag_id, row.asked_by, row.why) == (bag.id, "user:ops", "it squeaks")
    with runtime.reading() as session:
        assert recordings.open_requests(session, world.robots["amr-01"]) == []


def test_the_robots_word_for_a_trigger_is_its_own(runtime, world):
    told = TriggerTold(id="1", kind=TriggerKind.error, at=runtime.clock.now())
    with runtime.transaction() as session:
        for robot in world.robots.values():
            recordings.announced(session, robot, told, who="device:site")
    assert len(_recordings(runtime)) == 2


@pytest.mark.proof
def test_on_postgresql_policies_and_recordings_are_the_same(postgres_runtime, postgres_world):
    robot, operator = postgres_world.robots["amr-01"], postgres_world.operator
    policy = RecordingPolicy(applies_to=Applies(everywhere=True))
    with postgres_runtime.transaction() as session:
        args = {"organisation_id": operator.organisation_id, "name": "n", "why": "", "who": "user:ops"}
        assert recording_policies.put(session, policy=policy, **args).version == 1
        assert recording_policies.put(session, policy=policy, **args).version == 1
        assert recording_policies.policy_of(session, robot).label == "n@1"
        recordings.ask(session, robot, WANTED, who="user:ops")
        recordings.ask(session, robot, WANTED, who="user:ops")
        assert len(recordings.open_requests(session, robot)) == 1


@pytest.mark.proof
def test_a_trigger_announced_while_its_content_is_completed_gets_the_bag(postgres_runtime, postgres_world):
    content, robot, operator = b"one", postgres_world.robots["amr-01"], postgres_world.operator
    doors = {"transaction": postgres_runtime.transaction, "objects": postgres_runtime.objects, "principal": operator}
    wanted = {"filename": "a", "size": 3, "sha256": hashlib.sha256(content).hexdigest(), "robot": "amr-01"}
    wanted |= {"mission_id": None, "limits": Limits(recording_bytes=10_000, stored_bytes=1_000_000, open_uploads=10)}
    with postgres_runtime.transaction() as session:
        first = start(session, principal=operator, **wanted)
    write_part(**doors, upload_id=first.id, number=1, content=content)
    with postgres_runtime.transaction() as session:
        told = TriggerTold(id="event/y", kind=TriggerKind.error, at=postgres_runtime.clock.now())
        row = recordings.announced(session, robot, told, who="device:site")
        found = start(session, principal=operator, **wanted)
        complete(**doors, upload_id=first.id)  # by another sender, who does not see this recording yet
        recordings.arriving(session, row, found)
    bag = complete(**doors, upload_id=found.id)
    assert [row.bag_id for row in _recordings(postgres_runtime)] == [bag.id]
