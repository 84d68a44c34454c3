"""The page of a bag: which columns its topics have, and how its dataset is read on."""

from datetime import date

import pytest

from fleet.database import new_id
from ingestion.lake import LakeFile, Manifest, TopicTable
from ingestion.models import BagTopic
from ingestion.statuses import BagStatus
from orchestration.bag_page import bag_page

SHA = "ab" * 32
START_NS = 1_772_402_400_000_000_000  # 2026-03-01 22:00 UTC
HOUR_NS = 3_600 * 10**9


@pytest.fixture
def manifest():
    def table(name: str, rows: int) -> TopicTable:
        path = f"organisation=o/robot=r/date=2026-03-01/topic=%2F{name}/part-ab-0.parquet"
        return TopicTable(
            name=f"/{name}", type="a/b", rows=rows, files=[LakeFile(path=path, rows=rows, bytes=600, sha256=SHA)]
        )

    return Manifest(
        converter="1",
        sha256=SHA,
        size=2_500_000,
        filename="run.mcap",
        format="mcap",
        organisation="o",
        robot="r",
        status=BagStatus.complete,
        messages=12,
        recorded_on=date(2026, 3, 1),
        first_ns=START_NS,
        last_ns=START_NS,
        topics=[table("few", 2), table("many", 10)],
    )


@pytest.fixture
def topic():
    return lambda **known: BagTopic(
        **{"bag_id": new_id(), "number": 0, "organisation_id": new_id(), "name": "/t", "type": "a/b"} | known
    )


def test_a_column_without_anything_to_tell_is_told_in_one_line(manifest, topic):
    text = bag_page(manifest, [topic(duplicates=3), topic()], [], "")
    assert "| duplicates |" in text
    assert "| gaps |" not in text
    assert "On none of them: gaps, longest gap (s), back in time, not decoded." in text


def test_nothing_is_called_empty_when_every_column_tells_something(manifest, topic):
    full = topic(gaps=1, longest_gap_s=2.0, duplicates=1, stamp_regressions=1, reason="no definition")
    assert "On none of them" not in bag_page(manifest, [full], [], "")


def test_the_page_tells_how_large_the_dataset_is_and_how_its_largest_topic_is_read(manifest, topic):
    text = bag_page(manifest, [topic()], [], "", root="/objects/it's/lake/")
    assert f"2 Parquet files of 1.2 kB, from a recording of 2.5 MB with the SHA-256 `{SHA}`." in text
    assert "'/objects/it''s/lake/organisation=o/robot=r/date=2026-03-01/topic=%2Fmany/part-ab-0.parquet'" in text
    assert "topic=%2Ffew" not in text


def test_a_bag_over_midnight_names_both_days(manifest, topic):
    night = Manifest(
        **({key: getattr(manifest, key) for key in manifest.content()} | {"last_ns": START_NS + 8 * HOUR_NS})
    )
    assert "2026-03-01 22:00:00 to 2026-03-02 06:00:00 UTC" in bag_page(night, [topic()], [], "THE LINES")


def test_a_refused_bag_has_no_dataset_to_read(manifest, topic):
    refused = Manifest(**(manifest.content() | {"status": BagStatus.refused, "topics": [], "recorded_on": None}))
    assert "Read it" not in bag_page(refused, [], [], "")
