"""A fleet report from real rows to real files: what it counts, what it shows, and that it never changes."""

import csv
import io
import json
import sqlite3
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pyarrow.parquet as pq
import pypdf
import pytest
from sqlmodel import select

from fleet.adapter import Activity, Happening, Observation, TaskKind
from fleet.changes import Change
from fleet.errors import Invalid, NotFound
from fleet.events import record
from fleet.organisations import Organisation, Site
from fleet.states import observe
from missions.models import Attempt, AttemptStatus, Mission, MissionStatus, MissionTask, Round
from ml.models import RobotHealth
from reports import catalogue
from reports.content import Care
from reports.fleet import build
from reports.models import Report
from reports.publish import publish

BEGIN = datetime(2026, 3, 1, 23, 0, tzinfo=UTC)  # midnight in Berlin
END = BEGIN + timedelta(days=1)
HOSTILE = '<script>alert("x")</script>'


@pytest.fixture
def add_mission(world):
    """Writes a mission with its attempts: (status, robot, first minute, last minute, reason)."""

    def add(session, name, status, tries=(), **fields):
        ended = [BEGIN + timedelta(minutes=last) for _, _, _, last, _ in tries if last is not None]
        mission = Mission(
            organisation_id=world.organisation.id,
            site_id=world.site.id,
            name=name,
            key=name,
            status=status,
            robot_id=world.robots[tries[-1][1]].id if tries else None,
            requested_by="user:ops",
            created_at=BEGIN + timedelta(minutes=1),
            **{"updated_at": max(ended, default=BEGIN + timedelta(minutes=5)), **fields},
        )
        session.add(mission)
        session.flush()
        session.add(
            MissionTask(mission_id=mission.id, position=0, organisation_id=world.organisation.id, kind=TaskKind.go_to)
        )
        for number, (outcome, robot, first, last, reason) in enumerate(tries, start=1):
            session.add(
                Attempt(
                    organisation_id=world.organisation.id,
                    mission_id=mission.id,
                    robot_id=world.robots[robot].id,
                    number=number,
                    key=f"{mission.id}/{number}",
                    fence=number,
                    status=outcome,
                    reason=reason,
                    created_at=BEGIN + timedelta(minutes=1),
                    started_at=BEGIN + timedelta(minutes=first),
                    finished_at=None if last is None else BEGIN + timedelta(minutes=last),
                )
            )
        return mission

    return add


@pytest.fixture
def night(runtime, clock, world, add_mission):
    """A night at the site: done, retried, cancelled, refused, expired and running missions, events and scores."""
    clock.step((END - clock.now()).total_seconds() + 3600)
    with runtime.transaction() as session:
        round_ = Round(
            organisation_id=world.organisation.id,
            site_id=world.site.id,
            name="Night round",
            key="r",
            requested_by="ops",
            created_at=BEGIN,
        )
        session.add(round_)
        session.flush()
        in_time = {"not_after_at": BEGIN + timedelta(minutes=60), "round_id": round_.id}
        done, failed = AttemptStatus.succeeded, AttemptStatus.failed
        add_mission(session, "Press line", MissionStatus.succeeded, [(done, "amr-01", 10, 70, "")], **in_time)
        add_mission(
            session,
            "Pumps",
            MissionStatus.succeeded,
            [(failed, "amr-01", 80, 90, "path blocked at press-1"), (done, "amr-02", 100, 160, "")],
            **in_time,
        )
        add_mission(
            session, "Called off", MissionStatus.canceled, [(AttemptStatus.canceled, "amr-02", 170, 200, "operator")]
        )
        add_mission(
            session,
            HOSTILE,
            MissionStatus.refused,
            reason="no robot has inspect_gas",
            updated_at=BEGIN + timedelta(minutes=2),
        )
        add_mission(session, "=2+5", MissionStatus.expired, reason="not started in time", **in_time)
        add_mission(session, "Still on", MissionStatus.running, [(AttemptStatus.running, "amr-01", 1380, None, "")])
        add_mission(session, "The day before", MissionStatus.succeeded, [(done, "amr-01", -90, -60, "")])
        first, second = world.robots.values()
        observe(
            session,
            first,
            Observation(
                serial_number=first.serial_number, observed_at=BEGIN, activity=Activity.charging, battery_fraction=0.83
            ),
            received_at=BEGIN,
        )
        for minute in (20, 30):
            low = Happening(
                key=f"low-{minute}",
                kind="battery_low",
                occurred_at=BEGIN + timedelta(minutes=minute),
                serial_number=second.serial_number,
                severity="warning",
            )
            record(session, organisation_id=world.organisation.id, robot_id=second.id, seen=low, received_at=BEGIN)
        for robot, hours in ((first, 40.0), (first, 38.0), (second, 5.0)):
            session.add(
                RobotHealth(
                    organisation_id=world.organisation.id,
                    robot_id=robot.id,
                    as_of=BEGIN + timedelta(minutes=-hours),
                    scored_at=BEGIN,
                    rul_hours=hours,
                    rul_lower_hours=max(hours - 8, 0),
                    rul_upper_hours=hours + 8,
                    model_name="drive-rul",
                    model_version="1",
                    feature_hash="f",
                )
            )


