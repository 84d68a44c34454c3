"""Sorting a file of sorted row groups: as a stable sort of all rows gives it, however little may be held."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ingestion.bags import ordering
from ingestion.bags.arrays import TIME


@pytest.fixture
def sort(tmp_path: Path):
    """The rows of row groups with these times, sorted as a file; each row carries its place among all."""

    def run(*groups: list[int]) -> pa.Table:
        path, start = tmp_path / "rows.parquet", 0
        schema = pa.schema({"log_time": TIME, "place": pa.int64(), "text": pa.string()})
        with pq.ParquetWriter(path, schema) as writer:
            for times in groups:
                places = np.argsort(times, kind="stable") + start
                start += len(times)
                columns = [
                    pa.array(np.sort(times)).cast(TIME),
                    pa.array(places),
                    pa.array([f"row {n}" for n in places]),
                ]
                writer.write_table(pa.table(columns, schema=schema))
        ordering.sort_file(path, pq.ParquetWriter, group_rows=1000, group_bytes=10_000)
        with pq.ParquetFile(path) as file:
            return file.read()

    return run


@pytest.fixture
def expected():
    """The places of rows with these times after a stable sort."""
    return lambda *groups: np.argsort(np.concatenate(groups), kind="stable").tolist()


@pytest.mark.parametrize("held_max", [1 << 20, 1 << 12])
@pytest.mark.parametrize("spread", [3, 40, 100_000])
def test_row_groups_that_overlap_come_out_as_one_stable_sort_of_all_rows(sort, expected, monkeypatch, spread, held_max):
    monkeypatch.setattr(ordering, "HELD_MAX_BYTES", held_max)
    chosen = np.random.default_rng(spread)
    groups = [(chosen.integers(0, spread, 100) + n).tolist() for n in range(40)]
    rows = sort(*groups)
    assert rows["place"].to_pylist() == expected(*groups)
    assert rows["text"].to_pylist() == [f"row {n}" for n in rows["place"].to_pylist()]


def test_rows_of_one_instant_that_do_not_fit_keep_their_order(sort, expected, monkeypatch):
    monkeypatch.setattr(ordering, "HELD_MAX_BYTES", 1 << 10)
    groups = [[0, 1], *([0] * 100 for _ in range(20))]
    assert sort(*groups)["place"].to_pylist() == expected(*groups)


def test_no_more_than_the_bound_is_held(sort, monkeypatch):
    monkeypatch.setattr(ordering, "HELD_MAX_BYTES", 1 << 13)
    held = []
    put_aside = ordering.Sorting._put_aside
    monkeypatch.setattr(
        ordering.Sorting, "_put_aside", lambda self, rows: (held.append(rows.nbytes), put_aside(self, rows))[1]
    )
    chosen = np.random.default_rng(5)
    sort(*(chosen.integers(0, 10**6, 100).tolist() for _ in range(60)))
    assert held
    assert max(held) < 3 * (1 << 13)


def test_nothing_is_left_beside_the_file(sort, tmp_path):
    sort([3, 4], [1, 2])
    assert [path.name for path in tmp_path.iterdir()] == ["rows.parquet"]


def test_row_groups_keep_to_both_caps():
    tables = [pa.table({"n": np.zeros(700)}) for _ in range(10)]
    by_rows = list(ordering.regrouped(iter(tables), group_rows=1000, group_bytes=1 << 20))
    assert max(map(len, by_rows)) <= 1000
    by_bytes = list(ordering.regrouped(iter(tables), group_rows=10_000, group_bytes=4000))
    assert max(table.nbytes for table in by_bytes) <= 5600
    assert sum(map(len, by_rows)) == sum(map(len, by_bytes)) == 7000
