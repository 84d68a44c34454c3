"""Whatever a mission is called, both tables give it back."""

import csv
import io
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pyarrow.parquet as pq
from hypothesis import given
from hypothesis import strategies as st

from missions.models import MissionStatus
from reports import words
from reports.content import FleetReport, MissionLine
from reports.render.tables import csv_text, parquet

BEGIN = datetime(2026, 3, 1, tzinfo=UTC)
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
missions = st.builds(
    MissionLine,
    id=st.uuids(),
    name=texts,
    status=st.sampled_from(MissionStatus),
    robot=st.none() | texts,
    round=st.none() | texts,
    requested_by=texts,
    created_at=st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),
    not_after_at=st.none(),
    started_at=st.none() | st.just(BEGIN),
    finished_at=st.none() | st.just(BEGIN + timedelta(seconds=5)),
    attempts=st.integers(0, 10),
    is_on_time=st.none() | st.booleans(),
    reason=texts,
)
reports = st.builds(
    FleetReport,
    organisation=texts,
    site=texts,
    timezone=st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kathmandu"]),
    period_from=st.just(BEGIN),
    period_to=st.just(BEGIN + timedelta(days=1)),
    generated_at=st.just(BEGIN),
    missions=st.lists(missions, max_size=5).map(tuple),
    work=st.just(()),
    robots=st.just(()),
    failures=st.just(()),
    happenings=st.just(()),
    happenings_total=st.just(0),
    care=st.just(()),
)


@given(reports)
def test_parquet_gives_back_every_mission_as_it_was(report):
    rows = pq.read_table(io.BytesIO(parquet(report))).to_pylist()
    for row, line in zip(rows, report.missions, strict=True):
        assert UUID(row["mission_id"]) == line.id
        for name in ("name", "robot", "round", "requested_by", "created_at", "attempts", "is_on_time", "reason"):
            assert row[name] == getattr(line, name)
        assert row["duration_s"] == line.duration_s


@given(reports)
def test_csv_gives_back_every_name_but_for_the_mark_that_stops_a_formula(report):
    text = csv_text(report).decode("utf-8-sig")
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    for row, line in zip(rows, report.missions, strict=True):
        assert row["name"] in (line.name, f"'{line.name}")
        assert not row["name"].startswith(("=", "+", "-", "@", "\t", "\r"))
        assert row["status"] == line.status.value


@given(reports)
def test_a_report_has_a_title_and_its_shares_lie_between_none_and_all(report):
    assert words.title(report).startswith("Fleet report")
    for share in (report.success_fraction, report.on_time_fraction):
        assert share is None or 0 <= share <= 1
    assert sum(report.by_status.values()) == len(report.missions)
    assert report.succeeded <= report.ended <= len(report.missions)


@given(st.floats(0, 1), st.floats(0, 1e6))
def test_what_is_said_of_a_number_is_short(share, seconds):
    assert 2 <= len(words.percent(share)) <= 4
    assert len(words.duration(seconds)) <= 14
