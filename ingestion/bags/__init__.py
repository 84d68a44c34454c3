"""ROS recordings (.bag, .db3, .mcap) become Parquet that says honestly what it holds."""

from ingestion.bags.conversion import convert
from ingestion.bags.reading import CONVERTER

__all__ = ["CONVERTER", "convert"]
