"""The lineage of the lake as Dagster shows it: bags, topic tables, features, model, report.

What the operational runs make (uploads, conversion, training, reports) is told to Dagster as events; the topic tables of a
date can also be made again from here.
"""

from dagster import AssetCheckKey, AssetKey, AssetSpec, DailyPartitionsDefinition

from ingestion.bags import CONVERTER

# Recordings made on simulated time begin in 1970; today's date is a partition too.
DATES = DailyPartitionsDefinition(start_date="1970-01-01", timezone="UTC", end_offset=1)
BAGS = AssetKey("bags")
TOPIC_TABLES = AssetKey("topic_tables")
FEATURES = AssetKey("drive_features")
MODEL = AssetKey("drive_rul")
REPORT = AssetKey("fleet_report")
COUNTS = AssetCheckKey(TOPIC_TABLES, "rows_equal_manifest")
CODE_VERSION = f"converter-{CONVERTER}"

EXTERNAL = [
    AssetSpec(
        BAGS,
        group_name="lake",
        partitions_def=DATES,
        description="Recordings as robots and people uploaded them, by the UTC date of their first message.",
        kinds={"file"},
    ),
    AssetSpec(
        FEATURES,
        group_name="learning",
        deps=[TOPIC_TABLES],
        description="Windows of the drives' current, temperature and vibration (`ml.features`); made while training.",
        kinds={"numpy"},
    ),
    AssetSpec(
        MODEL,
        group_name="learning",
        deps=[FEATURES],
        description="Remaining useful life of drives, made by the flow `train-rul`; its runs and versions are in MLflow.",
        kinds={"xgboost", "mlflow"},
    ),
    AssetSpec(
        REPORT,
        group_name="reports",
        deps=[MODEL],
        description="The fleet report that customers download, made by the flow `publish-report`.",
        kinds={"html", "pdf"},
    ),
]
