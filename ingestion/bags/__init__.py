"""ROS recordings (.bag, .db3, .mcap) become Parquet that says honestly what it holds."""

from ingestion.bags.conversion import convert, process
from ingestion.bags.reading import CONVERTER
from ingestion.bags.verification import verify

__all__ = ["CONVERTER", "convert", "process", "verify"]
