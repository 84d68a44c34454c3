"""Dagster's folder; free of Dagster itself, so that a command may prepare it before it becomes Dagster."""

from pathlib import Path

# Dagster knows no environment variable against its telemetry, only this file.
# Nor does it know one against the window in which it asks each newcomer to subscribe to its news.
INSTANCE = "telemetry:\n  enabled: false\nnux:\n  enabled: false\n"


def prepare(dagster_home: Path) -> None:
    """Make the folder with a dagster.yaml that turns telemetry and advertising off; one that is there is left as it is."""
    dagster_home.mkdir(parents=True, exist_ok=True)
    settings = dagster_home / "dagster.yaml"
    if not settings.exists():
        settings.write_text(INSTANCE)