@pytest.fixture
def content(runtime, world, night):
    """The report of that night."""
    with runtime.reading() as session:
        return build(
            session, organisation_id=world.organisation.id, site_id=world.site.id, period_from=BEGIN, period_to=END
        )


@pytest.fixture
def publish_night(runtime, world, night):
    """Publishes the night under a key."""

    def go(key="night", transaction=runtime.transaction):
        return publish(
            transaction=transaction, objects=runtime.objects, organisation_id=world.organisation.id,
            site_id=world.site.id, period_from=BEGIN, period_to=END, key=key, who="user:ops",
        )  # fmt: skip

    return go


def test_missions_are_counted_where_they_ended(content):
    assert {status.value: count for status, count in content.by_status.items()} == {
        "RUNNING": 1, "SUCCEEDED": 2, "CANCELED": 1, "EXPIRED": 1, "REFUSED": 1,
    }  # fmt: skip
    assert (content.succeeded, content.ended) == (2, 5)
    assert content.success_fraction == pytest.approx(0.4)


def test_on_time_is_judged_by_the_first_start_against_the_deadline(content):
    judged = {line.name: line.is_on_time for line in content.missions}
    assert judged == {
        "Press line": True,
        "Pumps": False,
        "Called off": None,
        HOSTILE: None,
        "=2+5": False,
        "Still on": None,
    }
    assert content.on_time_fraction == pytest.approx(1 / 3)


def test_utilisation_is_time_on_attempts_cut_to_the_period(content):
    first, second = content.robots
    assert first.executing_hours == pytest.approx((60 + 10 + 60) / 60)  # the running attempt counts up to midnight
    assert second.executing_hours == pytest.approx((60 + 30) / 60)
    assert first.utilisation_fraction == pytest.approx(130 / 1440)


def test_what_failed_is_grouped_by_reason_with_its_robots(content):
    lines = {(line.what, line.reason): (line.count, line.robots) for line in content.failures}
    assert lines == {
        ("attempt failed", "path blocked at press-1"): (1, ("amr-01",)),
        ("mission refused", "no robot has inspect_gas"): (1, ()),
        ("mission expired", "not started in time"): (1, ()),
    }


def test_battery_shows_the_newest_reading_and_the_warnings_of_the_period(content):
    first, second = content.robots
    assert (first.battery_fraction, first.battery_low_events) == (0.83, 0)
    assert (second.battery_fraction, second.battery_low_events) == (None, 2)


def test_care_takes_the_newest_score_of_each_robot_most_urgent_first(content):
    assert [(line.robot, line.rul_hours, line.care) for line in content.care] == [
        ("amr-02", 5.0, Care.now),
        ("amr-01", 38.0, Care.later),
    ]


def test_a_report_is_published_in_four_formats_with_a_manifest_of_their_hashes(runtime, publish_night):
    report = publish_night()
    assert sorted(report.files) == ["csv", "html", "parquet", "pdf"]
    manifest = runtime.objects.manifest(report.manifest_key)
    for form, key in report.files.items():
        assert manifest["files"][form]["size"] == runtime.objects.size(key) > 0
    assert report.title == "Fleet report north, 2 March 2026"
    with runtime.reading() as session:
        told = session.exec(select(Change).where(Change.subject == "report")).all()
    assert [(row.kind, row.subject_id) for row in told] == [("published", str(report.id))]


def test_publishing_the_same_key_again_gives_the_same_report_and_writes_nothing(runtime, world, publish_night):
    first = publish_night()
    keys = runtime.objects.list(f"{world.organisation.id}/reports")
    assert publish_night().id == first.id
    assert runtime.objects.list(f"{world.organisation.id}/reports") == keys


def test_whoever_is_second_with_a_key_gets_the_first_report_and_leaves_no_files(runtime, world, publish_night):
    firsts = []

    @contextmanager
    def overtaken():
        # Between its own look and its own row another publisher is faster.
        if runtime.objects.list(f"{world.organisation.id}/reports") and not firsts:
            firsts.append(publish_night())
        with runtime.transaction() as session:
            yield session

    second = publish_night(transaction=overtaken)
    assert [first.id for first in firsts] == [second.id]
    keys = runtime.objects.list(f"{world.organisation.id}/reports")
    assert sorted(keys) == sorted([second.manifest_key, *second.files.values()])


def test_the_page_escapes_what_came_from_outside_and_needs_nothing_from_the_net(runtime, publish_night):
    page = runtime.objects.read(publish_night().files["html"]).decode()
    assert HOSTILE not in page
    assert "&lt;script&gt;" in page
    assert "http://" not in page
    assert "https://" not in page
    assert page.count('<img src="data:image/svg+xml;base64,') == 5


