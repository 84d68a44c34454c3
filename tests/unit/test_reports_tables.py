"""The tables of a report as other programs read them."""

import csv
import io
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from missions.models import MissionStatus
from reports.content import FleetReport, MissionLine
from reports.render.tables import SCHEMA, csv_text, parquet

BEGIN = datetime(2026, 3, 1, 23, 0, tzinfo=UTC)


@pytest.fixture
def report():
    """A report with these missions."""

    def of(*lines):
        empty = dict.fromkeys(("work", "robots", "failures", "happenings", "care"), ())
        return FleetReport(
            organisation="acme",
            site="north",
            timezone="Europe/Berlin",
            period_from=BEGIN,
            period_to=BEGIN + timedelta(days=1),
            generated_at=BEGIN,
            happenings_total=0,
            missions=lines,
            **empty,
        )

    return of


@pytest.fixture
def mission():
    """A succeeded mission, with what a test wants to be different."""

    def of(**fields):
        line = {
            "id": UUID(int=5),
            "name": "Press line",
            "status": MissionStatus.succeeded,
            "robot": "amr-01",
            "round": None,
            "requested_by": "prefect:request-round",
            "created_at": BEGIN,
            "not_after_at": None,
            "started_at": BEGIN + timedelta(minutes=1),
            "finished_at": BEGIN + timedelta(minutes=2, seconds=30),
            "attempts": 1,
            "is_on_time": True,
            "reason": "",
        }
        return MissionLine(**{**line, **fields})

    return of


@pytest.fixture
def rows():
    """The lines of a CSV as dictionaries."""
    return lambda content: list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline="")))


def test_a_line_says_every_value_in_iso_and_plain_words(report, mission, rows):
    (line,) = rows(csv_text(report(mission())))
    assert line == {
        "mission_id": "00000000-0000-0000-0000-000000000005",
        "name": "Press line",
        "status": "SUCCEEDED",
        "robot": "amr-01",
        "round": "",
        "requested_by": "prefect:request-round",
        "created_at": "2026-03-01T23:00:00+00:00",
        "not_after_at": "",
        "started_at": "2026-03-01T23:01:00+00:00",
        "finished_at": "2026-03-01T23:02:30+00:00",
        "duration_s": "90.0",
        "attempts": "1",
        "is_on_time": "true",
        "reason": "",
    }


def test_a_spreadsheet_reads_the_text_as_utf_8(report, mission, rows):
    content = csv_text(report(mission(name="Prüfstand 水")))
    assert content.startswith(b"\xef\xbb\xbf")
    assert rows(content)[0]["name"] == "Prüfstand 水"


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx"])
def test_a_name_that_begins_like_a_formula_is_made_text(report, mission, rows, name):
    assert rows(csv_text(report(mission(name=name))))[0]["name"] == f"'{name}"


@pytest.mark.parametrize("name", ['He said "go"', "a,b", "two\nlines", "a;b"])
def test_separators_in_a_name_stay_in_the_name(report, mission, rows, name):
    assert rows(csv_text(report(mission(name=name), mission())))[0]["name"] == name


def test_no_missions_give_the_head_alone(report):
    assert csv_text(report()).decode("utf-8-sig").strip() == ",".join(SCHEMA.names)
    assert pq.read_table(io.BytesIO(parquet(report()))).num_rows == 0


def test_parquet_keeps_types_and_says_where_it_comes_from(report, mission):
    table = pq.read_table(io.BytesIO(parquet(report(mission(), mission(is_on_time=None, started_at=None)))))
    assert table.schema.field("created_at").type == pa.timestamp("us", tz="UTC")
    assert table["created_at"].to_pylist() == [BEGIN, BEGIN]
    assert table["is_on_time"].to_pylist() == [True, None]
    assert table["duration_s"].to_pylist() == [90.0, None]
    assert table.schema.metadata[b"site"] == b"north"
    assert table.schema.metadata[b"timezone"] == b"Europe/Berlin"


def test_both_tables_have_the_same_columns_in_the_same_order(report, mission):
    table = pq.read_table(io.BytesIO(parquet(report(mission()))))
    head = csv_text(report(mission())).decode("utf-8-sig").splitlines()[0]
    assert head.split(",") == table.column_names
