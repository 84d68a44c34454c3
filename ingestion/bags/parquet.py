"""Arrow's writer of Parquet files as `pyarrow.parquet` sets it up, without that module.

It imports the clients of every object store there is: a hundredth of the time in which a short recording is converted.
"""

from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow._parquet import ParquetWriter, SortingColumn

__all__ = ["ParquetWriter", "SortingColumn", "writer"]


def writer(where: Path | pa.NativeFile, schema: pa.Schema, **options: Any) -> ParquetWriter:
    """A writer of tables with this schema; close it to end the file."""
    usual = {"use_dictionary": True, "write_statistics": True, "writer_engine_version": "V2"}
    return ParquetWriter(where, schema, version="2.6", data_page_version="1.0", **usual | options)