def test_the_pdf_has_numbered_pages_and_the_names_in_it(runtime, publish_night):
    reader = pypdf.PdfReader(io.BytesIO(runtime.objects.read(publish_night().files["pdf"])))
    texts = [page.extract_text() for page in reader.pages]
    assert f"Page 1 of {len(texts)}" in texts[0]
    assert "path blocked at press-1" in "".join(texts)
    assert reader.metadata.title == "Fleet report north, 2 March 2026"


def test_the_csv_cannot_run_a_formula_and_parquet_keeps_the_name_as_it_is(runtime, publish_night):
    report = publish_night()
    rows = list(csv.DictReader(io.StringIO(runtime.objects.read(report.files["csv"]).decode("utf-8-sig"))))
    table = pq.read_table(io.BytesIO(runtime.objects.read(report.files["parquet"])))
    assert [row["name"] for row in rows][-2:] == ["'=2+5", "Still on"]
    assert table["name"].to_pylist()[-2:] == ["=2+5", "Still on"]
    assert table["duration_s"].to_pylist()[0] == 3600.0
    assert [row["mission_id"] for row in rows] == table["mission_id"].to_pylist()


def test_the_same_content_gives_the_same_bytes_in_every_format(content):
    from reports.publish import RENDERERS

    for render in RENDERERS.values():
        assert render(content) == render(content)


def test_an_empty_site_gives_a_report_that_says_so(runtime, clock, world):
    with runtime.transaction() as session:
        site = Site(organisation_id=world.organisation.id, name="empty")
        session.add(site)
    clock.step(7200)
    report = publish(
        transaction=runtime.transaction, objects=runtime.objects, organisation_id=world.organisation.id,
        site_id=site.id, period_from=BEGIN, period_to=END, key="k", who="system:test",
    )  # fmt: skip
    page = runtime.objects.read(report.files["html"]).decode()
    assert "Nothing needs attention." in page
    assert "The site has no robots." in page


@pytest.mark.parametrize(
    ("begins", "ends", "wrong"),
    [
        (END, BEGIN, "before it begins"),
        (BEGIN.replace(tzinfo=None), END, "no time zone"),
        (BEGIN + timedelta(days=365), END + timedelta(days=365), "begins in the future"),
    ],
)
def test_a_nonsense_period_is_refused_with_its_values(runtime, world, begins, ends, wrong):
    with runtime.reading() as session, pytest.raises(Invalid, match=wrong):
        build(session, organisation_id=world.organisation.id, site_id=world.site.id, period_from=begins, period_to=ends)


def test_another_organisation_sees_neither_the_site_nor_the_report(runtime, clock, publish_night, world):
    report = publish_night()
    with runtime.transaction() as session:
        other = Organisation(name="other", created_at=clock.now())
        session.add(other)
        session.flush()
        assert catalogue.reports_of(session, other.id) == []
        with pytest.raises(NotFound):
            catalogue.report_of(session, other.id, report.id)
        with pytest.raises(NotFound):
            build(session, organisation_id=other.id, site_id=world.site.id, period_from=BEGIN, period_to=END)


def test_the_catalogue_gives_each_file_with_its_type_and_a_name_for_downloads(runtime, world, publish_night):
    report = publish_night()
    with runtime.reading() as session:
        assert [row.id for row in catalogue.reports_of(session, world.organisation.id)] == [report.id]
        found = catalogue.file_of(catalogue.report_of(session, world.organisation.id, report.id), "pdf")
    assert found.media_type == "application/pdf"
    assert found.filename.startswith("fleet-report-2026-03-01-")
    assert runtime.objects.read(found.key).startswith(b"%PDF-")
    with pytest.raises(NotFound, match="it has csv, html, parquet, pdf"):
        catalogue.file_of(report, "docx")
    with runtime.reading() as session, pytest.raises(NotFound):
        catalogue.report_of(session, world.organisation.id, uuid4())


def test_the_manifest_is_readable_json_and_the_row_survives(runtime, publish_night):
    report = publish_night()
    assert json.loads(runtime.objects.read(report.manifest_key))["missions"] == 6
    with runtime.reading() as session:
        assert session.get(Report, report.id).files == report.files


def test_a_year_of_missions_needs_no_parameter_for_each(runtime, add_mission, world):
    with runtime.transaction() as session:
        for number in range(30):
            add_mission(session, f"m{number}", MissionStatus.succeeded, [(AttemptStatus.succeeded, "amr-01", 1, 2, "")])
    with runtime.reading() as session:
        driver = session.connection().connection.driver_connection
        limit = driver.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 25)
        try:
            wanted = {"organisation_id": world.organisation.id, "site_id": world.site.id}
            report = build(session, **wanted, period_from=BEGIN - timedelta(hours=2), period_to=END)
        finally:
            driver.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, limit)
    assert (len(report.missions), {line.attempts for line in report.missions}) == (30, {1})
