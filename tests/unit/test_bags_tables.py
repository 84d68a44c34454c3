"""The Parquet file of a topic: its row groups as they come, and the memory that writing them needs."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ingestion.bags import tables
from ingestion.bags.arrays import TIME, array
from ingestion.bags.tables import TableFile

ROWS = 20_000


@pytest.fixture
def group():
    """The rows of the row group with this number, of values that do not repeat."""

    def rows(number: int) -> pa.Table:
        times = np.arange(number * ROWS, (number + 1) * ROWS, dtype=np.int64)
        return pa.table({"log_time": array(times, TIME), "value": array(np.sqrt(times), pa.float64())})

    return rows


@pytest.mark.parametrize("between", [1, 3])
def test_when_memory_is_given_back_changes_no_byte_of_the_file(group, between, tmp_path, monkeypatch):
    written = []
    for name, groups in (("usual", tables.GROUPS_BETWEEN_RELEASES), ("other", between)):
        monkeypatch.setattr(tables, "GROUPS_BETWEEN_RELEASES", groups)
        file = TableFile(tmp_path / name)
        for number in range(5):
            file.add(group(number))
        file.close()
        written.append((tmp_path / name).read_bytes())
    assert written[0] == written[1]
    assert pq.read_metadata(tmp_path / "usual").num_row_groups == 5


def test_a_file_counts_its_rows_and_knows_its_first_and_last_time(group, tmp_path):
    file = TableFile(tmp_path / "rows")
    for number in (2, 0, 1):
        file.add(group(number))
    file.close()
    assert (file.rows, file.first_ns, file.last_ns) == (3 * ROWS, 0, 3 * ROWS - 1)
    times = pq.read_table(tmp_path / "rows")["log_time"].cast(pa.int64()).to_numpy()
    assert (times == np.arange(3 * ROWS)).all()
