"""The environment of every process of a platform: our settings, and those of the tools, all inside one folder.

Analytics and telemetry of all tools are off; nothing is written outside the folder; nothing listens beyond loopback.
"""

from pathlib import Path

from deployments.ports import HOST, Ports

QUIET = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DAGSTER_DISABLE_TELEMETRY": "yes",
    "GIT_PYTHON_REFRESH": "quiet",
    "AWS_EC2_METADATA_DISABLED": "true",
}
# Every arena of glibc's allocator keeps what a burst once took; two are enough for processes that mostly wait.
LEAN = {
    "MALLOC_ARENA_MAX": "2",
    "MALLOC_TRIM_THRESHOLD_": "131072",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}


def surroundings(var: Path, ports: Ports) -> dict[str, str]:
    """What a child of the platform in `var` finds in its environment beyond what the launcher itself has."""
    return QUIET | LEAN | _ours(var, ports) | _prefect(var, ports) | _folders(var)


def _ours(var: Path, ports: Ports) -> dict[str, str]:
    return {
        "YARDMASTER_VAR_DIR": str(var),
        "YARDMASTER_PREFECT_API_URL": f"http://{HOST}:{ports.prefect}/api",
        "YARDMASTER_API_URL": f"http://{HOST}:{ports.api}",
        "PYTHONUNBUFFERED": "1",
    }


def _prefect(var: Path, ports: Ports) -> dict[str, str]:
    return {
        "PREFECT_HOME": str(var / "prefect"),
        "PREFECT_API_URL": f"http://{HOST}:{ports.prefect}/api",
        "PREFECT_API_KEY": "",
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{var}/prefect/prefect.db",
        "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
        "PREFECT_SERVER_REGISTER_BLOCKS_ON_START": "false",
        "PREFECT_CLI_COLORS": "false",
    }


def _folders(var: Path) -> dict[str, str]:
    return {
        "DAGSTER_HOME": str(var / "dagster"),
        "MPLCONFIGDIR": str(var / "cache" / "matplotlib"),
        "XDG_CACHE_HOME": str(var / "cache"),
    }
