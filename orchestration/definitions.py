"""What Dagster loads (`yardmaster dagster`): the lineage of the lake, and the one asset that can be made from there."""

from dagster import Definitions

from orchestration.assets.lineage import EXTERNAL
from orchestration.assets.tables import topic_tables

definitions = Definitions(assets=[*EXTERNAL, topic_tables])
