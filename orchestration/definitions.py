"""What Dagster loads (`yardmaster dagster`): the lineage of the lake, its topics, and what can be made from there."""

from dagster import AssetSpec, Definitions, definitions

from fleet.errors import Unavailable
from fleet.runtime import Runtime, open_runtime
from orchestration.assets.lineage import EXTERNAL
from orchestration.assets.tables import convert_again, made_by_this_converter, topic_tables
from orchestration.assets.topics import topic_assets, topic_checks


def defined(runtime: Runtime) -> Definitions:
    """The lineage of this installation, with the topics that are in its catalogue now."""
    topics = _topics(runtime)
    return Definitions(
        assets=[*EXTERNAL, topic_tables, *topics],
        asset_checks=[made_by_this_converter, *topic_checks(topics)],
        jobs=[convert_again],
    )


def _topics(runtime: Runtime) -> list[AssetSpec]:
    try:
        with runtime.reading() as session:
            return topic_assets(session)
    except Unavailable:  # no database yet: the lineage is shown without topics
        return []


@definitions  # type: ignore[untyped-decorator]  # dagster is not followed (pyproject: mypy)
def lineage() -> Definitions:
    """As Dagster loads it, and loads it again (Reload definitions) for the topics of later recordings."""
    runtime = open_runtime()
    try:
        return defined(runtime)
    finally:
        runtime.engine.dispose()
